"""Argon2 hashes: vectors, strings of other programs, limits, and arbitrary passwords."""

import shutil
import subprocess
import unicodedata
from pathlib import Path

import cryptography_vectors
import pytest
from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidPassword
from shared.passwords.argon2 import Parameters
from shared.passwords.costs import LIMITS, PROFILES
from shared.passwords.errors import InvalidHash
from shared.passwords.hashing import (
    MAX_PASSWORD_BYTES,
    Profile,
    Verdict,
    encode_password,
    parse_hash,
)
from shared.passwords.policy import Policy
from tests.passwords.support import hash_password, parse_argon2, phc, verify

SMALL = Parameters(64, 1, 1)
SALT = bytes(range(16))
VECTORS = Path(cryptography_vectors.__file__).parent / "KDF"

PASSWORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


def published_vectors() -> list[tuple[str, dict[str, str]]]:
    """Return the published vectors of the three variants that a PHC string can hold.

    The others have a secret or associated data, or a tag under 12 bytes.
    """
    found = []
    for variant in ("argon2d", "argon2i", "argon2id"):
        for block in (VECTORS / f"{variant}.txt").read_text().split("COUNT = ")[1:]:
            lines = [line.partition("=") for line in block.splitlines()[1:] if "=" in line and line[0] != "#"]
            fields = {name.strip(): value.strip() for name, _, value in lines}
            if fields["pass"] and int(fields["length"]) >= 12 and not fields.get("secret") and not fields.get("ad"):
                found.append((variant, fields))
    return found


@pytest.mark.parametrize(("variant", "fields"), published_vectors())
def test_published_vectors_verify(variant: str, fields: dict[str, str]) -> None:
    """The published vectors of Argon2d, Argon2i and Argon2id (from OpenSSL and the argon2 command) verify."""
    password = bytes.fromhex(fields["pass"]).decode()
    cost = Parameters(int(fields["memcost"]), int(fields["iter"]), int(fields["lanes"]))
    text = phc(variant, 19, cost, bytes.fromhex(fields["salt"]), bytes.fromhex(fields["output"]))
    assert verify(parse_argon2(text), password, cost).valid
    assert not verify(parse_argon2(text), password + "x", cost).valid


@pytest.mark.parametrize(("kind", "name"), [(0, "argon2d"), (1, "argon2i"), (2, "argon2id")])
def test_the_vectors_of_rfc_9106_hold(kind: int, name: str) -> None:
    """The Argon2 library gives the tags of RFC 9106, section 5 (with secret and associated data)."""
    from argon2.low_level import core, ffi

    tags = {
        "argon2d": "512b391b6f1162975371d30919734294f868e3be3984f3c1a13a4db9fabe4acb",
        "argon2i": "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8",
        "argon2id": "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659",
    }
    parts = {
        field: ffi.new("uint8_t[]", bytes([value]) * length)
        for field, value, length in (("pwd", 1, 32), ("salt", 2, 16), ("secret", 3, 8), ("ad", 4, 12))
    }
    out = ffi.new("uint8_t[]", 32)
    lengths = {"pwdlen": 32, "saltlen": 16, "secretlen": 8, "adlen": 12, "outlen": 32}
    cost = {"t_cost": 3, "m_cost": 32, "lanes": 4, "threads": 4, "version": 0x13, "flags": 0}
    callbacks = {"allocate_cbk": ffi.NULL, "free_cbk": ffi.NULL}
    context = ffi.new("argon2_context *", {"out": out, **parts, **lengths, **cost, **callbacks})
    assert core(context, kind) == 0
    assert bytes(ffi.buffer(out, 32)).hex() == tags[name]


@pytest.mark.parametrize(
    "text",
    [
        "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
        "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
        "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    ],
)
def test_strings_of_the_reference_implementation_verify(text: str) -> None:
    """The strings in the reference implementation's own tests verify, also those of its first version."""
    stored = parse_argon2(text)
    assert verify(stored, "password", stored.cost) == Verdict(valid=True, needs_rehash=True)
    assert not verify(stored, "another", stored.cost).valid


@pytest.mark.parametrize("kind", list(Type))
@pytest.mark.parametrize("lanes", [1, 3])
def test_strings_of_argon2_cffi_verify(kind: Type, lanes: int) -> None:
    """A hash of argon2-cffi's PasswordHasher verifies here, in every variant."""
    text = PasswordHasher(2, 256, lanes, hash_len=16, salt_len=8, type=kind).hash("Grüße, Jürgen ❤")
    assert verify(parse_argon2(text), "Grüße, Jürgen ❤", SMALL) == Verdict(valid=True, needs_rehash=True)
    assert verify(parse_argon2(text), "Grüße, Jürgen", SMALL) == Verdict(valid=False, needs_rehash=False)


@pytest.mark.parametrize("profile", ["owasp", "owasp-46", "rfc9106-low"])
def test_our_strings_verify_in_argon2_cffi(profile: Profile) -> None:
    """The app's hashes verify in argon2-cffi's PasswordHasher, and have the profile's parameters."""
    cost = PROFILES[profile]
    text = hash_password(encode_password("Passwört"), cost, SALT)
    assert text.startswith(f"$argon2id$v=19$m={cost.memory_kib},t={cost.time_cost},p={cost.parallelism}$")
    assert PasswordHasher().verify(text, "Passwört")
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(text, "Passwort")
    assert verify(parse_argon2(text), "Passwört", cost) == Verdict(valid=True, needs_rehash=False)


@pytest.mark.skipif(shutil.which("argon2") is None, reason="the argon2 command is not installed")
def test_strings_of_the_argon2_command_verify() -> None:
    """A hash of the argon2 command verifies here, and the app computes the same tag."""
    for option, variant in (("-i", "argon2i"), ("-d", "argon2d"), ("-id", "argon2id")):
        command = ["argon2", SALT.hex(), option, "-t", "2", "-m", "12", "-p", "2", "-e"]
        text = subprocess.run(command, input=b"Gr\xc3\xbc\xc3\x9fe", capture_output=True, check=True).stdout
        stored = parse_argon2(text.decode().strip())
        assert stored.variant == variant
        assert verify(stored, "Grüße", SMALL).valid
    own = hash_password("Grüße".encode(), stored.cost, SALT.hex().encode())
    assert text.decode().strip() == own


def test_profiles_are_those_of_their_sources() -> None:
    """The profiles have the numbers of OWASP's cheat sheet and of RFC 9106, section 4."""
    assert dict(PROFILES) == {
        "owasp": Parameters(19456, 2, 1),
        "owasp-46": Parameters(47104, 1, 1),
        "rfc9106-low": Parameters(65536, 3, 4),
        "rfc9106-high": Parameters(2097152, 1, 4),
    }


@given(PASSWORDS)
@settings(deadline=None)
def test_any_password_verifies(password: str) -> None:
    """Any Unicode text can be a password: its hash verifies it, and no longer or shorter one."""
    stored = parse_argon2(hash_password(encode_password(password), SMALL, SALT))
    assert verify(stored, password, SMALL) == Verdict(valid=True, needs_rehash=False)
    assert not verify(stored, password + "a", SMALL).valid
    assert not verify(stored, "a" + password, SMALL).valid


@given(PASSWORDS, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
@settings(deadline=None)
def test_every_normal_form_is_the_same_password(password: str, form: str) -> None:
    """Passwords are normalised to NFKC: é typed as one character equals e with a combining accent."""
    stored = parse_argon2(hash_password(encode_password(password), SMALL, SALT))
    assert verify(stored, unicodedata.normalize(form, password), SMALL).valid  # type: ignore[arg-type]


@given(PASSWORDS)
@settings(deadline=None)
def test_hashes_of_the_password_as_typed_verify(password: str) -> None:
    """A hash made elsewhere without NFKC verifies, and needs a rehash if NFKC changes the password."""
    stored = parse_argon2(hash_password(password.encode(), SMALL, SALT))
    differs = unicodedata.normalize("NFKC", password) != password
    assert verify(stored, password, SMALL) == Verdict(valid=True, needs_rehash=differs)


def test_case_and_spaces_count() -> None:
    """A password is neither trimmed nor case-folded; a zero byte does not end it."""
    for password, other in (("Secret", "secret"), (" secret", "secret"), ("a\0b", "a\0c"), ("a\0", "a")):
        stored = parse_argon2(hash_password(encode_password(password), SMALL, SALT))
        assert verify(stored, password, SMALL).valid
        assert not verify(stored, other, SMALL).valid


@pytest.mark.parametrize(
    ("password", "accepted"),
    [
        ("", False),
        ("a" * MAX_PASSWORD_BYTES, True),
        ("a" * (MAX_PASSWORD_BYTES + 1), False),
        ("é" * 512, True),
        ("é" * 513, False),
        ("e\u0301" * 512, True),
        ("\U0001d400" * MAX_PASSWORD_BYTES, True),
        ("\U0001d400" * (MAX_PASSWORD_BYTES + 1), False),
        ("\ufdfa" * 40, False),
        ("\u0301\u0316" * 4_000_000, False),
    ],
    ids=lambda value: value[:8].encode("unicode-escape").decode() if isinstance(value, str) else None,
)
def test_a_password_has_1_to_1024_bytes(password: str, accepted: bool) -> None:
    """The limit applies to the normalised password in UTF-8, and the check is fast."""
    if accepted:
        assert 1 <= len(encode_password(password)) <= MAX_PASSWORD_BYTES
    else:
        with pytest.raises(InvalidPassword):
            encode_password(password)


def test_no_text_is_normalised_that_cannot_be_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalising takes time quadratic in the length, so a longer text is refused first."""
    lengths: list[int] = []
    real = unicodedata.normalize

    def normalize(form: str, text: str) -> str:
        lengths.append(len(text.encode()))
        return real(form, text)  # type: ignore[arg-type]

    monkeypatch.setattr(unicodedata, "normalize", normalize)
    for length in (4 * MAX_PASSWORD_BYTES, 4 * MAX_PASSWORD_BYTES + 1, 1_000_000):
        with pytest.raises(InvalidPassword):
            encode_password("a" * length)
        assert "too-long" in Policy().reasons("a" * length, frozenset())
    assert lengths == [4 * MAX_PASSWORD_BYTES] * 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "PHC"),
        ("x", "PHC"),
        ("$argon2id$v=19$m=19456,t=2,p=1$", "PHC"),
        ("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA", "PHC"),
        ("$argon2x$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "PHC"),
        ("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA$", "PHC"),
        ("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA\n", "PHC"),
        ("$argon2id$v=19$m=-64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "PHC"),
        ("$argon2id$v=19$m=٦٤,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "PHC"),
        ("$argon2id$v=19$m=99999999999,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "PHC"),
        ("$argon2id$v=19$m=64,t=1,p=1,keyid=AAAA$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "PHC"),
        ("$argon2id$v=20$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "version 20"),
        ("$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "memory (m)"),
        ("$argon2id$v=19$m=4194305,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "memory (m)"),
        ("$argon2id$v=19$m=524288,t=9,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "passes (t)"),
        ("$argon2id$v=19$m=64,t=65,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "time cost (t)"),
        ("$argon2id$v=19$m=8,t=4294967295,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "time cost (t)"),
        ("$argon2id$v=19$m=64,t=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "time cost (t)"),
        ("$argon2id$v=19$m=19456,t=1,p=17$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "parallelism (p)"),
        ("$argon2id$v=19$m=64,t=1,p=0$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "parallelism (p)"),
        ("$argon2id$v=19$m=7,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "8 KiB a lane"),
        ("$argon2id$v=19$m=0,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "8 KiB a lane"),
        ("$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAA", "salt in the hash has 3"),
        ("$argon2id$v=19$m=64,t=1,p=1$" + "A" * 68 + "$AAAAAAAAAAAAAAAAAAAAAA", "salt in the hash has 51"),
        ("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA", "digest in the hash has 3"),
        ("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 88, "digest in the hash has 66"),
        ("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAB", "not base64"),
        ("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "not base64"),
        ("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 1000, "characters"),
        ("$" * 8_000_000, "characters"),
    ],
    ids=lambda value: value[:60] or "empty",
)
def test_a_hostile_hash_is_refused_before_any_work(text: str, word: str) -> None:
    """The app refuses an invalid or too expensive string, with the reason and without hashing."""
    with pytest.raises(InvalidHash) as refused:
        parse_hash(text)
    assert word in refused.value.detail
    assert "AAAA" not in refused.value.detail


@given(
    st.text(max_size=200) | st.from_regex(r"\$argon2(id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
)
@settings(deadline=None)
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text is either parsed, within every limit, or refused as an invalid hash."""
    try:
        cost = parse_argon2(text).cost
    except InvalidHash:
        return
    assert cost.memory_kib * (cost.time_cost + 1) <= LIMITS["argon2"]


@pytest.mark.parametrize(
    ("text", "outdated"),
    [
        (phc("argon2id", 19, SMALL, SALT, bytes(32)), False),
        (phc("argon2i", 19, SMALL, SALT, bytes(32)), True),
        (phc("argon2id", 16, SMALL, SALT, bytes(32)), True),
        (phc("argon2id", 19, Parameters(128, 1, 1), SALT, bytes(32)), True),
        (phc("argon2id", 19, Parameters(64, 2, 1), SALT, bytes(32)), True),
        (phc("argon2id", 19, Parameters(64, 1, 2), SALT, bytes(32)), True),
        (phc("argon2id", 19, SMALL, SALT[:15], bytes(32)), True),
        (phc("argon2id", 19, SMALL, SALT, bytes(31)), True),
        (phc("argon2id", 19, SMALL, SALT * 2, bytes(64)), False),
    ],
)
def test_what_needs_a_rehash(text: str, outdated: bool) -> None:
    """A hash of another variant, version or cost, or with less salt or digest, needs a rehash once it verifies."""
    from argon2.low_level import hash_secret_raw

    stored = parse_argon2(text)
    kind = {"argon2id": Type.ID, "argon2i": Type.I}[stored.variant]
    cost = stored.cost
    digest = hash_secret_raw(
        b"pw",
        stored.salt,
        cost.time_cost,
        cost.memory_kib,
        cost.parallelism,
        len(stored.digest),
        kind,
        stored.version,
    )
    genuine = parse_argon2(phc(stored.variant, stored.version, cost, stored.salt, digest))
    assert verify(genuine, "pw", SMALL) == Verdict(valid=True, needs_rehash=outdated)
    assert verify(genuine, "wrong", SMALL) == Verdict(valid=False, needs_rehash=False)


def test_a_hash_hides_itself() -> None:
    """The repr of a parsed hash, which a log may contain, shows neither salt nor digest."""
    shown = repr(parse_argon2(phc("argon2id", 19, SMALL, b"saltsaltsaltsalt", b"d" * 32)))
    assert "salt" not in shown.replace("Argon2Hash", "")
    assert "ddd" not in shown
