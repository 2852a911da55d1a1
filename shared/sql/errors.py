"""The errors of SQL; those that data files share are in `shared.errors`."""

from shared.errors import (
    MultipleStatements,
    NotFound,
    QueryTimeout,
    ReadOnly,
    Refused,
    RowTooLarge,
    SqlError,
    Unavailable,
)

__all__ = [
    "DatabaseUnavailable",
    "DatasetTooLarge",
    "ExportTooLarge",
    "InvalidRow",
    "MultipleStatements",
    "NotAKey",
    "NotPublic",
    "QueryTimeout",
    "ReadOnly",
    "RepeatedKey",
    "RowTooLarge",
    "SqlError",
    "UnknownDatabase",
    "UnknownQuery",
    "UnknownTable",
]


class UnknownDatabase(NotFound):
    """No setting names this database, or its file does not exist."""

    code = "unknown-database"
    title = "The database does not exist"


class UnknownQuery(NotFound):
    """No query has this name; for public-query, no public query has it."""

    code = "unknown-query"
    title = "The query does not exist"


class UnknownTable(NotFound):
    """The database has no table of this name."""

    code = "unknown-table"
    title = "The table does not exist"


class InvalidRow(Refused):
    """A row of an import does not fit its table."""

    code = "invalid-row"
    title = "A row cannot be imported"


class RepeatedKey(Refused):
    """Two rows of an upsert have the same key."""

    code = "repeated-key"
    title = "Two rows have the same key"


class NotAKey(Refused):
    """The columns are not those of a primary key or a unique index."""

    code = "not-a-key"
    title = "The columns are not a key of the table"


class DatabaseUnavailable(Unavailable):
    """The app cannot connect to the database, or the database does not respond."""

    code = "database-unavailable"
    title = "The database is unavailable"


class NotPublic(Refused):
    """The settings do not open this database to public queries, or the query has a list of callers."""

    code = "not-public"
    title = "This query cannot be public"


class ExportTooLarge(Refused):
    """The result of an export has more bytes than one export may write."""

    code = "export-too-large"
    title = "The result is too large for one export"


class DatasetTooLarge(Refused):
    """A SQLite file in Blob Storage does not fit on the instance's disk."""

    code = "dataset-too-large"
    title = "The dataset is too large for this instance"
