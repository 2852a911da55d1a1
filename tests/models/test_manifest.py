"""The signature of a record: what it covers, and what is not accepted in its place."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.models import manifest
from shared.models.errors import ModelNotTrusted
from shared.models.manifest import Manifest
from shared.models.onnx import TensorSpec
from shared.web import decode_base64, encode_base64

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RECORD = Manifest(
    name="iris",
    version=2,
    kind="onnx",
    sha256="ab" * 32,
    inputs=[TensorSpec("x", "FP32", [-1, 4])],
    outputs=[TensorSpec("y", "FP32", [-1, 4])],
    labels=["a", "b"],
    features=None,
    classes=[0, 1],
    description="",
    url=None,
    deployment=None,
    key_sha256=None,
    time="2026-01-01T00:00:00Z",
)
JWS = manifest.sign(RECORD, "kid", KEY.sign)


def test_a_record_survives_signing() -> None:
    """The record is the payload, and the header names type, algorithm and key."""
    assert manifest.verify(JWS, KEY.public_key(), "iris", 2) == RECORD
    assert manifest.verify(JWS, KEY.public_key(), "iris", None) == RECORD
    assert manifest.key_id_of(JWS) == "kid"
    header = decode_base64(JWS.split(".")[0], "signature")
    assert msgspec.json.decode(header) == {"alg": "EdDSA", "kid": "kid", "typ": "strongroom-model"}


@pytest.mark.parametrize(("name", "version"), [("other", 2), ("iris", 1)])
def test_a_record_is_of_its_name_and_version(name: str, version: int) -> None:
    """A record in another row than its own is refused."""
    with pytest.raises(ModelNotTrusted):
        manifest.verify(JWS, KEY.public_key(), name, version)


@pytest.mark.parametrize("position", range(0, len(JWS), 7))
def test_any_changed_character_is_refused(position: int) -> None:
    """A change anywhere in the text is refused."""
    other = "A" if JWS[position] != "A" else "B"
    changed = JWS[:position] + other + JWS[position + 1 :]
    with pytest.raises(ModelNotTrusted):
        manifest.verify(changed, KEY.public_key(), "iris", 2)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "kid", "typ": "strongroom-model"},
        {"alg": "EdDSA", "kid": "kid", "typ": "at+jwt"},
        {"alg": "EdDSA", "kid": "kid"},
        {"alg": "EdDSA", "kid": 5, "typ": "strongroom-model"},
        {"alg": "EdDSA", "kid": "kid", "typ": "strongroom-model", "crit": ["exp"]},
        [],
    ],
)
def test_a_header_of_another_kind_is_refused(header: object) -> None:
    """A signature for another purpose, or without one, is none of a model."""
    signed = f"{encode_base64(msgspec.json.encode(header))}.{JWS.split('.')[1]}"
    with pytest.raises(ModelNotTrusted):
        manifest.key_id_of(f"{signed}.{encode_base64(KEY.sign(signed.encode()))}")


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "\u00e9..", "ey.ey.ey"])
def test_no_text_is_accepted_by_accident(text: str) -> None:
    """A text that is not a JWS is refused."""
    with pytest.raises(ModelNotTrusted):
        manifest.key_id_of(text)
    with pytest.raises(ModelNotTrusted):
        manifest.verify(text, KEY.public_key(), "iris", 2)
