"""The settings of the sandbox."""

from collections.abc import Mapping

import msgspec

from shared.settings import read_number

MIB = 1024 * 1024
SMALL_INSTANCE_BYTES = 2048 * MIB
"""An instance with less memory runs one child at once."""
WORKER_BYTES = 512 * MIB
"""What the host and the worker keep of an instance's memory."""


class SandboxSettings(msgspec.Struct, frozen=True):
    """How many child processes run at once, and how much memory each may take."""

    processes: int = 2
    """`STRONGROOM_SANDBOX_PROCESSES`; by default 2, and 1 on an instance of less than 2 GiB."""
    memory_bytes: int = 512 * MIB
    """`STRONGROOM_SANDBOX_MEMORY_MIB`; by default the instance's memory less 512 MiB, divided among the processes."""


def load_settings(environ: Mapping[str, str], memory_bytes: int) -> SandboxSettings:
    """The settings on an instance of `memory_bytes`. Raises InvalidSetting, naming the variable."""
    few = memory_bytes < SMALL_INSTANCE_BYTES
    processes = read_number(environ, "STRONGROOM_SANDBOX_PROCESSES", 1 if few else 2, 1, 16)
    share = (memory_bytes - WORKER_BYTES) // processes // MIB
    memory = read_number(environ, "STRONGROOM_SANDBOX_MEMORY_MIB", min(max(share, 256), 1024), 128, 16_384)
    return SandboxSettings(processes, memory * MIB)
