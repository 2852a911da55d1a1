"""The errors of keys, signatures and encryption."""

from shared.errors import Conflict, NotFound, Refused, StrongroomError, Unavailable


class UnknownKey(NotFound):
    """No key, or no version of the key, has this name."""

    code = "unknown-key"
    title = "The key does not exist"


class KeyExists(Conflict):
    """A key has this name; perhaps it was deleted and can still be restored."""

    code = "key-exists"
    title = "The key exists already"


class KeyChanged(Conflict):
    """Another call has changed the key since it was read."""

    code = "key-changed"
    title = "The key has changed"


class KeyNotDeletable(Conflict):
    """A key can be deleted only after it was marked as deletable."""

    code = "key-not-deletable"
    title = "This key is protected from deletion"


class WeakKey(Refused):
    """A key that is too weak to trust, or that is not valid."""

    code = "weak-key"
    title = "This key is too weak, or not valid"


class UnfitAlgorithm(Refused):
    """The algorithm does not fit the key; `detail` names those that do."""

    code = "unfit-algorithm"
    title = "This algorithm does not fit the key"


class UnsupportedKey(Refused):
    """A valid key of a type that is not supported, or for a use that it does not support."""

    code = "unsupported-key"
    title = "This key is not supported here"


class KeyHasOtherPurpose(Refused):
    """A key serves one purpose only (NIST SP 800-57 part 1, section 5.2)."""

    code = "key-has-other-purpose"
    title = "The key has another purpose"


class UnusableVersion(Refused):
    """The version of the key is disabled, revoked, or below a minimum version."""

    code = "unusable-version"
    title = "The version of the key must not be used"


class KeyTooLarge(Refused):
    """The key has as many versions or tags as it can have."""

    code = "key-too-large"
    title = "The key has too many versions or too much metadata"


class VersionInUse(Conflict):
    """Another instance may still use a version that the change would refuse. Carries `Retry-After`."""

    code = "version-in-use"
    title = "A version that this change would refuse may still be in use"


class VersionPending(Conflict):
    """A version is published and not yet current."""

    code = "version-pending"
    title = "The next version is published already"


class KidTaken(Conflict):
    """The `kid` of an imported JWK names another key."""

    code = "kid-taken"
    title = "Another key has this kid"


class KeyUsedOtherwise(Conflict):
    """The same private key is stored under the other purpose (NIST SP 800-57 part 1, section 5.2)."""

    code = "key-used-otherwise"
    title = "The same private key is stored for another purpose"


class KeyNotRotatable(Conflict):
    """The app's own key `_log` is never rotated: the log's signatures name it."""

    code = "key-not-rotatable"
    title = "This key is never rotated"


class ReservedKey(StrongroomError):
    """The app's own keys, whose names begin with an underscore, are not for callers."""

    status = 403
    code = "reserved-key"
    title = "This key belongs to the app itself"


class ContradictoryKey(Refused):
    """The members of a JWK contradict each other, or do not allow the use that the call needs."""

    code = "contradictory-key"
    title = "The JWK does not allow this use"


class TooCostly(Refused):
    """The call would take too much CPU or too many requests to storage, because it does not name a key or version."""

    code = "too-costly"
    title = "The call is too costly without a key or a version"


class NotDecryptable(Refused):
    """The ciphertext does not open. Never says why: the difference would help an attacker who forges one."""

    code = "not-decryptable"
    title = "The ciphertext cannot be decrypted"


class NotExportable(Refused):
    """The key is not exportable, or its type has no export format."""

    code = "not-exportable"
    title = "The key cannot be exported"


class DamagedKey(StrongroomError):
    """A stored row of a key was changed by something else; the log names it."""

    status = 500
    code = "damaged-key"
    title = "The stored key was changed by something other than this app"
    advice = (
        "The key is out of use until its rows, which the log names, are restored from a backup; delete-key removes it."
    )


class MasterKeyUnavailable(Unavailable):
    """The master key cannot be used, or is not the one that wrapped the data key."""

    code = "master-key-unavailable"
    title = "The master key cannot be used"
    advice = "The keys are safe, and out of use until the master key of STRONGROOM_MASTER_KEY is available."


class SealBroken(StrongroomError):
    """Sealed bytes do not open: they, their key, or the values that they are bound to have changed."""


class SignatureMismatch(StrongroomError):
    """The signature does not match the key and the message. An exception, so that no caller can forget to check."""


class MalformedSignature(SignatureMismatch):
    """No key of this type makes signatures of this form."""
