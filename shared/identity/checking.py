"""Checks the tokens of trusted issuers, and who calls by a bearer token."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from shared.errors import StrongroomError
from shared.identity import issuers
from shared.identity.callers import OwnCaller, check_entries, is_listed
from shared.identity.errors import IssuerMismatch, IssuerUnavailable
from shared.identity.issuers import Identity
from shared.identity.jwt import Parsed, TokenRefused, parse
from shared.identity.settings import Issuer

if TYPE_CHECKING:
    from shared.identity.store.providers import Provider
    from shared.identity.tokens import Claims


class Keys(Protocol):
    """The metadata and keys of issuers."""

    def get(self, url: str) -> "Provider":
        """Raises IssuerUnavailable."""
        ...

    def with_key(self, url: str, key_id: str | None, known: "Provider") -> "Provider":
        """The provider, fetched again if it may have got the key meanwhile."""
        ...


class ForeignTokens:
    """Checks the tokens of `trusted` issuers. Safe to use from many threads.

    `audience` is the one of issuers without their own; `clock` returns seconds since 1970.
    """

    def __init__(
        self, trusted: Sequence[Issuer], audience: str, providers: Callable[[], Keys], clock: Callable[[], float]
    ) -> None:
        self.trusted = trusted
        self._audience = audience
        self._providers = providers
        self._clock = clock

    def check(self, token: Parsed, audience: str | None = None, scopes: Iterable[str] = ()) -> Identity:
        """Raises TokenRefused, and IssuerUnavailable where the issuer's keys cannot be fetched."""
        issuer, provider = self._issuer_of(token)
        if not issuers.is_accepted_tenant(issuer, provider.metadata, token.claims):
            raise TokenRefused("unknown-issuer")
        if token.algorithm not in issuers.ALGORITHMS:
            raise TokenRefused("bad-signature")
        provider = self._providers().with_key(issuer.url, token.key_id, provider)
        issuers.check_signature(token, provider.keys)
        audiences = (audience,) if audience is not None else issuer.audiences or (self._audience,)
        return issuers.check_claims(issuer, token, audiences, scopes, self._clock())

    def _issuer_of(self, token: Parsed) -> "tuple[Issuer, Provider]":
        url = token.claims.get("iss")
        if not isinstance(url, str):
            raise TokenRefused("malformed")
        exact = [issuer for issuer in self.trusted if issuer.url == url]
        shared = [issuer for issuer in self.trusted if issuers.may_be_shared(issuer.url) and "tid" in token.claims]
        failure: StrongroomError = TokenRefused("unknown-issuer")
        for issuer in exact + shared:
            try:
                provider = self._providers().get(issuer.url)
            except IssuerMismatch:
                continue
            except IssuerUnavailable as error:
                failure = error
                continue
            if issuers.names_issuer(provider.metadata.issuer, token.claims):
                return issuer, provider
        raise failure


class CallerLists:
    """Decides whether a call comes from a caller on a list. Safe to use from many threads.

    `own_issuer` is the issuer of this app's access tokens, and `check_own` checks one without a request to storage: a
    session that has ended counts until its token expires. It raises TokenRefused.
    """

    def __init__(self, own_issuer: str, check_own: "Callable[[str], Claims]", foreign: ForeignTokens) -> None:
        self._own_issuer = own_issuer
        self._check_own = check_own
        self._foreign = foreign
        self._urls = [each.url for each in foreign.trusted]

    def check(self, entries: Sequence[str]) -> None:
        """Raise InvalidRequest for a list that names something other than callers."""
        check_entries(entries)

    def caller(self, headers: Mapping[str, str]) -> "Caller":
        """The caller of a request with these headers. Nothing is checked before it is needed."""
        # Without `get`: for a missing header the worker's class raises and catches an exception, which is slow.
        return Caller(self, headers["authorization"] if "authorization" in headers else "")  # noqa: SIM401

    def identify(self, authorization: str) -> OwnCaller | Identity | None:
        """The caller whose token it is; None without a valid one. Raises IssuerUnavailable."""
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            token = parse(text.strip())
            if token.claims.get("iss") == self._own_issuer:
                claims = self._check_own(token.text)
                return OwnCaller(claims.sub, frozenset(claims.roles))
            return self._foreign.check(token)
        except TokenRefused:
            return None

    def is_listed(self, caller: OwnCaller | Identity, entries: Iterable[str]) -> bool:
        """Whether one of the entries names the caller."""
        return is_listed(caller, entries, self._urls)


class Caller:
    """The caller of one request, whose token is checked once at most."""

    def __init__(self, lists: CallerLists, authorization: str) -> None:
        self._lists = lists
        self._authorization = authorization
        self._caller: list[OwnCaller | Identity | None] = []

    def is_one_of(self, entries: Iterable[str]) -> bool:
        """Whether the request has the token of a caller that the entries name. Raises IssuerUnavailable."""
        if not self._caller:
            self._caller.append(self._lists.identify(self._authorization) if self._authorization else None)
        caller = self._caller[0]
        return caller is not None and self._lists.is_listed(caller, entries)
