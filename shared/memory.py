"""The memory of this instance."""

import os

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNKNOWN_BYTES = 2048 * 1024**2


def instance_memory() -> int:
    """The bytes that this instance may take: the limit of its cgroup, or the machine's memory if that is less."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf.
        memory = _UNKNOWN_BYTES
    for path in _CGROUP_LIMITS:
        try:
            with open(path) as file:  # noqa: PTH123 - pathlib takes 2 ms to load.
                return min(memory, int(file.read()))
        except (OSError, ValueError):  # The cgroup does not exist, or its limit is "max".
            continue
    return memory
