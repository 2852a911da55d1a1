"""Signatures: the app's verify, changed ones do not, and openssl agrees."""

import subprocess
from functools import cache
from hashlib import new as new_hash
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.signing import algorithms
from shared.signing.algorithms import Algorithm, Encoding
from shared.signing.errors import MalformedSignature, SignatureMismatch, UnfitAlgorithm

TYPES = ("RSA-2048", "P-256", "P-384", "P-521", "Ed25519", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")
PAIRS = [(key_type, algorithm) for key_type in TYPES for algorithm in algorithms.fitting(key_type)]
HASHED = [pair for pair in PAIRS if pair[1][2:] in ("256", "384", "512")]


@cache
def key_of(key_type: str) -> Any:
    """Return one private key per type for all tests: RSA keys take a while to generate."""
    return algorithms.generate(key_type)


def check(key_type: str, algorithm: Algorithm, message: bytes, signature: bytes, encoding: Encoding = "raw") -> None:
    """Verify as the app does."""
    form = algorithms.to_library(signature, key_type, algorithm, encoding)
    algorithms.verify(key_of(key_type).public_key(), algorithm, message, form)


def test_every_algorithm_has_a_key_type() -> None:
    """Each algorithm of the contract fits some key type."""
    assert {algorithm for _, algorithm in PAIRS} == set(get_args(Algorithm))


@pytest.mark.parametrize("encoding", ["raw", "der"])
@pytest.mark.parametrize(("key_type", "algorithm"), PAIRS)
@settings(max_examples=25)
@given(message=st.binary(max_size=100))
def test_what_is_signed_verifies(key_type: str, algorithm: Algorithm, encoding: Encoding, message: bytes) -> None:
    """A signature verifies its message, and no other."""
    signature = algorithms.sign(key_of(key_type), algorithm, message, encoding=encoding)
    check(key_type, algorithm, message, signature, encoding)
    with pytest.raises(SignatureMismatch):
        check(key_type, algorithm, message + b"\0", signature, encoding)


@pytest.mark.parametrize(("key_type", "algorithm"), PAIRS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_changed_signature_does_not_verify(key_type: str, algorithm: Algorithm, data: st.DataObject) -> None:
    """A signature with any byte changed is a mismatch; one of another length is malformed."""
    signature = bytearray(algorithms.sign(key_of(key_type), algorithm, b"message"))
    at = data.draw(st.integers(0, len(signature) - 1))
    signature[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SignatureMismatch):
        check(key_type, algorithm, b"message", bytes(signature))
    for wrong in (b"", signature[:-1], signature + b"\0"):
        with pytest.raises(MalformedSignature):
            check(key_type, algorithm, b"message", bytes(wrong))


@given(noise=st.binary(max_size=120))
def test_noise_is_no_ecdsa_structure(noise: bytes) -> None:
    """Bytes that are not an ASN.1 structure of two numbers are malformed or a mismatch, and raise nothing else."""
    with pytest.raises(SignatureMismatch):
        check("P-256", "ES256", b"message", noise, "der")


def test_the_two_forms_of_ecdsa_are_not_mixed_up() -> None:
    """r‖s is refused as ASN.1, and ASN.1 is refused as r‖s."""
    raw = algorithms.sign(key_of("P-256"), "ES256", b"message", encoding="raw")
    der = algorithms.sign(key_of("P-256"), "ES256", b"message", encoding="der")
    assert len(raw) == 64
    assert der[0] == 0x30
    with pytest.raises(MalformedSignature):
        check("P-256", "ES256", b"message", raw, "der")
    with pytest.raises(MalformedSignature):
        check("P-256", "ES256", b"message", der, "raw")


@pytest.mark.parametrize(("key_type", "algorithm"), HASHED)
def test_a_digest_is_as_good_as_the_message(key_type: str, algorithm: Algorithm) -> None:
    """Signing a digest gives a signature of the message; a digest of the wrong length is refused."""
    digest = new_hash(f"sha{algorithm[2:]}", b"message").digest()
    algorithms.check_digest(algorithm, digest, "message_base64")
    signature = algorithms.sign(key_of(key_type), algorithm, digest, prehashed=True)
    check(key_type, algorithm, b"message", signature)
    form = algorithms.to_library(signature, key_type, algorithm, "raw")
    algorithms.verify(key_of(key_type).public_key(), algorithm, digest, form, prehashed=True)
    with pytest.raises(InvalidRequest):
        algorithms.check_digest(algorithm, digest[1:], "message_base64")


@pytest.mark.parametrize("algorithm", ["EdDSA", "ML-DSA-65"])
def test_some_algorithms_take_no_digest(algorithm: Algorithm) -> None:
    """Algorithms that sign the message itself refuse a digest."""
    with pytest.raises(UnfitAlgorithm):
        algorithms.check_digest(algorithm, bytes(32), "message_base64")


def test_an_algorithm_that_does_not_fit_is_refused_with_those_that_do() -> None:
    """The error names the algorithms of the key's type; the first of them is the default."""
    with pytest.raises(UnfitAlgorithm, match="ES384"):
        algorithms.choose("P-384", "ES256")
    assert algorithms.choose("RSA-3072", None) == "PS256"
    with pytest.raises(UnfitAlgorithm):
        algorithms.choose("AES-256", None)


def openssl_options(key_type: str, algorithm: str) -> list[str]:
    """Return the options with which `openssl dgst` uses this algorithm."""
    if algorithm.startswith("PS"):
        return ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    return []


def write_keys(folder: Path, key_type: str) -> tuple[Path, Path]:
    """Write the private and the public key as PEM files."""
    private, public = folder / "private.pem", folder / "public.pem"
    key = key_of(key_type)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def openssl(*arguments: object) -> None:
    """Run the openssl command; raises if it fails."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.parametrize(("key_type", "algorithm"), [*HASHED, ("Ed25519", "EdDSA")])
def test_openssl_and_the_app_verify_each_other(key_type: str, algorithm: Algorithm, tmp_path: Path) -> None:
    """The openssl command line verifies the app's signature, and the app verifies openssl's."""
    private, public = write_keys(tmp_path, key_type)
    message, own, official = tmp_path / "message", tmp_path / "ours", tmp_path / "theirs"
    message.write_bytes(b"The quick brown fox\n")
    own.write_bytes(algorithms.sign(key_of(key_type), algorithm, message.read_bytes(), encoding="der"))
    if algorithm == "EdDSA":
        openssl("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", message, "-sigfile", own)
        openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", message, "-out", official)
    else:
        how = [f"-sha{algorithm[2:]}", *openssl_options(key_type, algorithm)]
        openssl("dgst", *how, "-verify", public, "-signature", own, message)
        openssl("dgst", *how, "-sign", private, "-out", official, message)
    check(key_type, algorithm, message.read_bytes(), official.read_bytes(), "der")
