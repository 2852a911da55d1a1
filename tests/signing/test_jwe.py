"""JWE: another library decrypts the app's, the app decrypts that library's, and changed ones never decrypt."""

import base64
import json
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384, SHA512
from hypothesis import given, settings
from hypothesis import strategies as st
from jwcrypto import jwe as jwcrypto_jwe  # type: ignore[import-untyped]
from jwcrypto import jwk as jwcrypto_jwk

from shared.errors import InvalidRequest
from shared.signing import algorithms, jwe
from shared.signing.errors import NotDecryptable, UnfitAlgorithm
from shared.web import encode_base64

TYPES = ("RSA-2048", "P-256", "X25519", "AES-256")
CONTENT = ("A256GCM", "A128GCM", "A192GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512")
WIDER = ("RSA-OAEP-384", "RSA-OAEP-512")
"""Algorithms that jwcrypto does not have."""
PAIRS = [(key_type, each) for key_type in TYPES for each in jwe.algorithms_for(key_type) if each not in WIDER]


@cache
def key_of(key_type: str) -> Any:
    """Return one private key of each type."""
    return algorithms.generate(key_type)


def public_of(key_type: str) -> Any:
    """Return the encryption key: the public half, or the key itself if it is symmetric."""
    key = key_of(key_type)
    return key if isinstance(key, bytes) else key.public_key()


def jwcrypto_key(key_type: str) -> Any:
    """Return the same key as the other library's object."""
    key = key_of(key_type)
    if isinstance(key, bytes):
        return jwcrypto_jwk.JWK(kty="oct", k=encode_base64(key))
    return jwcrypto_jwk.JWK.from_pyca(key)


def other(plaintext: bytes | None = None, header: dict[str, object] | None = None, aad: str | None = None) -> Any:
    """Return a JWE made by the other library."""
    made = jwcrypto_jwe.JWE(plaintext, None if header is None else json.dumps(header), aad=aad)
    made.allowed_algs = [*(algorithm for _, algorithm in PAIRS), "A256GCM", *CONTENT, "RSA1_5"]
    return made


@pytest.mark.parametrize("key_type", TYPES)
@settings(max_examples=40)
@given(plaintext=st.binary(max_size=100), associated_data=st.none() | st.binary(min_size=1, max_size=20))
def test_what_is_encrypted_decrypts(key_type: str, plaintext: bytes, associated_data: bytes | None) -> None:
    """Any plaintext comes back, with and without associated data, and the JWE's header is right."""
    made = jwe.encrypt(public_of(key_type), key_type, "the-key", plaintext, associated_data)
    assert isinstance(made, str) == (associated_data is None)
    for given_form in (made, made if isinstance(made, str) else json.dumps(made)):
        ciphertext, envelope = jwe.read(given_form, "ciphertext")
        assert envelope == jwe.Envelope(jwe.algorithms_for(key_type)[0], "A256GCM", "the-key", associated_data)
        jwe.check_algorithms(envelope, key_type)
        assert jwe.decrypt(ciphertext, key_of(key_type), key_type) == plaintext


@pytest.mark.parametrize("associated_data", [None, b"row 7"])
@pytest.mark.parametrize("key_type", TYPES)
def test_another_library_opens_those_of_the_app(key_type: str, associated_data: bytes | None) -> None:
    """jwcrypto decrypts the app's JWE; its header names algorithm, content encryption and key."""
    made = jwe.encrypt(public_of(key_type), key_type, "the-key", b"plaintext", associated_data)
    opened = other()
    opened.deserialize(made if isinstance(made, str) else json.dumps(made), jwcrypto_key(key_type))
    assert opened.payload == b"plaintext"
    assert opened.jose_header["alg"] == jwe.algorithms_for(key_type)[0]
    assert (opened.jose_header["enc"], opened.jose_header["kid"]) == ("A256GCM", "the-key")


@pytest.mark.parametrize("form", ["compact", "flattened", "flattened with associated data"])
@pytest.mark.parametrize(("key_type", "algorithm"), PAIRS)
def test_we_open_what_another_library_made(key_type: str, algorithm: str, form: str) -> None:
    """The app decrypts jwcrypto's JWE in each key algorithm, also with an unknown header member."""
    header: dict[str, object] = {"alg": algorithm, "enc": "A256GCM", "x-other": 1}
    made = other(b"theirs", header, "row 7" if form.endswith("data") else None)
    made.add_recipient(jwcrypto_key(key_type))
    ciphertext, envelope = jwe.read(made.serialize(compact=form == "compact"), "ciphertext")
    assert jwe.decrypt(ciphertext, key_of(key_type), key_type) == b"theirs"
    assert envelope.associated_data == (b"row 7" if form.endswith("data") else None)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RSA1_5", "enc": "A256GCM"},
        {"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"},
    ],
)
def test_what_is_not_served_is_refused(header: dict[str, object]) -> None:
    """Other algorithms are not decrypted, and nothing is decompressed."""
    made = other(b"theirs", header)
    made.add_recipient(jwcrypto_key("RSA-2048"))
    with pytest.raises(NotDecryptable):
        jwe.decrypt(made.serialize(compact=True), key_of("RSA-2048"), "RSA-2048")


@pytest.mark.parametrize("content", CONTENT)
@pytest.mark.parametrize("key_type", TYPES)
def test_every_content_encryption_is_decrypted(key_type: str, content: str) -> None:
    """Each content encryption of RFC 7518 is decrypted, with every key type."""
    made = other(b"theirs", {"alg": jwe.algorithms_for(key_type)[0], "enc": content})
    made.add_recipient(jwcrypto_key(key_type))
    ciphertext, envelope = jwe.read(made.serialize(compact=True), "ciphertext")
    jwe.check_algorithms(envelope, key_type)
    assert jwe.decrypt(ciphertext, key_of(key_type), key_type) == b"theirs"


@pytest.mark.parametrize(("algorithm", "digest"), [("RSA-OAEP-384", SHA384()), ("RSA-OAEP-512", SHA512())])
def test_oaep_with_a_wider_hash_is_decrypted(algorithm: str, digest: Any) -> None:
    """A hand-made JWE (RFC 7516, appendix A.1) with RSA-OAEP over SHA-384 and SHA-512 is decrypted."""
    header = encode_base64(json.dumps({"alg": algorithm, "enc": "A256GCM"}).encode())
    wrapped = public_of("RSA-2048").encrypt(bytes(32), OAEP(MGF1(digest), digest, None))
    sealed = AESGCM(bytes(32)).encrypt(bytes(12), b"theirs", header.encode())
    parts = [header, *map(encode_base64, (wrapped, bytes(12), sealed[:-16], sealed[-16:]))]
    assert jwe.decrypt(".".join(parts), key_of("RSA-2048"), "RSA-2048") == b"theirs"


@pytest.mark.parametrize(
    ("key_type", "algorithm", "content", "named"),
    [
        ("RSA-2048", "RSA1_5", "A256GCM", "RSA1_5"),
        ("AES-256", "RSA-OAEP", "A256GCM", "RSA-OAEP"),
        ("P-256", "A256KW", "A256GCM", "A256KW"),
        ("AES-256", "dir", "A128CBC-HS256", "A128CBC-HS256"),
        ("AES-256", "PBES2-HS256+A128KW", "A256GCM", "PBES2"),
        ("AES-256", "A256KW", "none", "none"),
        ("AES-256", "\ud800", "A256GCM", "ud800"),
    ],
)
def test_an_algorithm_that_does_not_fit_is_named(key_type: str, algorithm: str, content: str, named: str) -> None:
    """The error names the algorithm, even one that no encoding can represent."""
    with pytest.raises(UnfitAlgorithm, match=named):
        jwe.check_algorithms(jwe.Envelope(algorithm, content, None, None), key_type)


@pytest.mark.parametrize(
    "members",
    [
        {"protected": {"alg": "dir", "enc": "A256GCM"}, "header": {"alg": "dir"}},
        {"protected": {"alg": "dir", "enc": "A256GCM"}, "unprotected": {"enc": "A256GCM"}},
        {"protected": {"enc": "A256GCM"}, "unprotected": {"alg": "dir", "kid": "a"}, "header": {"kid": "b"}},
    ],
)
def test_a_header_name_occurs_once(members: dict[str, Any]) -> None:
    """A name in two of the three headers is refused (RFC 7516, section 5.2, step 4)."""
    members = {**members, "protected": encode_base64(json.dumps(members["protected"]).encode()), "ciphertext": ""}
    with pytest.raises(InvalidRequest, match="twice"):
        jwe.read(members, "ciphertext")


@pytest.mark.parametrize(
    "header", ['{"alg":"dir","enc":"A256GCM","alg":"dir"}', '{"alg":"dir","enc":"x","kid":"\\ud800"}']
)
def test_a_header_is_unambiguous(header: str) -> None:
    """A repeated name within one header, and a kid that is not valid text, are refused."""
    with pytest.raises(InvalidRequest):
        jwe.read(f"{encode_base64(header.encode())}....", "ciphertext")


@pytest.mark.parametrize("key_type", TYPES)
@settings(max_examples=40)
@given(data=st.data())
def test_a_changed_ciphertext_does_not_open(key_type: str, data: st.DataObject) -> None:
    """If any byte of any part changes, decryption fails, always with the same error."""
    made = jwe.encrypt(public_of(key_type), key_type, "the-key", b"plaintext", None)
    assert isinstance(made, str)
    parts = made.split(".")
    part = data.draw(st.integers(0, 4))
    raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    parts[part] = encode_base64(bytes(raw))
    with pytest.raises(NotDecryptable) as caught:
        jwe.decrypt(".".join(parts), key_of(key_type), key_type)
    assert caught.value.detail == "The ciphertext is for another key, or was changed."


@pytest.mark.parametrize("key_type", TYPES)
@pytest.mark.parametrize("member", ["protected", "iv", "ciphertext", "tag", "encrypted_key", "aad"])
def test_a_changed_member_does_not_open(key_type: str, member: str) -> None:
    """In flattened JSON a changed or removed member breaks decryption, including the associated data."""
    made = jwe.encrypt(public_of(key_type), key_type, "the-key", b"plaintext", b"row 7")
    assert isinstance(made, dict)
    raw = bytearray(base64.urlsafe_b64decode(made[member] + "=="))
    raw[0] ^= 1
    changed = [made | {member: encode_base64(bytes(raw))}]
    changed.append({name: value for name, value in made.items() if name != member})
    for each in changed:
        with pytest.raises(NotDecryptable):
            jwe.decrypt(each, key_of(key_type), key_type)


def test_another_key_does_not_open() -> None:
    """A ciphertext for one key does not open under another."""
    made = jwe.encrypt(public_of("P-256"), "P-256", "the-key", b"plaintext", None)
    with pytest.raises(NotDecryptable):
        jwe.decrypt(made, algorithms.generate("P-256"), "P-256")


def test_a_megabyte_is_encrypted() -> None:
    """The library's own limit of 64 KiB does not apply."""
    large = bytes(1024 * 1024)
    made = jwe.encrypt(public_of("AES-256"), "AES-256", "the-key", large, b"x" * 100_000)
    assert jwe.decrypt(made, key_of("AES-256"), "AES-256") == large


@pytest.mark.parametrize(
    "text", ["", "x", "a.b.c.d", "....", "!.a.b.c.d", "{}", '{"protected":1}', "{", "W10.a.b.c.d", "a.b.c.d.e.f"]
)
def test_what_is_no_jwe_is_a_bad_field(text: str) -> None:
    """Text that is not a JWE is a bad request that names the field."""
    with pytest.raises(InvalidRequest) as caught:
        jwe.read(text, "ciphertext")
    assert caught.value.errors[0].field == "ciphertext"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
members = st.sampled_from(
    ["protected", "header", "unprotected", "iv", "ciphertext", "tag", "encrypted_key", "aad", "recipients"]
)


@given(st.text(max_size=40) | st.dictionaries(members, json_values))
def test_anything_gets_a_response(anything: Any) -> None:
    """Any text and any object raises only the app's own errors."""
    try:
        ciphertext, _ = jwe.read(anything, "ciphertext")
    except InvalidRequest:
        return
    with pytest.raises(NotDecryptable):
        jwe.decrypt(ciphertext, key_of("P-256"), "P-256")
