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
    "MultipleStatements",
    "NotPublic",
    "QueryTimeout",
    "ReadOnly",
    "RowTooLarge",
    "SqlError",
    "UnknownDatabase",
    "UnknownQuery",
]


class UnknownDatabase(NotFound):
    """No setting names this database, or its file does not exist."""

    code = "unknown-database"
    title = "There is no such database"


class UnknownQuery(NotFound):
    """No query has this name, or for public-query no public one."""

    code = "unknown-query"
    title = "There is no such query"


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
