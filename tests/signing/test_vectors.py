"""Published test vectors (NIST, RFC 8032 and FIPS 204), checked with the app's own verify."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import cryptography_vectors
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from shared.app import build
from shared.signing import formats
from shared.web import Request, encode_base64
from shared.web.respond import respond

VERIFY = next(route for route in build({}).routes if route.name == "verify")
CURVES: dict[str, tuple[ec.EllipticCurve, str]] = {
    "P-256,SHA-256": (ec.SECP256R1(), "ES256"),
    "P-384,SHA-384": (ec.SECP384R1(), "ES384"),
    "P-521,SHA-512": (ec.SECP521R1(), "ES512"),
}


def verdict(public_key: Any, message: bytes, signature: bytes, algorithm: str, form: str = "raw") -> Any:
    """Return the app's verdict: `valid`, or the code of the problem."""
    body = msgspec.json.encode(
        {
            "public_key": formats.spki_to_pem(formats.to_spki(public_key)),
            "message_base64": encode_base64(message),
            "signature": encode_base64(signature),
            "algorithm": algorithm,
            "format": form,
        }
    )
    response = respond(VERIFY, Request("POST", "http://localhost/api/verify", {}, {}, body), 1 << 20)
    fields = msgspec.json.decode(response.body)
    return fields["valid"] if response.status == 200 else fields["code"]


@cache
def lines_of(name: str) -> list[str]:
    """Return the lines of a vector file."""
    with cryptography_vectors.open_vector_file(f"asymmetric/{name}", "r") as file:
        return [line.strip() for line in file]


def blocks(name: str, last: str) -> Iterator[dict[str, str]]:
    """Yield the vectors of a file of `name = value` lines. Each one ends with `last` and keeps earlier values."""
    found: dict[str, str] = {}
    for line in lines_of(name):
        if line.startswith("["):
            found = {"section": line.strip("[]")}
        elif " = " in line or line.endswith("="):
            key, _, value = line.partition("=")
            found[key.strip()] = value.strip()
            if key.strip() == last:
                yield dict(found)


@pytest.mark.parametrize(
    ("name", "family"), [("RSA/FIPS_186-2/SigVer15_186-3.rsp", "RS"), ("RSA/FIPS_186-2/SigVerPSS_186-3.rsp", "PS")]
)
def test_rsa(name: str, family: str) -> None:
    """The app agrees with NIST on valid and invalid RSA signatures; keys that are weak today are refused."""
    counts = {True: 0, False: 0, "weak-key": 0}
    for vector in blocks(name, "Result"):
        if vector["SHAAlg"] not in ("SHA256", "SHA384", "SHA512"):
            continue
        n, e = int(vector["n"], 16), int(vector["e"], 16)
        key = rsa.RSAPublicNumbers(e, n).public_key()
        size = (n.bit_length() + 7) // 8
        signature = bytes.fromhex(vector["S"]).rjust(size, b"\0")
        expected: Any = vector["Result"].startswith("P")
        if n.bit_length() < 2048 or e <= 1 << 16:
            expected = "weak-key"
        algorithm = family + vector["SHAAlg"][3:]
        assert verdict(key, bytes.fromhex(vector["Msg"]), signature, algorithm) == expected
        counts[expected] += 1
    assert min(counts.values()) > 5, counts


def test_ecdsa() -> None:
    """The app agrees with NIST on valid and invalid ECDSA signatures, on each curve and in both formats."""
    counts = {True: 0, False: 0}
    for vector in blocks("ECDSA/FIPS_186-3/SigVer.rsp", "Result"):
        if vector["section"] not in CURVES:
            continue
        curve, algorithm = CURVES[vector["section"]]
        x, y, r, s = (int(vector[name], 16) for name in ("Qx", "Qy", "R", "S"))
        key = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        size = (curve.key_size + 7) // 8
        message, expected = bytes.fromhex(vector["Msg"]), vector["Result"].startswith("P")
        assert verdict(key, message, r.to_bytes(size) + s.to_bytes(size), algorithm) is expected
        assert verdict(key, message, encode_dss_signature(r, s), algorithm, "der") is expected
        counts[expected] += 1
    assert min(counts.values()) > 5, counts


def test_ed25519() -> None:
    """The vectors of Ed25519's authors verify, and fail with another message or a changed signature."""
    count = 0
    for line in lines_of("Ed25519/sign.input"):
        if not line:
            continue
        _, public, message, signed, _ = line.split(":")
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        signature = bytes.fromhex(signed)[:64]
        assert verdict(key, bytes.fromhex(message), signature, "EdDSA") is True
        if count % 32 == 0:
            assert verdict(key, bytes.fromhex(message) + b"x", signature, "EdDSA") is False
            assert verdict(key, bytes.fromhex(message), signature[:63] + bytes([signature[63] ^ 1]), "EdDSA") is False
        count += 1
    assert count == 1024


@pytest.mark.parametrize("size", ["44", "65", "87"])
def test_ml_dsa(size: str) -> None:
    """The vectors' seeds, taken in as JWK, give their public keys; their signatures, which are made with a context,
    verify with it, and so not through the app, where the context is empty (RFC 9964)."""
    kind: Any = {"44": mldsa.MLDSA44PublicKey, "65": mldsa.MLDSA65PublicKey, "87": mldsa.MLDSA87PublicKey}[size]
    count = 0
    for vector in blocks(f"MLDSA/kat_MLDSA_{size}_det_pure.rsp", "ctx"):
        raw, seed = bytes.fromhex(vector["pk"]), bytes.fromhex(vector["xi"])
        jwk = {"kty": "AKP", "alg": f"ML-DSA-{size}", "pub": encode_base64(raw), "priv": encode_base64(seed)}
        private: Any = formats.parse_private(jwk, "private_key", None)
        key = kind.from_public_bytes(raw)
        assert formats.to_spki(private.public_key()) == formats.to_spki(key)
        message = bytes.fromhex(vector["msg"])
        signature = bytes.fromhex(vector["sm"])[: len(bytes.fromhex(vector["sm"])) - len(message)]
        key.verify(signature, message, bytes.fromhex(vector["ctx"]))
        assert verdict(key, message, signature, f"ML-DSA-{size}") is False
        assert verdict(key, message, private.sign(message), f"ML-DSA-{size}") is True
        count += 1
        if count == 25:
            break
    assert count == 25
