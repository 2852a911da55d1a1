"""Hashes that other programs made verify here; each program makes its own."""

import base64
import hashlib
import hmac
import json
import os
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
from shared.passwords.errors import InvalidHash
from shared.passwords.hashing import Verdict, algorithm_of, memory_of, parse_hash
from tests.passwords.support import hash_password, verify

ROOT = Path(__file__).resolve().parent.parent.parent
COST = Parameters(64, 1, 1)
PASSWORD = "Grüße, Jürgen ❤"
RIGHT, WRONG = Verdict(valid=True, needs_rehash=True), Verdict(valid=False, needs_rehash=False)

# Each in a process of its own: both warn about what our interpreter deprecates, and Django wants to be set up.
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
    """What another program makes of the password; and whether it verifies what we make of it."""
    ours = hash_password(PASSWORD.encode(), COST, bytes(range(16)))
    command = [sys.executable, "-c", script, PASSWORD, ours]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    made: dict[str, str] = json.loads(ran.stdout)
    return made


@pytest.mark.parametrize("script", [PASSLIB, DJANGO], ids=["passlib", "Django"])
def test_strings_of_password_libraries_verify(script: str) -> None:
    """Every kind of hash that passlib and Django make verifies here and wants a rehash; and ours verifies there."""
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
    """What Werkzeug makes verifies here and wants a rehash."""
    stored = parse_hash(generate_password_hash(PASSWORD, method))
    assert verify(stored, PASSWORD, COST) == RIGHT
    assert verify(stored, PASSWORD + "x", COST) == WRONG


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_strings_of_bcrypt_verify(prefix: str) -> None:
    """A bcrypt hash verifies, whichever program wrote its prefix."""
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
    """The vectors that bcrypt's implementations share verify; an empty password is refused before."""
    if password:
        assert verify(parse_hash(text), password, COST) == RIGHT


def test_bcrypt_reads_72_bytes() -> None:
    """To a bcrypt hash passwords that agree in 72 bytes are the same; the rehash that it wants ends that."""
    start = "x" * 72
    stored = parse_hash(bcrypt.hashpw(start.encode(), bcrypt.gensalt(4)).decode())
    assert verify(stored, start + "one", COST) == RIGHT
    assert verify(stored, start + "another", COST) == RIGHT
    assert verify(stored, start[:71], COST) == WRONG
    ours = parse_hash(hash_password((start + "one").encode(), COST, bytes(16)))
    assert not verify(ours, start + "another", COST).valid


def published(name: str) -> list[dict[str, str]]:
    """The blocks of a file of published vectors."""
    text = (Path(cryptography_vectors.__file__).parent / "KDF" / name).read_text()
    found = []
    for block in text.split("COUNT = ")[1:]:
        lines = [line.partition("=") for line in block.splitlines()[1:] if "=" in line]
        found.append({name.strip().lower(): value.strip() for name, _, value in lines})
    return found


def encode(data: bytes) -> str:
    """Base64 without padding."""
    return base64.b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("form", ["pbkdf2", "pbkdf2-sha1"])
def test_published_vectors_of_pbkdf2_verify(form: str) -> None:
    """The vectors of RFC 6070 verify as PHC strings, but the one of 16 million iterations, which is refused."""
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
    """The vectors of RFC 7914, section 12, verify as PHC strings, and their memory is counted."""
    stored = parse_hash(f"$scrypt$ln={ln},r={r},p={p}${encode(salt.encode())}${encode(bytes.fromhex(digest))}")
    assert verify(stored, password, COST) == RIGHT
    assert verify(stored, password + "x", COST) == WRONG
    assert memory_of(stored) >= 128 * r * 2**ln // 1024


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("$2b$16$" + "a" * 53, "bcrypt cost of 16"),
        ("$2b$31$" + "a" * 53, "bcrypt cost of 31"),
        ("$2b$03$" + "a" * 53, "bcrypt cost of 3"),
        ("$2x$10$" + "a" * 53, "known"),
        ("$2b$10$" + "a" * 52, "known"),
        ("$2b$10$" + "a" * 54, "known"),
        ("$scrypt$ln=20,r=8,p=2$c2FsdA$" + "A" * 43, "scrypt"),
        ("$scrypt$ln=31,r=8,p=1$c2FsdA$" + "A" * 43, "scrypt cost (ln) of 31"),
        ("$scrypt$ln=1,r=999999999,p=1$c2FsdA$" + "A" * 43, "KiB of memory"),
        ("$scrypt$ln=14,r=8,p=999999999$c2FsdA$" + "A" * 43, "KiB of memory"),
        ("$scrypt$ln=14,r=0,p=1$c2FsdA$" + "A" * 43, "none"),
        ("scrypt:1000:8:1$salt$" + "ab" * 64, "power of 2"),
        ("scrypt$4294967296$salt$8$1$" + "A" * 43 + "=", "KiB of memory"),
        ("pbkdf2_sha256$10000001$salt$" + "A" * 43 + "=", "10000001 iterations"),
        ("pbkdf2_sha256$0$salt$" + "A" * 43 + "=", "0 iterations"),
        ("pbkdf2_md5$1000$salt$" + "A" * 43 + "=", "known"),
        ("$pbkdf2-sha256$i=6000000$c2FsdA$" + "A" * 86, "6000000 iterations"),
        ("$pbkdf2-sha256$i=1000,l=31$c2FsdA$" + "A" * 43, "says that it has 31"),
        ("$pbkdf2-sha256$1000$c2FsdA$" + "A" * 10, "digest in the hash has 7"),
        ("pbkdf2:sha256:1000$salt$" + "ab" * 200, "digest in the hash has 200"),
        ("pbkdf2:sha256:1000$salt$abc", "digest in the hash has 0"),
        ("{SSHA}" + base64.b64encode(bytes(20)).decode(), "salt in the hash has 0"),
        ("{SSHA}" + base64.b64encode(bytes(100)).decode(), "salt in the hash has 80"),
        ("{SSHA}AAAAA", "base64"),
        ("{SHA}" + base64.b64encode(bytes(20)).decode(), "known"),
        ("{MD5}AAAAAAAAAAAAAAAAAAAAAA==", "known"),
        ("password", "known"),
    ],
    ids=lambda value: value[:40],
)
def test_a_hostile_hash_is_refused_before_any_work(text: str, word: str) -> None:
    """A string that is damaged, or asks for more than is granted, is refused by name, without hashing."""
    with pytest.raises(InvalidHash) as refused:
        parse_hash(text)
    assert word in refused.value.detail


@given(
    st.sampled_from(
        [
            r"\$2b\$04\$[A-Za-z0-9./]{53}",
            r"\$scrypt\$ln=[0-9]{1,2},r=[0-9]{1,3},p=[0-9]{1,3}\$[A-Za-z0-9+/]{1,40}\$[A-Za-z0-9+/]{20,90}",
            r"pbkdf2_sha256\$[0-9]{1,10}\$[a-z]{1,9}\$[A-Za-z0-9+/]{20,90}={0,2}",
            r"\{SSHA(256|512)?\}[A-Za-z0-9+/]{1,120}={0,2}",
        ]
    ).flatmap(lambda form: st.from_regex(form, fullmatch=True))
)
@settings(deadline=None)
def test_no_string_breaks_it(text: str) -> None:
    """Whatever stands in the place of salt, digest and cost, the string is read, or refused as an invalid hash."""
    try:
        stored = parse_hash(text)
        if text.startswith(("$2b$04$", "{")):
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
    """With hashes of scrypt among those of Argon2 the process takes no more than the limit and 10 MiB."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC")}
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) <= (64 + 10) * 1024


def test_a_foreign_hash_hides_itself() -> None:
    """The repr of a parsed hash, which may come into a log, shows nothing of it."""
    make: Callable[[str], object] = parse_hash
    assert repr(make("{SSHA}" + base64.b64encode(b"d" * 20 + b"salt").decode())) == "ForeignHash(salted-sha1, …)"
