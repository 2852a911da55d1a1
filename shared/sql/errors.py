"""The errors of SQL."""

from shared.errors import NotFound, Refused, Unavailable


class UnknownDatabase(NotFound):
    """No setting names this database, or its file is not there."""

    code = "unknown-database"
    title = "There is no such database"


class UnknownQuery(NotFound):
    """No query is saved under this name; or none that is public, where only such are run."""

    code = "unknown-query"
    title = "There is no such query"


class ReadOnly(Refused):
    """The statement would write where only reading is allowed."""

    code = "read-only"
    title = "This statement would write, and may only read"


class SqlError(Refused):
    """The database refused the statement; `detail` is its own message."""

    code = "sql-error"
    title = "The database refused the statement"


class QueryTimeout(Refused):
    """The statement ran into its time limit and was interrupted."""

    code = "query-timeout"
    title = "The statement took longer than its time limit"


class MultipleStatements(Refused):
    """More than one statement in a call that runs one."""

    code = "multiple-statements"
    title = "A call runs one statement"


class RowTooLarge(Refused):
    """One row alone is over the limit of bytes, so that no page can hold it."""

    code = "answer-too-large"
    title = "A row is too large to be answered"


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database-unavailable"
    title = "The database does not answer"


class NotPublic(Refused):
    """The settings do not open this database to public queries."""

    code = "not-public"
    title = "Public queries may not read this database"


class ExportTooLarge(Refused):
    """The result of an export has more bytes than one export may write."""

    code = "export-too-large"
    title = "The result is too large for one export"
