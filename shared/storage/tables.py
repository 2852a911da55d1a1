"""Rows in Table Storage, read and written without an SDK type or error reaching the caller.

    shares = Table(storage, "strongroomshares")
    etag, = shares.write(create({"PartitionKey": "share", "RowKey": share_id, "document": text}))
    row = shares.get("share", share_id)                       # a Row, or None
    shares.write(replace({**row, "document": text}, row.etag))  # raises RowConflict where the row has changed
    shares.write(delete(first, first.etag), create(second))   # both or neither; at most 100 rows, one partition
    for row in shares.query("PartitionKey eq @p and RowKey gt @after", {"p": "share", "after": ""}): ...

Read, then write under the ETag that was read, inside `retry_on_conflict`. The first write creates the table.

Every row that is written carries a random `write_id`. Where the response to a write is lost, `write` reads the row
again and compares, so it reports what happened. Only where that read fails, too, it raises WriteUnconfirmed.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from shared.storage.client import Storage
from shared.storage.errors import RowConflict
from shared.storage.requests import confirmed_write, error_code, retry

if TYPE_CHECKING:
    from azure.data.tables import TableClient

T = TypeVar("T")

WRITE_ID = "write_id"
PAGE_ROWS = 1000
"""The most rows that Table Storage returns in one response."""
ROWS_PER_WRITE = 100
"""The most rows of one transaction."""

_CONFLICTS = frozenset(
    {"EntityAlreadyExists", "UpdateConditionNotSatisfied", "ConditionNotMet", "ResourceNotFound", "EntityNotFound"}
)
"""What Table Storage reports where a row is not as a write expects it."""


class Row(dict[str, Any]):
    """The properties of a row, `PartitionKey` and `RowKey` among them, and its ETag."""

    def __init__(self, properties: Mapping[str, Any], etag: str) -> None:
        super().__init__(properties)
        self.etag = etag


class Operation(NamedTuple):
    """One change of one row. Make it with `create`, `replace`, `put` or `delete`."""

    action: str
    row: Mapping[str, Any]
    etag: str | None = None


def create(row: Mapping[str, Any]) -> Operation:
    """Add a row; a conflict where it exists."""
    return Operation("create", row)


def replace(row: Mapping[str, Any], etag: str | None = None) -> Operation:
    """Replace all properties of a row; a conflict where it does not exist, or no longer has this ETag."""
    return Operation("update", row, etag)


def put(row: Mapping[str, Any]) -> Operation:
    """Write a row, whether or not it exists."""
    return Operation("upsert", row)


def delete(row: Mapping[str, Any], etag: str | None = None) -> Operation:
    """Delete the row with these keys; a conflict where it does not exist, or no longer has this ETag."""
    return Operation("delete", row, etag)


class Table:
    """One table, which need not exist. Safe to use from many threads.

    Every method raises StorageUnavailable, StorageForbidden and Busy, besides the errors it names.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._name = name

    def get(self, partition: str, row_key: str, select: list[str] | None = None) -> Row | None:
        """One row, or None where it does not exist. `select` limits the properties."""

        def read(limits: dict[str, Any]) -> Row | None:
            from azure.core.exceptions import HttpResponseError

            try:
                entity = self._client.get_entity(partition, row_key, select=select, **limits)
            except HttpResponseError as error:
                if error.status_code == 404:
                    return None
                raise
            return _row(entity)

        return retry(lambda: self._send(read))

    def query(
        self,
        condition: str,
        parameters: Mapping[str, Any],
        *,
        select: list[str] | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> Iterator[Row]:
        """The rows that match, by partition and row key; none where the table does not exist.

        `condition` is an OData filter, whose `@names` stand for the `parameters`. Rows come in pages of `page_rows`,
        each fetched when the caller gets to it: stop iterating, and no further page is read.
        """
        token: Any = None
        while True:

            def read(limits: dict[str, Any], token: Any = token) -> tuple[list[Row], Any]:
                from azure.core.exceptions import HttpResponseError

                pages: Any = self._client.query_entities(
                    condition,
                    parameters=dict(parameters),
                    select=select,
                    results_per_page=min(page_rows, PAGE_ROWS),
                    **limits,
                ).by_page(token)
                try:
                    rows = [_row(entity) for entity in next(pages)]
                except StopIteration:
                    return [], None
                except HttpResponseError as error:
                    if error.status_code == 404:
                        return [], None
                    raise
                return rows, pages.continuation_token

            rows, token = retry(lambda read=read: self._send(read))  # type: ignore[misc]
            yield from rows
            if not token:
                return

    def write(self, *operations: Operation) -> list[str]:
        """Carry out all operations or none, and return the new ETags ("" for a deleted row).

        Raises RowConflict where a row is not as its operation expects, and WriteUnconfirmed where neither the write
        nor a read after it got a response.
        """
        marked = tuple(_marked(each) for each in operations)
        return confirmed_write(lambda: self._write(marked), lambda: self._etags_if_done(marked), (RowConflict,))

    def _write(self, operations: tuple[Operation, ...]) -> list[str]:
        def submit(limits: dict[str, Any]) -> list[str] | None:
            from azure.core.exceptions import HttpResponseError

            try:
                return self._submit(operations, limits)
            except HttpResponseError as error:
                code = error_code(error)
                if code == "TableNotFound":
                    return None
                if code in _CONFLICTS:
                    raise RowConflict("The row is not as this write expected it.") from error
                raise

        etags = self._send(submit)
        if etags is None and any(each.action in ("create", "upsert") for each in operations):
            self._create_table()
            etags = self._send(submit)
        if etags is None:
            raise RowConflict("The row does not exist.")
        return etags

    def _submit(self, operations: tuple[Operation, ...], limits: dict[str, Any]) -> list[str]:
        changes = [(action, dict(row), _options(action, etag)) for action, row, etag in operations]
        action, row, options = changes[0]
        # One row alone takes a third of a transaction's CPU. A single delete would hide a 404 from us.
        if len(changes) > 1 or action == "delete":
            done = self._client.submit_transaction(changes, **limits)
        elif action == "create":
            done = [self._client.create_entity(row, **limits)]
        elif action == "update":
            done = [self._client.update_entity(row, **options, **limits)]
        else:
            done = [self._client.upsert_entity(row, **options, **limits)]
        return [str(each.get("etag") or "") for each in done]

    def _etags_if_done(self, operations: tuple[Operation, ...]) -> list[str] | None:
        """The ETags after a write whose response was lost; None where it was not carried out."""
        etags = []
        for action, row, _ in operations:
            stored = self.get(row["PartitionKey"], row["RowKey"], ["PartitionKey", WRITE_ID])
            if action == "delete":
                if stored is not None:
                    return None
                etags.append("")
            elif stored is None or stored.get(WRITE_ID) != row[WRITE_ID]:
                return None
            else:
                etags.append(stored.etag)
        return etags

    def _create_table(self) -> None:
        from azure.core.exceptions import HttpResponseError

        def make(limits: dict[str, Any]) -> None:
            try:
                self._client.create_table(**limits)
            except HttpResponseError as error:
                if error_code(error) != "TableAlreadyExists":  # Else another call was faster.
                    raise

        retry(lambda: self._send(make))

    def _send(self, request: Callable[[dict[str, Any]], T]) -> T:
        """Send one request. An unexpected response raises StorageUnavailable, with the cause for the log."""
        from azure.core.exceptions import HttpResponseError

        service = self._storage.table_requests
        try:
            return service.send(request)
        except HttpResponseError as error:
            raise service.unexpected(error) from error

    @cached_property
    def _client(self) -> "TableClient":
        return self._storage.table(self._name)


def _options(action: str, etag: str | None) -> dict[str, Any]:
    from azure.core import MatchConditions

    options: dict[str, Any] = {"mode": "replace"} if action in ("update", "upsert") else {}
    return options | ({"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {})


def _marked(operation: Operation) -> Operation:
    if operation.action == "delete":
        return operation
    return operation._replace(row={**operation.row, WRITE_ID: secrets.token_hex(8)})


def _row(entity: Any) -> Row:
    return Row(entity, str(entity.metadata.get("etag") or ""))
