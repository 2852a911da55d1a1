"""The errors of sign-in, sessions and factors."""

from shared.errors import Busy, Conflict, NotFound, Refused

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
    title = "This factor does not exist"


class LastFactor(Conflict):
    """The user would have no second factor any more."""

    code = "last-factor"
    title = "This is the user's last factor"


class TooManyFactors(Conflict):
    """The user has as many factors, or as many pending enrolments, as one user may have."""

    code = "too-many-factors"
    title = "The user has too many factors"


class TooManyCodes(Busy):
    """The user has to wait after wrong codes, and the right code has to wait, too. Carries `Retry-After`."""

    code = "too-many-codes"
    title = "Too many wrong codes"
