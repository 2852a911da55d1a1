"""User names: which are equal, and which are allowed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.passwords.characters import table
from shared.passwords.names import check_name, fold_name

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
    """Case, composition and compatible letters do not distinguish users."""
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(("one", "other"), [("alice", "alicе"), ("a", "b"), ("a b", "ab"), ("alice", "alice1")])
def test_names_that_are_not_the_same(one: str, other: str) -> None:
    """Different letters distinguish users, even if they look alike (a Cyrillic е)."""
    assert fold_name(one) != fold_name(other)


@pytest.mark.parametrize(
    "invisible", ["\u00ad", "\u034f", "\u115f", "\u200b", "\u200d", "\ufe0f", "\U000e0041", "\u3164"]
)
def test_invisible_characters_make_no_twin(invisible: str) -> None:
    """Comparisons ignore default-ignorable characters, and names must not contain them."""
    assert fold_name(f"al{invisible}ice") == "alice"
    with pytest.raises(InvalidRequest):
        check_name(f"al{invisible}ice", "user")
    with pytest.raises(InvalidRequest):
        check_name(invisible, "user")


@given(NAMES, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_folding_is_stable(name: str, form: str) -> None:
    """A folded name folds to itself, and every normal form of a name folds to the same text."""
    folded = fold_name(name)
    assert fold_name(folded) == folded
    assert fold_name(unicodedata.normalize(form, name)) == folded  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "alice@example.org",
        "Jean-Luc O'Neill",
        "José",
        "Jose\u0301",
        "Θεόδωρος",
        "Андрей",
        "山田 太郎",
        "やまだtaro",
        "김철수 Kim",
        "ㄅㄆㄇ 注音 abc",
        "عمر ١٢٣",
        "می\u200cخواهم",
        "क्\u200dष",
        "क्\u200cष",
        "42",
        "☃",
        "😀 smile",
        "a" * 128,
    ],
)
def test_names_that_are_acceptable(name: str) -> None:
    """Letters, digits, punctuation and symbols of one script (or of those that go together) are a name, as typed."""
    assert check_name(name, "user") == name


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "code points"),
        ("a" * 129, "code points"),
        (" alice", "space"),
        ("alice ", "space"),
        ("alice  smith", "two spaces"),
        ("alice\u00a0smith", "U+00A0"),
        ("alice\u3000smith", "U+3000"),
        ("alice\u2028smith", "U+2028"),
        ("\u2800", "U+2800"),
        ("a\u2800b", "U+2800"),
        ("alice\n", "space"),
        ("ali\nce", "control"),
        ("ali\x00ce", "control"),
        ("ali\x7fce", "control"),
        ("ä\x85b", "U+0085"),
        ("a\u202eb", "U+202E"),
        ("a\u0600b", "U+0600"),
        ("a\u0378b", "U+0378"),
        ("a\uffffb", "U+FFFF"),
        ("a\ue000b", "U+E000"),
        ("a\U0001e08fb", "U+1E08F"),
        ("\u0301", "letter"),
        ("\u0301\u0302", "letter"),
        ("a\u200cb", "joiner"),
        ("می\u200c", "joiner"),
        ("\u200cمی", "joiner"),
        ("می\u200dخواهم", "joiner"),
        ("👩\u200d💻", "joiner"),
        ("аlice", "scripts"),
        ("αlpha", "scripts"),
        ("山田Андрей", "scripts"),
        ("김やま", "scripts"),
        ("𝐚лиса", "scripts"),
        ("µm", "scripts"),
    ],
    ids=lambda value: value[:12].encode("unicode-escape").decode(),
)
def test_names_that_are_refused(name: str, word: str) -> None:
    """Invisible, unassigned and control characters, other spaces, names without a visible character and mixed scripts
    are refused, naming the field."""
    with pytest.raises(InvalidRequest) as refused:
        check_name(name, "new_name")
    assert refused.value.errors[0].field == "new_name"
    assert word in refused.value.errors[0].detail


@given(st.text(max_size=140))
def test_no_name_breaks_it(name: str) -> None:
    """Any text is accepted as a name, or refused with a reason."""
    try:
        assert fold_name(check_name(name, "user"))
    except InvalidRequest as error:
        assert error.detail  # noqa: PT017 - the reason for the refused text.


def test_the_table_is_the_one_that_the_script_makes() -> None:
    """The table names its Unicode version, agrees with this Python's characters, and covers every code point."""
    characters = table()
    assert characters.version == "15.0.0"
    for point in range(0x110000):
        character = chr(point)
        category = unicodedata.category(character)
        kind = characters.kind(character)
        if category[0] in "LNPS" and kind != "unassigned":
            assert kind in ("visible", "ignorable"), hex(point)
        if category in ("Cc", "Cs", "Co", "Zl", "Zp"):
            assert kind == "control", hex(point)


@pytest.mark.skipif(unicodedata.unidata_version < "15", reason="this Python's own tables are older")
def test_folding_agrees_with_the_standard_library() -> None:
    """For the characters that Python knows, folding is NFKC and casefolding, without ignorable characters."""
    characters = table()
    for point in (*range(0xD800), *range(0xE000, 0x20000)):
        character = chr(point)
        if characters.kind(character) in ("visible", "mark", "space"):
            once = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", character).casefold())
            expected = "".join(each for each in once if characters.kind(each) != "ignorable")
            assert fold_name(character) == fold_name(expected), hex(point)
