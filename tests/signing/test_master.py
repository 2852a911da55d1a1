"""The local master key: wrapping, and its error messages."""

import base64
from pathlib import Path

import pytest

from shared.signing.errors import MasterKeyUnavailable
from shared.signing.master import FileMasterKey, Wrapped


def write(path: Path, *keys: bytes) -> FileMasterKey:
    """Write a file of master keys, one per line."""
    path.write_bytes(b"".join(base64.urlsafe_b64encode(key).rstrip(b"=") + b"\n" for key in keys))
    return FileMasterKey(str(path))


OLD, NEW = bytes(range(32)), bytes(range(32, 64))
DATA_KEY = b"d" * 32


def test_what_is_wrapped_unwraps(tmp_path: Path) -> None:
    """The data key comes back, and the stored bytes do not contain it."""
    master = write(tmp_path / "key", OLD)
    wrapped = master.wrap(DATA_KEY)
    assert master.unwrap(wrapped) == DATA_KEY
    assert DATA_KEY not in wrapped.data


def test_an_older_key_in_the_file_unwraps(tmp_path: Path) -> None:
    """With a new key before the old one, the file opens old wraps, and the new key wraps."""
    old = write(tmp_path / "key", OLD).wrap(DATA_KEY)
    both = write(tmp_path / "key", NEW, OLD)
    assert both.unwrap(old) == DATA_KEY
    assert both.wrap(DATA_KEY).master_key != old.master_key


def test_the_wrong_key_says_which_is_missing(tmp_path: Path) -> None:
    """Under another master key the error names the required key and the file, and contains no key."""
    wrapped = write(tmp_path / "key", OLD).wrap(DATA_KEY)
    with pytest.raises(MasterKeyUnavailable) as caught:
        write(tmp_path / "key", NEW).unwrap(wrapped)
    assert wrapped.master_key in caught.value.detail
    assert str(tmp_path / "key") in caught.value.detail
    assert base64.urlsafe_b64encode(NEW).decode()[:20] not in caught.value.detail


def test_a_damaged_wrap_differs_from_a_wrong_key(tmp_path: Path) -> None:
    """Under the right master key, changed bytes are reported as damage."""
    master = write(tmp_path / "key", OLD)
    wrapped = master.wrap(DATA_KEY)
    with pytest.raises(MasterKeyUnavailable, match="damaged"):
        master.unwrap(Wrapped(wrapped.master_key, wrapped.data[:-1] + bytes([wrapped.data[-1] ^ 1])))


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"AAAA" * 20, b"!" * 43, bytes(32)])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """A line that is not 32 bytes in base64url makes the file invalid."""
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(MasterKeyUnavailable):
        FileMasterKey(str(tmp_path / "key")).wrap(DATA_KEY)


@pytest.mark.parametrize("path", ["", "/nowhere/master.key", "/"])
def test_no_file_is_an_error_that_says_so(path: str) -> None:
    """Without a setting, or without a file, the error names the setting or the path."""
    with pytest.raises(MasterKeyUnavailable, match=r"STRONGROOM_MASTER_KEY|file cannot be read"):
        FileMasterKey(path).wrap(DATA_KEY)
