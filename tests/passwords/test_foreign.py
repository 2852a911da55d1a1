"""Hashes of other programs verify here; each program generates its own."""

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bcrypt
import cryptography_vectors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.security import generate_password_hash

from shared.passwords.argon2 import Parameters
from shared.passwords.costs import PROFILES
from shared.passwords.errors import InvalidHash
from shared.passwords.hashing import Verdict, algorithm_of, memory_of, parse_hash
from tests.passwords.support import hash_password, verify

ROOT = Path(__file__).resolve().parent.parent.parent
COST = Parameters(64, 1, 1)
PASSWORD = "Grüße, Jürgen ❤"
RIGHT, WRONG = Verdict(valid=True, needs_rehash=True), Verdict(valid=False, needs_rehash=False)

# Each runs in its own process: both use deprecated modules of this interpreter, and Django needs a setup.
PASSLIB = """
import json, sys, warnings
warnings.simplefilter("ignore")
from passlib import hash
password = sys.argv[1]
print(json.dumps({
    "pbkdf2-sha1": hash.pbkdf2_sha1.using(rounds=1000).hash(password),
    "pbkdf2-sha256": hash.pbkdf2_sha256.using(rounds=1000).hash(password),
    "pbkdf2-sha512": hash.pbkdf2_sha512.using(rounds=1000, salt_size=9).hash(password),
    "pbkdf2-sha1 ldap": hash.ldap_pbkdf2_sha1.using(rounds=1000).hash(password),
    "pbkdf2-sha256 ldap": hash.ldap_pbkdf2_sha256.using(rounds=1000).hash(password),
    "pbkdf2-sha512 ldap": hash.ldap_pbkdf2_sha512.using(rounds=1000).hash(password),
    "scrypt": hash.scrypt.using(rounds=10, block_size=8, parallelism=2).hash(password),
    "argon2id": hash.argon2.using(rounds=1, memory_cost=64, parallelism=1).hash(password),
    "salted-sha1": hash.ldap_salted_sha1.hash(password),
    "salted-sha256": hash.ldap_salted_sha256.hash(password),
    "salted-sha512": hash.ldap_salted_sha512.hash(password),
    "pbkdf2-sha256 django": hash.django_pbkdf2_sha256.using(rounds=1000).hash(password),
    "verifies ours": hash.argon2.verify(password, sys.argv[2]) and not hash.argon2.verify(password + "x", sys.argv[2]),
}))
"""
DJANGO = """
import json, sys, warnings
warnings.simplefilter("ignore")
from django.conf import settings
names = ["PBKDF2PasswordHasher", "PBKDF2SHA1PasswordHasher", "Argon2PasswordHasher", "BCryptSHA256PasswordHasher",
         "BCryptPasswordHasher", "ScryptPasswordHasher"]
settings.configure(PASSWORD_HASHERS=["django.contrib.auth.hashers." + name for name in names])
from django.contrib.auth import hashers
password = sys.argv[1]
for each in hashers.get_hashers():
    each.rounds = 4
    each.iterations = 1000
    each.memory_cost = 64
made = {each.algorithm: hashers.make_password(password, hasher=each) for each in hashers.get_hashers()}
made["verifies ours"] = hashers.check_password(password, "argon2" + sys.argv[2])
print(json.dumps(made))
"""


def made_by(script: str) -> dict[str, str]:
    """Return another program's hash of the password, and whether it verifies the app's hash."""
    own = hash_password(PASSWORD.encode(), COST, bytes(range(16)))
    command = [sys.executable, "-c", script, PASSWORD, own]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    made: dict[str, str] = json.loads(ran.stdout)
    return made


@pytest.mark.parametrize("script", [PASSLIB, DJANGO], ids=["passlib", "Django"])
def test_strings_of_password_libraries_verify(script: str) -> None:
    """Every kind of hash from passlib and Django verifies here and needs a rehash; the app's hashes verify there."""
    made = made_by(script)
    assert made.pop("verifies ours")
    for name, text in made.items():
        stored = parse_hash(text)
        if script == PASSLIB:
            assert algorithm_of(stored) == name.split()[0]
        assert verify(stored, PASSWORD, COST)._replace(needs_rehash=True) == RIGHT, name
        assert verify(stored, PASSWORD + "x", COST) == WRONG, name


def test_bcrypt_sha256_is_computed_as_passlib_does() -> None:
    """The first form is bcrypt of the base64 of SHA-256, the second of the base64 of HMAC-SHA-256 keyed by the salt."""
    salt = "5Hg1DKFqPE8C2aflZ5vVoe"
    one = base64.b64encode(hashlib.sha256(PASSWORD.encode()).digest())
    two = base64.b64encode(hmac.digest(salt.encode(), PASSWORD.encode(), "sha256"))
    for prefix, inner in (("2b,5", one), ("v=2,t=2b,r=5", two)):
        digest = bcrypt.hashpw(inner, f"$2b$05${salt}".encode())[-31:].decode()
        stored = parse_hash(f"$bcrypt-sha256${prefix}${salt}${digest}")
        assert verify(stored, PASSWORD, COST) == RIGHT
        assert verify(stored, PASSWORD + "x", COST) == WRONG


@pytest.mark.parametrize(
    "method", ["scrypt:1024:8:1", "scrypt:32768:8:1", "pbkdf2:sha1:1000", "pbkdf2:sha256:1000", "pbkdf2:sha512:1000"]
)
def test_strings_of_werkzeug_verify(method: str) -> None:
    """Werkzeug's hashes verify here and need a rehash."""
    stored = parse_hash(generate_password_hash(PASSWORD, method))
    assert verify(stored, PASSWORD, COST) == RIGHT
    assert verify(stored, PASSWORD + "x", COST) == WRONG


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_strings_of_bcrypt_verify(prefix: str) -> None:
    """A bcrypt hash verifies with any program's prefix."""
    made = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    stored = parse_hash(f"${prefix}{made[3:]}")
    assert verify(stored, PASSWORD, COST) == RIGHT
    assert verify(stored, PASSWORD + "x", COST) == WRONG


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkY8jIucDrjc8deX1s."),
        ("a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
        ("abcdefghijklmnopqrstuvwxyz", "$2a$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC"),
        ("~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "$2a$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO"),
    ],
)
def test_published_vectors_of_bcrypt_verify(password: str, text: str) -> None:
    """The vectors that bcrypt implementations share verify; an empty password is refused first."""
    if password:
        assert verify(parse_hash(text), password, COST) == RIGHT


UNREAD = Verdict(valid=True, needs_rehash=False)


@pytest.mark.parametrize("form", ["{}", "bcrypt${}", "{{CRYPT}}{}", "{{bcrypt}}{}"])
def test_bcrypt_reads_72_bytes(form: str) -> None:
    """bcrypt ignores everything after 72 bytes, so such a password causes no rehash."""
    start = "x" * 72
    stored = parse_hash(form.format(bcrypt.hashpw(start.encode(), bcrypt.gensalt(4)).decode()))
    assert verify(stored, start + "one", COST) == UNREAD
    assert verify(stored, start + "another", COST) == UNREAD
    assert verify(stored, start, COST) == UNREAD  # The original password may have been longer.
    letters = "é" * 36
    stored = parse_hash(form.format(bcrypt.hashpw(letters.encode(), bcrypt.gensalt(4)).decode()))
    assert verify(stored, letters + "é", COST) == UNREAD
    short = "é" * 35 + "x"
    stored = parse_hash(form.format(bcrypt.hashpw(short.encode(), bcrypt.gensalt(4)).decode()))
    assert verify(stored, short, COST) == RIGHT


def test_bcrypt_of_a_long_password_as_typed_calls_for_no_rehash() -> None:
    """The same is true for a password that matches only as typed, and not in its NFKC form."""
    typed = "e\u0301" * 40
    stored = parse_hash(bcrypt.hashpw(typed.encode()[:72], bcrypt.gensalt(4)).decode())
    assert verify(stored, typed, COST) == UNREAD


def test_bcrypt_does_not_repeat_a_password() -> None:
    """bcrypt repeats a password after a NUL, so `abc` and `abc\\0abc` have one hash: the second is refused."""
    stored = parse_hash(bcrypt.hashpw(b"abc", bcrypt.gensalt(4)).decode())
    assert bcrypt.checkpw(b"abc\0abc", bcrypt.hashpw(b"abc", bcrypt.gensalt(4)))
    assert verify(stored, "abc", COST) == RIGHT
    assert verify(stored, "abc\0abc", COST) == WRONG


def test_bcrypt_with_stray_bits_verifies() -> None:
    """A salt or digest with unused bits set in its last character, as old versions of passlib wrote, verifies."""
    text = bcrypt.hashpw(PASSWORD.encode(), b"$2b$04$abcdefghijklmnopqrstuu").decode()
    alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    for place, bits in ((28, 15), (59, 3)):
        for stray in range(bits + 1):
            character = alphabet[(alphabet.index(text[place]) & ~bits) | stray]
            stored = parse_hash(text[:place] + character + text[place + 1 :])
            assert verify(stored, PASSWORD, COST) == RIGHT
            assert verify(stored, PASSWORD + "x", COST) == WRONG


def test_bcrypt_ends_here() -> None:
    """After a rehash, the bytes that bcrypt ignored count."""
    start = "x" * 72
    stored = parse_hash(bcrypt.hashpw(start.encode(), bcrypt.gensalt(4)).decode())
    assert verify(stored, start[:71], COST) == WRONG
    own = parse_hash(hash_password((start + "one").encode(), COST, bytes(16)))
    assert not verify(own, start + "another", COST).valid


def published(name: str) -> list[dict[str, str]]:
    """Return the blocks of a file of published vectors."""
    text = (Path(cryptography_vectors.__file__).parent / "KDF" / name).read_text()
    found = []
    for block in text.split("COUNT = ")[1:]:
        lines = [line.partition("=") for line in block.splitlines()[1:] if "=" in line]
        found.append({name.strip().lower(): value.strip() for name, _, value in lines})
    return found


def encode(data: bytes) -> str:
    """Encode base64 without padding."""
    return base64.b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("form", ["pbkdf2", "pbkdf2-sha1"])
def test_published_vectors_of_pbkdf2_verify(form: str) -> None:
    """The vectors of RFC 6070 verify as PHC strings, except the one of 16 million iterations, which is refused."""
    for vector in published("rfc-6070-PBKDF2-SHA1.txt"):
        salt, digest = vector["salt"].replace("\\0", "\0").encode(), bytes.fromhex(vector["derived_key"])
        text = f"${form}$i={vector['iterations']},l={len(digest)}${encode(salt)}${encode(digest)}"
        if int(vector["iterations"]) > 10_000_000:
            with pytest.raises(InvalidHash):
                parse_hash(text)
        else:
            assert verify(parse_hash(text), vector["password"].replace("\\0", "\0"), COST) == RIGHT


@pytest.mark.parametrize(
    ("password", "salt", "ln", "r", "p", "digest"),
    [
        (
            "password",
            "NaCl",
            10,
            8,
            16,
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
        ),
        (
            "pleaseletmein",
            "SodiumChloride",
            14,
            8,
            1,
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
        ),
    ],
)
def test_published_vectors_of_scrypt_verify(password: str, salt: str, ln: int, r: int, p: int, digest: str) -> None:
    """The vectors of RFC 7914, section 12, verify as PHC strings, and the app counts their memory."""
    stored = parse_hash(f"$scrypt$ln={ln},r={r},p={p}${encode(salt.encode())}${encode(bytes.fromhex(digest))}")
    assert verify(stored, password, COST) == RIGHT
    assert verify(stored, password + "x", COST) == WRONG
    assert memory_of(stored) >= 128 * r * 2**ln // 1024


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("$2b$15$" + "a" * 53, "bcrypt cost of 15"),
        ("$2b$31$" + "a" * 53, "bcrypt cost of 31"),
        ("$2b$03$" + "a" * 53, "bcrypt cost of 3"),
        ("$2x$10$" + "a" * 53, "known"),
        ("$2b$10$" + "a" * 52, "known"),
        ("$2b$10$" + "a" * 54, "known"),
        ("$scrypt$ln=20,r=8,p=2$c2FsdA$" + "A" * 43, "scrypt"),
        ("$scrypt$ln=31,r=8,p=1$c2FsdA$" + "A" * 43, "N = 2147483648"),
        ("$scrypt$ln=1,r=999999999,p=1$c2FsdA$" + "A" * 43, "r = 999999999"),
        ("$scrypt$ln=14,r=8,p=999999999$c2FsdA$" + "A" * 43, "p = 999999999"),
        ("$scrypt$ln=14,r=8,p=25$c2FsdA$" + "A" * 43, "p = 25"),
        ("$scrypt$ln=1,r=1,p=999999$c2FsdA$" + "A" * 43, "p = 999999"),
        ("$scrypt$ln=16,r=1,p=1$c2FsdA$" + "A" * 43, "less than 2^(16"),
        ("$scrypt$ln=1000,r=8,p=1$c2FsdA$" + "A" * 43, "power of 2"),
        ("$scrypt$ln=524288,r=8,p=1$c2FsdA$" + "A" * 43, "N = 524288"),
        ("$firescrypt$ln=31,r=8,p=1$c2FsdHNhbHRzYWx0$aGFzaA==$Bw==$a2V5a2V5", "digest"),
        ("$firescrypt$ln=20,r=8,p=1$c2FsdA$" + "A" * 86 + "==$Bw==$" + "A" * 86 + "==", "N = 1048576"),
        ("$6$rounds=999999999$salt$" + "." * 86, "700000"),
        ("$5$rounds=700001$salt$" + "." * 43, "700001"),
        ("$6$rounds=999$salt$" + "." * 86, "damaged"),
        ("$6$salt", "damaged"),
        ("$6$salt$", "damaged"),
        ("$6$salt$" + "z" * 86, "damaged"),
        ("$5$salt$" + "z" * 43, "damaged"),
        ("$1$salt$" + "z" * 22, "damaged"),
        ("$1$saltsaltsalt$" + "." * 22, "damaged"),
        ("$P$Z" + "." * 30, "damaged"),
        ("$P$I" + "." * 30, "2^20"),
        ("$H$9" + "." * 29, "damaged"),
        ("AQAAAAEAAYagAAAAEA" + "A" * 30, "digest in the hash has 7"),
        ("AQAAAAIAAYagAAAA/w" + "A" * 60, "damaged"),
        ("AQAAAAMAAYagAAAAEA" + "A" * 64, "damaged"),
        ("A" * 64, "49 bytes"),
        ("Ag" + "A" * 80, "known"),
        ("$scrypt$ln=14,r=0,p=1$c2FsdA$" + "A" * 43, "at least 1"),
        ("scrypt:1000:8:1$salt$" + "ab" * 64, "power of 2"),
        ("scrypt$4294967296$salt$8$1$" + "A" * 43 + "=", "N = 4294967296"),
        ("pbkdf2_sha256$10000001$salt$" + "A" * 43 + "=", "10000001 iterations"),
        ("pbkdf2_sha256$0$salt$" + "A" * 43 + "=", "0 iterations"),
        ("pbkdf2_md5$1000$salt$" + "A" * 43 + "=", "known"),
        ("$pbkdf2-sha512$i=10000000$c2FsdA$" + "A" * 86, "10000000 iterations"),
        ("$pbkdf2-sha256$i=1000,l=31$c2FsdA$" + "A" * 43, "declares a digest of 31"),
        ("$pbkdf2-sha256$1000$c2FsdA$" + "A" * 10, "digest in the hash has 7"),
        ("pbkdf2:sha256:1000$salt$" + "ab" * 200, "digest in the hash has 200"),
        ("pbkdf2:sha256:1000$salt$abc", "odd number"),
        ("{SSHA}" + base64.b64encode(bytes(20)).decode(), "salt in the hash has 0"),
        ("{SSHA}" + base64.b64encode(bytes(100)).decode(), "salt in the hash has 80"),
        ("{SSHA}AAAAA", "base64"),
        ("{SHA}" + base64.b64encode(bytes(20)).decode(), "known"),
        ("{MD5}AAAAAAAAAAAAAAAAAAAAAA==", "known"),
        ("password", "known"),
        ("{x-unknown}secret", "known"),
    ],
    ids=lambda value: value[:40],
)
def test_a_hostile_hash_is_refused_before_any_work(text: str, word: str) -> None:
    """The app refuses a damaged or too expensive string, with the reason and without hashing."""
    with pytest.raises(InvalidHash) as refused:
        parse_hash(text)
    assert word in refused.value.detail


def test_a_refusal_names_the_accepted_forms() -> None:
    """The error for an unknown hash format lists the accepted ones."""
    with pytest.raises(InvalidHash) as refused:
        parse_hash("{MD5}AAAAAAAAAAAAAAAAAAAAAA==")
    for form in ("Argon2", "bcrypt", "$6$", "phpass", "scrypt", "PBKDF2", "Firebase", "ASP.NET", "{SSHA}"):
        assert form in refused.value.detail


OPENSSL = shutil.which("openssl")


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
@pytest.mark.parametrize(("option", "algorithm"), [("-1", "md5-crypt"), ("-5", "sha256-crypt"), ("-6", "sha512-crypt")])
@pytest.mark.parametrize("scheme", ["", "{CRYPT}", "{crypt}"])
def test_strings_of_openssl_passwd_verify(option: str, algorithm: str, scheme: str) -> None:
    """The hashes of `openssl passwd` verify here, also with LDAP's scheme."""
    command = [str(OPENSSL), "passwd", option, "-salt", "saltsalt", "-stdin"]
    made = subprocess.run(command, input=PASSWORD, capture_output=True, text=True, check=True).stdout.strip()
    stored = parse_hash(scheme + made)
    assert algorithm_of(stored) == algorithm
    assert verify(stored, PASSWORD, COST) == RIGHT
    assert verify(stored, PASSWORD + "x", COST) == WRONG


# Python 3.13 removed crypt, and 3.11 warns at its import.
CRYPT = """
import sys, warnings
warnings.simplefilter("ignore")
import crypt
print(crypt.crypt(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python has no module crypt")
@pytest.mark.parametrize("settings", ["$1$abcdefgh", "$5$rounds=1000$salt", "$6$rounds=77777$0123456789abcdef", "$6$a"])
def test_strings_of_crypt_verify(settings: str) -> None:
    """The hashes of the C library's crypt(3) verify here, with any number of rounds and any salt."""
    made = subprocess.run([sys.executable, "-c", CRYPT, PASSWORD, settings], capture_output=True, text=True, check=True)
    stored = parse_hash(made.stdout.strip())
    assert verify(stored, PASSWORD, COST) == RIGHT
    assert verify(stored, PASSWORD + "x", COST) == WRONG
    assert verify(stored, PASSWORD + "\0", COST) == WRONG
    assert verify(stored, PASSWORD * 20, COST) == WRONG


def test_strings_of_phpass_verify() -> None:
    """The published test vectors of phpass (WordPress and phpBB) verify."""
    for text in ("$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", "$H$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0"):
        stored = parse_hash(text)
        assert algorithm_of(stored) == "phpass"
        assert verify(stored, "test12345", COST) == RIGHT
        assert verify(stored, "test12346", COST) == WRONG


FIREBASE = (
    "xbSou7FOl6mChCyzpCPIQ7tku7nsQMTFtyOZSXXd7tjBa4NtimOx7v42Gv2SfzPQu1oxM2/k4SsbOu73wlKe1A==",
    "YE0dO4bwD4JnJafh6lZZfkp1MtKzuKAXQcDCJNJNyeCHairWHKENOkbh3dzwaCdizzOspwr/FITUVlnOAwPKyw==",
)


@pytest.mark.parametrize(
    "form",
    [
        "$firescrypt$ln=14,r=8,p=1$sPtDhWcd1MfdAw==${0}$Bw==${1}",
        "$firescrypt$ln=14,r=8$sPtDhWcd1MfdAw${0}$Bw${1}",
        "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk={1}$sPtDhWcd1MfdAw==${0}",
    ],
)
@pytest.mark.parametrize("url_safe", [False, True])
def test_strings_of_firebase_verify(form: str, url_safe: bool) -> None:
    """A hash of Firebase's scrypt verifies with the project's parameters, in Kratos' and in Supabase's format."""
    text = form.format(*FIREBASE)
    stored = parse_hash(text.replace("+", "-").replace("/", "_") if url_safe else text)
    assert algorithm_of(stored) == "firebase-scrypt"
    assert verify(stored, "8x4WjoDbSxJZdR", COST) == RIGHT
    assert verify(stored, "8x4WjoDbSxJZdr", COST) == WRONG


def aspnet(prf: int, iterations: int, salt: bytes, digest: bytes) -> str:
    """Build a hash in the format of ASP.NET Core Identity v3."""
    header = b"\1" + b"".join(number.to_bytes(4) for number in (prf, iterations, len(salt)))
    return base64.b64encode(header + salt + digest).decode()


@pytest.mark.parametrize(("prf", "name"), [(0, "sha1"), (1, "sha256"), (2, "sha512")])
@pytest.mark.parametrize("salt", [bytes(range(16)), bytes(range(32))])
def test_strings_of_aspnet_identity_verify(prf: int, name: str, salt: bytes) -> None:
    """A hash of ASP.NET Core Identity, version 3 with each digest, and version 2, verifies."""
    digest = hashlib.pbkdf2_hmac(name, PASSWORD.encode(), salt, 1000, 32)
    stored = parse_hash(aspnet(prf, 1000, salt, digest))
    assert algorithm_of(stored) == f"pbkdf2-{name}"
    assert verify(stored, PASSWORD, COST) == RIGHT
    assert verify(stored, PASSWORD + "x", COST) == WRONG
    second = b"\0" + salt[:16] + hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), salt[:16], 1000, 32)
    stored = parse_hash(base64.b64encode(second).decode())
    assert verify(stored, PASSWORD, COST) == RIGHT


def test_a_hash_of_aspnet_identity_that_others_published_verifies() -> None:
    """A hash from ASP.NET Core Identity's own tests verifies (v3, SHA-256, 10,000 iterations; and v2)."""
    v3 = "AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw=="
    assert verify(parse_hash(v3), "my password", COST) == RIGHT
    v2 = "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg=="
    assert verify(parse_hash(v2), "my password", COST) == RIGHT


@pytest.mark.parametrize(
    ("password", "text"),
    [
        (
            "test",
            "$scrypt$ln=16384,r=8,p=1$2npRo7P03Mt8keSoMbyD/tKFWyUzjiQf2svUaNDSrhA=$MiCzNcIplSMqSBrm4HckjYqYhaVPPjTARTzwB1cVNYE=",
        ),
    ],
)
def test_strings_of_kratos_verify(password: str, text: str) -> None:
    """Kratos writes N itself instead of its exponent as in PHC strings, and pads its base64."""
    stored = parse_hash(text)
    assert verify(stored, password, COST) == RIGHT
    assert verify(stored, password + "x", COST) == WRONG


@pytest.mark.parametrize("name", ["1", "256", "512"])
@pytest.mark.parametrize("pattern", ["{SALT}{PASSWORD}", "{PASSWORD}{SALT}", "x{SALT}$$${PASSWORD}y{SALT}"])
def test_salted_sha_of_kratos_verifies(name: str, pattern: str) -> None:
    """Kratos writes the pattern that joins salt and password."""
    salt = b"salt{PASSWORD}"
    parts = [part.replace("{SALT}", salt.decode()) for part in pattern.split("{PASSWORD}")]
    digest = hashlib.new(f"sha{name}", PASSWORD.join(parts).encode()).digest()
    fields = [base64.b64encode(each).decode() for each in (pattern.encode(), salt, digest)]
    stored = parse_hash(f"$sha{name}$pf={fields[0]}${fields[1]}${fields[2]}")
    assert algorithm_of(stored) == f"salted-sha{name}"
    assert verify(stored, PASSWORD, COST) == RIGHT
    assert verify(stored, PASSWORD + "x", COST) == WRONG
    for wrong in (b"{SALT}", b"{PASSWORD}", b"{PASSWORD}{SALT}{PASSWORD}"):
        with pytest.raises(InvalidHash):
            parse_hash(f"$sha{name}$pf={base64.b64encode(wrong).decode()}${fields[1]}${fields[2]}")


@pytest.mark.parametrize(("option", "name"), [("-1", "md5"), ("-5", "sha256"), ("-6", "sha512")])
@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_crypt_of_kratos_verifies(option: str, name: str) -> None:
    """Kratos writes the algorithm's name instead of crypt(3)'s number."""
    command = [str(OPENSSL), "passwd", option, "-salt", "saltsalt", "-stdin"]
    made = subprocess.run(command, input=PASSWORD, capture_output=True, text=True, check=True).stdout.strip()
    stored = parse_hash(f"${name}-crypt{made[2:]}")
    assert verify(stored, PASSWORD, COST) == RIGHT
    assert verify(stored, PASSWORD + "x", COST) == WRONG


def test_padded_and_marked_strings_verify() -> None:
    """Padded base64 and the prefixes of LDAP servers, Dovecot and Spring, in any case, are accepted."""
    salt = bytes(range(16))
    own = hash_password(PASSWORD.encode(), COST, salt)
    begin, salt_text, digest = own.rsplit("$", 2)
    made = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    pbkdf2 = base64.b64encode(hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, 1000)).decode()
    salted = base64.b64encode(hashlib.sha384(PASSWORD.encode() + salt).digest() + salt).decode()
    texts = [
        f"{begin}${salt_text}==${digest}=",
        *(mark + own for mark in ("{ARGON2}", "{argon2id}")),
        *(mark + made for mark in ("{BCRYPT}", "{bcrypt}", "{CRYPT}", "{crypt}", "{BLF-CRYPT}")),
        f"$pbkdf2-sha256$i=1000,l=32${base64.b64encode(salt).decode()}${pbkdf2}",
        *(f"{mark}1000${encode(salt)}${pbkdf2}" for mark in ("{PBKDF2-SHA256}", "{pbkdf2-sha256}")),
        *(mark + salted for mark in ("{SSHA384}", "{ssha384}")),
        "{ssha}" + base64.b64encode(hashlib.sha1(PASSWORD.encode() + salt).digest() + salt).decode(),  # noqa: S324
    ]
    for text in texts:
        assert verify(parse_hash(text), PASSWORD, COST).valid, text
        assert not verify(parse_hash(text), PASSWORD + "x", COST).valid, text


def test_the_costs_that_common_programs_write_are_allowed() -> None:
    """The limits allow the costs of Django, passlib, OWASP, Linux distributions, and the app's own profiles."""
    for text in (
        "pbkdf2_sha256$1500000$salt$" + "A" * 43 + "=",
        "$pbkdf2-sha512$i=600000$c2FsdA$" + "A" * 86,
        "pbkdf2_sha1$1300000$salt$" + "A" * 27 + "=",
        "$scrypt$ln=17,r=8,p=1$c2FsdA$" + "A" * 43,
        "$scrypt$ln=18,r=8,p=1$c2FsdA$" + "A" * 43,
        "$2b$14$" + "." * 53,
        "$6$rounds=656000$salt$" + "." * 86,
        "$P$H" + "." * 30,
        *(f"$argon2id$v=19$m={m},t={t},p={p}$" + "A" * 22 + "$" + "A" * 43 for m, t, p in PROFILES.values()),
    ):
        parse_hash(text)


@given(
    st.sampled_from(
        [
            r"\$2b\$04\$[A-Za-z0-9./]{53}",
            r"\$scrypt\$ln=[0-9]{1,2},r=[0-9]{1,3},p=[0-9]{1,3}\$[A-Za-z0-9+/]{1,40}\$[A-Za-z0-9+/]{20,90}",
            r"pbkdf2_sha256\$[0-9]{1,10}\$[a-z]{1,9}\$[A-Za-z0-9+/]{20,90}={0,2}",
            r"\{SSHA(256|512)?\}[A-Za-z0-9+/]{1,120}={0,2}",
            r"\$[156]\$(rounds=[0-9]{1,5}\$)?[a-z]{0,20}\$[A-Za-z0-9./]{1,100}",
            r"\$P\$[5-9][A-Za-z0-9./]{25,35}",
            r"A[AQ]AAAA[A-Za-z0-9+/]{40,100}={0,2}",
            r"\$firescrypt\$ln=[0-9]{1,2},r=[0-9],p=[0-9]\$[a-z]{1,9}\$[A-Za-z0-9+/]{20,90}\$\$[A-Za-z0-9+/]{20,90}",
        ]
    ).flatmap(lambda form: st.from_regex(form, fullmatch=True))
)
@settings(deadline=None)
def test_no_string_breaks_it(text: str) -> None:
    """A string with any salt, digest and cost is parsed, or refused as an invalid hash."""
    try:
        stored = parse_hash(text)
        if text.startswith(("$2b$04$", "{", "$1$", "$5$", "$6$", "$P$")):
            assert not verify(stored, "no such password", COST).valid
    except InvalidHash:
        return
    assert memory_of(stored) <= 1024 * 1024


MEASURE = """
import re, threading
from pathlib import Path
from shared.passwords import hashing
from shared.passwords.admission import HashingThreads
from shared.passwords.argon2 import Parameters

def memory(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

threads = HashingThreads(64, threads=2, wait_seconds=600)
texts = ["$scrypt$ln=%d,r=8,p=1$c2FsdA$" % ln + "A" * 43 for ln in (13, 14, 15)]
texts += ["$argon2id$v=19$m=%d,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$" % m + "A" * 43 for m in (19456, 32768)]
stored = [hashing.parse_hash(text) for text in texts]
def check(each):
    work = lambda memory: hashing.verify(each, "password", Parameters(64, 1, 1), memory)
    assert not threads.run(hashing.memory_of(each), work, mapped=hashing.is_mapped(each)).valid
check(hashing.parse_hash("$scrypt$ln=1,r=8,p=1$c2FsdA$" + "A" * 43))
before = memory("VmRSS")
def call(number):
    for round in range(3):
        check(stored[(number + round) % len(stored)])
callers = [threading.Thread(target=call, args=(number,)) for number in range(64)]
for each in callers: each.start()
for each in callers: each.join()
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's memory so")
def test_scrypt_stays_within_the_memory() -> None:
    """With scrypt and Argon2 hashes together, the process uses at most the limit plus 10 MiB."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC")}
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) <= (64 + 10) * 1024


def test_a_foreign_hash_hides_itself() -> None:
    """The repr of a parsed hash, which a log may contain, shows none of it."""
    make: Callable[[str], object] = parse_hash
    assert repr(make("{SSHA}" + base64.b64encode(b"d" * 20 + b"salt").decode())) == "ForeignHash(salted-sha1, …)"
