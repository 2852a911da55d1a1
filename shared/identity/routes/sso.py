"""Single sign-on: `start-sso`, `finish-sso` and `list-providers`."""

import hmac
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from shared.errors import Busy, DuplicateParameter, StrongroomError, UserExists, invalid_field
from shared.identity import sso
from shared.identity.checking import Keys
from shared.identity.errors import FlowMismatch, IssuerUnavailable, UnknownProvider
from shared.identity.issuers import check_signature
from shared.identity.jwt import TokenRefused, parse
from shared.identity.settings import IdentitySettings, SsoProvider
from shared.identity.sso import Flow, Outcome, Person
from shared.identity.store.fetching import FetchFailed
from shared.identity.store.partitions import Partition
from shared.identity.store.subjects import Subjects
from shared.identity.store.tickets import TicketStore
from shared.web import Fields, Operation, Request, Response
from shared.web.decoding import query_pairs

log = logging.getLogger("strongroom")

MAX_CODE = 4096

ProviderName = Annotated[str, Meta(description="The NAME of the settings `SSO_<NAME>_…`, in lower case.")]


class StartSsoRequest(Fields, frozen=True):
    provider: ProviderName
    return_to: Annotated[
        str,
        Meta(
            description="The URL to which the browser returns, with `ticket` or `error` in its query. Its origin is "
            "that of STRONGROOM_URL or in STRONGROOM_ORIGINS.",
            max_length=sso.MAX_RETURN_TO,
            examples=["https://app.example.org/signed-in"],
        ),
    ]
    code_challenge: Annotated[
        str,
        Meta(
            description="The S256 challenge (RFC 7636) of a secret that the page keeps: `sign-in` takes the ticket "
            "only with the `code_verifier`.",
            max_length=128,
            examples=["E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"],
        ),
    ]


class FinishSsoRequest(Fields, frozen=True):
    provider: ProviderName


class ListedProvider(msgspec.Struct, frozen=True):
    name: ProviderName
    start_url: Annotated[str, Meta(description="Add `return_to` and `code_challenge`, and send the browser there.")]


class ListProvidersResponse(msgspec.Struct, frozen=True):
    providers: list[ListedProvider]


class TokenEndpoint(Protocol):
    """Sends forms to a provider."""

    def post_form(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, object]:
        """The status and the JSON of the response. Raises FetchFailed."""
        ...


class _Failed(StrongroomError):
    """The flow ends without a ticket."""

    def __init__(self, outcome: Outcome, cause: str = "") -> None:
        super().__init__()
        self.outcome: Outcome = outcome
        self.cause = cause


class SingleSignOn:
    """The flows of all providers. `key` returns the 32 bytes that seal cookies; `clock` seconds since 1970."""

    def __init__(
        self,
        providers: Sequence[SsoProvider],
        settings: IdentitySettings,
        keys: Keys,
        endpoint: TokenEndpoint,
        subjects: Subjects,
        tickets: TicketStore,
        key: Callable[[], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._providers = {each.name: each for each in providers}
        self._settings = settings
        self._keys = keys
        self._endpoint = endpoint
        self._subjects = subjects
        self._tickets = tickets
        self._key = key
        self._clock = clock
        self._is_secure = settings.issuer.startswith("https://")

    def listed(self) -> ListProvidersResponse:
        """`list-providers`."""
        return ListProvidersResponse(
            [ListedProvider(name, f"{self._settings.issuer}/sso/{name}") for name in sorted(self._providers)]
        )

    def start(self, fields: StartSsoRequest) -> Response:
        """`start-sso`: to the provider, with the state of the flow in a cookie."""
        provider = self._provider(fields.provider)
        if not sso.is_return_to(fields.return_to, self._settings.origins):
            raise invalid_field(
                "return_to",
                "`return_to` must be a URL without a fragment, whose origin is that of STRONGROOM_URL or listed in "
                "STRONGROOM_ORIGINS.",
            )
        if not sso.is_challenge(fields.code_challenge):
            raise invalid_field(
                "code_challenge", "`code_challenge` is the base64url of a SHA-256: 43 characters (RFC 7636, S256)."
            )
        flow = Flow(
            provider.name,
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            code_verifier=secrets.token_urlsafe(48),
            return_to=fields.return_to,
            code_challenge=fields.code_challenge,
            expires=self._clock() + sso.FLOW_SECONDS,
        )
        try:
            metadata = self._keys.get(provider.issuer.url).metadata
        except IssuerUnavailable:
            return _redirect(sso.with_parameters(flow.return_to, {"error": "provider-failed"}), "provider-failed")
        if not metadata.authorization_endpoint or not metadata.token_endpoint:
            self._log(provider, "the metadata have no endpoints")
            return _redirect(sso.with_parameters(flow.return_to, {"error": "provider-failed"}), "provider-failed")
        value = sso.seal(self._key(), flow, secrets.token_bytes(sso.NONCE_BYTES))
        return _redirect(
            sso.authorization_url(provider, metadata, flow, self._redirect_uri(provider)),
            "",
            sso.cookie(flow.state, value, is_secure=self._is_secure),
        )

    def finish(self, fields: FinishSsoRequest, request: Request) -> Response:
        """`finish-sso`: from the provider's code to a ticket, back at the page that began."""
        provider = self._provider(fields.provider)
        parameters = _parameters(request.url)
        flow = self._flow(provider, parameters.get("state", ""), request)
        try:
            ticket = self._ticket(provider, flow, parameters)
            result, outcome = {"ticket": ticket}, ""
        except _Failed as failed:
            if failed.cause:
                self._log(provider, failed.cause)
            result, outcome = {"error": failed.outcome}, failed.outcome
        cleared = sso.cookie(flow.state, "", is_secure=self._is_secure)
        return _redirect(sso.with_parameters(flow.return_to, result), outcome, cleared)

    def _flow(self, provider: SsoProvider, state: str, request: Request) -> Flow:
        """The flow that this browser began. Raises FlowMismatch."""
        cookies = request.headers["cookie"] if "cookie" in request.headers else ""  # noqa: SIM401 - as in web.respond.
        value = sso.cookie_value(cookies, sso.cookie_name(state, is_secure=self._is_secure))
        flow = sso.unseal(self._key(), value, self._clock()) if value and state else None
        if (
            flow is None
            or flow.provider != provider.name
            or not hmac.compare_digest(flow.state.encode(), state.encode())
        ):
            raise FlowMismatch("This browser did not begin this sign-in, or more than ten minutes ago. Begin again.")
        return flow

    def _ticket(self, provider: SsoProvider, flow: Flow, parameters: Mapping[str, str]) -> str:
        person = self._person(provider, flow, parameters)
        partition = self._user(provider, person)
        if partition.user.disabled:
            raise _Failed("disabled")
        return self._tickets.issue(
            "sso",
            lifetime=sso.TICKET_LIFETIME,
            user_id=partition.user.user_id,
            signed_out_at=partition.user.signed_out_at,
            amr=("fed", "mfa") if person.has_second_factor else ("fed",),
            code_challenge=flow.code_challenge,
            second_factor=provider.second_factor and not person.has_second_factor,
        )

    def _person(self, provider: SsoProvider, flow: Flow, parameters: Mapping[str, str]) -> Person:
        response_issuer = parameters.get("iss")
        try:
            issuer_keys = self._keys.get(provider.issuer.url)
        except IssuerUnavailable:
            raise _Failed("provider-failed") from None
        if not sso.is_response_of(issuer_keys.metadata, response_issuer):
            raise _Failed("provider-failed", "the response is another issuer's, or lacks iss")
        if "error" in parameters:
            if parameters["error"] == "access_denied":
                raise _Failed("access-denied")
            raise _Failed("provider-failed", f"error {parameters['error'][:64]!a}")
        code = parameters.get("code", "")
        if not 1 <= len(code) <= MAX_CODE:
            raise _Failed("provider-failed", "the response has no code")
        form, headers = sso.token_request(provider, issuer_keys.metadata, flow, code, self._redirect_uri(provider))
        try:
            status, document = self._endpoint.post_form(issuer_keys.metadata.token_endpoint, form, headers)
        except FetchFailed as error:
            raise _Failed("provider-failed", f"the token endpoint: {error.detail}") from None
        id_token = document.get("id_token") if status == 200 and isinstance(document, dict) else None
        if not isinstance(id_token, str):
            raise _Failed("provider-failed", f"the token endpoint: status {status}, no ID token")
        try:
            token = parse(id_token)
            keys = self._keys.with_key(provider.issuer.url, token.key_id, issuer_keys).keys
            check_signature(token, keys)
            return sso.person(provider, issuer_keys.metadata, token, flow.nonce, response_issuer, self._clock())
        except TokenRefused as refused:
            raise _Failed("provider-failed", f"the ID token: {refused.reason}") from None

    def _user(self, provider: SsoProvider, person: Person) -> Partition:
        """The user of this person. Raises _Failed."""
        if not provider.create_users:
            partition = self._subjects.find(person.issuer, person.subject)
            if partition is None:
                raise _Failed("unknown-user")
            return partition
        try:
            return self._subjects.find_or_create(person.issuer, person.subject, f"{provider.name}:{person.subject}")
        except UserExists:
            raise _Failed("unknown-user", "another user has the name that this one would get") from None
        except Busy:
            raise _Failed("provider-failed", "several calls create the same user") from None

    def _provider(self, name: str) -> SsoProvider:
        provider = self._providers.get(name.lower())
        if provider is None:
            raise UnknownProvider("No provider has this name. list-providers names them.")
        return provider

    def _redirect_uri(self, provider: SsoProvider) -> str:
        return f"{self._settings.issuer}/sso/{provider.name}/callback"

    @staticmethod
    def _log(provider: SsoProvider, cause: str) -> None:
        line = '{"warning":"Single sign-on failed.","provider":"%s","cause":%s}'
        log.warning(line, provider.name, msgspec.json.encode(cause).decode())


def _parameters(url: str) -> dict[str, str]:
    """The query of the callback; providers add parameters of their own. Raises DuplicateParameter."""
    pairs = query_pairs(url, frozenset())
    names = [name for name, _ in pairs]
    for name in ("state", "code", "iss", "error"):
        if names.count(name) > 1:
            raise DuplicateParameter(f"The provider sent {name} more than once.")
    return dict(pairs)


def _redirect(url: str, outcome: str, cookie: str = "") -> Response:
    headers = {"location": url} | ({"set-cookie": cookie} if cookie else {})
    return Response(302, headers=headers, outcome=outcome)


def operations(flows: SingleSignOn) -> dict[str, Operation]:
    """The public functions of single sign-on."""
    return {
        "list-providers": Operation(
            handle=flows.listed,
            request=None,
            response=ListProvidersResponse,
            summary="The providers of single sign-on.",
        ),
        "start-sso": Operation(
            handle=flows.start,
            request=StartSsoRequest,
            response=None,
            summary="Send the browser to a provider of single sign-on.\n\nThe browser returns to `return_to` with a "
            "`ticket`, which `sign-in` takes together with the `code_verifier` within 60 s, or with an `error`: "
            "`access-denied`, `unknown-user`, `disabled`, `provider-failed`.",
            errors=(UnknownProvider,),
            statuses={302: "A redirect to the provider, or back with an error."},
        ),
        "finish-sso": Operation(
            handle=flows.finish,
            request=FinishSsoRequest,
            response=None,
            summary="The redirect URI of a provider: only the provider sends browsers here.",
            errors=(UnknownProvider, FlowMismatch),
            statuses={302: "A redirect to the page that began, with `ticket` or `error`."},
            ignore_query=True,
            with_request=True,
        ),
    }
