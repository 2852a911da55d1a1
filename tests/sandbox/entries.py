"""What the tests run in a child."""

import os
from pathlib import Path
from typing import Any

import msgspec

from shared.sandbox.child import HEADER, Channel


def serve(channel: Channel) -> None:
    """Run functions by name."""
    while (message := channel.receive()) is not None:
        name, value = msgspec.msgpack.decode(message)
        channel.send(msgspec.msgpack.encode(_run(name, value)))


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
        os.write(1, HEADER.pack(2**31))
    if name == "die":
        os._exit(3)
    while True:
        pass
