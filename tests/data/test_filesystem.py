"""The files of a call inside the child: positions, windows and names."""

import sys
import threading

import pytest

from shared.data.filesystem import HELD_BYTES, ROOT, CallFiles, Entry

SIZE = 4_000_000
CONTENT = b"".join(number.to_bytes(4, "big") for number in range(SIZE // 4))


@pytest.fixture
def files() -> CallFiles:
    """One file, whose bytes come in windows of 64 KiB."""
    made = CallFiles(lambda _number, offset, length: (offset, CONTENT[offset : offset + min(length, 65_536)]))
    made.entries = [Entry(f"{ROOT}0.parquet", SIZE)]
    return made


def test_two_threads_read_one_handle(files: CallFiles) -> None:
    """Each thread has its own position: what one reads does not depend on where the other seeks."""
    handle = files.open(f"{ROOT}0.parquet")
    wrong: list[int] = []
    start = threading.Barrier(2)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def read(step: int) -> None:
        start.wait()
        for count in range(2000):
            place = (count * step * 4) % (SIZE - 4000)
            handle.seek(place)
            if handle.read(1000) != CONTENT[place : place + 1000]:
                wrong.append(place)

    threads = [threading.Thread(target=read, args=(step,)) for step in (7919, 104_729)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    sys.setswitchinterval(interval)
    assert wrong == []


def test_only_the_files_of_the_call_are_there(files: CallFiles) -> None:
    """Any other path, and any mode but reading, is refused; a glob finds a path itself."""
    for path in (f"{ROOT}1.parquet", f"{ROOT}0.csv", "sr://other/0.parquet", "/etc/passwd", f"{ROOT}0.parquet/../1"):
        assert files.glob(path) == []
        with pytest.raises(FileNotFoundError):
            files.open(path)
    with pytest.raises(PermissionError):
        files.open(f"{ROOT}0.parquet", "wb")
    assert files.glob(f"{ROOT}0.parquet") == [f"{ROOT}0.parquet"]


def test_what_is_held_is_bounded() -> None:
    """Windows that were used longest ago are dropped."""
    made = CallFiles(lambda _number, offset, length: (offset, bytes(length)))
    made.entries = [Entry(f"{ROOT}0.csv", 200_000_000)]
    for offset in range(0, 100_000_000, 4_000_000):
        assert len(made.read_at(0, offset, 4_000_000)) == 4_000_000
    assert sum(len(each.data) for each in made._windows.values()) <= HELD_BYTES


def test_other_bytes_than_requested_are_an_error() -> None:
    """Bytes from another place are not taken for those that were requested."""
    made = CallFiles(lambda _number, offset, _length: (offset + 10, b"x"))
    made.entries = [Entry(f"{ROOT}0.csv", 100)]
    with pytest.raises(OSError, match="other bytes"):
        made.read_at(0, 0, 10)
