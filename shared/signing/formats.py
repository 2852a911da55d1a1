"""Keys as they come in and go out: PEM or JWK, public or private. Pure."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from shared.errors import invalid_field
from shared.signing import jwk, pbe, pem
from shared.signing.algorithms import AnyPrivateKey, AnyPublicKey
from shared.signing.errors import ContradictoryKey
from shared.signing.jwk import to_jwk
from shared.signing.keyring import Purpose
from shared.signing.strength import check_strength, type_of
from shared.web import encode_base64

__all__ = ["Imported", "check_strength", "parse_private", "parse_public", "thumbprint", "to_jwk", "type_of"]


class Imported(NamedTuple):
    """A key from a request, and the members of its JWK."""

    key: Any
    """Private, public, or the bytes of an AES key."""
    type: str
    algorithm: str | None = None
    kid: str = ""
    purposes: frozenset[Purpose] = frozenset({"sign", "encrypt"})

    def purpose(self, wanted: Purpose | None) -> Purpose | None:
        """`wanted`, or else the only purpose that the JWK allows; None: any. Raises ContradictoryKey."""
        if not self.purposes or (wanted is not None and wanted not in self.purposes):
            allowed = " and ".join(sorted(self.purposes)) or "none of the purposes"
            raise ContradictoryKey(
                f"The `use`, `key_ops` and `alg` of this JWK allow {allowed}, and not {wanted or 'any use here'}."
            )
        return wanted or (next(iter(self.purposes)) if len(self.purposes) == 1 else None)


def read_public(value: str | Mapping[str, Any], field: str) -> Imported:
    """A public key: PEM (SubjectPublicKeyInfo, PKCS#1, or an X.509 certificate), or a JWK, as an object or its text.

    Raises InvalidRequest, WeakKey, UnsupportedKey, UnfitAlgorithm, ContradictoryKey.
    """
    if isinstance(value, str) and not jwk.is_jwk(value):
        key = pem.parse_public(value, field)
        check_strength(key)
        return Imported(key, type_of(key))
    members = jwk.members(value, field)
    if members.keys() & jwk.PRIVATE_MEMBERS:
        raise invalid_field(field, pem.PRIVATE_SENT)
    parsed = jwk.parse(members, field)
    check_strength(parsed.key)
    return Imported(parsed.key, parsed.type, parsed.algorithm, parsed.kid, parsed.purposes)


def read_private(value: str | Mapping[str, Any], field: str, passphrase: str | None) -> Imported:
    """A private key: PKCS#8, PKCS#1 or SEC1 as PEM, which `passphrase` decrypts if it is encrypted; or a JWK.

    Only a JWK holds an AES key. Raises as `read_public`, naming `passphrase` if that is wrong.
    """
    if isinstance(value, str) and not jwk.is_jwk(value):
        private = pem.parse_private(value, field, passphrase)
        check_strength(private.public_key())
        return Imported(private, type_of(private.public_key()))
    members = jwk.members(value, field)
    if passphrase is not None:
        raise invalid_field(
            "passphrase", "A `passphrase` belongs to an encrypted PEM, and this is a JWK. Leave it out."
        )
    parsed = jwk.parse(members, field)
    if not parsed.is_private:
        raise invalid_field(field, f"`{field}` holds a public key. Send it as `public_key`.")
    if not isinstance(parsed.key, bytes):
        check_strength(parsed.key.public_key())
    return Imported(parsed.key, parsed.type, parsed.algorithm, parsed.kid, parsed.purposes)


def parse_public(
    value: str | Mapping[str, Any], field: str, purpose: Purpose | None = None
) -> tuple[AnyPublicKey, str | None]:
    """A public key for `purpose`, and the algorithm that its JWK names. Raises as `read_public`."""
    imported = read_public(value, field)
    imported.purpose(purpose)
    return imported.key, imported.algorithm


def parse_private(value: str | Mapping[str, Any], field: str, passphrase: str | None) -> AnyPrivateKey | bytes:
    """A private key alone. Raises as `read_private`."""
    private: AnyPrivateKey | bytes = read_private(value, field, passphrase).key
    return private


def thumbprint(public_key: AnyPublicKey) -> str:
    """The JWK thumbprint (RFC 7638), SHA-256 in base64url: the `key_id`."""
    # The required members, sorted by name, without white space.
    return encode_base64(hashlib.sha256(msgspec.json.encode(to_jwk(public_key), order="sorted")).digest())


def to_spki(public_key: Any) -> bytes:
    """`public_key` as SubjectPublicKeyInfo, DER (RFC 5280, section 4.1)."""
    spki: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return spki


def spki_to_pem(spki: bytes) -> str:
    """SubjectPublicKeyInfo as PEM (RFC 7468, section 13)."""
    return _armoured("PUBLIC KEY", spki)


def to_pkcs8(private_key: Any) -> bytes:
    """`private_key` as PKCS#8, DER, not encrypted (RFC 5958)."""
    pkcs8: bytes = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return pkcs8


def to_encrypted_pem(private_key: Any, passphrase: str, salt: bytes, iv: bytes) -> str:
    """`private_key` as PKCS#8, PEM, encrypted under `passphrase`; `salt` and `iv` are 16 random bytes each."""
    return _armoured("ENCRYPTED PRIVATE KEY", pbe.encrypt(to_pkcs8(private_key), passphrase, salt, iv))


def _armoured(label: str, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
