"""Says what is wrong with a text that is not JSON, and what to write instead (RFC 8259). Loaded by the first error."""

import re

_POSITION = re.compile(r" \(byte (\d+)\)$")
_HALF_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F])")
_TOKEN = re.compile(rb"[-+.\w]{1,40}", re.ASCII)
_TOKEN_BYTES = 40
"""A wrong number or word is searched this far before the position that msgspec reports."""
_UNICODE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CURLY_QUOTES = ("\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}", "\N{LEFT SINGLE QUOTATION MARK}")
_BARE_WORD = (
    "is a word that JSON does not have: only true, false and null have no quotes. Put a text into double quotes."
)

_BY_MESSAGE = {
    "trailing comma in object": "is a comma before the closing bracket. Remove it.",
    "trailing comma in array": "is a comma before the closing bracket. Remove it.",
    "invalid escape character in string": "follows a backslash, and is not an escape. Write a backslash as \\\\.",
    "invalid character in unicode escape": "is not a hexadecimal digit. Write four of them after \\u.",
    "invalid utf-16 surrogate pair": "belongs to a half of a surrogate pair. Send the whole character "
    "(RFC 8259, section 8.2).",
    "unexpected end of escaped utf-16 surrogate pair": "follows a half of a surrogate pair. Send the whole character "
    "(RFC 8259, section 8.2).",
    "trailing characters": "follows the end of the JSON value. Send one value, and nothing after it.",
    "object keys must be strings": "is not a key. Put each key into double quotes.",
    "expected ':'": "is not a colon. Put a colon between each key and its value.",
    "expected ',' or '}'": "is not a comma or a closing brace. Put a comma between two members of an object.",
    "expected ',' or ']'": "is not a comma or a closing bracket. Put a comma between two items of an array.",
    "invalid number": "belongs to a number of a wrong form. Write numbers as 1, -2, 0.5 or 1e3: a digit before and "
    "after the point, and no zero in front of other digits.",
}


def explain_json(data: bytes, message: str) -> str:
    """One or two sentences on why `data` is not JSON, from msgspec's `message`.

    They quote nothing of the data, and count its bytes from 0.
    """
    if not data.strip():
        return "The JSON is blank. Send a JSON value, such as {}."
    if data.startswith(b"\xef\xbb\xbf"):
        return "The JSON begins with a byte order mark (EF BB BF). Send it without (RFC 8259, section 8.1)."
    if data[:2] in _UNICODE_MARKS or 0 in data[:2]:
        return "The JSON is in UTF-16 or UTF-32. Send it in UTF-8 (RFC 8259, section 8.1)."
    if "out of range" in message:
        return "A number is larger than 1.8e308, the largest of a double. Send it as a text, or a smaller one."
    found = _POSITION.search(message)
    if found is None:
        # msgspec reports a half at the end of the data as its end.
        if half := _HALF_PAIR.search(data):
            return f"Byte {half.start(1)} of the JSON {_BY_MESSAGE['invalid utf-16 surrogate pair']}"
        if "truncated" in message:
            return (
                "The JSON ends too early. Close each text, object and array; words without quotes are only true, false "
                "and null."
            )
        return message
    fault = message[: found.start()].rpartition(": ")[2]
    # Of these msgspec reports the byte after.
    position = int(found[1]) - fault.startswith(
        ("trailing characters", "invalid escape", "invalid utf-16", "unexpected end")
    )
    position -= fault.endswith("unicode escape")
    return f"Byte {position} of the JSON {_explain_byte(data, position, fault)}"


def _explain_byte(data: bytes, position: int, message: str) -> str:
    rest = data[position : position + 4]
    is_escape = "escape" in message or "surrogate" in message
    if rest and rest[0] < 0x20 and not is_escape:
        return f"is the control character U+{rest[0]:04X}. In a text, write it as \\u{rest[0]:04x}."
    if rest.startswith((b"//", b"/*", b"#")) and not is_escape:
        return "begins a comment, which JSON does not have. Remove it."
    if rest.startswith((b"'", b"`", *(quote.encode() for quote in _CURLY_QUOTES))) and not is_escape:
        return "is a quotation mark that JSON does not have. Put keys and texts into straight double quotes."
    if message == "invalid character" or message.startswith("expected ','"):
        start = max(0, position - _TOKEN_BYTES)
        for token in _TOKEN.finditer(data, start, position + _TOKEN_BYTES):
            # Within `true`, `false` and `null`, msgspec reports up to two bytes after the last right one.
            reach = 1 if token[0][:1] in b"tfn" else 0
            is_new_value = message.startswith("expected") and token.start() == position
            if token.start() <= position <= token.end() + reach and not is_new_value:
                return _explain_token(token[0], position > token.start())
    return _BY_MESSAGE.get(message, "is a character that JSON does not have there.")


def _explain_token(token: bytes, is_inside: bool) -> str:
    if token.lstrip(b"+-").lower() in (b"nan", b"infinity", b"inf"):
        return "belongs to NaN or Infinity, which JSON does not have. Send null, or a text."
    if token.lower() in (b"true", b"false", b"null", b"none"):
        return "belongs to a word that JSON does not have. Write true, false and null in lower-case letters."
    if token[:1] in b"+-.0123456789":
        return _BY_MESSAGE["invalid number"]
    return _BARE_WORD if not is_inside else _BARE_WORD.replace("is a word", "belongs to a word")
