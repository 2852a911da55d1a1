"""Names of users: which are the same, and which there may be."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.passwords.names import check_name, fold_name, key_of

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice", "ALICE"),
        ("straße", "STRASSE"),
        ("Jürgen", "Ju\u0308rgen"),
        ("ﬁona", "fiona"),
        ("Ａlice", "alice"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("\u0345\u0391", "\u0399\u03b1"),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    """Case, composition and compatible letters do not make another user."""
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(("one", "other"), [("alice", "alicе"), ("a", "b"), ("a b", "ab"), ("alice", "alice1")])
def test_names_that_are_not_the_same(one: str, other: str) -> None:
    """Other letters are another user, also where they look alike (a Cyrillic е)."""
    assert key_of(one) != key_of(other)


@given(NAMES, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_folding_is_stable(name: str, form: str) -> None:
    """A folded name folds to itself, and so does every normal form of it."""
    folded = fold_name(name)
    assert fold_name(folded) == folded
    assert fold_name(unicodedata.normalize(form, name)) == folded  # type: ignore[arg-type]


@given(NAMES)
def test_a_key_can_stand_in_a_table(name: str) -> None:
    """Whatever the name, its key is 64 characters that Table Storage takes."""
    assert len(key_of(name)) == 64
    assert key_of(name).isalnum()


@pytest.mark.parametrize(
    "name", ["a", "alice@example.org", "a" * 128, "Jürgen Groß", "李小龙", "🦊 fox", "a/b#c?d\\e'f"]
)
def test_a_name_may_be(name: str) -> None:
    """Any visible text of up to 128 code points is a name, and stays as it is typed, composed."""
    assert check_name(unicodedata.normalize("NFD", name), "user") == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name", ["", "a" * 129, " a", "a ", "a\0b", "a\nb", "a\u200bb", "\u202ea", "a\u2028b", "\ue000"]
)
def test_a_name_may_not_be(name: str) -> None:
    """Names that are empty, too long, or hold what cannot be seen are refused, naming the field."""
    with pytest.raises(InvalidRequest) as refused:
        check_name(name, "new_name")
    assert refused.value.errors[0].field == "new_name"
