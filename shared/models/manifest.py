"""The record of a model version, and its signature: a compact JWS (RFC 7515) with `typ` `strongroom-model`. Pure."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec
from cryptography.exceptions import InvalidSignature

from shared.errors import InvalidRequest
from shared.models.errors import ModelNotTrusted
from shared.models.onnx import TensorSpec
from shared.web import decode_base64, encode_base64

if TYPE_CHECKING:
    from typing import Protocol

    class PublicKey(Protocol):
        """An Ed25519 public key."""

        def verify(self, signature: bytes, data: bytes) -> None:
            """Raise InvalidSignature unless `signature` is one over `data`."""
            ...


TYPE = "strongroom-model"
ALGORITHM = "EdDSA"
SAVE_AGAIN = "Save the model again."


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model: the payload of its signature."""

    name: str
    version: int
    kind: Literal["onnx", "azureml"]
    sha256: str | None
    inputs: list[TensorSpec] | None
    outputs: list[TensorSpec] | None
    labels: list[str] | None
    features: list[str] | None
    classes: list[str | int] | None
    """The classes that the ONNX file declares."""
    description: str
    url: str | None
    deployment: str | None
    key_sha256: str | None
    """The digest of an endpoint's key as it is stored, sealed."""
    time: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


_HEADER = msgspec.json.Decoder(_Header)
_MANIFEST = msgspec.json.Decoder(Manifest)


def sign(manifest: Manifest, key_id: str, sign_bytes: Callable[[bytes], bytes]) -> str:
    """The JWS of a record."""
    header = msgspec.json.encode(_Header(ALGORITHM, key_id, TYPE))
    signed = f"{encode_base64(header)}.{encode_base64(msgspec.json.encode(manifest))}"
    return f"{signed}.{encode_base64(sign_bytes(signed.encode()))}"


def key_id_of(jws: str) -> str:
    """The `kid` of a record's signature. Raises ModelNotTrusted."""
    try:
        header = _HEADER.decode(decode_base64(jws.partition(".")[0], "signature"))
    except (msgspec.DecodeError, InvalidRequest, UnicodeDecodeError):
        raise _broken() from None
    if (header.alg, header.typ) != (ALGORITHM, TYPE):
        raise _broken()
    return header.kid


def verify(jws: str, public_key: "PublicKey", name: str, version: int | None) -> Manifest:
    """The record in `jws`, if `public_key` signed it for this name and version (None: any). Raises ModelNotTrusted."""
    try:
        signed, _, signature = jws.rpartition(".")
        public_key.verify(decode_base64(signature, "signature"), signed.encode())
        manifest = _MANIFEST.decode(decode_base64(signed.partition(".")[2], "signature"))
    except (InvalidSignature, InvalidRequest, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        raise _broken() from None
    if manifest.name != name or version not in (None, manifest.version):
        raise _broken()
    return manifest


def _broken() -> ModelNotTrusted:
    return ModelNotTrusted(f"The record of the model was not signed by this app, or was changed. {SAVE_AGAIN}")
