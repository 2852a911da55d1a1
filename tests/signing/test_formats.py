"""Public keys of other programs: the accepted formats, and the refused keys."""

import base64
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.signing import algorithms, formats
from shared.signing.errors import UnsupportedKey, WeakKey
from shared.web import encode_base64


def private(key_type: str) -> Any:
    """Return a new private key."""
    return algorithms.generate(key_type)


RSA = rsa.generate_private_key(65537, 2048)
TYPES = ("P-256", "P-384", "P-521", "Ed25519", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")
PUBLIC: dict[str, Any] = {"RSA-2048": RSA.public_key()} | {each: private(each).public_key() for each in TYPES}


def pem(label: str, der: bytes) -> str:
    """PEM armour (RFC 7468) around `der`."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def spki(key: object) -> str:
    """Return a public key as PEM."""
    return pem("PUBLIC KEY", formats.to_spki(key))


def parse(text: str) -> object:
    """Read a public key as the app does."""
    return formats.parse_public(text, "public_key")[0]


@pytest.mark.parametrize("key_type", PUBLIC)
def test_a_public_key_reads_back(key_type: str) -> None:
    """SubjectPublicKeyInfo is read, and the result has its type."""
    key = formats.parse_public(spki(PUBLIC[key_type]), "public_key")[0]
    assert formats.type_of(key) == key_type
    assert formats.to_spki(key) == formats.to_spki(PUBLIC[key_type])


def test_pkcs1_is_read() -> None:
    """An RSA key in PKCS#1 is the same key."""
    text = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    assert parse(text) == RSA.public_key()


def certificate() -> bytes:
    """An expired certificate of the RSA key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    day = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, RSA.public_key(), 1, day, day + timedelta(days=1))
    return builder.sign(RSA, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_certificate_gives_its_key() -> None:
    """The app reads the key of an X.509 certificate, even an expired one."""
    assert parse(pem("CERTIFICATE", certificate())) == RSA.public_key()


@pytest.mark.parametrize("ending", ["\r\n", "", "\n\n"])
def test_lines_may_end_in_any_way(ending: str) -> None:
    """PEM may have any system's line endings, and may lack the last one."""
    assert parse(spki(PUBLIC["P-256"]).strip().replace("\n", ending or "\n") + ending) == PUBLIC["P-256"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----\n",
        spki(PUBLIC["P-256"])[:-40],
        spki(PUBLIC["P-256"]).replace("M", "!", 1),
        pem("PUBLIC KEY", formats.to_spki(PUBLIC["P-256"])[:-1]),
    ],
)
def test_what_is_no_pem_is_a_bad_field(text: str) -> None:
    """Text that is not complete PEM is a bad request that names the field."""
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    assert caught.value.errors[0].field == "public_key"


@given(st.text(max_size=50))
def test_any_text_gets_a_response(text: str) -> None:
    """Any text between PEM's lines raises only the app's own errors."""
    with pytest.raises((InvalidRequest, WeakKey, UnsupportedKey)):
        parse(f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")


@pytest.mark.parametrize("key_type", ["P-256", "P-384", "P-521"])
def test_a_point_is_in_a_form_of_the_standard(key_type: str) -> None:
    """Uncompressed and compressed points are read; the hybrid form is refused (RFC 5480, section 2.2)."""

    def in_form(form: str) -> str:
        command = ["openssl", "ec", "-pubin", "-conv_form", form]
        done = subprocess.run(command, input=spki(PUBLIC[key_type]), capture_output=True, text=True, check=True)
        return done.stdout

    assert parse(in_form("uncompressed")) == parse(in_form("compressed")) == PUBLIC[key_type]
    with pytest.raises(WeakKey, match="hybrid"):
        parse(in_form("hybrid"))


@given(st.integers(0, 90), st.integers(1, 255))
def test_a_changed_key_gets_a_response(at: int, change: int) -> None:
    """A public key with any byte changed is either another key or one of the app's own errors."""
    der = bytearray(formats.to_spki(PUBLIC["P-256"]))
    der[at] ^= change
    try:
        key = parse(pem("PUBLIC KEY", bytes(der)))
    except (InvalidRequest, WeakKey, UnsupportedKey):
        return
    assert key != PUBLIC["P-256"]


def test_a_private_key_is_refused() -> None:
    """A private key is refused, and the error says that it is private."""
    text = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(InvalidRequest, match="holds a private key"):
        parse(text)


def rsa_spki(n: int, e: int) -> str:
    """An RSA key with these numbers, unchecked by any library (RFC 8017, appendix A.1.1)."""

    def tlv(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2)
        return bytes([tag]) + length + content

    def number(value: int) -> bytes:
        return tlv(2, value.to_bytes(value.bit_length() // 8 + 1))

    rsa_encryption = bytes.fromhex("300d06092a864886f70d0101010500")
    return pem("PUBLIC KEY", tlv(0x30, rsa_encryption + tlv(3, b"\0" + tlv(0x30, number(n) + number(e)))))


N = RSA.public_key().public_numbers().n
POINT = bytearray(formats.to_spki(PUBLIC["P-256"]))
POINT[-1] ^= 1


@pytest.mark.parametrize(
    "text",
    [
        rsa_spki((1 << 1024) - 105, 65537),
        rsa_spki((1 << 2047) - 1, 65537),
        rsa_spki((1 << 16385) + 1, 65537),
        rsa_spki(N, 1),
        rsa_spki(N, 3),
        rsa_spki(N, 65536),
        rsa_spki(N, N - 2),
        rsa_spki(N, (1 << 256) + 1),
        rsa_spki(N + 1, 65537),
        rsa_spki(0, 65537),
        pem("PUBLIC KEY", bytes(POINT)),
        pem("PUBLIC KEY", bytes(POINT[:-64]) + bytes(64)),
        pem("PUBLIC KEY", bytes.fromhex("302a300506032b6570032100") + bytes(32)),
        pem("PUBLIC KEY", bytes.fromhex("302a300506032b6570032100") + b"\xee" + b"\xff" * 31),
        pem("PUBLIC KEY", bytes.fromhex("302a300506032b6570032100") + b"\1" + bytes(30) + b"\x80"),
    ],
)
def test_weak_keys_are_refused(text: str) -> None:
    """RSA keys with a bad modulus or exponent, and points off the curve or of small order, are refused."""
    with pytest.raises(WeakKey):
        parse(text)


def test_a_good_rsa_key_passes_the_same_way() -> None:
    """A good key's numbers, encoded in the same way as the weak ones, are accepted."""
    assert parse(rsa_spki(N, 65537)) == RSA.public_key()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ec.generate_private_key(ec.BrainpoolP256R1()).public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
    ],
)
def test_other_types_are_refused(key: object) -> None:
    """The error for an unsupported key type differs from the error for a weak key."""
    with pytest.raises(UnsupportedKey):
        parse(spki(key))


def test_the_thumbprint_is_that_of_the_rfc() -> None:
    """The Ed25519 key of RFC 8037, appendix A.2, has the thumbprint of its appendix A.3."""
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    key = ed25519.Ed25519PublicKey.from_public_bytes(raw)
    assert formats.thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_jwk_may_leave_the_primes_out() -> None:
    """An RSA JWK with n, e and d only is the same key (RFC 7518, section 6.3.2)."""
    numbers = RSA.private_numbers()
    jwk = formats.to_jwk(RSA.public_key()) | {"d": encode_base64(numbers.d.to_bytes(256))}
    read: Any = formats.parse_private(jwk, "private_key", None)
    assert {read.private_numbers().p, read.private_numbers().q} == {numbers.p, numbers.q}
    with pytest.raises(WeakKey):
        formats.parse_private(jwk | {"d": encode_base64((numbers.d - 2).to_bytes(256))}, "private_key", None)


def test_a_private_member_of_another_kind_makes_no_private_key() -> None:
    """A public RSA key stays public with a member of an AES key (`k`) or of an AKP key (`priv`)."""
    for member in ("k", "priv"):
        jwk = formats.to_jwk(RSA.public_key()) | {member: "AQ"}
        with pytest.raises(InvalidRequest, match="holds a public key"):
            formats.parse_private(jwk, "private_key", None)


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "k", "alg", "pub", "priv", "p", "oth"]),
        st.text(max_size=4)
        | st.sampled_from(["RSA", "EC", "OKP", "AKP", "oct", "P-256", "Ed25519", "X25519", "ML-DSA-44", "AQAB"])
        | st.integers()
        | st.just([])
        | st.just({}),
    )
)
def test_any_jwk_gets_a_response(jwk: dict[str, Any]) -> None:
    """Any object, as a public or a private key, raises only the app's own errors."""
    for parse_it in (lambda: formats.parse_public(jwk, "x"), lambda: formats.parse_private(jwk, "x", None)):
        with suppress(InvalidRequest, WeakKey, UnsupportedKey):
            parse_it()


def encrypted_pem(*options: str) -> str:
    """Return the RSA key under the passphrase `x`, as `openssl pkcs8` encrypts it."""
    plain = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    command = ["openssl", "pkcs8", "-topk8", "-passout", "pass:x", *options]
    return subprocess.run(command, input=plain, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
        ["-v2", "aes-256-cbc", "-iter", "1000000"],
        ["-scrypt"],
        ["-v1", "PBE-SHA1-3DES"],
    ],
)
def test_every_way_of_encrypting_is_read(options: list[str]) -> None:
    """PBES2 with PBKDF2 or scrypt, and PKCS#12's older scheme, are decrypted at any usual cost."""
    key: Any = formats.parse_private(encrypted_pem(*options), "private_key", "x")
    assert key.public_key() == RSA.public_key()


def test_a_passphrase_that_costs_too_much_is_refused() -> None:
    """Limit the KDF cost of encrypted private keys, in time and memory: the sender chooses it."""
    scrypt = encrypted_pem("-scrypt", "-scrypt_N", "16384", "-scrypt_r", "8", "-scrypt_p", "1")
    der = base64.b64decode("".join(scrypt.splitlines()[1:-1]))
    cost = bytes.fromhex("02024000020108020101")  # The scrypt parameters N, r and p.
    assert der.count(cost) == 1
    large = pem("ENCRYPTED PRIVATE KEY", der.replace(cost, bytes.fromhex("0202400002017f020101")))
    older = encrypted_pem("-v1", "PBE-SHA1-3DES", "-iter", "1000001")
    for text in (encrypted_pem("-v2", "aes-256-cbc", "-iter", "1000001"), large, older):
        with pytest.raises(InvalidRequest, match="Encrypt it again") as caught:
            formats.parse_private(text, "private_key", "x")
        assert caught.value.errors[0].field == "private_key"


def test_a_private_key_that_takes_long_to_check_is_refused() -> None:
    """A private key whose primes take long to find is refused: a modulus over 4096 bits, or a huge private exponent."""
    numbers = RSA.public_key().public_numbers()
    n = encode_base64((numbers.n << 2176 | 1).to_bytes(544))
    jwk = {"kty": "RSA", "n": n, "e": "AQAB", "d": encode_base64(bytes([1] * 544))}
    with pytest.raises(UnsupportedKey, match="at most 4096 bits"):
        formats.parse_private(jwk, "private_key", None)
    jwk |= {"n": encode_base64(numbers.n.to_bytes(256)), "d": encode_base64(bytes([1] * 100_000))}
    with pytest.raises(WeakKey):
        formats.parse_private(jwk, "private_key", None)


@pytest.mark.parametrize("version", [1, 3, 255])
def test_a_certificate_of_an_unknown_version_is_refused(version: int) -> None:
    """Certificates have version 1 or 3, encoded as 0 and 2 (RFC 5280, section 4.1.2.1)."""
    der = certificate()
    assert der.count(bytes.fromhex("a003020102")) == 1
    with pytest.raises(WeakKey):
        parse(pem("CERTIFICATE", der.replace(bytes.fromhex("a003020102"), bytes([0xA0, 3, 2, 1, version]))))


@pytest.mark.parametrize("oid", ["2b656f", "2b6571"])
def test_a_private_key_of_another_length_is_refused(oid: str) -> None:
    """X448 and Ed448 keys are refused by their object identifiers, whatever bytes follow."""
    der = bytes.fromhex(f"302e0201003005 0603{oid} 04220420") + bytes([1] * 32)
    with pytest.raises(UnsupportedKey):
        formats.parse_private(pem("PRIVATE KEY", der), "private_key", None)


def test_openssl_makes_keys_that_are_read(tmp_path: Path) -> None:
    """The app reads the output of `openssl genpkey` and `openssl pkey -pubout`."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    assert formats.type_of(formats.parse_public(public.read_text(), "public_key")[0]) == "Ed25519"
