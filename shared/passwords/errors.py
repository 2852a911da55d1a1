"""The errors of passwords and users, in addition to those that sign-in has, too (`shared/errors.py`)."""

from shared.errors import Refused, Unavailable


class InvalidHash(Refused):
    """The app does not know the form of the hash, or the hash is damaged or costs more than the limit."""

    code = "invalid-hash"
    title = "This hash cannot be verified"


class HashTooWeak(Refused):
    """The parameters are below OWASP's minimum."""

    code = "hash-too-weak"
    title = "This hash would be too weak"


class ProfileOfUser(Refused):
    """`profile` or `parameters` together with `user`: users' hashes have the app's profile."""

    code = "profile-of-user"
    title = "The app's profile applies to users"


class PepperUnavailable(Unavailable):
    """The key that encrypts the stored hashes cannot be used."""

    code = "pepper-unavailable"
    title = "The key of the stored hashes cannot be used"
    advice = (
        "No user was changed. Nobody can be verified until the key named by STRONGROOM_PEPPER_KEY can be used again."
    )
