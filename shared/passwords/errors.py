"""The errors of passwords and users."""

from shared.errors import Busy, Conflict, NotFound, Refused, Unavailable


class UnknownUser(NotFound):
    """No user has this name, or this id."""

    code = "unknown-user"
    title = "The user does not exist"


class UserExists(Conflict):
    """Another user has this name, or this id."""

    code = "user-exists"
    title = "The user exists already"


class UserChanged(Conflict):
    """Another call changed the user at the same time; the same call may succeed now."""

    code = "user-changed"
    title = "Another call changed the user at the same time"


class InvalidPassword(Refused):
    """A password that cannot be hashed: empty, or too long."""

    code = "invalid-password"
    title = "This password cannot be hashed"


class InvalidHash(Refused):
    """A stored hash whose form is not known, that is damaged, or that costs more than is allowed."""

    code = "invalid-hash"
    title = "This hash cannot be verified"


class HashTooLarge(Refused):
    """The hash takes more memory than the settings allow, or more than a second."""

    code = "hash-too-large"
    title = "This hash takes more memory or time than is allowed"


class HashTooWeak(Refused):
    """The parameters are below OWASP's minimum."""

    code = "hash-too-weak"
    title = "This hash would be too weak"


class ProfileOfUser(Refused):
    """`profile` or `parameters` together with `user`: users' hashes have the app's profile."""

    code = "profile-of-user"
    title = "The app's profile applies to users"


class WeakPassword(Refused):
    """The password fails a rule for users' passwords; `errors` names each."""

    code = "weak-password"
    title = "This password is not acceptable"


class SamePassword(Refused):
    """The new password is the old one."""

    code = "same-password"
    title = "The new password is the old one"


class WrongPassword(Refused):
    """The user or the old password is wrong; the app does not say which."""

    code = "wrong-password"
    title = "The user or the password is wrong"


class UserDisabled(Refused):
    """The password is right, and an operator has disabled the user."""

    code = "user-disabled"
    title = "The user is disabled"


class TooManyAttempts(Busy):
    """This name or this password has to wait, whether or not the user exists. Carries `Retry-After`."""

    code = "too-many-attempts"
    title = "Too many wrong passwords"


class UserLocked(Busy):
    """100 wrong passwords in a row for this name, whether or not the user exists. `reset-password` ends it."""

    code = "user-locked"
    title = "Too many wrong passwords in a row for this user"


class PepperUnavailable(Unavailable):
    """The key that encrypts the stored hashes cannot be used."""

    code = "pepper-unavailable"
    title = "The key of the stored hashes cannot be used"
    advice = (
        "No user was changed. Nobody can be verified until the key named by STRONGROOM_PEPPER_KEY can be used again."
    )


class DamagedUser(Unavailable):
    """A row of the users' table was not written by this app, or is not where the app wrote it."""

    code = "damaged-user"
    title = "A stored user fails its integrity check"
    advice = "Restore the row that the log names from a backup: something other than this app changed it."
