"""JSON Web Encryption (RFC 7516) with stored keys, by joserfc. No I/O; `encrypt` uses the library's randomness."""

from collections.abc import Mapping
from copy import copy
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from shared.errors import BadRequest, invalid_field
from shared.signing.errors import NotDecryptable, UnfitAlgorithm
from shared.web import decode_base64, encode_base64, parse_object

if TYPE_CHECKING:
    from joserfc.jwe import JWERegistry
    from joserfc.jwk import Key

Ciphertext = str | dict[str, Any]
"""Compact serialization, or flattened JSON where there is associated data."""

MAX_PART = 64 * 1024 * 1024
"""The library's own limits are lower; the app's limit is the size of a request."""

# The first of each encrypts; the others decrypt what was encrypted elsewhere for the same key (RFC 7518, section 4.1;
# RSA-OAEP-384 and -512 are in the IANA registry of JOSE).
_RSA = ("RSA-OAEP-256", "RSA-OAEP", "RSA-OAEP-384", "RSA-OAEP-512")
_AGREED = ("ECDH-ES+A256KW", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW")
_AES = ("A256KW", "A256GCMKW", "dir")
_CONTENT = ("A256GCM", "A128GCM", "A192GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512")
_MAX_NAME = 40
"""Characters of an algorithm's name in an error."""


class Envelope(msgspec.Struct, frozen=True):
    """The claims of a JWE about itself, before anything is verified."""

    algorithm: str
    encryption: str
    key_id: str | None
    associated_data: bytes | None


def algorithms_for(key_type: str) -> tuple[str, ...]:
    """The `alg`s that decrypt with a key of this type; `encrypt` uses the first."""
    if key_type.startswith("RSA-"):
        return _RSA
    return _AES if key_type == "AES-256" else _AGREED


def check_algorithms(envelope: Envelope, key_type: str) -> None:
    """Raise UnfitAlgorithm, naming `alg` or `enc`, if no key of this type decrypts such a JWE."""
    fitting = algorithms_for(key_type)
    if envelope.algorithm not in fitting:
        raise UnfitAlgorithm(
            f"The alg of the ciphertext is {_shown(envelope.algorithm)}. "
            f"A key of type {key_type} decrypts {', '.join(fitting)}."
        )
    # The key's bytes must not serve AES and HMAC at once, so they are a content key for one algorithm only.
    content = _CONTENT[:1] if envelope.algorithm == "dir" else _CONTENT
    if envelope.encryption not in content:
        raise UnfitAlgorithm(
            f"The enc of the ciphertext is {_shown(envelope.encryption)}. "
            f"With {envelope.algorithm}, the app decrypts {', '.join(content)}."
        )


def _shown(name: str) -> str:
    return ascii(name[:_MAX_NAME])


def encrypt(public_key: Any, key_type: str, key_id: str, plaintext: bytes, associated_data: bytes | None) -> Ciphertext:
    """`plaintext` as a JWE to `public_key` (for AES, the key itself), bound to `associated_data` if there is any."""
    from joserfc import jwe

    header = {"alg": algorithms_for(key_type)[0], "enc": "A256GCM", "kid": key_id}
    key, registry = _key(public_key, key_type), _registry(key_type)
    if associated_data is None:
        return jwe.encrypt_compact(header, plaintext, key, registry=registry)
    message = jwe.FlattenedJSONEncryption(header, plaintext, aad=associated_data)
    message.add_recipient({}, key)
    made: dict[str, Any] = dict(jwe.encrypt_json(message, None, registry=registry))
    if not made["header"]:  # RFC 7516, section 7.2.1: an empty one must be absent.
        del made["header"]
    return made


def decrypt(ciphertext: Ciphertext, private_key: Any, key_type: str) -> bytes:
    """The plaintext of a JWE. Raises NotDecryptable, whatever the reason."""
    from joserfc import jwe

    key, registry = _key(private_key, key_type), _registry(key_type)
    try:
        if isinstance(ciphertext, str):
            plaintext = jwe.decrypt_compact(ciphertext, key, registry=registry).plaintext
        else:
            _authenticate_as_written(registry, ciphertext)
            plaintext = jwe.decrypt_json(ciphertext, key, registry=registry).plaintext  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - the difference between two failures would help a forger.
        raise NotDecryptable(_REFUSED) from None
    if plaintext is None:
        raise NotDecryptable(_REFUSED)
    return plaintext


_REFUSED = "The ciphertext is for another key, or was changed."


def read(ciphertext: Ciphertext, field: str) -> tuple[Ciphertext, Envelope]:
    """A JWE from a request, and its claims about itself. Raises InvalidRequest if it is not one.

    Flattened JSON may come as an object, or as its text.
    """
    try:
        if isinstance(ciphertext, str) and ciphertext.lstrip().startswith("{"):
            ciphertext = parse_object(ciphertext.encode())
        if isinstance(ciphertext, str):
            parts = ciphertext.strip().split(".")
            if len(parts) != 5:
                raise ValueError
            return ciphertext.strip(), _envelope(_header(parts[0]), None)
        headers = [
            _header(ciphertext.get("protected", "e30")),
            ciphertext.get("unprotected", {}),
            ciphertext.get("header", {}),
        ]
        aad = ciphertext.get("aad")
        associated_data = None if aad is None else decode_base64(aad, field)
        if not all(isinstance(each, dict) for each in headers) or not isinstance(ciphertext.get("ciphertext"), str):
            raise ValueError
        merged = {name: value for header in headers for name, value in header.items()}
        if len(merged) < sum(map(len, headers)):  # RFC 7516, section 5.2, step 4.
            raise ValueError
        return ciphertext, _envelope(merged, associated_data)
    except (ValueError, TypeError, AttributeError, BadRequest):
        raise invalid_field(
            field,
            f"`{field}` is not a JWE: neither compact nor flattened JSON (RFC 7516, section 7), or a header name is "
            "in it twice.",
        ) from None


def _envelope(header: Mapping[str, Any], associated_data: bytes | None) -> Envelope:
    algorithm, encryption, key_id = header.get("alg"), header.get("enc"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(encryption, str):
        raise TypeError
    if isinstance(key_id, str):
        key_id.encode()  # A lone surrogate raises UnicodeEncodeError, a ValueError: no kid contains one.
    return Envelope(algorithm, encryption, key_id if isinstance(key_id, str) else None, associated_data)


def _header(encoded: str) -> dict[str, Any]:
    return parse_object(decode_base64(encoded, "protected"))


def _key(key: Any, key_type: str) -> "Key":
    from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

    if isinstance(key, bytes):
        return OctKey.import_key({"kty": "oct", "k": encode_base64(key)})
    if key_type.startswith("RSA-"):
        return RSAKey(key, key)
    return ECKey(key, key) if key_type == "P-256" else OKPKey(key, key)


def _registry(key_type: str) -> "JWERegistry":
    """The algorithms for a key of this type, and no others: no compression, no password-based encryption."""
    from joserfc.jwe import JWERegistry

    # RFC 7516, section 4: an unknown member of a header is ignored unless `crit` names it.
    registry = JWERegistry(
        algorithms=[*algorithms_for(key_type), *_CONTENT], strict_check_header=False, max_aad_length=MAX_PART
    )
    registry.max_protected_header_length = registry.max_encrypted_key_length = 16384
    registry.max_ciphertext_length = MAX_PART
    if key_type.startswith("RSA-"):
        registry.algorithms = {**registry.algorithms, "alg": {**registry.algorithms["alg"], **_wider_oaep()}}
    return registry


@cache
def _wider_oaep() -> dict[str, Any]:
    """RSA-OAEP with SHA-384 and SHA-512, which joserfc does not have."""
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA384, SHA512
    from joserfc.jwe import JWERegistry

    model: Any = type(JWERegistry.algorithms["alg"]["RSA-OAEP-256"])
    hashes = {"RSA-OAEP-384": SHA384(), "RSA-OAEP-512": SHA512()}
    return {name: model(name, name, OAEP(MGF1(digest), digest, None)) for name, digest in hashes.items()}


def _authenticate_as_written(registry: "JWERegistry", ciphertext: dict[str, Any]) -> None:
    """Authenticate the protected header exactly as `ciphertext` contains it (RFC 7516, section 5.2, steps 14 to 16).

    The library encodes it again, which differs if another library wrote it with other white space.
    """
    bound = ".".join([ciphertext["protected"], *([ciphertext["aad"]] if "aad" in ciphertext else [])]).encode("ascii")
    find = registry.get_enc

    def get_enc(name: str) -> Any:
        content = copy(find(name))
        opens = content.decrypt
        setattr(content, "decrypt", lambda data, tag, cek, iv, _: opens(data, tag, cek, iv, bound))  # noqa: B010
        return content

    registry.get_enc = get_enc  # type: ignore[method-assign]
