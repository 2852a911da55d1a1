"""Argon2 (RFC 9106) in memory that the caller provides.

argon2-cffi's usual functions let the C library allocate the memory. glibc then keeps up to 32 MiB of what each thread
frees, for good; or it gets new pages from the system for every hash, which adds half of the hash's own time. Here the
caller maps the memory, counts it, and can use it again.
"""

from functools import cache
from threading import local
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from mmap import mmap

Variant = Literal["argon2id", "argon2i", "argon2d"]

_TYPES: dict[Variant, int] = {"argon2d": 0, "argon2i": 1, "argon2id": 2}  # RFC 9106, section 3.2: y.

_at_work = local()
"""The memory for the hash on this thread."""


class Parameters(NamedTuple):
    """The cost of an Argon2 hash: memory in KiB, passes over it, lanes."""

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
    """The functions by which the C library allocates and frees memory. It wipes the memory itself."""
    from argon2.low_level import ffi

    @ffi.callback("int(uint8_t **, size_t)")  # type: ignore[untyped-decorator]
    def allocate(memory: Any, size: int) -> int:
        # NULL, if it stays, reports a failed allocation.
        if size <= len(_at_work.block):
            memory[0] = ffi.cast("uint8_t *", _at_work.block)
        return 0

    @ffi.callback("void(uint8_t *, size_t)")  # type: ignore[untyped-decorator]
    def free(_memory: Any, _size: int) -> None:
        pass

    return allocate, free
