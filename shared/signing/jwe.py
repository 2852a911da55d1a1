"""JSON Web Encryption (RFC 7516) with stored keys: A256GCM content, in the hands of joserfc. Pure."""

import json
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

import msgspec

from shared.errors import InvalidRequest, invalid_field
from shared.signing.errors import NotDecryptable
from shared.web import decode_base64, encode_base64

if TYPE_CHECKING:
    from joserfc.jwe import JWERegistry
    from joserfc.jwk import Key

Ciphertext = str | dict[str, Any]
"""Compact serialization, or flattened JSON where there is associated data."""

MAX_PART = 64 * 1024 * 1024
"""The library's own limits are lower; ours is the size of a request."""

# The first of each encrypts; the others open what was made elsewhere for the same key.
_RSA = ("RSA-OAEP-256",)
_AGREED = ("ECDH-ES+A256KW", "ECDH-ES")
_AES = ("A256KW", "A256GCMKW", "dir")


class Envelope(msgspec.Struct, frozen=True):
    """What a JWE says about itself, before anything is verified."""

    key_id: str | None
    associated_data: bytes | None


def algorithms_for(key_type: str) -> tuple[str, ...]:
    """The `alg`s that open a JWE with a key of this type; the first one is ours."""
    if key_type.startswith("RSA-"):
        return _RSA
    return _AES if key_type == "AES-256" else _AGREED


def encrypt(public_key: Any, key_type: str, key_id: str, plaintext: bytes, associated_data: bytes | None) -> Ciphertext:
    """`plaintext` as a JWE to `public_key` (the key itself, for AES), bound to `associated_data` if that is given."""
    from joserfc import jwe

    header = {"alg": algorithms_for(key_type)[0], "enc": "A256GCM", "kid": key_id}
    key, registry = _key(public_key, key_type), _registry(key_type)
    if associated_data is None:
        return jwe.encrypt_compact(header, plaintext, key, registry=registry)
    message = jwe.FlattenedJSONEncryption(header, plaintext, aad=associated_data)
    message.add_recipient({}, key)
    made: dict[str, Any] = dict(jwe.encrypt_json(message, None, registry=registry))
    if not made["header"]:  # RFC 7516, section 7.2.1: where it is empty, it is absent.
        del made["header"]
    return made


def decrypt(ciphertext: Ciphertext, private_key: Any, key_type: str) -> bytes:
    """The plaintext of a JWE. Raises NotDecryptable, for whatever reason it may be."""
    from joserfc import jwe

    key, registry = _key(private_key, key_type), _registry(key_type)
    try:
        if isinstance(ciphertext, str):
            plaintext = jwe.decrypt_compact(ciphertext, key, registry=registry).plaintext
        else:
            _authenticate_as_written(registry, ciphertext)
            plaintext = jwe.decrypt_json(ciphertext, key, registry=registry).plaintext  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - whatever the library makes of a foreign ciphertext, the answer is one.
        raise NotDecryptable("It was not made for this key, or is not as it was made.") from None
    if plaintext is None:
        raise NotDecryptable("It was not made for this key, or is not as it was made.")
    return plaintext


def read(given: Ciphertext, field: str) -> tuple[Ciphertext, Envelope]:
    """A JWE from a request, and what it says about itself. Raises InvalidRequest where it is none.

    Flattened JSON may come as an object, or as its text.
    """
    try:
        if isinstance(given, str) and given.lstrip().startswith("{"):
            given = msgspec.json.decode(given, type=dict[str, Any])
        if isinstance(given, str):
            parts = given.split(".")
            if len(parts) != 5:
                raise ValueError
            return given, Envelope(_key_id(_header(parts[0])), None)
        headers = [_header(given.get("protected", "e30")), given.get("unprotected", {}), given.get("header", {})]
        aad = given.get("aad")
        associated_data = None if aad is None else decode_base64(aad, field)
        if not all(isinstance(each, dict) for each in headers) or not isinstance(given.get("ciphertext"), str):
            raise ValueError
        return given, Envelope(next((found for each in headers if (found := _key_id(each))), None), associated_data)
    except (ValueError, TypeError, AttributeError, RecursionError, InvalidRequest):
        raise invalid_field(field, "is no JWE: neither compact nor flattened JSON (RFC 7516, section 7).") from None


def _header(encoded: str) -> Mapping[str, Any]:
    header = json.loads(decode_base64(encoded, "protected"))
    if not isinstance(header, dict):
        raise TypeError
    return header


def _key_id(header: Mapping[str, Any]) -> str | None:
    key_id = header.get("kid")
    return key_id if isinstance(key_id, str) else None


def _key(key: Any, key_type: str) -> "Key":
    from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

    if isinstance(key, bytes):
        return OctKey.import_key({"kty": "oct", "k": encode_base64(key)})
    if key_type.startswith("RSA-"):
        return RSAKey(key, key)
    return ECKey(key, key) if key_type == "P-256" else OKPKey(key, key)


def _registry(key_type: str) -> "JWERegistry":
    """What is allowed with a key of this type, and no more: no compression, no other content encryption."""
    from joserfc.jwe import JWERegistry

    # An unknown member of a header is ignored, as RFC 7516, section 4, has it, unless `crit` names it.
    registry = JWERegistry(
        algorithms=[*algorithms_for(key_type), "A256GCM"], strict_check_header=False, max_aad_length=MAX_PART
    )
    registry.max_protected_header_length = registry.max_encrypted_key_length = 16384
    registry.max_ciphertext_length = MAX_PART
    return registry


def _authenticate_as_written(registry: "JWERegistry", ciphertext: dict[str, Any]) -> None:
    """Authenticate the protected header as it stands in `ciphertext` (RFC 7516, section 5.2, steps 14 to 16).

    The library encodes it anew, which is not the same where another library wrote it with other white space.
    """
    bound = ".".join([ciphertext["protected"], *([ciphertext["aad"]] if "aad" in ciphertext else [])]).encode("ascii")
    find = registry.get_enc

    def get_enc(name: str) -> Any:
        content = copy(find(name))
        opens = content.decrypt
        setattr(content, "decrypt", lambda data, tag, cek, iv, _: opens(data, tag, cek, iv, bound))  # noqa: B010
        return content

    registry.get_enc = get_enc  # type: ignore[method-assign]
