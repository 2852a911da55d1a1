"""The errors of passwords and users."""

from shared.errors import Busy, Conflict, NotFound, Refused, Unavailable


class UnknownUser(NotFound):
    """No user has this name, or this id."""

    code = "unknown-user"
    title = "There is no such user"


class UserExists(Conflict):
    """The name is taken."""

    code = "user-exists"
    title = "There is a user of this name"


class UserChanged(Conflict):
    """Others changed the user at the same time; the same call may succeed now."""

    code = "user-changed"
    title = "The user was changed at the same time"


class InvalidPassword(Refused):
    """A password that no hash may be made of: empty, or too long."""

    code = "invalid-password"
    title = "This password cannot be hashed"


class InvalidHash(Refused):
    """A stored hash that is not a PHC string we know, or that asks for more than the limits allow."""

    code = "invalid-hash"
    title = "This hash cannot be verified"


class HashTooLarge(Refused):
    """The hash that is asked for takes more memory than the settings grant."""

    code = "hash-too-large"
    title = "This hash takes more memory than is granted"


class HashTooWeak(Refused):
    """The parameters that are asked for are below OWASP's minimum."""

    code = "hash-too-weak"
    title = "This hash would be too weak"


class WeakPassword(Refused):
    """The password fails a rule for users' passwords; `errors` names each."""

    code = "weak-password"
    title = "This password is not acceptable"


class WrongPassword(Refused):
    """The user or the old password is not right; which of the two is not told."""

    code = "wrong-password"
    title = "The user or the password is not right"


class TooManyAttempts(Busy):
    """This name has to wait after wrong passwords, whether or not there is such a user. Carries `Retry-After`."""

    code = "too-many-attempts"
    title = "Too many wrong passwords for this user"


class PepperUnavailable(Unavailable):
    """The key that stored hashes are encrypted under cannot be used."""

    code = "pepper-unavailable"
    title = "The key of the stored hashes cannot be used"
    advice = "Users are safe, and cannot be verified until the key named by STRONGROOM_PEPPER_KEY can be used again."
