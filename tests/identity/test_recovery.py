"""Recovery codes: their form, and how people type them."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identity.recovery import RANDOM_BYTES, new_codes, normalised


def test_ten_codes_of_120_bits() -> None:
    """Ten codes of 24 base32 characters, in groups of four, which together hold all 150 random bytes."""
    random = bytes(range(RANDOM_BYTES))
    codes = new_codes(random)
    assert len(codes) == 10
    assert all(re.fullmatch(r"([A-Z2-7]{4}-){5}[A-Z2-7]{4}", each) for each in codes)
    assert b"".join(base64.b32decode(each.replace("-", "")) for each in codes) == random


def test_too_few_random_bytes() -> None:
    """Fewer random bytes are an error, and not shorter codes."""
    with pytest.raises(ValueError, match="150"):
        new_codes(bytes(149))


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_case_and_dashes_do_not_matter(random: bytes) -> None:
    """Any case, with or without dashes and spaces, gives the same 24 characters."""
    for code in new_codes(random):
        plain = code.replace("-", "")
        forms = [code, plain, code.lower(), plain.lower(), code.replace("-", " "), f" {code}\n", code.replace("-", "–")]
        assert {normalised(each) for each in forms} == {plain}


@pytest.mark.parametrize("text", ["", "A" * 23, "A" * 25, "1" * 24, "ABCD-EFGH", "Ａ" * 24, "ABCD_EFGH" * 3])
def test_other_texts_are_no_code(text: str) -> None:
    """A text that no code can be is recognised, without an exception."""
    assert normalised(text) is None
