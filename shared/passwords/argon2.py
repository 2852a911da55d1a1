"""Argon2 (RFC 9106) in memory that is handed in.

argon2-cffi's usual functions let the C library find the memory. glibc then keeps up to 32 MiB of what each thread
frees, which nothing gives back; or it fetches the memory from the system anew for every hash, which takes half as long
again as the hash. Here whoever counts the memory maps it, and may use it again.
"""

from functools import cache
from threading import local
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from mmap import mmap

Variant = Literal["argon2id", "argon2i", "argon2d"]

_TYPES: dict[Variant, int] = {"argon2d": 0, "argon2i": 1, "argon2id": 2}  # RFC 9106, section 3.2: y.

_at_work = local()
"""The memory that the hash on this thread is to use."""


class Parameters(NamedTuple):
    """What an Argon2 hash costs: memory in KiB, passes over it, lanes."""

    memory_kib: int
    time_cost: int
    parallelism: int


def argon2(
    password: bytes, salt: bytes, cost: Parameters, length: int, variant: Variant, version: int, memory: "mmap"
) -> bytes:
    """The tag of `length` bytes, computed in `memory`, which has at least `cost.memory_kib`. `version` is 16 or 19."""
    from argon2.low_level import core, error_to_str, ffi

    tag = ffi.new("uint8_t[]", length)
    password_bytes, salt_bytes = ffi.new("uint8_t[]", password), ffi.new("uint8_t[]", salt)
    allocate, free = _callbacks()
    fields: dict[str, Any] = {
        "version": version,
        "t_cost": cost.time_cost,
        "m_cost": cost.memory_kib,
        "lanes": cost.parallelism,
        "threads": cost.parallelism,
        "pwd": password_bytes,
        "pwdlen": len(password),
        "salt": salt_bytes,
        "saltlen": len(salt),
        "out": tag,
        "outlen": length,
        "allocate_cbk": allocate,
        "free_cbk": free,
    }
    with ffi.from_buffer(memory) as block:
        _at_work.block = block
        error = core(ffi.new("argon2_context *", fields), _TYPES[variant])
        del _at_work.block
    if error:
        raise RuntimeError(error_to_str(error))
    return bytes(ffi.buffer(tag, length))


@cache
def _callbacks() -> tuple[Any, Any]:
    """How the C library gets memory, and how it gives it back (wiped: it does that itself)."""
    from argon2.low_level import ffi

    @ffi.callback("int(uint8_t **, size_t)")  # type: ignore[untyped-decorator]
    def allocate(memory: Any, size: int) -> int:
        # What is left as it is, NULL, is an allocation that failed.
        if size <= len(_at_work.block):
            memory[0] = ffi.cast("uint8_t *", _at_work.block)
        return 0

    @ffi.callback("void(uint8_t *, size_t)")  # type: ignore[untyped-decorator]
    def free(_memory: Any, _size: int) -> None:
        pass

    return allocate, free
