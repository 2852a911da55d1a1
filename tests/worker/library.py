"""Runs the app through Microsoft's worker library (azure-functions-runtime), as the Python worker in Azure does.

The library takes and returns the messages of the worker's protocol. In Azure protobuf classes hold their fields; here
plain objects with the same fields do. Indexing, conversion, threads and calls are Microsoft's code.
"""

import asyncio
import importlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from scripts.host.indexing import Function
from scripts.host.routing import Router
from scripts.host.urls import params, read_query, read_target

runtime: Any = importlib.import_module("azure_functions_runtime")  # It exists for Python 3.13 and newer only.


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Message(SimpleNamespace):
    """A protocol message: the fields that it was made with."""


class OneOf(Message):
    """A message of which one field is set."""

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - protobuf's name.
        return next(iter(vars(self)))


class StatusResult(Message):
    Failure = 0
    Success = 1


class BindingInfo(Message):
    """The directions have the values of azure.functions, which the library compares them with."""

    out = 1
    inout = 2
    undefined = 0


class ServerError(Exception):
    """The app cannot be indexed, or a handler failed: the host would respond 500."""


PROTOS = SimpleNamespace(
    BindingInfo=BindingInfo,
    FunctionMetadataResponse=Message,
    InvocationResponse=Message,
    NullableBool=Message,
    NullableDouble=Message,
    NullableString=Message,
    NullableTimestamp=Message,
    ParameterBinding=Message,
    RpcException=Message,
    RpcFunctionMetadata=Message,
    RpcHttp=Message,
    RpcHttpCookie=type("RpcHttpCookie", (Message,), {"SameSite": {}}),
    StatusResult=StatusResult,
    TypedData=OneOf,
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
)


class Worker:
    """One app in this process, whose folder must be on the path. A process can have one only: the library is global."""

    def __init__(self, app_root: Path) -> None:
        self._loop = asyncio.new_event_loop()
        runtime.start_threadpool_executor()
        init = Message(capabilities={}, function_app_directory=str(app_root))
        response = self._send(runtime.worker_init_request, "worker_init_request", init)
        _check(response)
        listed = self._send(runtime.functions_metadata_request, "functions_metadata_request", Message())
        self._ids = {each.name: each.function_id for each in listed.function_metadata_results}
        functions = [_function(each.name, each.raw_bindings) for each in listed.function_metadata_results]
        self.functions = {each.name: each for each in functions}
        self._router = Router(functions, "api")

    def find(self, method: str, target: str) -> str | None:
        """The name of the function that serves this method and target; None where none does."""
        match = self._router.find(method, read_target(target.encode(), "localhost").path)
        return match[0].name if match else None

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[str, Message]:
        """The function's name and the host's message for a request. Raises LookupError where no function serves it."""
        read = read_target(target.encode(), "localhost")
        match = self._router.find(method, read.path)
        if match is None:
            raise LookupError(f"{method} {target}")
        function, values = match
        http = Message(
            method=method,
            url=read.url,
            headers={name.lower(): value for name, value in headers.items()},
            params=values,
            query=params(read_query(read.query)),
            body=OneOf(bytes=body),
        )
        return function.name, OneOf(data=OneOf(http=http))

    def call(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        name, data = self.request(method, target, headers, body)
        return self.invoke(name, data)

    def invoke(self, name: str, data: Message) -> Response:
        """One call, from the host's message to the library's response. Raises ServerError."""
        response = self._send(runtime.invocation_request, "invocation_request", self.invocation(name, data))
        _check(response)
        http = response.return_value.http
        body = next(iter(vars(http.body).values()))
        return Response(int(http.status_code), dict(http.headers), body.encode() if isinstance(body, str) else body)

    def invocation(self, name: str, data: Message) -> Message:
        data.name = self.functions[name].argument
        return Message(
            invocation_id=str(uuid.uuid4()),
            function_id=self._ids[name],
            input_data=[data],
            trigger_metadata={},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )

    def run_timer(self, name: str) -> None:
        """Run a timer's function. Raises ServerError."""
        data = OneOf(data=OneOf(json=json.dumps({"IsPastDue": False, "Schedule": {}, "ScheduleStatus": {}})))
        _check(self._send(runtime.invocation_request, "invocation_request", self.invocation(name, data)))

    def _send(self, handle: Any, field: str, message: Message) -> Any:
        request = Message(request=Message(**{field: message}), properties={"host": "127.0.0.1", "protos": PROTOS})
        return self._loop.run_until_complete(handle(request))


def _check(response: Any) -> None:
    if response.result.status != StatusResult.Success:
        exception = response.result.exception
        raise ServerError(f"{exception.message}\n{exception.stack_trace}")


def _function(name: str, raw_bindings: list[str]) -> Function:
    """What the local host's router needs of a function, from the bindings that the library sends to the host."""
    bindings = [json.loads(each) for each in raw_bindings]
    trigger = next(each for each in bindings if each["type"].endswith("Trigger"))
    return Function(
        name=name,
        handler=lambda: None,
        trigger=trigger["type"],
        argument=trigger["name"],
        wants_context=False,
        is_async=False,
        route=trigger.get("route", ""),
        methods=tuple(trigger["methods"]) if trigger.get("methods") else None,
        level=str(trigger.get("authLevel", "function")).lower(),
        definition="",
    )
