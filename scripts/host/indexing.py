"""Imports function_app.py and lists its functions. Raises StartError for an app that Azure would not index."""

import importlib
import inspect
import re
import sys
import traceback
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.functions as func
from azure.functions.decorators.function_app import Function as DecoratedFunction
from azure.functions.decorators.function_app import FunctionRegister
from azure.functions.http import HttpRequestConverter, HttpResponseConverter
from azure.functions.timer import TimerRequestConverter

from . import StartError

_FUNCTION_NAME = re.compile(r"[a-z][a-z0-9_-]{0,127}", re.IGNORECASE | re.ASCII)
_BINDING_NAME = re.compile(r"[a-z][a-z0-9]{0,127}|\$return", re.IGNORECASE | re.ASCII)
_TRIGGERS = {"httpTrigger": HttpRequestConverter, "timerTrigger": TimerRequestConverter}


@dataclass(frozen=True)
class Function:
    name: str
    handler: Callable[..., Any]
    trigger: str
    argument: str
    wants_context: bool
    is_async: bool
    route: str
    methods: tuple[str, ...] | None
    """In upper case; None when every method is served."""
    level: str
    """`anonymous`, `function` or `admin`."""
    definition: str
    """The function.json that the host would read."""

    @property
    def is_http(self) -> bool:
        return self.trigger == "httpTrigger"


def index(app_root: Path) -> list[Function]:
    """Every function of the app, in the order of their names, case ignored."""
    app = _find_app(_import_app(app_root))
    try:
        functions = [_check(function) for function in app.get_functions()]
    except ValueError as error:
        raise StartError(f"function_app.py cannot be indexed: {_one_line(error)}") from error
    names: set[str] = set()
    for function in functions:
        if function.name.lower() in names:
            raise StartError(f"{function.name}: two functions have this name")
        names.add(function.name.lower())
    return sorted(functions, key=lambda function: function.name.lower())


def _import_app(app_root: Path) -> Any:
    if not (app_root / "function_app.py").is_file():
        raise StartError(f"function_app.py is missing in {app_root}")
    sys.path.insert(0, str(app_root))
    try:
        return importlib.import_module("function_app")
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(app_root)]
        where = f" ({Path(own[-1].filename).relative_to(app_root)}, line {own[-1].lineno})" if own else ""
        raise StartError(
            f"function_app.py cannot be imported: {type(error).__name__}: {_one_line(error)}{where}"
        ) from error


def _find_app(module: Any) -> FunctionRegister:
    names = [name for name, value in vars(module).items() if isinstance(value, FunctionRegister)]
    if not names:
        raise StartError("function_app.py has no FunctionApp at its top level")
    if len(names) > 1:
        raise StartError(f"function_app.py has more than one name for a FunctionApp: {', '.join(names)}")
    app: FunctionRegister = getattr(module, names[0])
    return app


def _check(function: DecoratedFunction) -> Function:
    name = function.get_function_name() or ""
    handler = function.get_user_function()
    trigger: Any = function.get_trigger()
    if not _FUNCTION_NAME.fullmatch(name) or name.lower() == "host":
        raise StartError(f"{name}: not a name that the host accepts for a function")
    # Binding and Trigger declare little of what they hold; their own attributes are read as they are.
    bindings: list[Any] = function.get_bindings()
    for binding in bindings:
        if not _BINDING_NAME.fullmatch(binding.name):
            raise StartError(f"{name}: not a name that the host accepts for a binding: {binding.name}")
    hints = _hints(name, handler)
    bound = {binding.name for binding in bindings} - {"$return"}
    parameters = set(inspect.signature(handler).parameters)
    wants_context = "context" in parameters - bound
    _check_parameters(name, parameters - ({"context"} if wants_context else set()), bound)
    if wants_context and "context" in hints and getattr(hints["context"], "__name__", "") != "Context":
        raise StartError(f"{name}: the parameter context must be an azure.functions.Context")
    converter = _TRIGGERS.get(trigger.type)
    expected = hints.get(trigger.name)
    if converter and expected and not (isinstance(expected, type) and converter.check_input_type_annotation(expected)):
        raise StartError(f"{name}: the annotation of {trigger.name} does not fit its trigger, {trigger.type}")
    is_http = trigger.type == "httpTrigger"
    if is_http and (trigger.route or "").startswith("/"):
        raise StartError(f"{name}: the route {trigger.route} starts with a slash, which stops the whole app in Azure")
    if is_http and "return" in hints:
        returned = hints["return"]
        if not (isinstance(returned, type) and HttpResponseConverter.check_output_type_annotation(returned)):
            raise StartError(f"{name}: the return annotation must be azure.functions.HttpResponse, str or none")
    methods = getattr(trigger, "methods", None)
    return Function(
        name=name,
        handler=handler,
        trigger=trigger.type,
        argument=trigger.name,
        wants_context=wants_context,
        is_async=inspect.iscoroutinefunction(handler),
        route=(trigger.route or "") if is_http else "",
        methods=tuple(str(method.value).upper() for method in methods) if methods else None,
        level=str((trigger.auth_level or func.AuthLevel.FUNCTION).value).lower() if is_http else "admin",
        definition=function.get_function_json(),
    )


def _hints(name: str, handler: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(handler)
    except Exception as error:
        raise StartError(f"{name}: an annotation cannot be evaluated: {_one_line(error)}") from error


def _check_parameters(name: str, declared: set[str], bound: set[str]) -> None:
    if declared - bound:
        raise StartError(f"{name}: parameters that no binding fills: {', '.join(sorted(declared - bound))}")
    if bound - declared:
        raise StartError(
            f"{name}: bindings that the handler has no parameter for: {', '.join(sorted(bound - declared))}"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
