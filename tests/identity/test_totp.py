"""One-time passwords: the vectors of RFC 6238, and the rules that pyotp leaves to its callers."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identity.totp import (
    STEP_SECONDS,
    encoded_seed,
    matching_step,
    normalised,
    provisioning_uri,
    qr_svg,
    step_at,
)

SEED = b"12345678901234567890"


def at(seconds: float) -> datetime:
    """A time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_vectors_of_rfc_6238(seconds: int, code: str) -> None:
    """The codes of appendix B (SHA-1), of which six digits are the last six of eight, are right in their step alone."""
    now = at(seconds)
    step = seconds // STEP_SECONDS
    assert matching_step(SEED, code[-6:], now, last_step=-1, skew=0) == step
    assert matching_step(SEED, code[-6:], at(seconds + 30), last_step=-1, skew=0) is None
    assert matching_step(SEED, code[-6:], at(seconds - 30), last_step=-1, skew=0) is None


@given(st.binary(min_size=20, max_size=20), st.integers(3600, 2**33))
def test_agrees_with_pyotp(seed: bytes, seconds: int) -> None:
    """A code of pyotp for the same seed and time is right."""
    code = pyotp.TOTP(encoded_seed(seed)).at(seconds)
    assert matching_step(seed, code, at(seconds), last_step=-1, skew=0) == seconds // 30


def test_one_step_of_skew() -> None:
    """With a skew of 1, the codes of the step before and after are right; those of two steps are not."""
    now = at(1_800_000_015)
    current = step_at(now)
    generator = pyotp.TOTP(encoded_seed(SEED))
    accepted = [
        offset
        for offset in range(-3, 4)
        if matching_step(SEED, generator.generate_otp(current + offset), now, last_step=-1, skew=1) == current + offset
    ]
    assert accepted == [-1, 0, 1]


def test_a_step_is_accepted_once() -> None:
    """A code of the last accepted step, or of one before it, is wrong."""
    now = at(1_800_000_015)
    current = step_at(now)
    generator = pyotp.TOTP(encoded_seed(SEED))

    def check(offset: int, last: int) -> int | None:
        return matching_step(SEED, generator.generate_otp(current + offset), now, last_step=current + last, skew=1)

    assert check(0, -1) == current
    assert check(0, 0) is None
    assert check(-1, 0) is None
    assert check(1, 0) == current + 1


def test_spaces_are_ignored() -> None:
    """Apps show a code with a space in it, and people type it so."""
    now = at(1_800_000_015)
    code = pyotp.TOTP(encoded_seed(SEED)).at(now)
    assert matching_step(SEED, f" {code[:3]} {code[3:]} ", now, last_step=-1, skew=0)
    assert normalised("123\u00a0456") == "123456"


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "-12345", "１２３４５６", "1234٥6", "+12345"])
def test_other_texts_are_wrong(code: str) -> None:
    """A text that is not six ASCII digits is a wrong code, and never an exception."""
    assert matching_step(SEED, code, at(59), last_step=-1, skew=1) is None


def test_the_first_step_of_time() -> None:
    """The skew does not reach before 1970."""
    code = pyotp.TOTP(encoded_seed(SEED)).generate_otp(0)
    assert matching_step(SEED, code, at(1), last_step=-1, skew=2) == 0


def test_uri() -> None:
    """The URI has the secret in base32, and the issuer both as a prefix and as a parameter (Key URI Format)."""
    uri = urlsplit(provisioning_uri(SEED, "alice@example.org", "Example & Co"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert uri.path == "/Example%20%26%20Co:alice%40example.org"
    assert parse_qs(uri.query) == {"secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"], "issuer": ["Example & Co"]}
    parsed = pyotp.parse_uri(uri.geturl())
    assert isinstance(parsed, pyotp.TOTP)
    assert parsed.at(59) == "287082"


def test_qr_code_is_svg() -> None:
    """The QR code is an SVG document of paths alone: no script, link or style that a page would run."""
    root = ET.fromstring(qr_svg(provisioning_uri(SEED, "alice@example.org", "localhost")))  # noqa: S314 - our own.
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {each.tag.rpartition("}")[2] for each in root.iter()} <= {"svg", "path", "g"}
