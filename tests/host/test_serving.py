"""How the local host runs: threads, large bodies, connections, logs, timers, and shutdown."""

import json
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from scripts.host.__main__ import _listen

from .running import RunningHost, read_reply, running, start, wait_for, write_app

APP = """
import json
import logging
import threading
import time

barrier = threading.Barrier(40)

@app.route(route="meet", methods=["GET"])
def meet(req: func.HttpRequest) -> str:
    barrier.wait(60)
    return "met"

@app.route(route="length", methods=["POST"])
def length(req: func.HttpRequest) -> str:
    return f"{len(req.get_body())} bytes"

@app.route(route="method")
def method(req: func.HttpRequest) -> str:
    return req.method

@app.route(route="slow", methods=["GET"])
def slow(req: func.HttpRequest) -> str:
    logging.info("slow has begun")
    time.sleep(600)
    return ""

@app.route(route="log", methods=["GET"])
def log(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    logging.debug("not to be seen")
    logging.info("two\\nlines")
    logging.getLogger("mine").warning("of %s, run %s", context.function_name, len(context.invocation_id))
    return func.HttpResponse("logged")

@app.route(route="mislog", methods=["GET"])
def mislog(req: func.HttpRequest) -> str:
    logging.info("%d of them", "many")
    return "went on"

@app.route(route="head", methods=["HEAD"])
def head(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(headers={"Content-Length": "12345"})

@app.route(route="fail", methods=["GET"])
def fail(req: func.HttpRequest) -> str:
    raise ValueError("why")

@app.route(route="object", methods=["GET"])
def an_object(req: func.HttpRequest):
    return {"not": "allowed"}

@app.route(route="asynchronous", methods=["GET"])
async def asynchronous(req: func.HttpRequest) -> str:
    return "awaited"

@app.route(route="large", methods=["GET"])
def large(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(bytes(64 * 1024 * 1024))

@app.route(route="sized", methods=["GET"])
def sized(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("sized", headers={"Content-Length": "5"})

@app.route(route="files/{*name}", methods=["GET"])
def files(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.route_params["name"])

@app.route(route="last", methods=["GET"])
def last(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("the last", headers={"Connection": "close"})

@app.timer_trigger(schedule="0 0 3 * * *", arg_name="timer")
def purge(timer: func.TimerRequest) -> None:
    logging.info("purged, past due: %s", timer.past_due)
"""
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """The host with the app above."""
    with running(write_app(tmp_path_factory.mktemp("app"), APP)) as started:
        yield started


def test_lists_the_functions_as_core_tools_does(host: RunningHost) -> None:
    """The output describes the host, then lists each function with its methods and URL, and ends with "Listening"."""
    assert "for development only" in host.printed[0]
    at = host.printed.index("Functions:")
    first = f"\tan_object: [GET] http://localhost:{host.port}/api/object"
    assert host.printed[at : at + 4] == ["Functions:", "", first, ""]
    assert "\tpurge: timerTrigger" in host.printed
    assert host.printed[-2:] == [
        "Worker process started and initialized.",
        f"Listening on http://localhost:{host.port}",
    ]


def test_forty_slow_calls_run_at_once(host: RunningHost) -> None:
    """Sync handlers run in parallel: forty that wait for one another all meet."""
    with ThreadPoolExecutor(40) as callers:
        replies = list(callers.map(lambda _: host.call("GET", "/api/meet"), range(40)))
    assert {(reply.status, reply.body) for reply in replies} == {(200, b"met")}


def test_slow_clients_do_not_delay_others(host: RunningHost) -> None:
    """A client that stops mid-request, or does not read its response, does not delay the others."""
    with host.connect() as silent, host.connect() as unread:
        silent.sendall(b"POST /api/length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na")
        unread.sendall(b"GET /api/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert host.call("GET", "/api/log").status == 200
        silent.sendall(b"bc")
        assert read_reply(silent, "POST").body == b"3 bytes"
        assert read_reply(unread, "GET").body == bytes(64 * MIB)
        unread.sendall(b"GET /api/log HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_reply(unread, "GET").status == 200


def test_no_more_threads_than_are_set(tmp_path: Path) -> None:
    """PYTHON_THREADPOOL_THREAD_COUNT limits parallel calls: two that wait for each other run, a third comes after."""
    app = """
import threading
import time

barrier = threading.Barrier(2)
running = threading.Semaphore(2)

@app.route(route="meet", methods=["GET"])
def meet(req: func.HttpRequest) -> str:
    assert running.acquire(blocking=False)
    if req.params["who"] != "third":
        barrier.wait(60)
        time.sleep(0.1)
    running.release()
    return req.params["who"]
"""
    with (
        running(write_app(tmp_path, app), environ={"PYTHON_THREADPOOL_THREAD_COUNT": "2"}) as host,
        host.connect() as first,
        host.connect() as second,
        host.connect() as third,
    ):
        for name, each in (("first", first), ("second", second), ("third", third)):
            each.sendall(f"GET /api/meet?who={name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for name, each in (("third", third), ("second", second), ("first", first)):
            assert read_reply(each, "GET").body == name.encode()


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 100\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n4\r\nhalf\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    ],
)
def test_half_a_body_reaches_no_handler(tmp_path: Path, rest: bytes) -> None:
    """If the client disconnects mid-body, or its chunks are malformed, the handler does not run."""
    app = """
import logging

@app.route(route="upload", methods=["POST"])
def upload(req: func.HttpRequest) -> str:
    logging.info("upload has begun")
    return ""
"""
    with running(write_app(tmp_path, app)) as host:
        with host.connect() as connection:
            connection.sendall(b"POST /api/upload HTTP/1.1\r\nHost: localhost\r\n" + rest)
        assert host.call("POST", "/api/upload", b"whole").status == 200
    assert sum("upload has begun" in line for line in host.logged) == 1


def test_a_handler_that_is_a_coroutine(host: RunningHost) -> None:
    """An async handler runs to its end."""
    assert host.call("GET", "/api/asynchronous").body == b"awaited"


def test_100_continue(host: RunningHost) -> None:
    """A client that expects `100 Continue` before it sends the body gets it, and then the response."""
    with host.connect() as connection:
        head = b"POST /api/length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
        connection.sendall(head)
        connection.sendall(b"\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"fo")
        connection.sendall(b"ur")
        assert read_reply(connection, "POST").body == b"4 bytes"


def test_a_handler_may_end_the_connection(host: RunningHost) -> None:
    """`Connection: close` from a handler is sent, and the connection closes."""
    with host.connect() as connection:
        connection.sendall(b"GET /api/last HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reply = read_reply(connection, "GET")
        assert (dict(reply.headers)["connection"], reply.body) == ("close", b"the last")
        assert connection.recv(1) == b""


def test_pipelined_requests_get_their_responses_in_order(host: RunningHost) -> None:
    """Pipelined requests get their responses in order; a malformed request closes the connection."""
    with host.connect() as connection:
        one = b"POST /api/length HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
        connection.sendall(one % (1, b"a") + one % (2, b"bc") + b"\0\r\n\r\n")
        raw = b""
        while piece := connection.recv(1000):
            raw += piece
    assert re.findall(rb"HTTP/1.1 (\d+)|(. bytes)", raw) == [
        (b"200", b""), (b"", b"1 bytes"), (b"200", b""), (b"", b"2 bytes"), (b"400", b""),
    ]  # fmt: skip


def test_a_response_does_not_wait_for_the_next_request_of_its_connection(host: RunningHost) -> None:
    """Of two pipelined requests, the first gets its response while the second still runs."""
    with host.connect() as connection:
        connection.sendall(
            b"".join(b"GET /api/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % each for each in (b"method", b"slow"))
        )
        assert read_reply(connection, "GET").body == b"GET"


def test_a_body_of_100_mib_arrives_and_a_byte_more_does_not(host: RunningHost) -> None:
    """A body of 104857600 bytes reaches the handler; one byte more is 500 with an empty body."""
    head = f"POST /api/length HTTP/1.1\r\nHost: localhost:{host.port}\r\nConnection: close\r\nContent-Length: "
    for length, status, body in ((100 * MIB, 200, b"104857600 bytes"), (100 * MIB + 1, 500, b"")):
        with host.connect() as connection:
            connection.sendall(f"{head}{length}\r\n\r\n".encode())
            for _ in range(100):
                connection.sendall(bytes(MIB))
            connection.sendall(bytes(length % MIB))
            reply = read_reply(connection, "POST")
        assert (reply.status, reply.body) == (status, body)


def test_one_connection_serves_many_requests(host: RunningHost) -> None:
    """A connection stays open, also after an unread body and between methods in lower and upper case."""
    with host.connect() as connection:
        for method, path, body, status in (
            ("POST", "length", b"four", 200),
            ("POST", "nope", b"get x", 404),
            ("get", "log", b"", 200),
            ("POST", "length", b"get x", 200),
            ("HEAD", "head", b"", 200),
            ("Get", "log", b"", 200),
        ):
            head = f"{method} /api/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode())
            connection.sendall(body)
            assert read_reply(connection, method).status == status


@pytest.mark.parametrize("method", ["POST", "post"])
def test_a_request_in_pieces(host: RunningHost, method: str) -> None:
    """A request that arrives byte by byte is read as one request."""
    head = f"{method} /api/length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\nconnection: close\r\n\r\n"
    raw = f"{head}abc".encode()
    with host.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in raw:
            connection.sendall(bytes([byte]))
        assert read_reply(connection, "POST").body == b"3 bytes"


@pytest.mark.parametrize("method", ["GET", "head", "Put", "FOO", "m-search"])
def test_any_method_is_taken(host: RunningHost, method: str) -> None:
    """A function that names no methods gets every method, known or unknown, in upper case."""
    body = b"" if method == "head" else method.upper().encode()
    assert host.call(method, "/api/method").body == body


@pytest.mark.parametrize("header", ["Transfer-Encoding: gzip", "Host: twice", "X-A: \xff"])
def test_a_head_that_kestrel_does_not_take(host: RunningHost, header: str) -> None:
    """An unknown transfer coding, two hosts, or a header that is not UTF-8: 400, and the connection closes."""
    raw = f"POST /api/length HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
    reply = host.send(raw.encode("latin-1"))
    assert (reply.status, dict(reply.headers)["connection"]) == (400, "close")


def test_a_chunked_body_is_dropped(host: RunningHost) -> None:
    """A chunked request reaches the handler with an empty body, as on the real host."""
    raw = b"POST /api/length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert host.send(raw + b"3\r\nabc\r\n0\r\n\r\n").body == b"0 bytes"


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_upgrade_is_not_taken(host: RunningHost, protocol: str) -> None:
    """A request that offers a protocol upgrade gets a normal HTTP response, and its body reaches the handler."""
    offer = {"Connection": "Upgrade", "Upgrade": protocol}
    reply = host.call("POST", "/api/length", b"four", headers=offer)
    assert (reply.status, reply.body) == (200, b"4 bytes")
    assert host.call("GET", "/api/log", headers=offer).status == 200


def test_a_body_without_a_length_goes_out_in_chunks(host: RunningHost) -> None:
    """A Content-Length that the handler set is kept; without one the response is chunked, as on the real host."""
    chunked = dict(host.call("GET", "/api/log").headers)
    assert (chunked.get("transfer-encoding"), chunked.get("content-length")) == ("chunked", None)
    sized = dict(host.call("GET", "/api/sized").headers)
    assert (sized.get("transfer-encoding"), sized.get("content-length")) == (None, "5")


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a%2541", "a%41"),
        ("a%41", "aA"),
        ("a%252Fb", "a%2Fb"),
        ("a%2Fb", "a%2Fb"),
        ("a/b//c", "a/b//c"),
        ("cr%C3%A8me%20br%c3%bbl%c3%a9e", "crème brûlée"),
        ("%FF", "%FF"),
        ("a%20b+c", "a b+c"),
        ("100%25", "100%"),
        ("%25252541", "%252541"),
    ],
)
def test_a_route_parameter_is_decoded_once(host: RunningHost, sent: str, name: str) -> None:
    """A catch-all gets its text decoded exactly once; `%2F` and bytes that are not UTF-8 stay encoded."""
    assert host.call("GET", f"/api/files/{sent}").body.decode() == name


def test_head_says_a_length(host: RunningHost) -> None:
    """The host keeps a handler's Content-Length for HEAD, although it sends no body."""
    assert dict(host.call("HEAD", "/api/head").headers)["content-length"] == "12345"


def test_logs_go_to_stderr(host: RunningHost) -> None:
    """Messages at INFO and above go to stderr, one line each; the host logs no query string."""
    assert host.call("GET", "/api/log?code=top-secret&a=1").body == b"logged"
    wait_for(partial(_is_logged, host, "mine"))
    assert any(line.endswith("INFO root: two\\nlines\n") for line in host.logged)
    assert any(line.endswith("WARNING mine: of log, run 36\n") for line in host.logged)
    assert not any("not to be seen" in line or "top-secret" in line for line in host.logged)


def test_a_line_that_cannot_be_logged_harms_nobody(host: RunningHost) -> None:
    """If a log message does not fit its values, the log reports that; the handler and later lines continue."""
    assert host.call("GET", "/api/mislog").body == b"went on"
    wait_for(partial(_is_logged, host, "--- Logging error ---"))
    assert host.call("GET", "/api/mislog").body == b"went on"


def test_a_failure_is_logged_and_not_text(host: RunningHost) -> None:
    """An exception, or a response that cannot be sent, is 500 with an empty body; the log has the cause."""
    for path, text in (("fail", "ValueError: why"), ("object", "a handler returned dict")):
        reply = host.call("GET", f"/api/{path}")
        assert (reply.status, reply.body) == (500, b"")
        wait_for(partial(_is_logged, host, text))


def test_a_timer_runs_by_hand(host: RunningHost) -> None:
    """A timer has no URL of its own; POST to its admin endpoint starts it and returns 202 at once."""
    assert host.call("POST", "/api/purge", b"{}").status == 404
    assert host.call("POST", "/admin/functions/purge", b'{"input": ""}').status == 202
    wait_for(partial(_is_logged, host, "purged, past due: False"))
    shown = json.loads(host.call("GET", "/admin/functions/purge").body)
    assert (shown["name"], shown["invoke_url_template"]) == ("purge", None)


def _is_logged(host: RunningHost, text: str) -> bool:
    return any(text in line for line in host.logged)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_calls_in_flight_finish_before_the_end(tmp_path: Path, number: signal.Signals) -> None:
    """After SIGINT or SIGTERM a running call gets its response, an idle connection closes, and the exit code is 0."""
    app = """
import logging, pathlib, time

@app.route(route="wait", methods=["GET"])
def wait(req: func.HttpRequest) -> str:
    logging.info("wait has begun")
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    return "finished"
"""
    with running(write_app(tmp_path, app)) as host, host.connect() as idle, host.connect() as waiting:
        idle.sendall(b"GET /api/nope HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_reply(idle, "GET").status == 404
        waiting.sendall(b"GET /api/wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(partial(_is_logged, host, "wait has begun"))
        host.process.send_signal(number)
        assert idle.recv(1) == b""  # The host has begun to stop.
        (tmp_path / "go").touch()
        assert read_reply(waiting, "GET").body == b"finished"
        assert host.process.wait(30) == 0


def test_a_call_that_does_not_finish_holds_up_the_end_for_a_while_only(tmp_path: Path) -> None:
    """A call that outlasts --stop-seconds gets 503, and the host exits with code 0 and no traceback."""
    with running(write_app(tmp_path, APP), "--stop-seconds", "1") as host, host.connect() as waiting:
        waiting.sendall(b"GET /api/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(partial(_is_logged, host, "slow has begun"))
        host.process.send_signal(signal.SIGTERM)
        assert read_reply(waiting, "GET").status == 503
        assert host.process.wait(30) == 0
    assert not any("Traceback" in line for line in host.logged)


def test_ends_while_the_app_loads(tmp_path: Path) -> None:
    """SIGINT stops the host with exit code 0 while the app is still being imported."""
    begun = tmp_path / "begun"
    write_app(tmp_path, f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(600)\n")
    with start(tmp_path, "--port", "0") as process:
        wait_for(begun.exists)
        process.send_signal(signal.SIGINT)
        printed, logged = process.communicate(timeout=30)
    assert (process.returncode, printed, logged) == (0, "", "")


@pytest.mark.parametrize(
    ("size", "status"), [(8 * 1024 - len("GET  HTTP/1.1"), 404), (8 * 1024, 414), (200 * 1024, 414)]
)
def test_a_long_request_line(host: RunningHost, size: int, status: int) -> None:
    """A request line of 8 KiB is served, and a longer one is 414."""
    assert host.call("GET", "/" + "a" * (size - 1)).status == status


@pytest.mark.parametrize(("size", "status"), [(30 * 1024, 200), (33 * 1024, 431), (200 * 1024, 431)])
def test_long_headers(host: RunningHost, size: int, status: int) -> None:
    """Headers of more than 32 KiB are 431."""
    assert host.call("GET", "/api/method", headers={"X-Long": "a" * size}).status == status


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_response_does_not_wait_for_the_client(address: str) -> None:
    """A connection sends small packets at once (TCP_NODELAY): headers and body of a response are two of them."""
    listener = _listen(address, 0)
    with listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
