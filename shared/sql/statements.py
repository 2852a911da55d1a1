"""What the app knows of a statement and its parameters before a database sees them.

The scanner splits a text into tokens as the engine's own lexer does. It refuses a text that it cannot account for to
the last character, since one that the engine reads differently could hide a statement. Its time is linear in the text.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

from shared.errors import FieldError, InvalidRequest, invalid_field
from shared.sql.dialects import DIALECTS, SHOWN, SHOWN_AS_CREATED, SHOWN_IN_FULL, Dialect, token_pattern
from shared.sql.errors import SqlError
from shared.sql.values import Params, Scalar
from shared.web import decode_base64
from shared.web.decoding import MAX_ERRORS, cut

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
MAX_PARAMETERS = 10_000
REMEMBERED_LENGTH = 8192
"""Statements up to this many characters are scanned once."""
LOCKING = frozenset({("FOR", "UPDATE"), ("FOR", "SHARE"), ("LOCK", "IN")})
"""Words that let a reader keep writers waiting. https://dev.mysql.com/doc/refman/8.4/en/innodb-locking-reads.html"""

_BLANKS = frozenset({"blank", "comment"})
_SLICED = frozenset({"word", "name", "number", "text", "position", "parameter", "dollar_position"})
"""Kinds of tokens after which, inside brackets, a colon separates the bounds of a slice."""
_NOT_SLICED = frozenset({"AND", "BETWEEN", "CASE", "ELSE", "IN", "IS", "LIKE", "NOT", "OR", "THEN", "WHEN"})


class Token(NamedTuple):
    """A token: its kind, and where it starts and ends."""

    kind: str
    start: int
    end: int


class Scanned(NamedTuple):
    """A statement, taken apart at its parameters."""

    pieces: tuple[str, ...]
    """The text before, between and behind the parameters."""
    slots: tuple[str | int, ...]
    """The parameters: names, or numbers from 1 on."""
    spans: tuple[tuple[int, int], ...]
    """The start and end of each parameter in the statement."""
    names: tuple[str, ...]
    number: int
    """The number of values that the statement takes by position."""
    words: tuple[str, ...]
    """All bare words, in upper case."""
    forbidden: str = ""
    """The first name that callers may not use, as written: a function, a relation, a command or a hint."""

    @property
    def first(self) -> str:
        """The statement's leading keyword."""
        return self.words[0] if self.words else ""


class Base64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes, as base64 or base64url."""

    base64: str


Param = None | bool | int | float | str | Base64
GivenParams = list[Param] | dict[str, Param]


def tokens(sql: str, dialect: Dialect) -> Iterator[Token]:
    """The tokens of `sql`, blanks and comments included. Raises SqlError where a part of it is not a token."""
    pattern = token_pattern(dialect)
    index, length = 0, len(sql)
    while index < length:
        match = pattern.match(sql, index)
        kind = (match.lastgroup or "") if match else ""
        if match is None or kind == "open":
            raise SqlError(_unread(sql, index, kind))
        end = match.end()
        if kind in ("nested", "dollar"):
            end = _nested_end(sql, index) if kind == "nested" else _quoted_end(sql, match[0], end)
            if end < 0:
                raise SqlError(_unread(sql, index, "open"))
            kind = "comment" if kind == "nested" else "text"
        yield Token(kind, index, end)
        index = end


def _quoted_end(sql: str, tag: str, start: int) -> int:
    """The end of the string in dollar quotes; -1 if it has none."""
    index = sql.find(tag, start)
    return index if index < 0 else index + len(tag)


def _nested_end(sql: str, start: int) -> int:
    """The end of the block comment that starts at `start`; -1 if it has none. PostgreSQL's comments nest."""
    depth = 0
    for match in _COMMENT_ENDS.finditer(sql, start):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return -1


_COMMENT_ENDS = re.compile(r"/\*|\*/")


def _unread(sql: str, index: int, kind: str) -> str:
    if kind == "open":
        return f"The quoted text or comment that starts at character {index + 1} has no end."
    return f"The character {index + 1}, {sql[index]!r}, is not part of any token of this engine's SQL."


def is_blank(sql: str, dialect: Dialect = "sqlite") -> bool:
    """Whether `sql` holds nothing but white space, comments and semicolons."""
    try:
        return all(token.kind in _BLANKS or sql[token.start] == ";" for token in tokens(sql, dialect))
    except SqlError:
        return False


def read_params(params: GivenParams | None, field: str = "params") -> list[Scalar] | dict[str, Scalar]:
    """The values to bind. Raises InvalidRequest, naming the value, where a database cannot store it."""
    if isinstance(params, dict):
        return {name: _scalar(value, f"{field}.{name}") for name, value in params.items()}
    return [_scalar(value, f"{field}[{index}]") for index, value in enumerate(params or ())]


def _scalar(value: Param, field: str) -> Scalar:
    if isinstance(value, Base64):
        return decode_bytes(value.base64, f"{field}.base64")
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        raise invalid_field(field, f"`{field}` does not fit into 64 bits. Send it as text.")
    return value


def decode_bytes(text: str, field: str) -> bytes:
    """The bytes of base64 in a parameter. Raises InvalidRequest, with a hint if a URL has turned a + into a space."""
    if " " in text:
        raise invalid_field(
            field,
            f"`{field}` contains a space, because a '+' in a URL is a space. Write '+' as %2B, or send base64url ('-' "
            "instead of '+').",
        )
    return decode_base64(text, field)


def scan(sql: str, dialect: Dialect) -> Scanned:
    """`sql`, taken apart. Raises SqlError where it cannot be, InvalidRequest where it mixes styles of parameters."""
    return _remembered(sql, dialect) if len(sql) <= REMEMBERED_LENGTH else _scan(sql, dialect)


def _scan(sql: str, dialect: Dialect) -> Scanned:
    if "\0" in sql:
        raise invalid_field("sql", "`sql` contains a NUL character. Bind it as a parameter.")
    pieces: list[str] = []
    slots: list[str | int] = []
    spans: list[tuple[int, int]] = []
    code: list[Token] = []
    text = ""
    start = highest = 0
    for token in _sliced(sql, tokens(sql, dialect), has_lambdas=dialect == "blobs"):
        kind = token.kind
        if kind in _BLANKS:
            continue
        code.append(token)
        slot: str | int
        if kind == "parameter":
            slot = sql[token.start + 1 : token.end]
        elif kind in ("position", "dollar_position"):
            number = sql[token.start + 1 : token.end]
            slot = int(number[:9]) if number else highest + 1
            highest = max(highest, slot)
        elif kind == "operator":
            text += sql[start : token.start] + "?"
            start = token.end
            continue
        else:
            continue
        pieces.append(text + sql[start : token.start])
        slots.append(slot)
        spans.append((token.start, token.end))
        text, start = "", token.end
    pieces.append(text + sql[start:])
    names = tuple(dict.fromkeys(slot for slot in slots if isinstance(slot, str)))
    if names and highest:
        raise invalid_field(
            "sql", "The statement has parameters by position and by name. Write all of them in one way."
        )
    if highest > MAX_PARAMETERS:
        raise invalid_field("sql", f"The statement has a parameter {highest}; at most {MAX_PARAMETERS} are accepted.")
    words = tuple([sql[each.start : each.end].upper() for each in code if each.kind == "word"])
    forbidden = _forbidden(sql, code, words, dialect)
    return Scanned(tuple(pieces), tuple(slots), tuple(spans), names, highest, words, forbidden)


_remembered = lru_cache(maxsize=512)(_scan)


def _sliced(sql: str, scanned: Iterator[Token], *, has_lambdas: bool) -> Iterator[Token]:
    """`scanned`, where `:j` in `a[i:j]`, in `{i:j}` and in `lambda i:j` is not a parameter but a colon and a column."""
    open_brackets: list[str] = []
    before = Token("blank", 0, 0)
    in_names = ends_names = False  # Within `lambda i, j`, and behind one of its names.
    for token in scanned:
        kind = token.kind
        first = sql[token.start]
        if first in "([{" and kind in ("sign", "symbol"):
            open_brackets.append(first)
        elif first in ")]}" and kind in ("sign", "symbol") and open_brackets:
            open_brackets.pop()
        elif (
            kind == "parameter"
            and first == ":"
            and (ends_names or (open_brackets and open_brackets[-1] in "[{"))
            and _is_bound(sql, before)
        ):
            yield Token("sign", token.start, token.start + 1)
            token = Token("word", token.start + 1, token.end)  # noqa: PLW2901
        if token.kind not in _BLANKS:
            is_name = kind in ("word", "name")
            follows = sql[before.start : before.end].upper() == "LAMBDA" and has_lambdas
            ends_names = is_name and (follows or (in_names and sql[before.start] == ","))
            in_names = ends_names or (in_names and first == ",")
            before = token
        yield token


def _is_bound(sql: str, token: Token) -> bool:
    """Whether `token` ends an expression, so that a colon behind it separates the bounds of a slice."""
    if token.kind == "word":
        return sql[token.start : token.end].upper() not in _NOT_SLICED
    return token.kind in _SLICED or sql[token.start] in ")]"


# ---- What callers may not run, however it is written.


def _forbidden(sql: str, code: list[Token], words: tuple[str, ...], dialect: Dialect) -> str:
    """The first function, relation or command in `code` that callers may not run; "" if there is none."""
    if dialect in ("sqlite", "blobs"):
        return ""
    if dialect == "mysql" and (command := _forbidden_command(code, words)):
        return command
    return _forbidden_name(sql, code, dialect)


def _forbidden_command(code: list[Token], words: tuple[str, ...]) -> str:
    if any(token.kind == "code" for token in code):
        return "/*! … */"
    if "OUTFILE" in words or "DUMPFILE" in words:
        return "INTO OUTFILE"
    first, second, third = (*words, "", "", "")[:3]
    if first == "SHOW":
        shown = {"FULL": SHOWN_IN_FULL, "CREATE": SHOWN_AS_CREATED}.get(second)
        if (third not in shown) if shown is not None else (second not in SHOWN):
            return f"SHOW {second} {third}".strip() if shown is not None else f"SHOW {second}"
    if first in ("EXPLAIN", "DESCRIBE", "DESC") and "CONNECTION" in words and "FOR" in words:
        index = words.index("CONNECTION")
        if words[index - 1] == "FOR":
            return "EXPLAIN FOR CONNECTION"
    if first in ("GRANT", "REVOKE") and not {"IDENTIFIED", "ROLE"}.isdisjoint(words):
        return f"{first} IDENTIFIED"
    return ""


_FROM = frozenset({"FROM", "JOIN", "TABLE", "ONLY", "LATERAL", "UPDATE", "INTO", "USING"})
"""Words behind which PostgreSQL expects a relation."""
_ENDS_FROM = frozenset(
    {"WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "FETCH", "SET", "SELECT", "VALUES", "UNION", "EXCEPT",
     "INTERSECT", "RETURNING", "WINDOW", "FOR"}
)  # fmt: skip
_BEFORE_COLUMNS = frozenset({"INTO", "TABLE", "EXISTS", "ON", "REFERENCES", "VIEW", "AS", "WITH", "RECURSIVE", "INDEX"})
"""Words behind which a name with parentheses is a relation and its columns, not a call."""


def _forbidden_name(sql: str, code: list[Token], dialect: Dialect) -> str:
    """The first call of a function, or relation, that the facts of the dialect forbid.

    Names count where they are used as such: a column, an alias, a table of one's own or a text may have any name.
    """
    facts = DIALECTS[dialect]
    code, names = _with_names(sql, code, dialect)
    clauses = ["other"]
    for index, token in enumerate(code):
        kind, first = token.kind, sql[token.start]
        word = sql[token.start : token.end].upper() if kind == "word" else ""
        before = _text(sql, code, index - 1)
        if kind in ("sign", "symbol"):
            if first == "(":
                clauses.append("from" if clauses[-1] == "from" and before in {*_FROM, ",", "("} else "other")
            elif first == ")" and len(clauses) > 1:
                clauses.pop()
            elif first == "," and clauses[-1] == "on":
                clauses[-1] = "from"
            continue
        if kind not in ("word", "name"):
            continue
        name = names[index]
        following = _text(sql, code, index + 1)
        schema = names[index - 2] if before == "." and index > 1 else ""
        if following == "(":
            start = index - 2 if schema else index
            is_call = _text(sql, code, start - 1) not in _BEFORE_COLUMNS
            if is_call and (name in facts.functions or name.startswith(facts.function_prefixes or ("\0",))):
                return f"{name}()"
        if schema in facts.schemas and (not facts.schemas[schema] or name in facts.schemas[schema]):
            return f"{schema}.{name}"
        if name == "pg_settings" and "UPDATE" in (before, _text(sql, code, index - (3 if schema else 2))):
            return "update pg_settings"
        is_relation = clauses[-1] == "from" and before in {*_FROM, ",", "("} and following not in (".", "(")
        if name in facts.relations and (is_relation or before in ("TABLE", "UPDATE")) and not schema:
            return name
        if word in _FROM and word != "USING":
            clauses[-1] = "from"
        elif word == "ON" and clauses[-1] == "from":
            clauses[-1] = "on"
        elif word in _ENDS_FROM:
            clauses[-1] = "other"
    return ""


def _with_names(sql: str, code: list[Token], dialect: Dialect) -> tuple[list[Token], list[str]]:
    """The tokens, and the name that each is; `UESCAPE` and its text are part of the name before them."""
    kept, names = [], []
    index = 0
    while index < len(code):
        kept.append(code[index])
        names.append(_identifier(sql, code, index, dialect))
        index += 3 if code[index].kind == "name" and _text(sql, code, index + 1) == "UESCAPE" else 1
    return kept, names


def _text(sql: str, code: list[Token], index: int) -> str:
    """A word in upper case, or a sign; "" where the token is another, or is not there."""
    if not 0 <= index < len(code):
        return ""
    token = code[index]
    return sql[token.start : token.end].upper() if token.kind in ("word", "sign", "symbol") else ""


_UNICODE = re.compile(r"\\\\|\\\+([0-9A-Fa-f]{6})|\\([0-9A-Fa-f]{4})")


def _identifier(sql: str, code: list[Token], index: int, dialect: Dialect) -> str:
    """The name that a token is, as the engine compares it; "" where it is none.

    PostgreSQL folds what is not quoted; MySQL ignores case, also that of letters which Unicode folds to ASCII.
    """
    token = code[index]
    text = sql[token.start : token.end]
    if token.kind == "word":
        return text.lower() if dialect == "postgresql" else text.upper().casefold()
    if token.kind != "name":
        return ""
    if dialect == "mysql":
        return text[1:-1].replace("``", "`").upper().casefold()
    if text[0] in '"`[':
        return text[1:-1].replace('""', '"')
    escape = "\\"
    if _text(sql, code, index + 1) == "UESCAPE" and index + 2 < len(code):
        escape = sql[code[index + 2].start : code[index + 2].end].strip("'") or "\\"
    plain = text[3:-1].replace('""', '"')
    if escape != "\\":
        plain = plain.replace("\\", "\0").replace(escape, "\\")
    return _UNICODE.sub(_character, plain).replace("\0", "\\")


def _character(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    return chr(min(int(digits, 16), 0x10FFFF)) if digits else "\\"


def identifiers(sql: str, dialect: Dialect) -> frozenset[str]:
    """Every word and quoted name of `sql`, as the engine compares names."""
    code = [token for token in tokens(sql, dialect) if token.kind in ("word", "name", "number")]
    return frozenset(_identifier(sql, code, index, dialect) for index in range(len(code)))


def has_second(sql: str, dialect: Dialect) -> bool:
    """Whether a semicolon separates statements. One in the body of a function looks the same: the engine decides."""
    separated = False
    for token in tokens(sql, dialect):
        if sql[token.start] == ";" and token.kind in ("sign", "symbol"):
            separated = True
        elif separated and token.kind not in _BLANKS:
            return True
    return False


def clip(sql: str, dialect: Dialect) -> str:
    """`sql` without the comments, semicolons and white space behind it; all of it where it cannot be scanned."""
    end = 0
    try:
        for token in tokens(sql, dialect):
            if token.kind not in _BLANKS and sql[token.start] != ";":
                end = token.end
    except SqlError:
        return sql
    return sql[:end]


def check_params(scanned: Scanned, params: Params) -> None:
    """Compare the values that were sent with the statement's parameters. Raises InvalidRequest, naming the faults."""
    names, number = scanned.names, scanned.number
    if isinstance(params, dict):
        if number:
            raise invalid_field(
                "params", f"The statement has parameters by position. Send `params` as a list of {_values(number)}."
            )
        known = set(names)
        missing = [name for name in names if name not in params]
        unknown = [name for name in params if name not in known]
        if missing or unknown:
            errors = [
                *(FieldError(f"params.{cut(name)}", f"Send a value for {cut(name)}.") for name in missing[:MAX_ERRORS]),
                *(
                    FieldError(f"params.{cut(name)}", f"Remove {cut(name)}: the statement has no such parameter.")
                    for name in unknown[:MAX_ERRORS]
                ),
            ][:MAX_ERRORS]
            detail = " ".join(each.detail for each in errors[:5])
            raise InvalidRequest(detail, errors=tuple(errors), error_count=len(missing) + len(unknown))
    elif names:
        first = ", ".join(cut(name) for name in names[:MAX_ERRORS])
        raise invalid_field("params", f"The statement has named parameters. Send `params` as an object with {first}.")
    elif len(params) != number:
        raise invalid_field("params", f"The statement takes {_values(number)}; `params` has {len(params)}.")


def _values(number: int) -> str:
    return "1 value" if number == 1 else f"{number or 'no'} values"


def numbered(scanned: Scanned, params: Params) -> tuple[str, list[Scalar]]:
    """The statement with `$1`, `$2`, … for its parameters, and the values in that order."""
    numbers = {name: number for number, name in enumerate(scanned.names, 1)}
    text = [scanned.pieces[0]]
    for slot, piece in zip(scanned.slots, scanned.pieces[1:], strict=True):
        text += f"${numbers[slot] if isinstance(slot, str) else slot}", piece
    values = [params[name] for name in scanned.names] if isinstance(params, dict) else list(params)
    return "".join(text), values


def slot_values(scanned: Scanned, params: Params) -> list[Scalar]:
    """The value of each occurrence of a parameter, in the order of the text."""
    if isinstance(params, dict):
        return [params[str(slot)] for slot in scanned.slots]
    return [params[int(slot) - 1] for slot in scanned.slots]


def filled(scanned: Scanned, values: list[Scalar], literal: Callable[[Scalar], str]) -> str:
    """The statement with each parameter replaced by a literal, for drivers that cannot bind."""
    text = [scanned.pieces[0]]
    for value, piece in zip(values, scanned.pieces[1:], strict=True):
        text += literal(value), piece
    return "".join(text)


def original_position(scanned: Scanned, position: int) -> int:
    """The character of the statement that is the character `position` (from 1) of its numbered form."""
    numbers = {name: number for number, name in enumerate(scanned.names, 1)}
    shift = 0
    for slot, (start, end) in zip(scanned.slots, scanned.spans, strict=True):
        if position <= start + shift + 1:
            break
        shift += len(f"${numbers[slot] if isinstance(slot, str) else slot}") - (end - start)
    return position - shift
