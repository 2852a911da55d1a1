"""The list of common passwords. Its first lines name its source; `scripts/blocklist.py` makes it."""

from functools import cache
from pathlib import Path


@cache
def blocklist() -> frozenset[str]:
    """Common passwords, folded as names are. Read once, for the first password that is checked."""
    import gzip

    text = gzip.decompress(Path(__file__).with_name("blocklist.txt.gz").read_bytes()).decode()
    return frozenset(text.partition("\n\n")[2].splitlines())
