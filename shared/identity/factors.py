"""Second factors, as `sign-in` sees them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from shared.identity.store.partitions import Partition
    from shared.identity.tickets import Ticket

FactorKind = Literal["totp", "passkey", "recovery-code"]


class Proven(NamedTuple):
    """The result of a factor."""

    outcome: Literal["", "wrong-code", "wrong-passkey", "expired"]
    """"" if the factor is right: it is consumed then. `expired`: the ticket has had ten wrong codes."""
    amr: tuple[str, ...] = ()
    """The methods that the factor proves (RFC 8176), such as `otp`, or `pop` and `user`."""
    user_id: str = ""
    """Of a passkey: whose it is."""


class Factors(Protocol):
    """The enrolled factors of users. `check_…` raises TooManyAttempts while the user has to wait."""

    def kinds(self, partition: "Partition") -> tuple[FactorKind, ...]:
        """The kinds of factor that the user has enrolled; none if a password is enough."""
        ...

    def check_code(self, partition: "Partition", ticket: "Ticket", code: str) -> Proven:
        """A one-time code of the user's."""
        ...

    def check_recovery_code(self, partition: "Partition", ticket: "Ticket", code: str) -> Proven:
        """A recovery code of the user's."""
        ...

    def check_passkey(self, ticket: "Ticket", credential: Mapping[str, Any]) -> Proven:
        """A passkey's assertion over the challenge of the ticket; with `ticket.user_id`, of that user."""
        ...


class NoFactors:
    """Nobody has a second factor."""

    def kinds(self, partition: "Partition") -> tuple[FactorKind, ...]:  # noqa: ARG002
        return ()

    def check_code(self, partition: "Partition", ticket: "Ticket", code: str) -> Proven:  # noqa: ARG002
        return Proven("wrong-code")

    def check_recovery_code(self, partition: "Partition", ticket: "Ticket", code: str) -> Proven:  # noqa: ARG002
        return Proven("wrong-code")

    def check_passkey(self, ticket: "Ticket", credential: Mapping[str, Any]) -> Proven:  # noqa: ARG002
        return Proven("wrong-passkey")
