"""The functions that save queries and run saved ones."""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import partial
from threading import BoundedSemaphore
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from shared.datafiles import ColumnsDiffer, DataChanged, MixedFormats, NoFiles, UnreadableData
from shared.errors import Busy, NotAllowed, Unavailable
from shared.sandbox.callers import anonymous
from shared.sql.databases import Databases
from shared.sql.dialects import Dialect
from shared.sql.errors import NotPublic, ReadOnly, SqlError, UnknownDatabase, UnknownQuery
from shared.sql.responses import PageQuery, chosen_format, page_response
from shared.sql.routes.databases import READ_ERRORS
from shared.sql.routes.fields import (
    MEDIA_TYPES,
    Accept,
    DatabaseName,
    Limit,
    PageRequest,
    QueryResponse,
    TimeoutMs,
    most_bytes,
)
from shared.sql.saved import Parameter, SavedQuery, bind, check
from shared.sql.store.queries import QueryStore
from shared.sql.writers import Format
from shared.web import Cursor, Cursors, Example, Fields, Operation, Request, Response, rfc3339
from shared.web.decoding import WITH_BODY, query_pairs
from shared.web.fields import Description, NamePrefix, PageLimit, caller_list, time_limit

PUBLIC_ROWS, PUBLIC_BYTES, PUBLIC_MS = 1000, 1024 * 1024, 2000
"""The limits of a call without a key."""
PUBLIC_AT_ONCE = 4
"""Half of a database's connections; the other half remains for callers with a key."""
PUBLIC_WAIT_SECONDS = 1.0
PUBLIC_CACHE_SECONDS = 60

QueryName = Annotated[
    str,
    Meta(
        description="Up to 64 lower-case letters, digits, hyphens and underscores; the first is a letter or digit.",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z",
    ),
]


class Caller(Protocol):
    """The caller, by the bearer token of the call."""

    def is_one_of(self, entries: Iterable[str]) -> bool:
        """Whether the entries of a list of callers name this caller."""
        ...


class CallerLists(Protocol):
    """Reads lists of callers, and the tokens of those who call."""

    def check(self, entries: Sequence[str]) -> None:
        """Raise InvalidRequest for a list with an entry that names no kind of caller."""
        ...

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """The caller of a request. It costs nothing until a list is compared."""
        ...


class SaveQueryRequest(Fields, frozen=True):
    query_name: QueryName
    sql: Annotated[
        str, Meta(description="One statement that reads, with named parameters.", min_length=1, max_length=30_000)
    ]
    database: DatabaseName = "main"
    parameters: Annotated[list[Parameter], Meta(description="Each parameter of the statement.", max_length=50)] = (
        msgspec.field(default_factory=list)
    )
    public: Annotated[bool, Meta(description="Let anyone run the query by public-query, without a key.")] = False
    description: Description = ""
    callers: Annotated[list[str], caller_list("run the query")] | None = None


class SaveQueryResponse(SavedQuery, frozen=True):
    """The query as it was saved."""


class DeleteQueryRequest(Fields, frozen=True):
    query_name: QueryName


class ListQueriesRequest(Fields, frozen=True):
    prefix: NamePrefix = ""
    limit: PageLimit = 100
    cursor: Cursor | None = None


class RunQueryRequest(PageRequest, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Each parameter of the query is one more field."""

    query_name: QueryName
    limit: Limit = 1000
    timeout_ms: TimeoutMs = 5000
    accept: Accept | None = None


class PublicQueryRequest(PageRequest, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Each parameter of the query is one more field."""

    query_name: QueryName
    limit: Annotated[int, Meta(description="The most rows in the response.", ge=1, le=PUBLIC_ROWS)] = 100
    timeout_ms: Annotated[int, time_limit(PUBLIC_MS)] = PUBLIC_MS


class ListQueriesResponse(msgspec.Struct, frozen=True):
    """Saved queries, in the order of their names."""

    queries: list[SavedQuery]
    cursor: str | None


def save_query(
    databases: Databases, store: QueryStore, lists: CallerLists, public_databases: Set[str], request: SaveQueryRequest
) -> Response:
    lists.check(request.callers or ())
    if request.public and request.callers is not None:
        raise NotPublic("A public query has no list of callers. Leave out either `public` or `callers`.")
    check(request.sql, databases.get(request.database).engine, request.parameters)
    if request.public and request.database not in public_databases:
        raise NotPublic(
            f"Add {request.database} to the setting STRONGROOM_PUBLIC_DATABASES, or save the query without `public`."
        )
    query = SavedQuery(
        request.query_name,
        request.sql,
        request.database,
        request.parameters,
        request.public,
        request.description,
        rfc3339(datetime.now(UTC)),
        request.callers,
    )
    created = store.save(query)
    return Response.json(query, 201 if created else 200)


def delete_query(store: QueryStore, request: DeleteQueryRequest) -> Response:
    store.delete(request.query_name)
    return Response(204)


def list_queries(store: QueryStore, cursors: Cursors, request: ListQueriesRequest) -> ListQueriesResponse:
    after = "" if request.cursor is None else cursors.decode(request.cursor, str, "list-queries", request.prefix)
    queries = store.list(request.prefix, after, request.limit + 1)
    page = queries[: request.limit]
    cursor = cursors.encode(page[-1].name, "list-queries", request.prefix) if len(queries) > len(page) else None
    return ListQueriesResponse(page, cursor)


def run_query(
    databases: Databases,
    store: QueryStore,
    lists: CallerLists,
    cursors: Cursors,
    request: RunQueryRequest,
    http: Request,
) -> Response:
    saved = store.get(request.query_name)
    if saved.callers is not None and not lists.caller(http.headers).is_one_of(saved.callers):
        raise NotAllowed(
            f"Query {saved.name} is for the callers on its list. Send the access token of one of them in the header "
            "Authorization: Bearer, beside the function key."
        )
    database = databases.get(saved.database)
    form = chosen_format(request.format, request.accept)
    most = most_bytes(request.limit, form)
    return page_response(database, cursors, _page_query(saved, database.engine, request, http, form, most))


def public_query(
    databases: Databases,
    store: QueryStore,
    cursors: Cursors,
    public_databases: Set[str],
    slots: BoundedSemaphore,
    request: PublicQueryRequest,
    http: Request,
) -> Response:
    # The same response, whether the query is missing, not public, or without its database.
    unknown = UnknownQuery(f"No public query has the name {request.query_name}.")
    try:
        saved = store.get(request.query_name)
        database = databases.get(saved.database)
    except (UnknownQuery, UnknownDatabase):
        raise unknown from None
    if not saved.public or saved.callers is not None or saved.database not in public_databases:
        raise unknown
    query = _page_query(saved, database.engine, request, http, request.format or "json", PUBLIC_BYTES)
    if not slots.acquire(timeout=PUBLIC_WAIT_SECONDS):
        raise Busy("Too many public queries are running. Try again.", retry_after=1)
    try:
        with anonymous():
            return page_response(database, cursors, query)
    except UnknownDatabase:
        raise unknown from None
    except DataChanged:
        raise DataChanged("The data changed. Start again without a cursor.") from None
    except (SqlError, ColumnsDiffer, MixedFormats, NoFiles, UnreadableData) as error:
        # The database's own message can contain values of rows, or names of files.
        raise SqlError("The database could not run this query with these parameters.") from error
    finally:
        slots.release()


def _page_query(
    saved: SavedQuery,
    dialect: Dialect,
    request: RunQueryRequest | PublicQueryRequest,
    http: Request,
    form: Format,
    max_bytes: int,
) -> PageQuery:
    function = "run-query" if isinstance(request, RunQueryRequest) else "public-query"
    params = bind(saved.parameters, _parameters(request, http), dialect, by_url=http.method not in WITH_BODY)
    return PageQuery(
        sql=saved.sql,
        params=params,
        style=request.style(form),
        limit=request.limit,
        max_bytes=max_bytes,
        seconds=request.timeout_ms / 1000,
        cursor=request.cursor,
        filename=request.filename,
        scope=(function, saved.name, saved.sql, saved.database, sorted(params.items())),
    )


def _parameters(request: RunQueryRequest | PublicQueryRequest, http: Request) -> dict[str, Any]:
    """The fields of the HTTP request that are not fields of the function: the query's parameters."""
    sent: dict[str, Any]
    sent = msgspec.json.decode(http.body or b"{}") if http.method in WITH_BODY else dict(query_pairs(http.url))
    own = {each.encode_name for each in msgspec.structs.fields(type(request))}
    return {name: value for name, value in sent.items() if name not in own}


def operations(
    databases: Databases, store: QueryStore, lists: CallerLists, cursors: Cursors, public_databases: Set[str]
) -> dict[str, Operation]:
    """A key for `run-query` runs saved queries only; `public-query` runs those that were saved as public."""
    cheap: Mapping[str, Any] = {
        "query_name": "cheap-fruit",
        "sql": "select name, price from fruit where price <= :most order by price",
        "parameters": [{"name": "most", "type": "real", "default": 0.5}],
        "public": True,
    }
    slots = BoundedSemaphore(PUBLIC_AT_ONCE)
    return {
        "save-query": Operation(
            writes=True,
            handle=partial(save_query, databases, store, lists, public_databases),
            request=SaveQueryRequest,
            response=SaveQueryResponse,
            summary="Save a query under a name. A query with that name is replaced.\n"
            f"A change reaches other instances within 5 s, and callers without a key within {PUBLIC_CACHE_SECONDS} s.",
            errors=(UnknownDatabase, ReadOnly, SqlError, NotPublic, Unavailable),
            statuses={200: "The query was replaced.", 201: "The query was saved."},
            examples=(Example("A query that anyone may run", cheap),),
        ),
        "list-queries": Operation(
            handle=partial(list_queries, store, cursors),
            request=ListQueriesRequest,
            response=ListQueriesResponse,
            summary="List the saved queries.",
            errors=(Unavailable,),
            examples=(Example("All of them", {}),),
        ),
        "delete-query": Operation(
            writes=True,
            handle=partial(delete_query, store),
            request=DeleteQueryRequest,
            response=None,
            summary="Delete a saved query.",
            errors=(UnknownQuery, Unavailable),
            statuses={204: "The query was deleted."},
            examples=(Example("By its name", {"query_name": "cheap-fruit"}),),
        ),
        "run-query": Operation(
            handle=partial(run_query, databases, store, lists, cursors),
            request=RunQueryRequest,
            response=QueryResponse,
            summary="Run a saved query. Its parameters are fields of this call.\n"
            "Limits, formats and cursors are those of `query-sql`.",
            errors=(UnknownQuery, NotAllowed, *READ_ERRORS, Unavailable),
            headers=("accept",),
            with_request=True,
            media_types=MEDIA_TYPES,
            examples=(Example("With its parameter", {"query_name": "cheap-fruit", "most": 0.3}),),
        ),
        "public-query": Operation(
            handle=partial(public_query, databases, store, cursors, public_databases, slots),
            request=PublicQueryRequest,
            response=QueryResponse,
            summary="Run a query that was saved as public. Its parameters are fields of this call.\n"
            f"At most {PUBLIC_ROWS} rows, {PUBLIC_BYTES} bytes and {PUBLIC_MS} ms.",
            errors=(UnknownQuery, *READ_ERRORS, Unavailable),
            with_request=True,
            media_types=MEDIA_TYPES,
            cache_seconds=PUBLIC_CACHE_SECONDS,
        ),
    }
