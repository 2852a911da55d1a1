"""Runs the host on uvicorn, made to accept and refuse on the wire what Kestrel does."""

import logging
import re
import socket
from collections.abc import Callable
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# Kestrel sends every status of three digits, uvicorn knows those up to 599.
STATUS_LINE.update({status: b"HTTP/1.1 %d \r\n" % status for status in range(600, 1000)})

_METHODS = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")

# As long as Kestrel keeps an idle connection.
_KEEP_ALIVE = 130
# What is still running when the host is told to stop gets this long.
_GRACE = 1


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, which hands on the request target as it was sent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Kestrel takes a chunked request with a length for a chunked one.
        self.parser.set_dangerous_leniencies(lenient_chunked_length=True)
        self._between_requests = True
        self._begun = b""
        self._method = ""

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._between_requests:
            data, self._begun = self._begun + data, b""
            if not data.startswith(_METHODS):
                # The parser knows its methods, in upper case; the host takes any word, in any case.
                method, space, rest = data.partition(b" ")
                if _TOKEN.fullmatch(method):
                    if not space:
                        self._begun = data
                        return
                    self._method = method.decode().upper()
                    data = b"POST " + rest
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(505 if "version" in str(error).lower() else 400)

    def on_message_begin(self) -> None:
        self._between_requests = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        # uvicorn would drop a fragment and fail on `*`: the host reads the target itself.
        self.scope["target"] = self.url  # type: ignore[typeddict-unknown-key]
        self.url = b"/"
        super().on_headers_complete()
        if self._method:
            self.scope["method"] = self._method
            self._method = ""

    def on_message_complete(self) -> None:
        self._between_requests = True
        super().on_message_complete()

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """The host offers no other protocol. The parser has stopped before the body, so another reads that."""
        framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
        self.cycle.keep_alive = False
        self.cycle.more_body = True
        self.cycle.message_event.clear()
        self.parser = httptools.HttpRequestParser(_Body(self))
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(b"%s: %s\r\n" % header for header in framing))
        self.parser.feed_data(rest)

    def _refuse(self, status: int) -> None:
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


class _Body:
    """What of a protocol's callbacks a body needs."""

    def __init__(self, protocol: Protocol) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Requests that are cut off here are no errors.
        logging.getLogger("uvicorn.error").disabled = True
        await super().shutdown(sockets)


def serve(app: Any, bound: socket.socket, listening: Callable[[], None]) -> None:
    """Serves until SIGINT or SIGTERM, then raises the signal again for the caller's own handler."""
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="auto",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    _Server(config, listening).run(sockets=[bound])
