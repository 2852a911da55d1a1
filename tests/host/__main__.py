"""Starts the local host: `python -m tests.host`."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from . import Refusal
from .indexing import Function, index
from .keys import Keys, load_keys, make_keys
from .settings import load_local_settings, load_route_prefix

# What the real host gives its Python worker.
_THREADS = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    logging.basicConfig(level=logging.INFO, handlers=[_Lines()])
    # No line shows these, so no record need hold them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    try:
        _serve(options)
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 1
    finally:
        _do_not_wait_for_handlers()
    return 0


def _serve(options: argparse.Namespace) -> None:
    app_root = options.app_root.resolve()
    prefix = load_route_prefix(app_root)
    bound = _bind(options.address, options.port)
    port = bound.getsockname()[1]
    cors = load_local_settings(app_root)
    # Core Tools tells an app by these that it runs locally.
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    os.environ.setdefault("WEBSITE_HOSTNAME", f"localhost:{port}")
    os.chdir(app_root)
    functions = index(app_root)
    keys = _keys(options.keys, app_root, functions) if options.enable_auth else None

    # Loaded only now, so that a refusal comes at once.
    from .connections import Server
    from .server import Host

    host = Host(functions, prefix, keys, cors)
    server = Server(bound, host.answer, _threads())
    base = f"http://localhost:{port}"
    print("Strongroom's local host, for development only: in Azure, Microsoft's Functions host runs the app.")
    print("\nFunctions:")
    for function in functions:
        print(f"\n\t{function.name}: {_how_called(function, base, prefix)}")
    print("", flush=True)

    def listening() -> None:
        print("Worker process started and initialized.")
        print(f"Listening on {base}", flush=True)

    server.run(listening)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.host", description="Strongroom's local host")
    parser.add_argument("--port", type=int, default=7071)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--app-root", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--enable-auth", action="store_true", help="ask for keys, as Azure does")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="with --enable-auth: the keys, in JSON")
    return parser


def _bind(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
        # Two that are only bound do not see each other, so this one listens at once.
        bound.listen()
    except (OSError, OverflowError) as error:
        bound.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refusal(f"cannot listen on {address}, port {port}: {reason}") from error
    return bound


def _keys(path: Path | None, app_root: Path, functions: Sequence[Function]) -> Keys:
    if path is None:
        path = app_root / ".data" / "host-keys.json"
        if not path.exists():
            make_keys(path, functions)
        print(f"Keys: {path}")
    return load_keys(path)


def _threads() -> int:
    told = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT", str(_THREADS))
    if not told.isdecimal() or int(told) < 1:
        raise Refusal("PYTHON_THREADPOOL_THREAD_COUNT must be a number of threads")
    return int(told)


def _how_called(function: Function, base: str, prefix: str) -> str:
    if not function.is_http:
        return function.trigger
    methods = f"[{','.join(function.methods)}] " if function.methods else ""
    return methods + "/".join(filter(None, (base, prefix, function.route)))


class _Lines(logging.Handler):
    """A message never spans lines; a traceback follows it as it is."""

    _formatter = logging.Formatter()

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the handler's lock, since what is written to has its own."""
        try:
            self.emit(record)
        except Exception:  # noqa: BLE001 - a bad line of a log is shown, and does no harm to whoever logs it.
            self.handleError(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        clock = f"{_clock(int(record.created))},{record.msecs:03.0f}"
        line = f"[{clock}] {record.levelname} {record.name}: {message}\n"
        if record.exc_info:
            line += f"{self._formatter.formatException(record.exc_info)}\n"
        sys.stderr.buffer.write(line.encode(errors="backslashreplace"))
        sys.stderr.buffer.flush()


@lru_cache(maxsize=1)
def _clock(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _stop(_signal: int, _frame: object) -> None:
    raise SystemExit(0)


def _do_not_wait_for_handlers() -> None:
    """Python would wait at its end for every handler that still runs: end the process without them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watchdog = threading.Timer(0.5, lambda: os._exit(0))
    watchdog.daemon = True
    watchdog.start()


if __name__ == "__main__":
    sys.exit(main())
