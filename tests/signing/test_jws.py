"""JWS: other libraries verify the app's, the app verifies theirs, and every known attack is refused."""

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from jwcrypto import jwk as jwcrypto_jwk  # type: ignore[import-untyped]
from jwcrypto import jws as jwcrypto_jws

from shared.signing import algorithms, formats, jws
from shared.signing.algorithms import Algorithm
from shared.signing.errors import MalformedSignature, SignatureMismatch

TYPES: dict[str, tuple[Algorithm, ...]] = {
    "RSA-2048": ("PS256", "PS384", "PS512", "RS256", "RS384", "RS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
PAIRS = [(key_type, algorithm) for key_type, fitting in TYPES.items() for algorithm in fitting]


@cache
def key_of(key_type: str) -> Any:
    """Return one private key of each type."""
    return algorithms.generate(key_type)


def make(key_type: str, algorithm: Algorithm, payload: bytes, *, detached: bool = False) -> str:
    """Make a JWS as the app does."""
    begun, signed = jws.begin(jws.header(algorithm, "the-key", detached), payload, detached)
    return jws.finish(begun, algorithms.sign(key_of(key_type), algorithm, signed))


def opens(key_type: str, algorithm: Algorithm, text: str, payload: bytes | None = None) -> bytes:
    """Verify a JWS as the app does, and return its payload."""
    token = jws.parse(text, payload)
    if not algorithms.same(token.algorithm, algorithm):
        raise SignatureMismatch
    signature = algorithms.to_library(token.signature, key_type, algorithm, "raw")
    algorithms.verify(key_of(key_type).public_key(), algorithm, token.signed, signature)
    return token.payload


def encode(value: object) -> str:
    """Return base64url of bytes, or of a value as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(payload=st.binary(max_size=100), detached=st.booleans())
def test_a_jws_opens(payload: bytes, detached: bool) -> None:
    """The app verifies its own JWS with any payload; a detached one fails with another payload."""
    text = make("Ed25519", "EdDSA", payload, detached=detached)
    assert opens("Ed25519", "EdDSA", text, payload if detached else None) == payload
    if detached:
        with pytest.raises(SignatureMismatch):
            opens("Ed25519", "EdDSA", text, payload + b"x")


@pytest.mark.parametrize(("key_type", "algorithm"), PAIRS)
def test_pyjwt_and_the_app_open_each_other(key_type: str, algorithm: Algorithm) -> None:
    """PyJWT verifies the app's JWS, and the app verifies PyJWT's."""
    private = key_of(key_type)
    own = make(key_type, algorithm, b'{"sub":"alice"}')
    assert jwt.decode(own, private.public_key(), algorithms=[algorithm]) == {"sub": "alice"}
    official = jwt.encode({"sub": "bob"}, private, algorithm=algorithm)
    assert json.loads(opens(key_type, algorithm, official)) == {"sub": "bob"}


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(("key_type", "algorithm"), PAIRS)
def test_joserfc_jwcrypto_and_the_app_open_each_other(key_type: str, algorithm: Algorithm) -> None:
    """Two more libraries verify the app's JWS, also detached, and the app verifies theirs."""
    private = key_of(key_type)
    kind: Any = RSAKey if key_type.startswith("RSA") else OKPKey if key_type == "Ed25519" else ECKey
    theirs_key = kind(private, private)
    own = make(key_type, algorithm, b"\x00payload")
    assert joserfc_jws.deserialize_compact(own, theirs_key, algorithms=[algorithm]).payload == b"\x00payload"
    theirs = joserfc_jws.serialize_compact({"alg": algorithm}, b"theirs", theirs_key, algorithms=[algorithm])
    assert opens(key_type, algorithm, theirs) == b"theirs"

    other_key = jwcrypto_jwk.JWK.from_pyca(private)
    token = jwcrypto_jws.JWS()
    token.allowed_algs = [algorithm]
    token.deserialize(make(key_type, algorithm, b"payload", detached=True))
    token.verify(other_key, detached_payload=b"payload")
    made = jwcrypto_jws.JWS(b"theirs")
    made.allowed_algs = [algorithm]
    made.add_signature(other_key, None, json.dumps({"alg": algorithm, "b64": False, "crit": ["b64"]}))
    made.detach_payload()
    assert opens(key_type, algorithm, made.serialize(compact=True), b"theirs") == b"theirs"


@pytest.mark.parametrize("key_type", ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"])
def test_ml_dsa_makes_a_jws(key_type: Any) -> None:
    """The algorithms of RFC 9964 make a JWS that verifies."""
    assert opens(key_type, key_type, make(key_type, key_type, b"payload")) == b"payload"


def test_the_example_of_rfc_7515_opens() -> None:
    """The ES256 example of RFC 7515, appendix A.3, verifies under its key."""
    key = formats.parse_public(
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        "public_key",
    )[0]
    token = jws.parse(
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
        "cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        None,
    )
    algorithms.verify(key, "ES256", token.signed, algorithms.to_library(token.signature, "P-256", "ES256", "raw"))


def test_a_detached_jws_may_be_encoded() -> None:
    """The older detached form, which signs the payload in base64url (RFC 7515, appendix F), verifies."""
    header, payload, signature = make("Ed25519", "EdDSA", b"payload").split(".")
    assert payload
    assert opens("Ed25519", "EdDSA", f"{header}..{signature}", b"payload") == b"payload"


def forged(header: dict[str, object], payload: bytes = b"payload", signature: bytes = b"") -> str:
    """Return a JWS with a custom header."""
    return f"{encode(header)}.{encode(payload)}.{encode(signature)}"


def signed_with(header: dict[str, object], payload: bytes = b"payload") -> str:
    """Return a JWS with a custom header and a valid signature of the Ed25519 key."""
    start = f"{encode(header)}.{encode(payload)}"
    return f"{start}.{encode(key_of('Ed25519').sign(start.encode()))}"


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "", "HS256", "RS256", "ES256"])
def test_the_algorithm_is_the_keys_and_not_the_tokens(algorithm: str) -> None:
    """`none` in any spelling, and any algorithm but the key's, is refused, even with a valid signature."""
    for text in (forged({"alg": algorithm}), signed_with({"alg": algorithm})):
        with pytest.raises(SignatureMismatch):
            opens("Ed25519", "EdDSA", text)


def test_hs256_with_the_public_key_is_refused() -> None:
    """An HMAC token keyed with the public key, which everybody has, is refused instead of RSA."""
    pem = (
        key_of("RSA-2048")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    start = f"{encode({'alg': 'HS256'})}.{encode(b'payload')}"
    text = f"{start}.{encode(hmac.new(pem, start.encode(), hashlib.sha256).digest())}"
    for algorithm in algorithms.fitting("RSA-2048"):
        with pytest.raises(SignatureMismatch):
            opens("RSA-2048", algorithm, text)


def test_a_psychic_signature_is_refused() -> None:
    """An ECDSA signature of zeros is refused (CVE-2022-21449)."""
    for size in (64,):
        with pytest.raises(SignatureMismatch):
            opens("P-256", "ES256", forged({"alg": "ES256"}, signature=bytes(size)))


def test_a_key_in_the_token_is_not_looked_at() -> None:
    """The app ignores a key inside the token (jwk, jku, x5c): an attacker could have put it there (CVE-2018-0114)."""
    own: Any = algorithms.generate("Ed25519")
    header = {"alg": "EdDSA", "jwk": formats.to_jwk(own.public_key()), "jku": "https://example.org/jwks"}
    start = f"{encode(header)}.{encode(b'payload')}"
    with pytest.raises(SignatureMismatch):
        opens("Ed25519", "EdDSA", f"{start}.{encode(own.sign(start.encode()))}")


@pytest.mark.parametrize(
    "more",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"]},
        {"crit": []},
        {"crit": "b64", "b64": True},
        {"crit": ["b64", "b64"], "b64": True},
        {"crit": ["b64", "x"], "b64": True, "x": 1},
        {"b64": False},
        {"b64": True},
        {"crit": ["b64"], "b64": "false"},
        {"crit": ["b64"], "b64": False},
        {"crit": ["alg"]},
        {"kid": 7},
        {"alg": None},
        {"alg": ["EdDSA"]},
    ],
)
def test_extensions_that_are_not_understood_are_refused(more: dict[str, object]) -> None:
    """A `crit` that names an unsupported extension, or breaks RFC 7515 or 7797, makes a JWS malformed."""
    with pytest.raises(MalformedSignature):
        opens("Ed25519", "EdDSA", signed_with({"alg": "EdDSA"} | more))


def test_a_critical_b64_true_is_understood() -> None:
    """`b64: true`, listed in `crit`, has no effect."""
    assert opens("Ed25519", "EdDSA", signed_with({"alg": "EdDSA", "b64": True, "crit": ["b64"]})) == b"payload"


def test_a_name_twice_in_the_header_is_refused() -> None:
    """A header with a repeated name is malformed: two readers could use two algorithms."""
    text = signed_with({"alg": "EdDSA"})
    header = base64.urlsafe_b64encode(b'{"alg":"none","alg":"EdDSA"}').rstrip(b"=").decode()
    with pytest.raises(MalformedSignature):
        opens("Ed25519", "EdDSA", ".".join([header, *text.split(".")[1:]]))


@pytest.mark.parametrize(
    "change",
    [
        "a.b",
        "a.b.c.d",
        "{0}=.{1}.{2}",
        "{0}.{1}.{2}=",
        " {0}.{1}.{2}",
        "{0}.{1}. {2}",
        "{0}\n.{1}.{2}",
        "{0}.{1}.+{2}",
        ".{1}.{2}",
        "e30.{1}.{2}",
        "W10.{1}.{2}",
        "",
        "..",
        "é.{1}.{2}",
    ],
)
def test_what_is_no_jws_is_malformed(change: str) -> None:
    """Extra parts, padding, white space and other alphabets make a JWS malformed."""
    parts = make("Ed25519", "EdDSA", b"payload").split(".")
    with pytest.raises(MalformedSignature):
        opens("Ed25519", "EdDSA", change.format(*parts))


def test_a_signature_has_one_encoding() -> None:
    """The unused bits of the last character are zero: no second text is valid for the same token."""
    start, _, last = make("Ed25519", "EdDSA", b"payload").rpartition(".")
    other = last[:-1] + chr(ord(last[-1]) + 1)
    assert base64.urlsafe_b64decode(other + "==") == base64.urlsafe_b64decode(last + "==")
    with pytest.raises(MalformedSignature):
        opens("Ed25519", "EdDSA", f"{start}.{other}")


def test_a_compact_jws_is_no_detached_one() -> None:
    """A compact JWS is refused as a detached one, and the reverse."""
    with pytest.raises(MalformedSignature):
        opens("Ed25519", "EdDSA", make("Ed25519", "EdDSA", b"payload"), b"payload")
    with pytest.raises(MalformedSignature):
        opens("Ed25519", "EdDSA", make("Ed25519", "EdDSA", b"payload", detached=True))


@given(st.text(max_size=60), st.none() | st.binary(max_size=5))
def test_any_text_gets_a_response(text: str, payload: bytes | None) -> None:
    """Any text raises only the app's own error."""
    with pytest.raises(SignatureMismatch):
        opens("Ed25519", "EdDSA", text, payload)


@given(st.data())
def test_a_changed_token_does_not_open(data: st.DataObject) -> None:
    """If any character changes, the token does not verify."""
    text = make("Ed25519", "EdDSA", b"payload")
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.").filter(lambda each: each != text[at]))
    with pytest.raises(SignatureMismatch):
        opens("Ed25519", "EdDSA", text[:at] + other + text[at + 1 :])
