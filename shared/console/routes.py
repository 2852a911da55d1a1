"""`console`: the pages in the browser that call the app's functions."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from shared.console.errors import UnknownFile
from shared.console.files import File
from shared.console.serving import send
from shared.web import Example, Fields, Operation, Request, Response

INDEX = "index.html"


class ConsoleRequest(Fields, frozen=True):
    """A file of the console."""

    path: Annotated[str, Meta(description="The name of a file of the console. Default: its first page.")] = ""


def get_file(
    files: Mapping[str, Callable[[], File]], policy: str, is_open: bool, fields: ConsoleRequest, request: Request
) -> Response:
    path = urlsplit(request.url).path
    if not files:
        raise UnknownFile("The console is switched off in this app.")
    if not fields.path and not path.endswith("/"):
        # Without the slash, the page's relative links would lead beside it. The query is dropped: it may hold a key.
        return Response(308, b"", headers={"location": "console/"})
    name = fields.path or INDEX
    # The host takes `app.js/` for `app.js`.
    if name not in files or (fields.path and path.endswith("/")):
        raise UnknownFile("The console has no file of this name. It begins at /api/console/.")
    headers = request.headers
    response = send(files[name](), policy, headers.get("accept-encoding", ""), headers.get("if-none-match", ""))
    if is_open:
        # The page reads this header of its own navigation. A call to find out would be an error in its console.
        response.headers["server-timing"] = "open"
    return response


def operations(files: Mapping[str, Callable[[], File]], policy: str, *, is_open: bool) -> dict[str, Operation]:
    """`console`."""
    return {
        "console": Operation(
            handle=partial(get_file, files, policy, is_open),
            request=ConsoleRequest,
            response=None,
            summary="The console: a page that calls the other functions, with a key or session that you provide.\n"
            "It needs no key itself: it has no data of its own.",
            errors=(UnknownFile,),
            examples=(Example("The first page", {"path": INDEX}),),
            statuses={
                200: "The file.",
                304: "The file has not changed: its ETag is in If-None-Match.",
                308: "A redirect to `console/`, where the console begins.",
            },
            media_types=("text/html", "text/javascript", "text/css", "image/svg+xml"),
            with_request=True,
            ignore_query=True,
        )
    }
