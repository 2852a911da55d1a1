"""Just enough DER (ITU-T X.690) to judge a key by its bytes before any library computes with them. Pure.

Every function is linear in its input, and raises ValueError for anything but DER.
"""

from typing import NamedTuple

INTEGER, BIT_STRING, OCTET_STRING, OID, SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x30


class Element(NamedTuple):
    """One element: its tag, its content, and the whole of it."""

    tag: int
    content: bytes
    whole: bytes


def elements(data: bytes) -> list[Element]:
    """The elements in `data`, one behind the other, up to its last byte."""
    parsed = []
    at = 0
    while at < len(data):
        if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
            raise ValueError("not DER: a tag of several bytes, or no length")
        length, start = data[at + 1], at + 2
        if length >= 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4 or start + size > len(data) or data[start] == 0:
                raise ValueError("not DER: the form of a length")
            length, start = int.from_bytes(data[start : start + size]), start + size
            if length < 0x80 or length >> (8 * (size - 1)) == 0:
                raise ValueError("not DER: a length could be shorter")
        if start + length > len(data):
            raise ValueError("not DER: an element is longer than its container")
        parsed.append(Element(data[at], data[start : start + length], data[at : start + length]))
        at = start + length
        if len(parsed) > 1000:
            raise ValueError("more elements than a key has")
    return parsed


def sequence(data: bytes) -> list[Element]:
    """The elements of the one SEQUENCE that `data` is."""
    parsed = elements(data)
    if len(parsed) != 1 or parsed[0].tag != SEQUENCE:
        raise ValueError("not one SEQUENCE")
    return elements(parsed[0].content)


def expect(element: Element, tag: int) -> bytes:
    """The content of an element with this tag."""
    if element.tag != tag:
        raise ValueError(f"not an element with the tag {tag}")
    return element.content


def integer(element: Element) -> int:
    """The value of an INTEGER that is not negative."""
    content = expect(element, INTEGER)
    if not content or content[0] >= 0x80 or (len(content) > 1 and content[0] == 0 and content[1] < 0x80):
        raise ValueError("not a DER integer of zero or more")
    return int.from_bytes(content)


def bits(content: bytes) -> bytes:
    """The bytes of a BIT STRING's content that has no unused bits."""
    if not content or content[0] != 0:
        raise ValueError("not whole bytes")
    return content[1:]


def oid(element: Element) -> str:
    """An object identifier as dotted decimals."""
    content = expect(element, OID)
    if not 1 <= len(content) <= 40 or content[-1] >= 0x80:
        raise ValueError("not an object identifier")
    arcs, value = [], 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def write(tag: int, *contents: bytes) -> bytes:
    """An element with these contents."""
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def write_integer(value: int) -> bytes:
    """An INTEGER of zero or more."""
    return write(INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def write_oid(dotted: str) -> bytes:
    """An object identifier."""
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return write(OID, content)
