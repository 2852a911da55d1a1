"""The functions that save queries, and run those that are saved."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from threading import BoundedSemaphore
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.errors import Busy, NotAnObject, Unavailable
from shared.sql.databases import Databases
from shared.sql.errors import (
    DatabaseUnavailable,
    QueryTimeout,
    ReadOnly,
    RowTooLarge,
    SqlError,
    UnknownDatabase,
    UnknownQuery,
)
from shared.sql.responses import Ask, answer_query, chosen_format
from shared.sql.saved import Parameter, SavedQuery, bind, check
from shared.sql.store.queries import QueryStore
from shared.sql.values import Form, Format
from shared.web import Cursors, Example, Fields, Operation, Request, Response, rfc3339
from shared.web.decoding import WITH_BODY, query_pairs

MAX_ROWS, MAX_BYTES, SECONDS = 10_000, 8 * 1024 * 1024, 5.0
PUBLIC_ROWS, PUBLIC_BYTES, PUBLIC_SECONDS = 1000, 1024 * 1024, 2.0
"""What everyone may ask for."""
PUBLIC_AT_ONCE = 4
"""Half of a database's connections: the other half stays with those who have a key."""
PUBLIC_WAIT_SECONDS = 1.0
PUBLIC_CACHE_SECONDS = 60

BigIntegers = Literal["number", "string"]
QueryName = Annotated[
    str, Meta(description="Lower-case letters, digits, hyphens, underscores.", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")
]


class SaveQuery(Fields, frozen=True):
    query_name: QueryName
    sql: Annotated[
        str, Meta(description="One statement that reads, its parameters by name.", min_length=1, max_length=30_000)
    ]
    database: Annotated[str, Meta(description="Its name in the settings.", max_length=64)] = "main"
    parameters: Annotated[list[Parameter], Meta(description="Each parameter of the statement.", max_length=50)] = (
        msgspec.field(default_factory=list)
    )
    public: Annotated[bool, Meta(description="Let everyone run it, by public-query, without a key.")] = False
    description: Annotated[str, Meta(max_length=1000)] = ""


class NamedQuery(Fields, frozen=True):
    query_name: QueryName


class ListQueries(Fields, frozen=True):
    prefix: Annotated[str, Meta(description="Of the names.", max_length=64)] = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, Meta(max_length=1000)] | None = None


class RunQuery(Fields, frozen=True, forbid_unknown_fields=False):
    """Beside these, each parameter of the query is a field."""

    query_name: QueryName
    format: Annotated[Format, Meta(description="As in query-sql.")] | None = None
    limit: Annotated[int, Meta(description="Rows of the answer, at most.", ge=1, le=MAX_ROWS)] = 1000
    cursor: Annotated[str, Meta(description="Where the answer before left off.", max_length=8000)] | None = None
    accept: Annotated[str, Meta(description="Media types; `format` beats it.", max_length=1000)] | None = None


class PublicQuery(Fields, frozen=True, forbid_unknown_fields=False):
    """Beside these, each parameter of the query is a field."""

    query_name: QueryName
    format: Annotated[Format, Meta(description="As in query-sql.")] | None = None
    limit: Annotated[int, Meta(description="Rows of the answer, at most.", ge=1, le=PUBLIC_ROWS)] = 100
    cursor: Annotated[str, Meta(description="Where the answer before left off.", max_length=8000)] | None = None


class QueriesResponse(msgspec.Struct, frozen=True):
    """Saved queries, in the order of their names."""

    queries: list[SavedQuery]
    cursor: str | None


def save_query(databases: Databases, store: QueryStore, fields: SaveQuery) -> Response:
    check(fields.sql, databases.get(fields.database).engine, fields.parameters)
    query = SavedQuery(
        fields.query_name,
        fields.sql,
        fields.database,
        fields.parameters,
        fields.public,
        fields.description,
        rfc3339(datetime.now(UTC)),
    )
    created = store.save(query)
    return Response.json(query, 201 if created else 200)


def delete_query(store: QueryStore, fields: NamedQuery) -> Response:
    store.delete(fields.query_name)
    return Response(204)


def list_queries(store: QueryStore, cursors: Cursors, fields: ListQueries) -> QueriesResponse:
    after = "" if fields.cursor is None else cursors.decode(fields.cursor, str, "queries", fields.prefix)
    found = store.list(fields.prefix, after, fields.limit + 1)
    page = found[: fields.limit]
    cursor = cursors.encode(page[-1].name, "queries", fields.prefix) if len(found) > len(page) else None
    return QueriesResponse(page, cursor)


def run_query(databases: Databases, store: QueryStore, fields: RunQuery, request: Request) -> Response:
    query = store.get(fields.query_name)
    ask = _ask(query, fields, request, chosen_format(fields.format, fields.accept), MAX_BYTES, SECONDS)
    return answer_query(databases.get(query.database), store, ask)


def public_query(
    databases: Databases, store: QueryStore, places: BoundedSemaphore, fields: PublicQuery, request: Request
) -> Response:
    query = store.get(fields.query_name)
    if not query.public:
        raise UnknownQuery(f"No query is saved as {fields.query_name}.")
    ask = _ask(query, fields, request, fields.format or "json", PUBLIC_BYTES, PUBLIC_SECONDS)
    if not places.acquire(timeout=PUBLIC_WAIT_SECONDS):
        raise Busy("Too many public queries run now.", retry_after=1)
    try:
        return answer_query(databases.get(query.database), store, ask)
    finally:
        places.release()


def _ask(
    query: SavedQuery, fields: RunQuery | PublicQuery, request: Request, form: Format, max_bytes: int, seconds: float
) -> Ask:
    given = _parameters(fields, request)
    params = bind(query.parameters, given, by_url=request.method not in WITH_BODY)
    return Ask(
        sql=query.sql,
        params=params,
        form=Form(form),
        limit=fields.limit,
        max_bytes=max_bytes,
        seconds=seconds,
        cursor=fields.cursor,
        question=(query.name, query.sql, query.database, sorted(params.items())),
    )


def _parameters(fields: RunQuery | PublicQuery, request: Request) -> dict[str, Any]:
    """What stands in the request beside the call's own fields."""
    given: Any
    if request.method in WITH_BODY:
        given = msgspec.json.decode(request.body or b"{}")
        if not isinstance(given, dict):
            raise NotAnObject("Send an object.")
    else:
        given = dict(query_pairs(request.url))
    own = {each.encode_name for each in msgspec.structs.fields(type(fields))}
    return {name: value for name, value in given.items() if name not in own}


ERRORS = (
    UnknownQuery,
    UnknownDatabase,
    ReadOnly,
    SqlError,
    QueryTimeout,
    RowTooLarge,
    Busy,
    DatabaseUnavailable,
    Unavailable,
)
MEDIA_TYPES = ("application/json", "application/x-ndjson", "text/csv")


def operations(
    databases: Databases, store: QueryStore, cursors: Cursors, response: type[msgspec.Struct]
) -> dict[str, Operation]:
    """A key for `run-query` runs what is saved, and nothing else; `public-query` runs what is saved as public."""
    cheap: Mapping[str, Any] = {
        "query_name": "cheap-fruit",
        "sql": "select name, price from fruit where price <= :most order by price",
        "parameters": [{"name": "most", "type": "real", "default": 0.5}],
        "public": True,
    }
    return {
        "save-query": Operation(
            writes=True,
            handle=partial(save_query, databases, store),
            request=SaveQuery,
            response=SavedQuery,
            summary="Save a query under a name, in place of what had that name.\n"
            f"A change may take {PUBLIC_CACHE_SECONDS} s to reach those who ask without a key, and 5 s others.",
            errors=(UnknownDatabase, ReadOnly, Unavailable),
            statuses={200: "Replaced.", 201: "Saved."},
            examples=(Example("A query that everyone may run", cheap),),
        ),
        "list-queries": Operation(
            handle=partial(list_queries, store, cursors),
            request=ListQueries,
            response=QueriesResponse,
            summary="The saved queries.",
            errors=(Unavailable,),
            examples=(Example("All of them", {}),),
        ),
        "delete-query": Operation(
            writes=True,
            handle=partial(delete_query, store),
            request=NamedQuery,
            response=None,
            summary="Delete a saved query.",
            errors=(UnknownQuery, Unavailable),
            statuses={204: "Deleted."},
            examples=(Example("By its name", {"query_name": "cheap-fruit"}),),
        ),
        "run-query": Operation(
            handle=partial(run_query, databases, store),
            request=RunQuery,
            response=response,
            summary="Run a saved query. Its parameters are fields of this call.\n"
            "Limits, formats and cursors are those of `query-sql`.",
            errors=ERRORS,
            headers=("accept",),
            with_request=True,
            media_types=MEDIA_TYPES,
            examples=(Example("With its parameter", {"query_name": "cheap-fruit", "most": 0.3}),),
        ),
        "public-query": Operation(
            handle=partial(public_query, databases, store, BoundedSemaphore(PUBLIC_AT_ONCE)),
            request=PublicQuery,
            response=response,
            summary="Run a query that was saved as public. Its parameters are fields of this call.\n"
            f"At most {PUBLIC_ROWS} rows, {PUBLIC_BYTES} bytes and {PUBLIC_SECONDS:.0f} seconds.",
            errors=ERRORS,
            with_request=True,
            media_types=MEDIA_TYPES,
            cache_seconds=PUBLIC_CACHE_SECONDS,
        ),
    }
