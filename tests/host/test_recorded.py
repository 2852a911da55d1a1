"""Sends every recorded request to the local host, and compares its responses with the real host's."""

import base64
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from azure.functions import HttpResponse
from azure.functions.http import HttpResponseConverter
from hypothesis import given
from hypothesis import strategies as st

from scripts.host.responses import read_result

from .running import PROBE, ROOT, Reply, RunningHost, running

RECORDED = ROOT / "tests" / "vectors" / "host" / "answers.jsonl"
CASES = [json.loads(line) for line in RECORDED.read_bytes().splitlines()]
KEYS = {
    "MASTER_KEY": "the-master-key",
    "FUNCTION_KEY": "the-function-key",
    "OWN_KEY": "the-own-key",
    "OTHER_KEY": "the-other-key",
}
WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="="))
TEXTS = WORDS | st.sampled_from(["a=b", "a=b; Path=/; HttpOnly"])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """The host with the probe app, which requires the keys above."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    own = {"keyed": {"default": KEYS["OWN_KEY"]}, "keyed-too": {"default": KEYS["OTHER_KEY"]}}
    content = {"master": KEYS["MASTER_KEY"], "function": {"default": KEYS["FUNCTION_KEY"]}, "functions": own}
    keys.write_text(json.dumps(content))
    # The recorded worker had no orjson. With orjson installed, azure.functions reads big integers differently.
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "orjson.py").write_text("raise ImportError\n")
    with running(PROBE, "--enable-auth", "--keys", str(keys), environ={"PYTHONPATH": str(hidden)}) as started:
        yield started


def _sent(text: str, port: int) -> str:
    """Fill in the placeholders; the recorded lengths include them, and no body contains one."""
    for name, value in {**KEYS, "PORT": str(port)}.items():
        text = text.replace("{" + name + "}", value)
    return text


def _headers(headers: list[tuple[str, str]], body: bytes | None) -> list[tuple[str, str]]:
    """Return the compared headers: not a body's framing, and not those that the recording leaves out."""
    left_out = {"date", "server", "transfer-encoding"} | ({"content-length"} if body != b"" else set())
    return sorted((name, value) for name, value in headers if name not in left_out)


def _agrees(case: dict[str, Any], reply: Reply, port: int) -> bool:
    if reply.status != case["status"]:
        return False
    body = case.get("body")
    if isinstance(body, dict) and "json_with" in body:
        return _has(json.loads(reply.body), body["json_with"])
    if isinstance(body, dict) and "json_array_of_objects_with" in body:
        return all(_has(one, body["json_array_of_objects_with"]) for one in json.loads(reply.body))
    if case["case"].startswith("host: home page"):
        return True  # Each host has its own page.
    if isinstance(body, dict):
        expected = body["starts"].encode() + b"x" * (body["length"] - len(body["starts"]))
    else:
        expected = base64.b64decode(case["body_base64"]) if body is None else _sent(body, port).encode()
    recorded = [(name, value) for name, value in case["headers"]]
    if _headers(reply.headers, reply.body) != _headers(recorded, expected):
        return False
    if reply.body == expected:
        return True
    shows_a_request = expected.startswith(b'{"method"')
    return shows_a_request and bool(json.loads(reply.body) == json.loads(expected))


def _has(shown: dict[str, Any], expected: dict[str, Any] | list[str]) -> bool:
    if isinstance(expected, list):
        return set(expected) <= set(shown)
    return expected.items() <= shown.items()


DIFFERENCES = {
    "method: CORS preflight": (403, "the local host rejects pages of other origins: without keys they could call"),
    "method: CORS simple": (403, "the local host rejects pages of other origins: without keys they could call"),
    "header: other host": (403, "the local host checks Host: a foreign name may be DNS rebinding"),
    "query: bare question mark": (200, "uvicorn drops the question mark of an empty query, so `url` lacks it"),
    "answer: status 600": (500, "uvicorn sends no status over 599"),
    "answer: status 999": (500, "uvicorn sends no status over 599"),
    "answer: connection": (200, "h11 keeps to RFC 9112: it says close where the connection closes"),
    "broken: no version": (400, "h11 does not read an HTTP/0.9 request line; Kestrel reads it and responds 505"),
}
"""Recorded cases with another response here: the status here, and the reason."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_responds_as_the_real_host_does(host: RunningHost, case: dict[str, Any]) -> None:
    """The local host sends the real host's status, headers and body, except for the differences listed above."""
    reply = host.send(_sent(case["send"], host.port).encode("latin-1"))
    if case["case"] in DIFFERENCES:
        status, reason = DIFFERENCES[case["case"]]
        assert reply.status == status, (case, reply)
        assert not _agrees(case, reply, host.port), f"no longer a difference: {reason}"
    else:
        assert _agrees(case, reply, host.port), (case, reply)


def test_the_differences_are_few_and_recorded() -> None:
    """Every difference names a recorded case, and at least 238 of the 246 cases agree."""
    names = {case["case"] for case in CASES}
    assert set(DIFFERENCES) <= names
    assert len(CASES) - len(DIFFERENCES) >= 238


@given(
    headers=st.dictionaries(st.sampled_from(["X-One", "x-one", "x-two", "Content-Type", "Set-Cookie"]), TEXTS),
    mimetype=st.sampled_from([None, "text/html", "application/json"]),
    charset=st.sampled_from([None, "utf-8", "ascii"]),
    status_code=st.sampled_from([None, 200, 404, HTTPStatus.CREATED]),
    body=st.sampled_from([None, b"", b"bytes", "text"]),
)
def test_reads_a_response_as_the_worker_does(headers: dict[str, str], **options: Any) -> None:
    """Status, headers, number of cookies and body equal the output of azure.functions' own converter."""
    encoded = HttpResponseConverter.encode(HttpResponse(headers=headers, **options), expected_type=None).value
    response = read_result(HttpResponse(headers=headers, **options), "GET")
    assert str(response.status) == encoded["status_code"].value
    # If names differ only in case, the host keeps the last.
    expected = {name.lower(): header.value.strip(" \t") for name, header in encoded["headers"].items()}
    left_out = ("set-cookie", "content-length")
    assert {name: value for name, value in response.headers if name not in left_out} == expected
    cookies = sum(len(cookie) for cookie in encoded["cookies"] or ())
    assert [name for name, _ in response.headers].count("set-cookie") == cookies
    assert response.body == encoded["body"].value


@pytest.mark.parametrize("status", [0, 99, 100, 103, 199, 600, 1000, "abc"])
def test_a_status_that_cannot_be_sent(host: RunningHost, status: int | str) -> None:
    """A handler's status outside 200 to 599 becomes 500, and the connection stays intact."""
    body = json.dumps({"status": status, "body": "body"}).encode()
    reply = host.call("POST", "/api/answer", body, headers={"Content-Type": "application/json"})
    assert (reply.status, reply.body) == (500, b"")


@pytest.mark.parametrize("value", [" x", "x ", "\tx\t", "x"])
def test_blanks_around_a_header_value_are_dropped(host: RunningHost, value: str) -> None:
    """Blanks at the ends of a handler's header value are removed."""
    body = json.dumps({"headers": [["X-A", value]], "body": "body"}).encode()
    reply = host.call("POST", "/api/answer", body, headers={"Content-Type": "application/json"})
    assert (reply.status, dict(reply.headers)["x-a"]) == (200, "x")
