"""What the tests run in a child."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from shared.sandbox.child import HEADER, Channel, forbid_system_calls


def serve(channel: Channel) -> None:
    """Run functions by name."""
    CHANNEL.append(channel)
    channel.on_interrupt(STOPPED.set)
    while (message := channel.receive()) is not None:
        name, value = msgspec.msgpack.decode(message)
        channel.send(msgspec.msgpack.encode(_run(name, value)))


CHANNEL: list[Channel] = []
STOPPED = Event()


def _error(call: Callable[[], object]) -> int:
    """The number of the error that `call` raises; 0 for none."""
    try:
        call()
    except OSError as error:
        return error.errno or -1
    return 0


def _run(name: str, value: Any) -> Any:
    if name == "echo":
        return value
    if name == "environment":
        return sorted(os.environ)
    if name == "descriptors":
        return sorted(int(each.name) for each in Path("/proc/self/fd").iterdir() if each.exists())
    if name == "folder":
        return [each.name for each in Path().iterdir()]
    if name == "memory":
        try:
            return len(bytearray(value))
        except MemoryError:
            return "MemoryError"
    if name == "announce":
        os.write(CHANNEL[0]._output, HEADER.pack(2**31))
    if name == "print":
        return os.write(1, b"x" * value)
    if name == "forbid":
        return forbid_system_calls()
    if name == "socket":
        return _error(lambda: socket.socket().close())
    if name == "program":
        return _error(lambda: os.execv("/bin/true", ["true"]))  # noqa: S606
    if name == "open to write":
        return _error(lambda: os.close(os.open("/dev/null", os.O_WRONLY)))
    if name == "open to read":
        return _error(lambda: os.close(os.open("/dev/null", os.O_RDONLY)))
    if name == "sleep":
        return STOPPED.wait(value)
    if name == "die":
        os._exit(3)
    while True:
        pass
