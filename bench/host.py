"""Requests a second of the local host, against a bare Starlette app on the same server with the same client."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from bench.report import Figure
from tests.support import ROOT, clean_environ, free_port, stop

CONNECTIONS, SECONDS, ROUNDS = 8, 1.5, 4
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def live(request):
    return JSONResponse({"status": "ok"})

app = Starlette(routes=[Route("/api/live", live)])
"""


async def _load(port: int) -> float:
    """Answers a second over kept connections, each asking again as soon as it is answered."""
    request = f"GET /api/live HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
    result = 0
    ends = perf_counter() + SECONDS

    async def ask() -> None:
        nonlocal result
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while perf_counter() < ends:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            result += 1
        writer.close()

    started = perf_counter()
    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return result / (perf_counter() - started)


async def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise TimeoutError(port)


def run() -> Iterator[Figure]:
    """`/api/live` by the local host: routing, the worker's conversions, a thread, decoding, logging and all."""
    ours, theirs = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ending:
        Path(folder, "bare.py").write_text(STARLETTE)
        for command, where in (
            ((sys.executable, "-m", "tests.host", "--port", str(ours)), ROOT),
            ((sys.executable, "-m", "uvicorn", "--log-level", "critical", "--port", str(theirs), "bare:app"), folder),
        ):
            process = subprocess.Popen(
                command, cwd=where, env=clean_environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            ending.callback(stop, process)
        rates: dict[int, list[float]] = {ours: [], theirs: []}
        for port in rates:
            asyncio.run(_wait_for(port))
        for _ in range(ROUNDS):
            for port, found in rates.items():
                found.append(asyncio.run(_load(port)))
        best_ours, best_theirs = max(rates[ours]), max(rates[theirs])
    yield Figure("local host, GET /api/live", best_ours, "bare Starlette on uvicorn", best_theirs, "requests/s")
