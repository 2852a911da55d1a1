"""Base64 in requests and responses."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.web import decode_base64, decode_strictly, encode_base64


@given(st.binary())
def test_every_variant_is_decoded(data: bytes) -> None:
    """Standard and URL-safe base64, padded or not, in one line or more, decode to the same bytes."""
    standard, url_safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    lines = base64.encodebytes(data).decode()
    for text in (standard, url_safe, standard.rstrip("="), url_safe.rstrip("="), lines, lines.replace("\n", "\r\n")):
        assert decode_base64(text, "field") == data


@given(st.binary())
def test_output_is_url_safe_without_padding(data: bytes) -> None:
    """Output is base64url without padding, as JOSE writes it."""
    assert encode_base64(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("text", ["a", "abcde", "ab=c", "ab==cd", "====", "abc=====", "ab c", "é", "a!b="])
def test_invalid_base64_is_refused(text: str) -> None:
    """Any other text is refused as a whole, with the field's name."""
    with pytest.raises(InvalidRequest) as problem:
        decode_base64(text, "signature")
    assert problem.value.errors[0].field == "signature"


@given(st.binary())
def test_jose_has_one_form_of_each_value(data: bytes) -> None:
    """The strict decoder accepts what `encode_base64` writes."""
    assert decode_strictly(encode_base64(data)) == data


@pytest.mark.parametrize("text", ["a", "AAAAA", "AA==", "AAA=", "+w", "_/8", "AB", "AAB", "AA\n", " AA", "é"])
def test_other_forms_are_refused(text: str) -> None:
    """Padding, other alphabets, blanks, and bits beyond the last byte are refused."""
    with pytest.raises(ValueError, match="base64url"):
        decode_strictly(text)
