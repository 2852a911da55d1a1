"""Imported keys: the output of common tools is accepted, contradictions are refused, and every check is fast."""

import base64
import json
import subprocess
from pathlib import Path
from time import thread_time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.errors import InvalidRequest
from shared.signing import algorithms, der, formats, pbe
from shared.signing.errors import ContradictoryKey, UnfitAlgorithm, UnsupportedKey, WeakKey
from shared.signing.pem import CURVES
from shared.web import encode_base64

RSA = rsa.generate_private_key(65537, 2048)
EC: dict[str, Any] = {name: ec.generate_private_key(curve) for name, (curve, _) in CURVES.items()}
REFUSED = (WeakKey, UnsupportedKey, ContradictoryKey, UnfitAlgorithm)


def number(value: int) -> str:
    """Encode a number for a JWK."""
    return encode_base64(value.to_bytes((value.bit_length() + 7) // 8))


def jwk_of(key: Any) -> dict[str, Any]:
    """Return a private key as JWK."""
    jwk: dict[str, Any] = formats.to_jwk(key.public_key())
    if isinstance(key, rsa.RSAPrivateKey):
        parts = key.private_numbers()
        names = {"d": parts.d, "p": parts.p, "q": parts.q, "dp": parts.dmp1, "dq": parts.dmq1, "qi": parts.iqmp}
        return jwk | {name: number(value) for name, value in names.items()}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        return jwk | {"d": encode_base64(key.private_numbers().private_value.to_bytes(size))}
    return jwk | {"d": encode_base64(key.private_bytes_raw())}


def read(value: Any, passphrase: str | None = None) -> formats.Imported:
    """Read a private key as import-key does."""
    return formats.read_private(value, "private_key", passphrase)


def pem(label: str, data: bytes) -> str:
    """Add PEM armour."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(data).decode()}-----END {label}-----\n"


PKCS8 = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
BODY = "".join(PKCS8.splitlines()[1:-1])


def openssl(*arguments: str, stdin: str | None = None) -> str:
    """Return the output of openssl."""
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "text",
    [
        PKCS8,
        "\n".join("    " + line for line in PKCS8.splitlines()),
        "\n".join(line + "  \t" for line in PKCS8.splitlines()),
        PKCS8.replace("\n", "\r\n"),
        PKCS8.replace("\n", "\\n"),
        PKCS8.replace("\n", " "),
        f"-----BEGIN PRIVATE KEY-----{BODY}-----END PRIVATE KEY-----",
        "Bag Attributes\n    localKeyID: 01\n" + PKCS8,
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n" + PKCS8,
    ],
)
def test_a_pem_is_read_as_tools_write_it(text: str) -> None:
    """A PEM that is indented, has trailing blanks, is one line, or follows other blocks is the same key."""
    assert read(text).key.public_key() == RSA.public_key()


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
def test_ecparam_output_is_read(curve: str) -> None:
    """`openssl ecparam -genkey` writes a block of parameters before the key."""
    text = openssl("ecparam", "-genkey", "-name", curve)
    assert "EC PARAMETERS" in text
    assert read(text).type in CURVES


def test_an_rsa_jwk_without_crt_numbers_is_read() -> None:
    """An RSA JWK may lack any of dp, dq and qi, or contain n, e and d only."""
    jwk = jwk_of(RSA)
    for missing in (("dp",), ("dp", "dq", "qi"), ("p", "q", "dp", "dq", "qi")):
        found = read({name: value for name, value in jwk.items() if name not in missing})
        assert found.key.private_numbers() == RSA.private_numbers() or missing[0] == "p"


@pytest.mark.parametrize("cipher", ["-aes128", "-aes256", "-des3"])
def test_openssls_own_encryption_is_read(cipher: str) -> None:
    """A key with a `DEK-Info` header is decrypted; the errors name a wrong passphrase and an unsupported cipher."""
    text = openssl("rsa", "-traditional", cipher, "-passout", "pass:secret", stdin=PKCS8)
    assert "DEK-Info" in text
    assert read(text, "secret").key.public_key() == RSA.public_key()
    with pytest.raises(InvalidRequest, match="does not decrypt"):
        read(text, "wrong")
    with pytest.raises(UnsupportedKey, match="not accepted"):
        read(text.replace("DEK-Info: ", "DEK-Info: X"), "secret")


def test_an_encrypted_key_with_the_wrong_label_is_named() -> None:
    """The error names the right label, in both directions."""
    encrypted = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()
    with pytest.raises(InvalidRequest, match="to ENCRYPTED PRIVATE KEY"):
        read(encrypted.replace("ENCRYPTED ", ""), "secret")
    with pytest.raises(InvalidRequest, match="to PRIVATE KEY"):
        read(PKCS8.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "secret")


@pytest.mark.parametrize("options", [["-v1", "PBE-MD5-DES"], ["-v2", "camellia-256-cbc"]])
def test_a_cipher_that_is_not_accepted_is_named(options: list[str]) -> None:
    """The error names the algorithm, and says how to encrypt the key again."""
    arguments = ["pkcs8", "-topk8", "-passout", "pass:secret", *options, "-provider", "legacy", "-provider", "default"]
    ran = subprocess.run(["openssl", *arguments], input=PKCS8, capture_output=True, text=True, check=True)
    with pytest.raises(UnsupportedKey, match="not accepted"):
        read(ran.stdout, "secret")


@pytest.mark.parametrize("name", CURVES)
def test_an_ec_number_is_in_range(name: str) -> None:
    """d is at least 1 and below the order of the curve, in a JWK and in SEC1; 0, n and n + d are refused."""
    jwk, order = jwk_of(EC[name]), CURVES[name][1]
    size = (EC[name].key_size + 7) // 8
    value = EC[name].private_numbers().private_value
    for wrong in (0, order, order + value, (1 << (8 * size)) - 1):
        if wrong < 1 << (8 * size):
            with pytest.raises(WeakKey):
                read(jwk | {"d": encode_base64(wrong.to_bytes(size))})
            sec1 = EC[name].private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            changed = sec1.replace(value.to_bytes(size), wrong.to_bytes(size))
            with pytest.raises(WeakKey):
                read(pem("EC PRIVATE KEY", changed))
    assert read(jwk).key.private_numbers() == EC[name].private_numbers()


@pytest.mark.parametrize("name", CURVES)
def test_the_halves_of_an_ec_key_belong_together(name: str) -> None:
    """A mismatched public half is refused in a JWK, in SEC1 and in PKCS#8."""
    other: Any = ec.generate_private_key(EC[name].curve)
    with pytest.raises(WeakKey):
        read(jwk_of(EC[name]) | formats.to_jwk(other.public_key()))
    mine, theirs = (formats.to_spki(each.public_key())[-64:] for each in (EC[name], other))
    for form in (PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8):
        data = EC[name].private_bytes(Encoding.DER, form, NoEncryption())
        assert data.count(mine) == 1
        with pytest.raises(WeakKey):
            read(pem("PRIVATE KEY", data.replace(mine, theirs)))


OKP: Any = algorithms.generate("Ed25519")
AES = {"kty": "oct", "k": "A" * 43}


@pytest.mark.parametrize(
    ("jwk", "purpose"),
    [
        (jwk_of(EC["P-256"]) | {"alg": "ES384"}, None),
        (jwk_of(EC["P-384"]) | {"alg": "ES256"}, None),
        (jwk_of(EC["P-256"]) | {"alg": "RS256"}, None),
        (jwk_of(RSA) | {"alg": "HS256"}, None),
        (jwk_of(RSA) | {"alg": "RSA1_5"}, None),
        (jwk_of(RSA) | {"alg": "RS256"}, "encrypt"),
        (jwk_of(RSA) | {"alg": "RSA-OAEP"}, "sign"),
        (jwk_of(OKP) | {"alg": "ES256"}, None),
        (AES | {"alg": "HS256"}, None),
        (AES | {"alg": "A128KW"}, None),
        (AES | {"use": "sig"}, "encrypt"),
        (AES | {"key_ops": ["sign", "verify"]}, "encrypt"),
        (jwk_of(RSA) | {"use": "enc"}, "sign"),
        (jwk_of(RSA) | {"use": "sig"}, "encrypt"),
        (jwk_of(RSA) | {"use": "x"}, None),
        (jwk_of(RSA) | {"use": "sig", "key_ops": ["decrypt"]}, None),
        (jwk_of(RSA) | {"key_ops": ["verify"]}, "sign"),
        (jwk_of(RSA) | {"key_ops": []}, None),
    ],
)
def test_a_jwk_that_contradicts_itself_or_the_call_is_refused(jwk: dict[str, Any], purpose: Any) -> None:
    """`alg`, `use` and `key_ops` must agree with the key type, with each other, and with the import's purpose."""
    with pytest.raises((ContradictoryKey, UnfitAlgorithm)):
        read(json.dumps(jwk)).purpose(purpose)


@pytest.mark.parametrize(
    ("jwk", "purpose"),
    [
        (jwk_of(RSA) | {"use": "enc"}, "encrypt"),
        (jwk_of(RSA) | {"use": "sig"}, "sign"),
        (jwk_of(RSA) | {"key_ops": ["sign"]}, "sign"),
        (jwk_of(RSA) | {"key_ops": ["decrypt", "unwrapKey"]}, "encrypt"),
        (jwk_of(RSA) | {"alg": "RSA-OAEP-256"}, "encrypt"),
        (jwk_of(EC["P-256"]) | {"key_ops": ["deriveKey"]}, "encrypt"),
        (AES | {"alg": "A256GCM", "key_ops": ["encrypt", "decrypt"]}, "encrypt"),
        (jwk_of(RSA), None),
    ],
)
def test_a_jwk_says_its_purpose(jwk: dict[str, Any], purpose: Any) -> None:
    """Without a purpose in the request, a key gets the purpose that its JWK allows."""
    assert read(jwk).purpose(None) == purpose


@pytest.mark.parametrize("member", [{"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": ["encrypt"]}])
def test_a_public_jwk_that_is_not_for_verifying_is_refused(member: dict[str, Any]) -> None:
    """`verify` with a public key refuses one whose `use` or `key_ops` forbid it."""
    jwk = formats.to_jwk(RSA.public_key())
    assert formats.parse_public(jwk | {"key_ops": ["verify"], "use": "sig"}, "public_key", "sign")
    with pytest.raises(ContradictoryKey):
        formats.parse_public(jwk | member, "public_key", "sign")


@pytest.mark.parametrize("member", [{"alg": 5}, {"use": []}, {"kid": {}}, {"kid": "x" * 257}, {"key_ops": "sign"}])
def test_members_of_the_wrong_type_are_bad_fields(member: dict[str, Any]) -> None:
    """Members of the wrong type are a bad request that names the field."""
    with pytest.raises(InvalidRequest):
        read(jwk_of(RSA) | member)


def test_an_rsassa_pss_key_is_refused(tmp_path: Path) -> None:
    """A PSS-only key would sign RS256 here: it is refused, private and public."""
    path = tmp_path / "pss.pem"
    path.write_text(openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"))
    with pytest.raises(UnsupportedKey, match="RSASSA-PSS"):
        read(path.read_text())
    with pytest.raises(UnsupportedKey, match="RSASSA-PSS"):
        formats.read_public(openssl("pkey", "-pubout", "-in", str(path)), "public_key")


@pytest.mark.parametrize("algorithm", ["DSA", "DH", "ED448", "X448", "brainpool"])
def test_types_that_are_not_served_are_refused_before_they_cost(algorithm: str) -> None:
    """Their object identifiers are checked first, so no library computes with their numbers."""
    oids = {"DSA": "1.2.840.10040.4.1", "DH": "1.2.840.113549.1.3.1", "ED448": "1.3.101.113", "X448": "1.3.101.111"}
    huge = der.write_integer((1 << 100_000) + 1)
    parameters = der.write(der.SEQUENCE, huge, huge, huge)
    kind = der.write_oid(oids.get(algorithm, "1.2.840.10045.2.1"))
    if algorithm == "brainpool":
        parameters = der.write_oid("1.3.36.3.3.2.8.1.1.7")
    inner = der.write(der.OCTET_STRING, b"\x02\x01\x05")
    data = der.write(der.SEQUENCE, der.write_integer(0), der.write(der.SEQUENCE, kind, parameters), inner)
    with pytest.raises(UnsupportedKey):
        read(pem("PRIVATE KEY", data))


def test_a_curve_that_is_spelt_out_is_refused() -> None:
    """Explicit curve parameters are refused, even those of a known curve (CVE-2020-0601)."""
    text = openssl("ecparam", "-genkey", "-name", "prime256v1", "-param_enc", "explicit")
    with pytest.raises(UnsupportedKey, match="Name it"):
        read(text)


def rsa_der(**change: int) -> bytes:
    """Return PKCS#1 of the RSA key, with some numbers changed."""
    parts = RSA.private_numbers()
    public = parts.public_numbers
    values = {"n": public.n, "e": public.e, "d": parts.d, "p": parts.p, "q": parts.q}
    values |= {"dp": parts.dmp1, "dq": parts.dmq1, "qi": parts.iqmp} | change
    return der.write(der.SEQUENCE, der.write_integer(0), *map(der.write_integer, values.values()))


HUGE = (1 << 60_000) + 1
WORST: dict[str, Any] = {
    "a prime far larger than n, PKCS#1": pem("RSA PRIVATE KEY", rsa_der(p=HUGE)),
    "large numbers, PKCS#1": pem("RSA PRIVATE KEY", rsa_der(n=HUGE, d=HUGE, p=HUGE, q=HUGE)),
    "a large exponent": jwk_of(RSA) | {"e": number((1 << 400_000) + 1)},
    "a large d": jwk_of(RSA) | {"d": number((1 << 400_000) + 1)},
    "a large prime": jwk_of(RSA) | {"p": number((1 << 400_000) + 1)},
    "a large d without primes": {**formats.to_jwk(RSA.public_key()), "d": number((1 << 400_000) + 1)},
    "another d without primes": {**formats.to_jwk(RSA.public_key()), "d": number(RSA.private_numbers().d - 2)},
    "composite primes": {
        **formats.to_jwk(RSA.public_key()),
        "n": number((1 << 4095) + 12345),
        "d": number((1 << 4000) + 1),
    },
    "many blocks": "-----BEGIN A-----\n-----END A-----\n" * 2000,
    "many begins": "-----BEGIN A-----" * 3500,
    "a long EC number": jwk_of(EC["P-521"]) | {"d": "A" * 60_000},
    "deep DER": pem("PRIVATE KEY", b"\x30\x80" * 8000),
    "many elements": pem("PRIVATE KEY", der.write(der.SEQUENCE, b"\x05\x00" * 8000)),
}


@pytest.mark.parametrize("value", WORST.values(), ids=WORST)
def test_the_worst_key_is_refused_quickly(value: Any) -> None:
    """Any input of up to 64 KB is refused within half a second of CPU."""
    began = thread_time()
    with pytest.raises((InvalidRequest, *REFUSED)):
        read(value)
    assert thread_time() - began < 0.5  # Each takes some milliseconds; without the checks, up to hours.


@pytest.mark.parametrize("change", [{"p": HUGE}, {"d": 5}, {"qi": 7}])
def test_an_encrypted_key_is_judged_as_a_plain_one(change: dict[str, int]) -> None:
    """The decrypted bytes are checked before a library loads them."""
    algorithm = der.write(der.SEQUENCE, der.write_oid("1.2.840.113549.1.1.1"), b"\x05\x00")
    inner = der.write(der.OCTET_STRING, rsa_der(**change))
    pkcs8 = der.write(der.SEQUENCE, der.write_integer(0), algorithm, inner)
    text = pem("ENCRYPTED PRIVATE KEY", pbe.encrypt(pkcs8, "secret", bytes(16), bytes(16)))
    with pytest.raises((WeakKey, UnsupportedKey)):
        read(text, "secret")


def encrypted_with(prf: str, iterations: int, key_bytes: int, salt: int = 16, cipher_bytes: int = 32) -> str:
    """Return an encrypted key with these parameters and a nonsense ciphertext."""
    cipher = {16: "2.16.840.1.101.3.4.1.2", 32: "2.16.840.1.101.3.4.1.42"}[cipher_bytes]
    hmac = der.write(der.SEQUENCE, der.write_oid(f"1.2.840.113549.2.{prf}"), b"\x05\x00")
    parameters = der.write(
        der.SEQUENCE,
        der.write(der.OCTET_STRING, bytes(salt)),
        der.write_integer(iterations),
        der.write_integer(key_bytes),
        hmac,
    )
    scheme = der.write(
        der.SEQUENCE,
        der.write(der.SEQUENCE, der.write_oid("1.2.840.113549.1.5.12"), parameters),
        der.write(der.SEQUENCE, der.write_oid(cipher), der.write(der.OCTET_STRING, bytes(16))),
    )
    algorithm = der.write(der.SEQUENCE, der.write_oid("1.2.840.113549.1.5.13"), scheme)
    return pem("ENCRYPTED PRIVATE KEY", der.write(der.SEQUENCE, algorithm, der.write(der.OCTET_STRING, bytes(32))))


@pytest.mark.parametrize(
    "text",
    [
        encrypted_with("9", 1_000_001, 32),
        encrypted_with("11", 500_001, 32),
        encrypted_with("10", 900_000, 32),
        encrypted_with("9", 1 << 64, 32),
        encrypted_with("9", 1000, 1 << 30),
        encrypted_with("9", 1000, 32, salt=5000),
        encrypted_with("9", 1000, 16),
    ],
)
def test_every_parameter_of_the_derivation_counts(text: str) -> None:
    """The limits cover iterations, hash, key length and salt together."""
    began = thread_time()
    with pytest.raises(InvalidRequest):
        read(text, "secret")
    assert thread_time() - began < 0.5


def test_an_export_takes_the_iterations_that_owasp_recommends() -> None:
    """An exported key has 600,000 iterations, and openssl's library opens it."""
    text = formats.to_encrypted_pem(RSA, "correct horse battery", bytes(range(16)), bytes(16))
    assert openssl("asn1parse", stdin=text).count(":0927C0") == 1
    private: Any = load_pem_private_key(text.encode(), b"correct horse battery")
    assert private.private_numbers() == RSA.private_numbers()
    assert read(text, "correct horse battery").key.private_numbers() == RSA.private_numbers()
