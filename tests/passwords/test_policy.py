"""The rules for users' passwords."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.passwords.blocklist import blocklist
from shared.passwords.names import fold_name
from shared.passwords.policy import MIN_PART, Policy, is_common

POLICY = Policy(service_names=("Strongroom", "ACME"))


@pytest.mark.parametrize(
    ("password", "second_factor", "reasons"),
    [
        ("correct horse battery staple", False, []),
        ("päßwörter im garten", False, []),
        ("fourteen chars", False, ["too-short"]),
        ("fifteen chars !", False, []),
        ("🦊🐻🐼🐨🐯🦁🐮🐷🐸🐵🐔🐧🐦🐤🦆", False, []),
        ("🦊🐻🐼🐨🐯🦁🐮🐷🐸🐵🐔🐧🐦🐤", False, ["too-short"]),
        ("e\u0301" * 14, False, ["too-short", "common"]),
        ("kq7#vbz", True, ["too-short"]),
        ("kq7#vbzm", True, []),
        ("", False, ["too-short"]),
        ("a" * 1025, False, ["too-long"]),
        ("\u0301\u0316" * 1_000_000, False, ["too-long"]),
        ("password", True, ["common"]),
        ("PassWord", True, ["common"]),
        ("Ｐassword", True, ["common"]),
        ("password1234567", False, ["common"]),
        ("passwordpassword", False, ["common"]),
        ("letmeinletmeinletmein", False, ["common"]),
        ("aaaaaaaaaaaaaaa", False, ["common"]),
        ("abcabcabcabcabcabc", False, ["common"]),
        ("123456789012345", False, ["common"]),
        ("qwertyuiopasdfghjkl", False, ["common"]),
        ("zyxwvutsrqponmlk", False, ["common"]),
        ("my strongroom is safe", False, ["context-word"]),
        ("the Acme road runner", False, ["context-word"]),
        ("alice.wonder likes tea", False, ["context-word"]),
        ("ALICE.WONDER likes tea", False, ["context-word"]),
        ("alice wonder likes tea", False, ["context-word"]),
        ("my wonderful weekend trip", False, ["context-word"]),
        ("a week at example beach", False, ["context-word"]),
        ("the aliens like my tea", False, []),
        ("\ufdfa", False, ["too-short"]),
        ("ﷺ" * 14, False, ["too-short", "common"]),
        ("\u00ad" * 20, False, ["common"]),
        ("password monkey dragon", False, []),
        ("password monkey", False, ["common"]),
        ("password-monkey!", False, ["common"]),
        ("passwordmonkey2024", False, ["common"]),
        ("Trustno1__123456789", False, ["common"]),
        ("iloveyou.password.99", False, ["common"]),
        ("1qaz2wsx3edc4rfv", False, ["common"]),
        ("!QAZ@WSX#EDC$RFV", False, ["common"]),
        ("qwertzuiopü+asdfghj", False, ["common"]),
        ("azertyuiopqsdfghjk", False, ["common"]),
        ("741852963741852963", False, ["common"]),
        ("abcdefghijklmnopqr", False, ["common"]),
        ("abcabcabcabcabX", False, ["common"]),
        ("Xbcabcabcabcabca", False, ["common"]),
        ("abcabcabXabcabY", False, []),
        ("horse horse horse", False, ["common"]),
        ("seven purple mountain goats", False, []),
        ("we were sad as kids", False, []),
        ("12345678", True, ["common"]),
    ],
    ids=lambda value: value[:30].encode("unicode-escape").decode() if isinstance(value, str) else None,
)
def test_verdicts(password: str, second_factor: bool, reasons: list[str]) -> None:
    """Each rule refuses the passwords that it describes, and there are no other rules."""
    found = POLICY.reasons(password, blocklist(), "Alice.Wonder@example.org", second_factor=second_factor)
    assert found == reasons


def test_short_words_of_the_context_do_not_count() -> None:
    """A user called Dora may have a password with dora in it: only parts of five or more characters count."""
    assert POLICY.reasons("fedora is an old hat", blocklist(), "dora") == []
    assert POLICY.reasons("fedora is an old hat", blocklist(), "fedora") == ["context-word"]


def test_lengths_are_settings() -> None:
    """The settings define the minimum lengths."""
    assert Policy(20, 10).reasons("fifteen chars !", blocklist()) == ["too-short"]
    assert Policy(20, 10).reasons("ninechar!", blocklist(), second_factor=True) == ["too-short"]


def test_the_list_is_what_it_says() -> None:
    """The list has thousands of passwords, folded and long enough to count, without its header."""
    listed = blocklist()
    assert len(listed) > 19_000
    assert {"password", "iloveyou", "1q2w3e4r5t", "trustno1"} <= listed
    assert all(len(word) >= 4 and fold_name(word) == word for word in listed)
    assert not any("django" in word and " " in word for word in listed)


@given(st.sampled_from(sorted(blocklist())), st.sampled_from(sorted(blocklist())))
def test_two_common_passwords_are_common(one: str, other: str) -> None:
    """Any listed password is common, alone, twice, and before another."""
    assert is_common(one, blocklist())
    assert is_common(one + one, blocklist())
    assert is_common(one + other, blocklist())


@given(st.text(min_size=1, max_size=300))
def test_any_text_gets_a_verdict(password: str) -> None:
    """Any text gets a verdict, and repetitive text is common."""
    try:
        password.encode()
    except UnicodeEncodeError:
        return
    assert set(POLICY.reasons(password, blocklist())) <= {"too-short", "too-long", "common", "context-word"}
    first = fold_name(password[:1])  # `㌇` expands to five letters, which form a part of their own.
    assert len(first) >= MIN_PART or is_common(first * 8, blocklist())
