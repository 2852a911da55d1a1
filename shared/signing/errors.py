"""The errors of keys, signatures and encryption."""

from shared.errors import Conflict, NotFound, Refused, StrongroomError, Unavailable


class UnknownKey(NotFound):
    """No key, or no version of it, has this name."""

    code = "unknown-key"
    title = "There is no such key"


class KeyExists(Conflict):
    """The name is taken, maybe by a key that was deleted and can still be restored."""

    code = "key-exists"
    title = "There is a key of this name"


class KeyChanged(Conflict):
    """Another call has changed the key since it was read."""

    code = "key-changed"
    title = "The key is not as this call expected it"


class KeyNotDeletable(Conflict):
    """A key is deleted only once it was marked as deletable."""

    code = "key-not-deletable"
    title = "This key is protected from deletion"


class WeakKey(Refused):
    """A public key that no signature should be trusted under."""

    code = "weak-key"
    title = "This key is too weak, or not valid"


class UnfitAlgorithm(Refused):
    """The algorithm does not go with the key's type; `detail` says which do."""

    code = "unfit-algorithm"
    title = "This algorithm does not fit the key"


class UnsupportedKey(Refused):
    """A public key that is valid, and of a type that is not served."""

    code = "unsupported-key"
    title = "Keys of this type are not supported"


class KeyHasOtherPurpose(Refused):
    """A key serves one purpose, and no other (NIST SP 800-57 part 1, section 5.2)."""

    code = "key-has-other-purpose"
    title = "This key was made for another purpose"


class UnusableVersion(Refused):
    """The version of the key is disabled, revoked, or below the minimum for what was asked."""

    code = "unusable-version"
    title = "This version of the key may not be used for this"


class KeyTooLarge(Refused):
    """The key has as many versions, tags or revocations as one may have."""

    code = "key-too-large"
    title = "The key cannot hold more"


class VersionInUse(Conflict):
    """Another instance may still produce something with a version that the change would refuse. Has `Retry-After`."""

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
    """The members of a JWK contradict each other, or do not allow the use that the call asks for."""

    code = "contradictory-key"
    title = "The JWK does not allow this use"


class TooCostly(Refused):
    """The call would take too much CPU or too many requests to storage, because it does not name a key or version."""

    code = "too-costly"
    title = "The call is too costly without a key or a version"


class NotDecryptable(Refused):
    """The ciphertext does not open. Never says why: the difference helps whoever tries to forge one."""

    code = "not-decryptable"
    title = "The ciphertext cannot be decrypted"


class NotExportable(Refused):
    """The key was not made exportable, or there is nothing private to export."""

    code = "not-exportable"
    title = "This key does not leave the app"


class DamagedKey(StrongroomError):
    """What is stored of a key is not what was stored there; the log names the row."""

    status = 500
    code = "damaged-key"
    title = "The stored key was changed by something other than this app"
    advice = "The key is out of use until its rows are restored from a backup. The log names them."


class MasterKeyUnavailable(Unavailable):
    """The master key cannot be read, or is not the one that wrapped our data key."""

    code = "master-key-unavailable"
    title = "The master key cannot be used"
    advice = "Keys are safe, and out of use until the master key named by STRONGROOM_MASTER_KEY is back."


class SealBroken(StrongroomError):
    """Sealed bytes do not open: they, their key, or what they are bound to are not what they were."""


class SignatureMismatch(StrongroomError):
    """The signature is none by this key over this message. Raised, so that nobody can forget to look."""


class MalformedSignature(SignatureMismatch):
    """The signature has a form that no key of this type makes."""
