"""How the app reads a blob for an engine: which bytes to request beyond those that the engine needs now."""

from typing import NamedTuple

SMALL_BYTES = 64 * 1024
"""The least that a request reads."""
WINDOW_BYTES = 4 * 1024 * 1024
"""The most that a request reads."""
STRIDE_BYTES = 3 * 1024 * 1024
"""Bytes up to this between two reads are read, too: cheaper than a request of their own."""
FOOTER_BYTES = 512 * 1024
"""The end of a file, where Parquet keeps its metadata."""


class Range(NamedTuple):
    """Bytes of a file, from `start` to before `end`."""

    start: int
    end: int


class Reading:
    """The reads of one file so far, from which the next ones are predicted."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._wanted = Range(-1, -1)
        """The bytes that the engine read last."""
        self._end = -1
        """The end of the last request."""
        self._ahead = 0
        self._stride = 0
        """From the start of one read to the start of the next."""

    def next_range(self, offset: int, length: int) -> Range:
        """The bytes to request when the engine needs `length` bytes at `offset`, of which none are cached."""
        end = min(offset + length, self.size)
        last, self._wanted = self._wanted, Range(offset, end)
        until = max(end, offset + SMALL_BYTES)
        if last.end >= 0 and last.end <= offset <= self._end + SMALL_BYTES:
            # One after the other: read ahead, further each time.
            self._ahead = min(WINDOW_BYTES, max(SMALL_BYTES, end - offset, self._ahead) * 2)
            self._stride = 0
            until = offset + self._ahead
        elif last.end >= 0 and 0 < offset - self._end <= STRIDE_BYTES and end - offset >= SMALL_BYTES:
            # The same column of the next row group: read that of the one behind it, too.
            stride = self._same_stride(offset - last.start)
            if stride and end + stride - offset <= WINDOW_BYTES:
                until = end + stride + SMALL_BYTES  # Row groups differ by a few bytes.
            self._stride = stride or offset - last.start
            self._ahead = 0
        else:
            self._ahead = self._stride = 0
        self._end = min(max(end, min(until, offset + WINDOW_BYTES)), self.size)
        return Range(offset, self._end)

    def _same_stride(self, distance: int) -> int:
        """The stride, where `distance` is about one or two of it; 0 where it is another."""
        for count in (1, 2):
            if self._stride and abs(distance - count * self._stride) * 4 <= self._stride:
                return distance // count
        return 0
