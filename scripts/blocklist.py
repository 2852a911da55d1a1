"""Builds the list of common passwords that the app refuses from the list that Django ships.

Run it as `python -m scripts.blocklist`.
"""

import gzip
from importlib.metadata import distribution, version
from pathlib import Path

from shared.passwords.names import fold_name
from shared.passwords.policy import MIN_PART

TARGET = Path(__file__).resolve().parent.parent / "shared" / "passwords" / "blocklist.txt.gz"
HEADER = """\
Common passwords, many of them from breaches, of {minimum} characters and more, folded as user names are.
Source: the list of 20,000 by Royce Williams, https://gist.github.com/roycewilliams/226886fd01572964e1431ac8afc999ce,
as shipped in Django {django} (django/contrib/auth/common-passwords.txt.gz).
Django is copyright Django Software Foundation and individual contributors, under the BSD 3-clause licence.

"""


def main() -> None:
    """Write the list: a header, an empty line, then one password per line, sorted."""
    source = distribution("Django").locate_file("django/contrib/auth/common-passwords.txt.gz")
    words = {fold_name(line) for line in gzip.decompress(Path(str(source)).read_bytes()).decode().splitlines()}
    listed = sorted(word for word in words if len(word) >= MIN_PART)
    text = HEADER.format(minimum=MIN_PART, django=version("django")) + "\n".join(listed) + "\n"
    TARGET.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(listed)} passwords, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
