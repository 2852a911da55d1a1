"""Failures of devices, and wrong passwords that were tried for several names.

Both are in partitions of their own. A password has one of 65,536 rows, by a keyed digest, so guessing cannot fill the
table.
"""

from datetime import datetime, timedelta
from threading import Lock

import msgspec

from shared.passwords.devices import LIFETIME
from shared.passwords.store.users import TABLE
from shared.passwords.throttling import SPRAY_WINDOW, Tried, after_spray, keeps_slot, spray_wait
from shared.storage import Storage
from shared.storage.errors import RowConflict
from shared.storage.records import Records
from shared.storage.requests import retry_on_conflict
from shared.storage.tables import Row, Table, create, delete, replace
from shared.web import rfc3339

DEVICES, PASSWORDS = "devices", "passwords"
_SLOT_DIGITS = 4
_DIGEST_DIGITS = 12
"""48 bits of each HMAC: enough to tell passwords apart for an hour, and too few to prove a guess at one."""
PURGE_INTERVAL = timedelta(minutes=10)


class _Count(msgspec.Struct, frozen=True):
    count: int


_COUNTS = msgspec.json.Decoder(_Count)
_TRIED = msgspec.json.Decoder(Tried)


class AttemptStore:
    """Attempts at logins. Safe to use from many threads."""

    def __init__(self, storage: Storage, records: Records, table: str = TABLE) -> None:
        self._table = Table(storage, table)
        self._records = records
        self._purged: datetime | None = None
        self._lock = Lock()

    # Devices

    def device_failures(self, device_id: bytes) -> int:
        """The wrong passwords in a row of a device."""
        row = self._table.get(DEVICES, device_id.hex())
        return 0 if row is None else self._records.open(row, _COUNTS).count

    def add_device_failure(self, device_id: bytes, now: datetime) -> None:
        """Count a wrong password of a device."""

        def attempt() -> None:
            before = self._table.get(DEVICES, device_id.hex())
            count = 0 if before is None else self._records.open(before, _COUNTS).count
            row = self._records.row(
                DEVICES, device_id.hex(), _Count(count + 1), kind="device", expires=rfc3339(now + LIFETIME)
            )
            self._table.write(create(row) if before is None else replace(row, before.etag))

        retry_on_conflict(attempt)

    def forget_device_failures(self, device_id: bytes) -> None:
        """Let the device start again."""

        def attempt() -> None:
            if row := self._table.get(DEVICES, device_id.hex(), ["PartitionKey", "RowKey"]):
                self._table.write(delete(row, row.etag))

        retry_on_conflict(attempt)

    # Passwords

    def password_wait(self, password: str, now: datetime) -> int:
        """Whole seconds until this password may be tried again, for any name."""
        digest = self._password_digest(password)
        return spray_wait(self._tried(digest)[1], digest, now)

    def add_wrong_password(self, password: str, name_key: str, limit: int, now: datetime) -> None:
        """Note that the password was wrong for a name."""
        digest = self._password_digest(password)
        name = self._records.mac("tried-name", name_key).hex()[:_DIGEST_DIGITS]

        def attempt() -> None:
            before, occupant = self._tried(digest)
            if keeps_slot(occupant, digest, now):
                return
            tried = after_spray(occupant, digest, name, limit, now)
            row = self._records.row(
                PASSWORDS, digest[:_SLOT_DIGITS], tried, kind="password", expires=rfc3339(now + SPRAY_WINDOW)
            )
            self._table.write(create(row) if before is None else replace(row, before.etag))

        retry_on_conflict(attempt)
        self._purge_now_and_then(now)

    def _password_digest(self, password: str) -> str:
        return self._records.mac("tried-password", password).hex()[:_DIGEST_DIGITS]

    def _tried(self, digest: str) -> tuple[Row | None, Tried | None]:
        row = self._table.get(PASSWORDS, digest[:_SLOT_DIGITS])
        return row, None if row is None else self._records.open(row, _TRIED)

    # Expiry

    def _purge_now_and_then(self, now: datetime) -> None:
        """Passwords are kept for an hour, and the daily task alone would keep them for a day."""
        with self._lock:
            if self._purged is not None and now - self._purged < PURGE_INTERVAL:
                return
            self._purged = now
        self.purge(now, PASSWORDS)

    def purge(self, now: datetime, *partitions: str) -> int:
        """Remove expired rows, and return their number."""
        removed = 0
        for partition in partitions or (DEVICES, PASSWORDS):
            condition = "PartitionKey eq @partition and expires lt @now"
            for row in self._table.query(condition, {"partition": partition, "now": rfc3339(now)}):
                removed += self._remove(row)
        return removed

    def _remove(self, row: Row) -> bool:
        try:
            self._table.write(delete(row, row.etag))
        except RowConflict:  # It was used meanwhile.
            return False
        return True
