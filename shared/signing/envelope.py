"""Sealing: authenticated encryption (AES-256-GCM, NIST SP 800-38D) of stored data. Pure."""

import msgspec

from shared.signing.errors import SealBroken

NONCE_BYTES = 12


def seal(key: bytes, nonce: bytes, plaintext: bytes, *bound: object) -> bytes:
    """`plaintext` encrypted under `key` (32 bytes) and bound to `bound`: only the same values open it.

    `nonce` is 12 random bytes; the result begins with it. With an empty plaintext, the result is a seal over `bound`.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return nonce + AESGCM(key).encrypt(nonce, plaintext, msgspec.json.encode(bound))


def open_sealed(key: bytes, sealed: bytes, *bound: object) -> bytes:
    """The plaintext. Raises SealBroken if a byte, the key, or one of `bound` differs."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], msgspec.json.encode(bound))
    except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce and a tag.
        raise SealBroken from None
