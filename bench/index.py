"""The cost of indexing the app, beside an app with one hello function: it begins every cold start."""

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.report import Figure

ROUNDS = 25
HELLO = """
import azure.functions as func
app = func.FunctionApp()

@app.route(route="hello")
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")
"""
# As the worker does: import the module and build the functions. Memory is read from /proc, because the peak that
# getrusage gives starts with the parent's.
INDEX = """
import sys
sys.path.insert(0, sys.argv[1])
import function_app
count = len(function_app.app.get_functions())
held = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:"))
print(count, int(held.split()[1]) / 1024)
"""


def run() -> Iterator[Figure]:
    """Milliseconds of processor time of an interpreter that indexes the app, with bytecode; its memory in MiB."""
    with tempfile.TemporaryDirectory() as hello:
        Path(hello, "function_app.py").write_text(HELLO)
        folders = (str(Path(__file__).resolve().parent.parent), hello)
        functions = 0
        measured: tuple[list[list[float]], list[list[float]]] = ([], [])
        for _ in range(ROUNDS):
            for folder, results in zip(folders, measured, strict=True):
                command = [sys.executable, "-c", INDEX, folder]
                started = _cpu_of_children()
                ran = subprocess.run(command, capture_output=True, check=True, cwd=hello, env={})
                seconds = _cpu_of_children() - started
                results.append([seconds, *map(float, ran.stdout.split()[1:])])
                functions = int(ran.stdout.split()[0]) if results is measured[0] else functions
    (app_value, app_mib), (baseline, baseline_mib) = (
        [statistics.median(each[column] for each in results) for column in (0, 1)] for results in measured
    )
    yield Figure(
        f"index {functions} functions",
        app_value * 1000,
        "hello world",
        baseline * 1000,
        "ms of CPU",
        "at most 1.15, better 1.12",
    )
    yield Figure("memory after indexing", app_mib, "hello world", baseline_mib, "MiB", "at most 4 MiB more")


def _cpu_of_children() -> float:
    """Seconds of processor time of all ended child processes: steadier than the clock on a shared machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
