"""The probe: functions that echo their request, or return the response that it describes. The real host ran it, too."""

import base64
import json
import logging
import time
from typing import Any

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def described(req: func.HttpRequest) -> dict[str, Any]:
    body = req.get_body()
    try:
        parsed = req.get_json()
    except ValueError:
        parsed = "ValueError"
    return {
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route_params": dict(req.route_params),
        "headers": dict(req.headers),
        "body_base64": base64.b64encode(body).decode(),
        "json": parsed,
    }


def show(req: func.HttpRequest, name: str | None = None) -> func.HttpResponse:
    out = described(req)
    if name:
        out["function"] = name
    return func.HttpResponse(json.dumps(out), mimetype="application/json")


@app.route(route="echo", methods=["GET", "POST"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.function_name("echo-async")
@app.route(route="echo-async", methods=["GET", "POST"])
async def echo_async(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.route(route="any")
def any_method(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.route(route="keyed", methods=["GET", "POST"], auth_level=func.AuthLevel.FUNCTION)
def keyed(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.function_name("keyed-too")
@app.route(route="keyed-too", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def keyed_too(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.route(route="locked", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
def locked(req: func.HttpRequest) -> func.HttpResponse:
    return show(req)


@app.route(route="boom", methods=["GET", "POST"])
def boom(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("boom happened")


@app.route(route="nothing", methods=["GET"])
def nothing(req: func.HttpRequest) -> func.HttpResponse:
    return None  # type: ignore[return-value]


@app.route(route="text", methods=["GET"])
def text(req: func.HttpRequest) -> str:
    return str(req.params.get("text", "plain"))


@app.route(route="answer", methods=["GET", "POST"])
def answer(req: func.HttpRequest) -> func.HttpResponse:
    """The request's JSON describes the response: status, headers as pairs, body or body_base64, mimetype, charset."""
    fields = req.get_json()
    body = base64.b64decode(fields["body_base64"]) if "body_base64" in fields else fields.get("body")
    if isinstance(body, str) and "repeat" in fields:
        body *= fields["repeat"]
    options = {name: fields[name] for name in ("mimetype", "charset") if name in fields}
    response = func.HttpResponse(body, status_code=fields.get("status", 200), **options)
    for name, value in fields.get("headers", []):
        response.headers.add(name, value)
    return response


@app.route(route="slow", methods=["GET"])
def slow(req: func.HttpRequest) -> func.HttpResponse:
    time.sleep(float(req.params.get("seconds", "1")))
    logging.info("slow is done")  # noqa: LOG015 - the root logger is what a first function uses
    return func.HttpResponse("slept")


@app.function_name("order-b")
@app.route(route="order/{number:int}", methods=["GET"])
def order_b(req: func.HttpRequest) -> func.HttpResponse:
    return show(req, "order-b")


@app.function_name("order-a")
@app.route(route="order/{*rest}", methods=["GET"])
def order_a(req: func.HttpRequest) -> func.HttpResponse:
    return show(req, "order-a")


@app.function_name("order-c")
@app.route(route="order/fixed", methods=["GET"])
def order_c(req: func.HttpRequest) -> func.HttpResponse:
    return show(req, "order-c")


@app.function_name("item")
@app.route(route="items/{id}", methods=["GET", "PUT", "DELETE"])
def item(req: func.HttpRequest) -> func.HttpResponse:
    return show(req, "item")


@app.function_name("item-number")
@app.route(route="numbers/{id:int}", methods=["GET"])
def item_number(req: func.HttpRequest) -> func.HttpResponse:
    return show(req, "item-number")


@app.function_name("optional")
@app.route(route="optional/{id?}", methods=["GET"])
def optional(req: func.HttpRequest) -> func.HttpResponse:
    return show(req, "optional")


@app.function_name("file-get")
@app.route(route="files/{folder}/{*name}", methods=["GET", "HEAD"])
def file_get(req: func.HttpRequest) -> func.HttpResponse:
    return show(req, "file-get")


@app.function_name("file-put")
@app.route(route="files/{folder}/{*name}", methods=["PUT"])
def file_put(req: func.HttpRequest) -> func.HttpResponse:
    return show(req, "file-put")


@app.function_name("hello-host")
@app.route(route="hello", methods=["GET"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")
