"""Every function against hostile input: no value of a field is a 500, and no body has an unreasonable cost."""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from msgspec import inspect

from scripts.azurite import start_azurite
from shared.app import build
from shared.web import Access, Route
from shared.web.decoding import MAX_CONTAINERS, MAX_VALUES
from tests.support import App, not_generated, run_sample_app, session_token

ROUTES = build({}).routes
MIB = 1024**2
LIMIT = 8 * MIB
CPU_SECONDS = 3.0
"""The aim is one second; a cost that grows with the square of the input takes minutes."""
MEMORY_BYTES = 64 * MIB
"""Beside the request and the response."""

# fmt: off
TEXTS = (
    "", " ", "a\n", "\x00", "a\x00b", "\x7f", "\u2028", "\u202e", "\ufeff", "\ufffe", "\U0010ffff", "e\u0301", "ﷺ", "İ",
    "a" * 300, "🔑" * 300, "a" * 5000, "-", "_", ".", "..", "../..", "/", "\\", "%", "%00", "%2e%2e", "+", "====", "A",
    "AAAAA", "'", '"', "';--", "$(x)", "{{7*7}}", "-1", "NaN", "1e999", "null", "[]", "*", 'W/"x"',
    "9999-12-31T23:59:59.999999Z",
    "10000-01-01T00:00:00Z", "2026-13-45", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
    "Thu, 99 Foo 99999999999 99:99:99 GMT", "bytes=0-", "bytes=-0", "bytes=9" + "9" * 30 + "-",
)
INNER_TEXTS = ("", "a\n", "\x00", "\ufffe", "🔑" * 300, "..", "%00", "====", "9999-12-31T23:59:59.999999Z")
"""For the values of lists and objects."""
NUMBERS = (
    "0", "-0", "-1", "5.0", "0.5", "-0.0", "1e308", "5e-324", str(2**31), str(2**53 + 1), str(2**63), str(-(2**63) - 1),
    "9" * 310,
)
OTHERS = ("null", "true", "[]", "{}", "[null]", '[{"a":[]}]', '{"":""}', '{"a":{"b":[1]}}')
# fmt: on


def extremes(kind: inspect.Type, texts: tuple[str, ...] = TEXTS) -> Iterator[str]:
    """JSON texts at the edges of a field's type, and some of other types."""
    kind = kind.type if isinstance(kind, inspect.Metadata) else kind
    types = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    yield from OTHERS
    for member in types:
        each = member.type if isinstance(member, inspect.Metadata) else member
        if isinstance(each, inspect.StrType):
            yield from map(json.dumps, texts)
            if each.max_length:
                yield json.dumps("🔑" * each.max_length)
        elif isinstance(each, inspect.IntType | inspect.FloatType):
            yield from NUMBERS
            yield from (str(bound) for bound in (each.ge, each.le, each.gt, each.lt) if bound is not None)
        elif isinstance(each, inspect.AnyType):
            yield from NUMBERS
            yield from map(json.dumps, texts)
        elif isinstance(each, inspect.ListType):
            yield from (f"[{item}]" for item in extremes(each.item_type, INNER_TEXTS))
            yield "[" + ",".join(["0"] * 1001) + "]"
        elif isinstance(each, inspect.DictType):
            yield from (f'{{"a": {item}}}' for item in extremes(each.value_type, INNER_TEXTS))
            yield from (f"{{{json.dumps(text)}: {json.dumps(text)}}}" for text in texts)
        elif isinstance(each, inspect.StructType):
            for field in each.fields:
                yield from (f'{{"{field.encode_name}": {item}}}' for item in extremes(field.type, INNER_TEXTS))


def path_fields(route: Route) -> list[str]:
    """The names of the fields in the path."""
    return re.findall(r"\{\*?(\w+)\??\}", route.path)


def base_fields(route: Route) -> dict[str, Any]:
    """The first example of a function, which no destructive function applies to the sample data."""
    examples = route.operation.examples
    fields = dict(examples[0].fields) if examples else {}
    if "DELETE" in route.methods:
        fields |= {name: f"hostile-{name.replace('_', '-')}" for name in path_fields(route)}
    return fields


@pytest.fixture(scope="module")
def hostile_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with storage of its own, since these calls leave much behind."""
    azurite = start_azurite(tmp_path_factory.mktemp("storage") / "azurite", in_memory=True)
    try:
        with run_sample_app(tmp_path_factory.mktemp("hostile"), azurite.connection_string) as app:
            yield app
    finally:
        azurite.stop()


def authorize(client: httpx.Client, route: Route, app: App) -> None:
    """Let the calls of a route for sessions carry the access token of one."""
    if route.access is Access.SESSION:
        client.headers["authorization"] = f"Bearer {session_token(app)}"


def send(client: httpx.Client, route: Route, texts: dict[str, str], method: str) -> httpx.Response | None:
    """Call a function with each field as a JSON text; None if a URL cannot carry the values."""
    path = f"/api/{route.path}"
    texts = dict(texts)
    for name in path_fields(route):
        text = texts.pop(name, '"hostile"')
        value = json.loads(text)
        part = quote(value if isinstance(value, str) else text, safe="", errors="surrogatepass")
        if not part or part in (".", ".."):
            return None
        path = re.sub(rf"\{{\*?{name}\??\}}", part.replace("\\", "\\\\"), path)
    headers = {}
    for header in route.operation.headers:
        if text := texts.pop(header.replace("-", "_"), ""):
            value = json.loads(text)
            if not isinstance(value, str) or not value.isprintable() or not value.isascii() or value != value.strip():
                return None
            headers[header] = value
    with_body = method in ("POST", "PUT", "PATCH") and not route.operation.raw
    if with_body:
        body = "{" + ",".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}"
        return client.request(
            method, path, content=body.encode(), headers={"content-type": "application/json"} | headers
        )
    pairs = []
    for name, text in texts.items():
        value = json.loads(text) if text[0] == '"' else text
        pairs.append(f"{quote(name, safe='')}={quote(value, safe='', errors='surrogatepass')}")
    url = path + ("?" + "&".join(pairs) if pairs else "")
    return client.request(method, url, headers=headers) if len(url) < 8000 else None


SYNONYMS = {"data": "column", "sql": "statement"}
"""Other words for fields, which details may use."""


def unclear_details(response: httpx.Response) -> list[str]:
    """The details of a problem's wrong fields that do not form whole sentences, or do not name the field."""
    unclear = []
    for each in response.json().get("errors", []):
        detail, field = each["detail"], each["field"]
        words = set(re.split(r"[.\[\]]+", field)) - {""}
        words |= {SYNONYMS.get(word, word) for word in words} | {word.replace("_", "-") for word in words}
        words |= {part for word in words for part in word.split("_") if len(part) > 3}  # to_name: a name
        sentence = re.sub("^[a-z-]+: ", "", detail)  # The reason why a password is weak has its code before it.
        is_whole = sentence[:1] in "`'\"" or sentence[:1].isupper()
        is_whole = is_whole and sentence[-1:] in '.…"' and not re.match(r"(This|It|They) (is|has|must)\b", sentence)
        if not is_whole or not any(word.lower().rstrip("s") in sentence.lower() for word in words):
            unclear.append(f"{field}: {detail}")
    return unclear


@not_generated
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_no_value_of_a_field_is_a_500(route: Route, hostile_app: App) -> None:
    """Each field of each function, with the extremes of its own type and of others: a success, or a clear refusal.

    Each detail of a refusal makes sense alone: it is a sentence that names its field.
    """
    if route.operation.request is None:
        pytest.skip("it takes no fields")
    base = {name: json.dumps(value) for name, value in base_fields(route).items()}
    calls = [
        (field.encode_name, text, method)
        for field in inspect.type_info(route.operation.request).fields  # type: ignore[attr-defined]
        for text in dict.fromkeys(extremes(field.type))
        for method in route.methods
        if method != "HEAD"
    ]

    unclear: list[str] = []

    def failure(call: tuple[str, str, str]) -> tuple[str, str, str, int, str] | None:
        name, text, method = call
        if route.name == "copy-blob" and "\\\\" in text:
            return None  # Azurite cannot read the source of a copy whose name has a backslash.
        response = send(client, route, base | {name: text}, method)
        if response is not None and response.headers.get("content-type") == "application/problem+json":
            unclear.extend(unclear_details(response))
        # Azurite returns no 5xx of its own here, so the app returns none either.
        # A time limit of some milliseconds ends storage's time, too; and Azurite responds 500 to some delimiters.
        is_excused = name in ("timeout_ms", "delimiter") and response is not None and response.status_code == 503
        if response is None or response.status_code < 500 or is_excused:
            return None
        return method, name, text[:80], response.status_code, response.text[:300]

    with hostile_app.client() as client, ThreadPoolExecutor(4) as pool:
        authorize(client, route, hostile_app)
        failures = [each for each in pool.map(failure, calls) if each]
    assert failures == []
    assert not sorted(set(unclear))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_line_feed_at_the_end_of_a_name_is_refused(route: Route) -> None:
    """No pattern of any field accepts the value of an example with a line feed behind it."""
    if route.operation.request is None:
        pytest.skip("it takes no fields")
    fields = {each.encode_name: each for each in msgspec.structs.fields(route.operation.request)}
    for example in route.operation.examples:
        for name, value in example.fields.items():
            if name not in fields:  # A parameter of a saved query.
                continue
            info = inspect.type_info(fields[name].type)
            info = info.type if isinstance(info, inspect.Metadata) else info
            kinds = info.types if isinstance(info, inspect.UnionType) else (info,)
            kinds = tuple(each.type if isinstance(each, inspect.Metadata) else each for each in kinds)
            patterned = [each for each in kinds if isinstance(each, inspect.StrType) and each.pattern]
            # A prefix may contain every character that a stored name may.
            if isinstance(value, str) and patterned and name not in ("prefix", "delimiter", "match"):
                with pytest.raises(msgspec.ValidationError):
                    msgspec.convert(value + "\n", fields[name].type)


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far, and of its ended children."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - a file of the kernel.
        numbers = file.read().rpartition(")")[2].split()
    return sum(int(numbers[index]) for index in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int, *, reset: bool = False) -> int:
    """The peak of a process's memory; with `reset`, the peak starts from now."""
    if reset:
        with open(f"/proc/{pid}/clear_refs", "w") as file:  # noqa: PTH123 - a file of the kernel.
            file.write("5")
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - a file of the kernel.
        text = file.read()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024


def worst_bodies(route: Route) -> Iterator[tuple[str, bytes]]:
    """Bodies near the limit of bytes: unknown fields, deep JSON, and each field as long as its type allows."""
    base = base_fields(route)
    for name in path_fields(route):
        base.pop(name, None)
    yield "unknown fields", json.dumps(dict.fromkeys(map(str, range(MAX_VALUES - 2)), 1)).encode()
    yield "objects below the bound", b'{"params": [' + b'{"a":1},' * (MAX_CONTAINERS - 2) + b"1]}"
    yield "texts below the bound", b'{"params": [' + b'"aaaaa",' * (MAX_VALUES - 4) + b"1]}"
    yield "equal keys", b'{"a":1' + b',"a":1' * 1_000_000 + b"}"
    yield "colons", json.dumps({"x": ":" * 7_000_000}).encode()
    yield "quotes", json.dumps({"x": '"' * 3_900_000}).encode()
    yield "nested", b'{"params": ' + b"[" * 3_900_000 + b"]" * 3_900_000 + b"}"
    yield "objects", b'{"params": [' + b'{"a":1},' * 900_000 + b"1]}"
    for field in msgspec.structs.fields(route.operation.request) if route.operation.request else ():
        if field.encode_name in path_fields(route):
            continue
        for what, value in (("text", '"' + "a" * 7_900_000 + '"'), ("list", "[" + "0," * 3_900_000 + "0]")):
            others = {name: value for name, value in base.items() if name != field.encode_name}
            head = json.dumps(others)[:-1] + ("," if others else "")
            yield f"{field.encode_name}: {what}", f"{head}{json.dumps(field.encode_name)}: {value}}}".encode()


BODIES = [each for each in ROUTES if set(each.methods) & {"POST", "PUT", "PATCH"} and not each.operation.raw]


@pytest.mark.parametrize("route", BODIES, ids=lambda route: route.name)
def test_the_worst_bodies_are_cheap(route: Route, hostile_app: App, record_property: Any) -> None:
    """No body costs a core or the memory: its CPU time and the memory beside it are printed, and bounded."""
    method = next(each for each in route.methods if each in ("POST", "PUT", "PATCH"))
    path = "/api/" + re.sub(r"\{\*?(\w+)\??\}", "hostile", route.path)
    pid = hostile_app.process.pid
    worst_cpu, worst_memory = (0.0, ""), (0, "")
    with hostile_app.client() as client:
        authorize(client, route, hostile_app)
        for name, body in worst_bodies(route):
            assert len(body) <= LIMIT, name
            before, cpu = peak_bytes(pid, reset=True), cpu_seconds(pid)
            response = client.request(method, path, content=body, headers={"content-type": "application/json"})
            assert response.status_code < 500, (name, response.text[:300])
            assert len(response.content) < 2 * len(body) + MIB, name
            worst_cpu = max(worst_cpu, (cpu_seconds(pid) - cpu, name))
            worst_memory = max(worst_memory, (peak_bytes(pid) - before - len(body) - len(response.content), name))
    print(f"{route.name}: {worst_cpu[0]:.2f} s ({worst_cpu[1]}), {worst_memory[0] / MIB:.0f} MiB ({worst_memory[1]})")
    assert worst_cpu[0] <= CPU_SECONDS, worst_cpu
    assert worst_memory[0] <= MEMORY_BYTES, worst_memory
