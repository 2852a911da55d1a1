"""JSON Web Signatures: compact (RFC 7515, section 7.1), and detached with an unencoded payload (RFC 7797). Pure."""

from functools import lru_cache
from typing import Any

import msgspec

from shared.errors import BadRequest
from shared.signing.errors import MalformedSignature
from shared.web import decode_strictly, encode_base64, parse_object


class Token(msgspec.Struct, frozen=True):
    """A JWS, parsed and not yet verified: nothing in it can be trusted."""

    algorithm: str
    key_id: str | None
    payload: bytes
    encoded_payload: str
    """In base64url, as the JWS contains it; empty in a detached JWS."""
    signed: bytes
    """The bytes that the signature is over."""
    signature: bytes


class _Header(msgspec.Struct, frozen=True):
    algorithm: str
    key_id: str | None
    is_encoded: bool
    """Whether the payload is signed in base64url."""


@lru_cache(1024)
def header(algorithm: str, key_id: str, detached: bool) -> str:
    """The protected header, in base64url."""
    fields: dict[str, object] = {"alg": algorithm, "kid": key_id}
    if detached:
        fields |= {"b64": False, "crit": ["b64"]}
    return encode_base64(msgspec.json.encode(fields))


def begin(header: str, payload: bytes, detached: bool) -> tuple[str, bytes]:
    """A JWS up to its signature, and the bytes to sign: RFC 7515, section 5.1; RFC 7797, section 3, if detached."""
    if detached:
        return f"{header}.", _detached(header, payload)
    text = f"{header}.{encode_base64(payload)}"
    return text, text.encode()


def finish(begun: str, signature: bytes) -> str:
    """The JWS in its compact form; a detached one without its payload."""
    return f"{begun}.{encode_base64(signature)}"


def _detached(header: str, payload: bytes) -> bytes:
    return header.encode() + b"." + payload


def parse(text: str, detached_payload: bytes | None) -> Token:
    """Parse a JWS; a detached one together with `detached_payload`.

    Raises MalformedSignature if it is not a JWS of that kind, or requires an unknown extension (`crit`). Without `b64`,
    the payload of a detached JWS counts as encoded (RFC 7515, appendix F).
    """
    parts = text.split(".")
    if len(parts) != 3:
        raise MalformedSignature
    encoded_header, middle, encoded_signature = parts
    header = _known_header(encoded_header) if len(encoded_header) <= _KNOWN_LENGTH else _header(encoded_header)
    if detached_payload is None:
        if not header.is_encoded:  # An unencoded payload travels beside the JWS, not in it.
            raise MalformedSignature
        payload = _decode(middle)
        signed = text[: len(encoded_header) + 1 + len(middle)].encode()
    else:
        if middle:
            raise MalformedSignature
        payload = detached_payload
        signed = _detached(encoded_header, encode_base64(payload).encode() if header.is_encoded else payload)
    return Token(header.algorithm, header.key_id, payload, middle, signed, _decode(encoded_signature))


def _header(encoded: str) -> _Header:
    """A header, in which each name occurs once (RFC 7515, section 4). Raises MalformedSignature."""
    try:
        fields = parse_object(_decode(encoded))
    except BadRequest:
        raise MalformedSignature from None
    algorithm, key_id = fields.get("alg"), fields.get("kid")
    if not isinstance(algorithm, str) or not isinstance(key_id, str | None):
        raise MalformedSignature
    return _Header(algorithm, key_id, _is_encoded(fields))


_KNOWN_LENGTH = 512
_known_header = lru_cache(1024)(_header)
"""Short headers are cached: most of them repeat."""


def _is_encoded(fields: dict[str, Any]) -> bool:
    """Whether the payload is signed in base64url. Raises MalformedSignature if `crit` names anything but b64."""
    if "crit" not in fields:
        if "b64" in fields:  # RFC 7797, section 6: it counts only where `crit` names it.
            raise MalformedSignature
        return True
    if fields["crit"] != ["b64"] or not isinstance(fields.get("b64"), bool):
        raise MalformedSignature
    return bool(fields["b64"])


def _decode(text: str) -> bytes:
    try:
        return decode_strictly(text)
    except ValueError:
        raise MalformedSignature from None
