"""`check-token`, and the metadata and keys with which a resource server checks this app's access tokens itself."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import Busy, StorageUnavailable, Unavailable
from shared.identity import issuers
from shared.identity.checking import ForeignTokens
from shared.identity.errors import IssuerUnavailable
from shared.identity.jwt import Parsed, Reason, TokenRefused, parse
from shared.identity.settings import IdentitySettings
from shared.identity.store.sessions import SessionStore, TokenKey
from shared.web import Example, Fields, Operation, Response, rfc3339

PUBLIC_SECONDS = 300
"""How long a resource server may keep our metadata and keys."""


class CheckTokenRequest(Fields, frozen=True):
    token: Annotated[str, Meta(description="An access token of this app, or of an issuer in `TRUSTED_ISSUER_<NAME>`.")]
    audience: Annotated[
        Annotated[str, Meta(min_length=1, max_length=512)] | None,
        Meta(
            description="The audience that the token must have. Default: STRONGROOM_AUDIENCE for this app's tokens, "
            "`TRUSTED_ISSUER_<NAME>_AUDIENCE` for those of an issuer."
        ),
    ] = None
    scope: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024)] | None,
        Meta(description="Scopes that the token must have, separated by spaces.", examples=["read write"]),
    ] = None


class CheckTokenResponse(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """It is safe to act on `active` alone. If it is false, `reason` says why."""

    active: bool
    issuer: str | UnsetType = UNSET
    subject: Annotated[
        str | UnsetType, Meta(description="`sub`; for Entra ID `<tid>.<oid>`, because `sub` differs per application.")
    ] = UNSET
    user_id: Annotated[str | UnsetType, Meta(description="The user, for this app's tokens.")] = UNSET
    expires: str | UnsetType = UNSET
    claims: dict[str, Any] | UnsetType = UNSET
    groups_overage: Annotated[
        bool | UnsetType, Meta(description="The user is in more groups than the token names.")
    ] = UNSET
    reason: Reason | UnsetType = UNSET


class OpenidConfigurationResponse(msgspec.Struct, frozen=True):
    """Authorization server metadata (RFC 8414, section 2), as far as a resource server needs them."""

    issuer: str
    jwks_uri: str
    response_types_supported: list[str]
    subject_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    claims_supported: list[str]


class TokenKeysResponse(msgspec.Struct, frozen=True):
    """A JWK Set (RFC 7517, section 5)."""

    keys: list[dict[str, str]]


class TokenChecks:
    """Checks the tokens of this app and of trusted issuers."""

    def __init__(self, settings: IdentitySettings, sessions: SessionStore, foreign: ForeignTokens) -> None:
        self._settings = settings
        self._sessions = sessions
        self._foreign = foreign

    def check(self, request: CheckTokenRequest) -> Response:
        """`check-token`."""
        scopes = (request.scope or "").split()
        try:
            token = parse(request.token)
            if token.claims.get("iss") == self._settings.issuer:
                checked = self._own(token, request.audience, scopes)
            else:
                checked = self._of_issuer(token, request.audience, scopes)
        except TokenRefused as refused:
            return Response.json(CheckTokenResponse(active=False, reason=refused.reason), outcome=refused.reason)
        return Response.json(checked)

    def _own(self, token: Parsed, audience: str | None, scopes: list[str]) -> CheckTokenResponse:
        """One point read: whether the session has ended."""
        claims = self._sessions.check_token(token.text, audience)
        issuers.check_scopes(token.claims, scopes)
        if self._sessions.session_of(claims) is None:
            raise TokenRefused("revoked")
        return CheckTokenResponse(
            active=True,
            issuer=claims.iss,
            subject=claims.sub,
            user_id=claims.sub,
            expires=_time(claims.exp),
            claims=token.claims,
        )

    def _of_issuer(self, token: Parsed, audience: str | None, scopes: list[str]) -> CheckTokenResponse:
        checked = self._foreign.check(token, audience, scopes)
        return CheckTokenResponse(
            active=True,
            issuer=checked.url,
            subject=checked.subject,
            expires=_time(checked.expires),
            claims=token.claims,
            groups_overage=True if checked.groups_overage else UNSET,
        )


def openid_configuration(settings: IdentitySettings) -> OpenidConfigurationResponse:
    return OpenidConfigurationResponse(
        issuer=settings.issuer,
        jwks_uri=f"{settings.issuer}/tokens/jwks",
        response_types_supported=[],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=["ES256"],
        claims_supported=[
            "iss",
            "aud",
            "sub",
            "client_id",
            "sid",
            "iat",
            "exp",
            "jti",
            "auth_time",
            "acr",
            "amr",
            "roles",
        ],
    )


def token_keys(key: TokenKey) -> TokenKeysResponse:
    return TokenKeysResponse(key.public_jwks())


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return rfc3339(datetime.fromtimestamp(seconds, UTC))


def operations(
    settings: IdentitySettings, sessions: SessionStore, foreign: ForeignTokens, key: Callable[[], TokenKey]
) -> dict[str, Operation]:
    """The functions for those who check tokens."""
    return {
        "check-token": Operation(
            handle=TokenChecks(settings, sessions, foreign).check,
            request=CheckTokenRequest,
            response=CheckTokenResponse,
            summary="Check an access token of this app or of a trusted issuer.\n\nA token that is not valid gets 200 "
            "with `active: false` and a `reason`. An ended session is `revoked`.",
            errors=(IssuerUnavailable, Busy, Unavailable),
            examples=(Example("A text that is not a token", {"token": "eyJhbGciOiJub25lIn0.e30."}),),
        ),
        "openid-configuration": Operation(
            handle=partial(openid_configuration, settings),
            request=None,
            response=OpenidConfigurationResponse,
            summary="The metadata that a resource server needs to check this app's access tokens (RFC 8414).",
            cache_seconds=PUBLIC_SECONDS,
        ),
        "token-keys": Operation(
            handle=lambda: token_keys(key()),
            request=None,
            response=TokenKeysResponse,
            summary="The public keys that verify this app's access tokens (RFC 7517).",
            errors=(Busy, StorageUnavailable, Unavailable),
            cache_seconds=PUBLIC_SECONDS,
        ),
    }
