"""The rows of one user, read by one request."""

from collections.abc import Iterator
from typing import NamedTuple

from shared.identity.users import User, UserStore
from shared.storage.tables import Row

USER_ROW = "user"


class Partition(NamedTuple):
    """A user, and other rows of the same partition, as they were at one moment."""

    user: User
    user_row: Row
    rows: dict[str, Row]
    """By row key, without the row `user`."""

    def below(self, prefix: str) -> Iterator[Row]:
        """The rows whose keys start with `prefix`."""
        return (row for key, row in self.rows.items() if key.startswith(prefix))


def read_partition(users: UserStore, user_id: str, *row_keys: str) -> Partition | None:
    """The user and the rows of these keys, or without keys all rows; None if the user does not exist."""
    condition, parameters = "PartitionKey eq @user_id", {"user_id": user_id}
    if row_keys:
        names = [f"key{number}" for number in range(len(row_keys))]
        condition += f" and (RowKey eq '{USER_ROW}'" + "".join(f" or RowKey eq @{name}" for name in names) + " )"
        parameters |= dict(zip(names, row_keys, strict=True))
    rows = {row["RowKey"]: row for row in users.table.query(condition, parameters)}
    user_row = rows.pop(USER_ROW, None)
    return None if user_row is None else Partition(users.opened(user_row), user_row, rows)
