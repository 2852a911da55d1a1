"""The errors of SQL."""

from shared.errors import NotFound, Refused, Unavailable


class UnknownDatabase(NotFound):
    """No setting names this database, or its file does not exist."""

    code = "unknown-database"
    title = "There is no such database"


class UnknownQuery(NotFound):
    """No query has this name, or for public-query no public one."""

    code = "unknown-query"
    title = "There is no such query"


class ReadOnly(Refused):
    """The statement would write, and the call may only read."""

    code = "read-only"
    title = "This statement would write, and this call may only read"


class SqlError(Refused):
    """The database refused the statement; `detail` is its own message."""

    code = "sql-error"
    title = "The database refused the statement"


class QueryTimeout(Refused):
    """The statement reached its time limit and was stopped."""

    code = "query-timeout"
    title = "The statement took longer than its time limit"


class MultipleStatements(Refused):
    """The call has more than one statement, and may have one."""

    code = "multiple-statements"
    title = "A call runs one statement"


class RowTooLarge(Refused):
    """A single row is over the limit of bytes, so no page can contain it."""

    code = "answer-too-large"
    title = "A row is too large for a response"


class DatabaseUnavailable(Unavailable):
    """The app cannot connect to the database, or the database does not respond."""

    code = "database-unavailable"
    title = "The database is unavailable"


class NotPublic(Refused):
    """The settings do not open this database to public queries."""

    code = "not-public"
    title = "Public queries may not read this database"


class ExportTooLarge(Refused):
    """The result of an export has more bytes than one export may write."""

    code = "export-too-large"
    title = "The result is too large for one export"


class DatasetTooLarge(Refused):
    """A SQLite file in Blob Storage does not fit on the instance's disk."""

    code = "dataset-too-large"
    title = "The dataset is too large for this instance"
