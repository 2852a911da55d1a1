"""The sandbox: real child processes, bounded by the system and ended by the app."""

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from errno import EPERM
from pathlib import Path

import msgspec
import pytest

from shared.errors import Busy, InvalidSetting
from shared.sandbox.callers import anonymous
from shared.sandbox.process import Child, ChildDied, ChildLate, Sandbox
from shared.sandbox.settings import MIB, SandboxSettings, load_settings

ENTRY = "tests.sandbox.entries:serve"
SECONDS = 60.0
"""More than any call here may take, on a busy machine."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """One child at once, of 256 MiB."""
    made = Sandbox(SandboxSettings(processes=1, memory_bytes=256 * MIB))
    yield made
    made.close()


@pytest.fixture
def child(sandbox: Sandbox) -> Iterator[Child]:
    """A child that runs functions by name."""
    taken = sandbox.take(ENTRY, time.monotonic() + SECONDS)
    yield taken
    sandbox.give(taken, reusable=False)


def call(child: Child, name: str, value: object = None, seconds: float = SECONDS) -> object:
    """The response of the child."""
    deadline = time.monotonic() + seconds
    child.send(msgspec.msgpack.encode((name, value)), deadline)
    return msgspec.msgpack.decode(child.receive(deadline))


def test_messages_go_both_ways(child: Child) -> None:
    """A message of any size within the bound arrives whole."""
    for size in (0, 1, 70_000, 5_000_000):
        assert call(child, "echo", b"x" * size) == b"x" * size


def test_a_child_has_nothing_of_the_apps(child: Child) -> None:
    """No variable of the environment, no descriptor but its pipes and /dev/null, and an empty working directory."""
    assert call(child, "environment") == [
        "LC_ALL",
        "MALLOC_ARENA_MAX",
        "OPENBLAS_NUM_THREADS",
        "SQLITE_TMPDIR",
        "TMPDIR",
    ]
    assert call(child, "descriptors") == [0, 1, 2, 3]
    assert call(child, "folder") == []


def test_what_a_library_prints_is_lost(child: Child) -> None:
    """Text on standard output does not come between the messages."""
    assert call(child, "print", 1000) == 1000
    assert call(child, "echo", 1) == 1


def test_memory_is_bounded(child: Child) -> None:
    """A child that needs more memory than it may take fails, and the app does not."""
    assert call(child, "memory", 400 * MIB) == "MemoryError"


def test_a_child_that_is_late_is_killed(child: Child) -> None:
    """At the deadline the process ends, whatever it does."""
    with pytest.raises(ChildLate):
        call(child, "endless", seconds=0.3)
    assert not child.alive
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_an_engine_is_interrupted_before_it_is_killed(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the deadline the engine may end the call by itself: the child then lives on."""
    monkeypatch.setattr("shared.sandbox.process.KILL_SECONDS", SECONDS)
    assert call(child, "echo", 1) == 1  # From here on, an interrupt reaches it.
    assert call(child, "sleep", SECONDS, seconds=0.1) is True
    assert call(child, "echo", 1) == 1


def test_system_calls_are_refused(child: Child) -> None:
    """Where the kernel filters calls, there is no socket, no other program, and no file to write."""
    calls = ("socket", "open to write", "open to read")
    assert [call(child, name) for name in calls] == [0, 0, 0]
    if not call(child, "forbid"):
        pytest.skip("This kernel does not filter system calls.")
    names = ("socket", "program", "open to write", "open to read")
    assert [call(child, name) for name in names] == [EPERM, EPERM, EPERM, 0]


def test_calls_without_a_key_leave_a_child(sandbox: Sandbox) -> None:
    """Public queries take all children but one, and none where there is only one."""
    with anonymous(), pytest.raises(Busy):
        sandbox.take(ENTRY, time.monotonic() + SECONDS)
    pair = Sandbox(SandboxSettings(processes=2, memory_bytes=256 * MIB))
    with anonymous():
        public = pair.take(ENTRY, time.monotonic() + SECONDS)
        with pytest.raises(Busy):
            pair.take(ENTRY, time.monotonic() + 0.01)
    keyed = pair.take(ENTRY, time.monotonic() + SECONDS)
    pair.give(public, reusable=True)
    with anonymous():
        again = pair.take(ENTRY, time.monotonic() + SECONDS)
    assert again.pid == public.pid
    pair.give(again, reusable=False)
    pair.give(keyed, reusable=False)
    pair.close()


def test_a_spare_is_started_ahead() -> None:
    """After a child that serves one call, another waits for the next; never more than the limit live."""
    pair = Sandbox(SandboxSettings(processes=2, memory_bytes=256 * MIB))
    first = pair.take(ENTRY, time.monotonic() + SECONDS)
    other = pair.take(ENTRY, time.monotonic() + SECONDS)
    pair.give(first, reusable=False, spare=True)
    pair.start_spare(ENTRY)
    pair._starter.submit(int).result()  # Whatever the starter has begun is done.
    assert [each.child.entry for each in pair._idle] == [ENTRY]
    spare = pair.take(ENTRY, time.monotonic() + SECONDS)
    assert spare.pid not in (first.pid, other.pid)
    assert call(spare, "echo", 1) == 1
    for each in (spare, other):
        pair.give(each, reusable=False)
    pair.close()


def test_a_child_that_dies_says_so(child: Child) -> None:
    """A child that ends by itself is an error of its own, at once."""
    with pytest.raises(ChildDied):
        call(child, "die")


def test_a_response_without_bound_is_refused(child: Child) -> None:
    """A child that announces more than a message may hold is killed."""
    with pytest.raises(ChildDied):
        call(child, "announce")
    assert not child.alive


def test_children_are_bounded_and_kept(sandbox: Sandbox) -> None:
    """Beyond the limit callers get a Retry-After; an idle child serves the next call; a dead one does not."""
    first = sandbox.take(ENTRY, time.monotonic() + SECONDS)
    with pytest.raises(Busy):
        sandbox.take(ENTRY, time.monotonic() + 0.01)
    sandbox.give(first, reusable=True)
    again = sandbox.take(ENTRY, time.monotonic() + SECONDS)
    assert again.pid == first.pid
    again.kill()
    sandbox.give(again, reusable=True)
    other = sandbox.take(ENTRY, time.monotonic() + SECONDS)
    assert call(other, "echo", 1) == 1
    sandbox.give(other, reusable=False)


def test_a_key_has_one_child(sandbox: Sandbox) -> None:
    """Calls of one key share a child; at the limit, the child of another key is ended, however many are idle."""
    first = sandbox.take(ENTRY, time.monotonic() + SECONDS, "a")
    with pytest.raises(Busy):
        sandbox.take(ENTRY, time.monotonic() + 0.01, "a")
    sandbox.give(first, reusable=True)
    again = sandbox.take(ENTRY, time.monotonic() + SECONDS, "a")
    assert again is first
    sandbox.give(again, reusable=True)
    other = sandbox.take(ENTRY, time.monotonic() + SECONDS, "b")
    assert not first.alive
    sandbox.give(other, reusable=True)


def test_calls_of_one_key_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the child of a key is in use, a second call waits for it and starts no other."""
    monkeypatch.setattr("shared.sandbox.process.WAIT_SECONDS", SECONDS)
    sandbox = Sandbox(SandboxSettings(processes=2, memory_bytes=256 * MIB))
    first = sandbox.take(ENTRY, time.monotonic() + SECONDS, "a")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(sandbox.take, ENTRY, time.monotonic() + SECONDS, "a")
        unkeyed = sandbox.take(ENTRY, time.monotonic() + SECONDS)
        assert unkeyed is not first
        sandbox.give(first, reusable=True)
        assert waiting.result(SECONDS) is first
    sandbox.give(first, reusable=True)
    sandbox.give(unkeyed, reusable=True)
    sandbox.close()


def test_idle_children_end(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    """A child that no call uses is ended after a while, without a further call."""
    monkeypatch.setattr("shared.sandbox.process.IDLE_SECONDS", 0.01)
    taken = sandbox.take(ENTRY, time.monotonic() + SECONDS)
    sandbox.give(taken, reusable=True)
    limit = time.monotonic() + SECONDS
    while taken.alive and time.monotonic() < limit:
        time.sleep(0.01)
    assert not taken.alive


def test_children_end_with_the_app(sandbox: Sandbox) -> None:
    """A child whose app closes its pipes ends by itself."""
    taken = sandbox.take(ENTRY, time.monotonic() + SECONDS)
    assert call(taken, "echo", 1) == 1
    assert taken._process.stdin is not None
    taken._process.stdin.close()
    assert taken._process.wait(SECONDS) == 0
    sandbox.give(taken, reusable=False)


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(512, (1, 256)), (1024, (1, 512)), (2048, (2, 768)), (4096, (2, 1024)), (65536, (2, 1024))],
)
def test_defaults_follow_the_memory(memory: int, expected: tuple[int, int]) -> None:
    """An instance of less than 2 GiB runs one child; each takes its share of what the worker leaves."""
    settings = load_settings({}, memory * MIB)
    assert (settings.processes, settings.memory_bytes // MIB) == expected


def test_settings_are_checked() -> None:
    """A broken setting is an InvalidSetting that names it."""
    with pytest.raises(InvalidSetting, match="STRONGROOM_SANDBOX_PROCESSES"):
        load_settings({"STRONGROOM_SANDBOX_PROCESSES": "none"}, 2048 * MIB)
    environ = {"STRONGROOM_SANDBOX_PROCESSES": "3", "STRONGROOM_SANDBOX_MEMORY_MIB": "300"}
    assert load_settings(environ, 512 * MIB) == SandboxSettings(3, 300 * MIB)


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="The filter knows these two processors.")
@pytest.mark.parametrize("engine", ["shared.data.child", "shared.models.child", "shared.sql.engines.parquet_child"])
def test_every_engine_is_confined(engine: str) -> None:
    """DuckDB, onnxruntime and the writer of Parquet run with the filter of system calls, and write no file."""
    sandbox = Sandbox(SandboxSettings(processes=1, memory_bytes=512 * MIB))
    try:
        deadline = time.monotonic() + SECONDS
        child = sandbox.take(f"{engine}:serve", deadline)
        process = Path(f"/proc/{child.pid}")
        while "Seccomp:\t2" not in (process / "status").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # The limit follows the filter at once.
        while not re.search(r"^Max file size +0 ", (process / "limits").read_text(), re.MULTILINE):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        sandbox.give(child, reusable=False)
    finally:
        sandbox.close()
