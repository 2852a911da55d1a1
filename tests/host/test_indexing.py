"""Apps that the local host refuses to index, because Azure would refuse them too."""

import sys
from pathlib import Path

import pytest

from scripts.host import StartError
from scripts.host.indexing import Function, index
from scripts.host.routing import Router
from shared.app import build
from shared.web import Route

from .running import start, write_app

GOOD = """
@app.route(route="hello", methods=["GET"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")
"""


@pytest.fixture
def fresh_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test imports its own function_app, and removes it afterwards."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "function_app", raising=False)


def index_app(folder: Path, functions: str) -> list[Function]:
    """Return the functions of an app with this source."""
    try:
        return index(write_app(folder, functions))
    finally:
        sys.modules.pop("function_app", None)


REFUSED = {
    "an alias of the app": (GOOD + "application = app", "more than one name for a FunctionApp: app, application"),
    "no app": ("del app", "no FunctionApp"),
    "an import that fails": ("import no_such_module", "No module named 'no_such_module' (function_app.py, line 5)"),
    "a syntax error": ("def (", "SyntaxError"),
    "one name twice": (
        GOOD + '@app.function_name("hello")\n@app.route(route="x")\ndef other(req):\n    pass\n',
        "hello",
    ),
    "one name twice but for case": (
        GOOD + '@app.function_name("Hello")\n@app.route(route="x")\ndef other(req):\n    pass\n',
        "two functions have this name",
    ),
    "a name that begins with a digit": (
        '@app.function_name("1st")\n@app.route(route="x")\ndef f(req):\n    pass\n',
        "1st: not a name that the host accepts for a function",
    ),
    "the name host": (
        '@app.function_name("host")\n@app.route(route="x")\ndef f(req):\n    pass\n',
        "host: not a name that the host accepts for a function",
    ),
    "a binding's name with an underscore": (
        '@app.route(route="x", trigger_arg_name="my_req")\ndef f(my_req):\n    pass\n',
        "not a name that the host accepts for a binding: my_req",
    ),
    "a parameter too many": (
        '@app.route(route="x")\ndef f(req: func.HttpRequest, extra: int = 1):\n    pass\n',
        "parameters that no binding fills: extra",
    ),
    "keyword parameters": ('@app.route(route="x")\ndef f(req, **kw):\n    pass\n', "no binding fills: kw"),
    "no parameter": ('@app.route(route="x")\ndef f():\n    pass\n', "no parameter for: req"),
    "a wrapper without the right signature": (
        '@app.route(route="x")\ndef f(*args, **kw):\n    pass\n',
        "no binding fills: args, kw",
    ),
    "a return type that is a dict": ('@app.route(route="x")\ndef f(req) -> dict:\n    pass\n', "return annotation"),
    "a return type that is bytes": ('@app.route(route="x")\ndef f(req) -> bytes:\n    pass\n', "return annotation"),
    "a return type that is None": ('@app.route(route="x")\ndef f(req) -> None:\n    pass\n', "return annotation"),
    "a return type that may be None": (
        '@app.route(route="x")\ndef f(req) -> func.HttpResponse | None:\n    pass\n',
        "return annotation",
    ),
    "a request that is something else": (
        '@app.route(route="x")\ndef f(req: dict):\n    pass\n',
        "the annotation of req does not fit its trigger, httpTrigger",
    ),
    "a context that is something else": (
        '@app.route(route="x")\ndef f(req, context: int):\n    pass\n',
        "the parameter context must be",
    ),
    "a name known only to type checkers": (
        """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.web import Request

@app.route(route="x")
def f(req: "Request"):
    pass
""",
        "an annotation cannot be evaluated: name 'Request' is not defined",
    ),
    "a function without a trigger": ('@app.function_name("f")\ndef f(req):\n    pass\n', "does not have a trigger"),
    "a route that starts with a slash": (
        '@app.route(route="/x")\ndef f(req):\n    pass\n',
        "the route /x starts with a slash",
    ),
    "an unknown method": ('@app.route(route="x", methods=["FETCH"])\ndef f(req):\n    pass\n', "FETCH"),
}


@pytest.mark.usefixtures("fresh_imports")
@pytest.mark.parametrize(("functions", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(tmp_path: Path, functions: str, message: str) -> None:
    """An app that the real worker does not index is refused, with one line that names the problem."""
    with pytest.raises(StartError) as refused:
        index_app(tmp_path, functions)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("fresh_imports")
def test_refuses_a_folder_without_an_app(tmp_path: Path) -> None:
    """A folder without a function_app.py is refused."""
    with pytest.raises(StartError, match=r"function_app\.py is missing"):
        index(tmp_path)


@pytest.mark.usefixtures("fresh_imports")
def test_accepts_what_the_worker_accepts(tmp_path: Path) -> None:
    """Wrappers that keep the signature, contexts, blueprints, str responses and timers are fine."""
    functions = index_app(
        tmp_path,
        GOOD
        + """
import functools

def wrapped(f):
    @functools.wraps(f)
    def wrapper(*args, **kw):
        return f(*args, **kw)
    return wrapper

@app.route(route="a")
@wrapped
def a(req: func.HttpRequest, context: func.Context) -> str:
    return ""

blue = func.Blueprint()

@blue.route(route="b")
def b(req):
    pass

app.register_functions(blue)

@app.timer_trigger(schedule="0 0 3 * * *", arg_name="timer")
def purge(timer: func.TimerRequest) -> None:
    pass
""",
    )
    assert [(function.name, function.trigger) for function in functions] == [
        ("a", "httpTrigger"),
        ("b", "httpTrigger"),
        ("hello", "httpTrigger"),
        ("purge", "timerTrigger"),
    ]


def test_says_a_refusal_in_one_line(tmp_path: Path) -> None:
    """The host ends with exit code 1 and one line on stderr when the app cannot be indexed."""
    with start(write_app(tmp_path, GOOD + "application = app"), "--port", "0") as process:
        printed, logged = process.communicate(timeout=60)
    assert process.returncode == 1
    assert printed == ""
    assert logged == "error: function_app.py has more than one name for a FunctionApp: app, application\n"


@pytest.mark.usefixtures("fresh_imports")
@pytest.mark.parametrize("route", ["{id:guid}", "a{id}", "{*rest}/more"])
def test_refuses_a_route_that_it_does_not_know(tmp_path: Path, route: str) -> None:
    """The local host refuses a kind of route that it cannot serve as the real host does."""
    functions = index_app(tmp_path, f'@app.route(route="{route}")\ndef f(req):\n    pass\n')
    with pytest.raises(StartError):
        Router(functions, "api")


@pytest.mark.parametrize("route", build({}).routes, ids=lambda route: route.name)
def test_no_route_of_the_app_starts_with_a_slash(route: Route) -> None:
    """A route that starts with a slash takes the whole app down on Microsoft's host."""
    assert not route.path.startswith("/")
