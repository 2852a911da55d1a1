"""The errors of sign-in, sessions and factors."""

from collections.abc import Mapping
from types import MappingProxyType

from shared.errors import Conflict, NotFound, Refused, StrongroomError, Unauthorized, Unavailable


class InvalidToken(Unauthorized):
    """The access token was not issued by this app, has expired, or its session has ended (RFC 6750, section 3.1)."""

    code = "invalid-token"
    title = "The access token is not valid"
    headers: Mapping[str, str] = MappingProxyType({"www-authenticate": 'Bearer error="invalid_token"'})


class NotFresh(Unauthorized):
    """The function needs a recent sign-in, with a second factor if the user has one (RFC 9470, section 3)."""

    code = "insufficient-user-authentication"
    title = "This call needs a fresh sign-in"
    headers: Mapping[str, str] = MappingProxyType(
        {
            "www-authenticate": 'Bearer error="insufficient_user_authentication", acr_values="2", max_age="300"',
        }
    )


class UrlNotSet(Unavailable):
    """The app does not know its own URL, which tokens and passkeys are bound to."""

    code = "url-not-set"
    title = "The app does not know its own URL"
    advice = "Nothing was changed. Set STRONGROOM_URL to the app's address, and restart the app."


class UnknownSession(NotFound):
    """The user has no session with this id."""

    code = "unknown-session"
    title = "The session does not exist"


# Factors


class WrongCode(Refused):
    """The code does not confirm the authenticator app."""

    code = "wrong-code"
    title = "The code is wrong"


class PasskeyRefused(Refused):
    """A registration or an assertion fails a check of WebAuthn."""

    code = "passkey-refused"
    title = "The passkey is not accepted"


class UnknownFactor(NotFound):
    """The user has no factor with this id."""

    code = "unknown-factor"
    title = "The factor does not exist"


class LastFactor(Conflict):
    """The user would have no second factor any more."""

    code = "last-factor"
    title = "This is the user's last factor"


class TooManyFactors(Conflict):
    """The user has as many factors, or as many pending enrolments, as one user may have."""

    code = "too-many-factors"
    title = "The user has too many factors"


class TooManyCodes(StrongroomError):
    """The user has to wait after wrong codes, and the right code has to wait, too. Carries `Retry-After`."""

    status = 429
    code = "too-many-codes"
    title = "Too many wrong codes"


class NoFactor(Conflict):
    """Recovery codes only replace another factor."""

    code = "no-factor"
    title = "The user has no second factor"


class NoPasskey(Refused):
    """The user of the ticket has no passkey that this app accepts."""

    code = "no-passkey"
    title = "The user has no passkey"


class TicketExpired(Refused):
    """The ticket was not issued for this function, has expired, or was used."""

    code = "ticket-expired"
    title = "The ticket is no longer valid"


# Other issuers


class IssuerUnavailable(Unavailable):
    """Another issuer's metadata or keys cannot be fetched, and none are kept."""

    code = "issuer-unavailable"
    title = "The issuer of the token does not respond"
    advice = "Nothing was changed. Try again after the seconds in Retry-After."


class IssuerMismatch(IssuerUnavailable):
    """The metadata at an issuer's URL name another issuer (OpenID Connect Discovery, section 4.3)."""


class UnknownProvider(NotFound):
    """The settings name no provider of single sign-on of this name."""

    code = "unknown-provider"
    title = "The provider does not exist"


class FlowMismatch(StrongroomError):
    """The browser that returns from a provider is not the one that began, or it took too long."""

    status = 400
    code = "sign-in-mismatch"
    title = "This browser did not begin this sign-in"
