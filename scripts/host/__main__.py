"""Starts the local host: `python -m scripts.host`."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from . import StartError
from .indexing import Function, index
from .keys import Keys, load_keys, make_keys
from .settings import load_cors, load_local_settings, load_route_prefix

STOP_SECONDS = 12
"""Calls in flight have this long to finish once the host stops: longer than STRONGROOM_CALL_SECONDS by default."""
_THREADS = 1000
"""The real host starts its Python worker with this many."""
_MAX_INCOMPLETE_BYTES = 1024 * 1024
"""How much of a request line and headers uvicorn buffers. The app itself responds 414 and 431 below that."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, _exit)
    signal.signal(signal.SIGTERM, _exit)
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("[%(asctime)s] %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        _serve(options)
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(options: argparse.Namespace) -> None:
    app_root = options.app_root.resolve()
    prefix = load_route_prefix(app_root)
    listener = _listen(options.address, options.port)
    port = listener.getsockname()[1]
    local_settings = load_local_settings(app_root)
    cors = load_cors(options.cors, options.cors_credentials, local_settings, app_root)
    # Core Tools sets these, too: an app reads in them that it runs locally.
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    os.environ.setdefault("WEBSITE_HOSTNAME", f"localhost:{port}")
    if not options.enable_auth and not os.environ.get("STRONGROOM_CONSOLE_OPEN"):
        os.environ["STRONGROOM_CONSOLE_OPEN"] = "true"
    os.chdir(app_root)
    functions = index(app_root)
    keys = _keys(options.keys, app_root) if options.enable_auth else None

    # Loaded only now, so that a mistake in the app or its settings shows at once.
    import uvicorn

    from .app import Host, Protocol
    from .callers import Callers

    host = Host(functions, prefix, keys, cors, Callers.of(options.address, os.environ, cors), _threads())
    # Pure Python and the standard event loop: the host runs wherever Python runs.
    config = uvicorn.Config(
        host,
        loop="asyncio",
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,  # Uvicorn would log query strings, and keys with them.
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_MAX_INCOMPLETE_BYTES,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=options.stop_seconds,
        backlog=2048,
    )
    base = f"http://localhost:{port}"
    print("Strongroom's local host, for development only: in Azure, Microsoft's Functions host runs the app.")
    print("\nFunctions:")
    for function in functions:
        print(f"\n\t{function.name}: {_how_to_call(function, base, prefix)}")
    print("\nWorker process started and initialized.")
    # The socket listens already: a call that comes before uvicorn accepts it waits in the backlog.
    print(f"Listening on {base}", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        _do_not_wait_for_threads()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.host", description="Strongroom's local host")
    parser.add_argument("--port", type=int, default=7071)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--app-root", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--enable-auth", action="store_true", help="require keys, as Azure does")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="with --enable-auth: the keys, in JSON")
    parser.add_argument("--cors", metavar="ORIGINS", help="origins, separated by commas; replaces those of the file")
    parser.add_argument("--cors-credentials", action="store_true", help="with --cors: allow credentials")
    parser.add_argument(
        "--stop-seconds", type=int, default=STOP_SECONDS, help="the time calls have to finish at the end"
    )
    return parser


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=2048)
        # Connections inherit it. Without it the body of a response waits 40 ms for the client to confirm its headers;
        # asyncio sets it only on sockets that name their protocol, and these do not.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise StartError(f"cannot listen on {address}, port {port}: {reason}") from error


def _keys(path: Path | None, app_root: Path) -> Keys:
    if path is None:
        path = app_root / ".data" / "host-keys.json"
        if not path.exists():
            make_keys(path)
        print(f"Keys: {path}")
    return load_keys(path)


def _threads() -> int:
    text = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT", str(_THREADS))
    if not text.isdecimal() or int(text) < 1:
        raise StartError("PYTHON_THREADPOOL_THREAD_COUNT must be a positive number of threads")
    return int(text)


def _how_to_call(function: Function, base: str, prefix: str) -> str:
    if not function.is_http:
        return function.trigger
    methods = f"[{','.join(function.methods)}] " if function.methods else ""
    return methods + "/".join(filter(None, (base, prefix, function.route)))


class _OneLine(logging.Formatter):
    """Keeps each message on one line, so that no caller can forge log lines. A traceback follows on its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in `logging`.
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")


def _exit(_signal: int, _frame: object) -> None:
    """Ends the host while the app loads. While it serves, uvicorn handles signals, and calls this when it has ended."""
    raise SystemExit(0)


def _do_not_wait_for_threads() -> None:
    """Python waits at its end for every thread of a pool. Handlers that still run have had their time: do not wait."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watchdog = threading.Timer(0.5, lambda: os._exit(0))
    watchdog.daemon = True
    watchdog.start()


if __name__ == "__main__":
    sys.exit(main())
