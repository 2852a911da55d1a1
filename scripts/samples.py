"""Puts sample data in place where there is none yet: a database, a container of files, keys, and two users."""

import hashlib
import mimetypes
import sqlite3
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, urlsplit

import urllib3

from shared.passwords.errors import UserExists
from shared.passwords.pepper import Secret
from shared.passwords.store import User, UserStore
from shared.settings import StorageSettings
from shared.signing.errors import KeyExists
from shared.signing.master import FileMasterKey
from shared.signing.store import KeyStore, NewKey
from shared.storage import API_VERSION, Storage, account_of, shared_key

FILES = Path(__file__).resolve().parent / "samples"
CONTAINER = "samples"
FRUIT = (
    ("apple", 0.45),
    ("apricot", 0.60),
    ("banana", 0.25),
    ("cherry", 0.12),
    ("fig", 0.70),
    ("grapefruit", 0.95),
    ("kiwi", 0.40),
    ("lemon", 0.35),
    ("mango", 1.80),
    ("orange", 0.55),
    ("pear", 0.50),
    ("plum", 0.30),
)
USERS = (
    ("alice@example.org", "5eed0000-0000-4000-8000-000000000001"),
    ("bob@example.org", "5eed0000-0000-4000-8000-000000000002"),
)
PASSWORD_HASH = "$argon2id$v=19$m=19456,t=2,p=1$+NI5kqQquxXEK3BmRVW8cw$62/I3WjMua27AYTR45WvpXHO6fpy2CYoHLWoGP0hr+g"  # noqa: S105 - of a password that the documentation names.

SAMPLE_KEYS = ("sample-aes", "sample-ed25519", "sample-deleted")
SAMPLE_TAGS = {"note": "known to everyone: for the examples of the documentation alone"}


def seed_database(path: Path) -> None:
    """Make the database with its table `fruit`, unless the file is there: then it is the user's, whatever is in it."""
    if path.exists():
        return
    # Whole or not at all: a start that is interrupted here leaves nothing that the next would take for done.
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    connection = sqlite3.connect(unfinished)
    connection.execute("create table fruit (id integer primary key, name text not null, price real not null)")
    connection.executemany("insert into fruit (name, price) values (?, ?)", FRUIT)
    connection.commit()
    connection.close()
    unfinished.rename(path)


def seed_container(connection_string: str) -> bool:
    """Make the container `samples` with a few files, unless it is there: then it is the user's, whatever is in it.

    Returns whether it was made.
    """
    if _put(connection_string, CONTAINER, "restype=container", {}, b"") == 409:
        return False
    for path in sorted(FILES.rglob("*")):
        if path.is_file():
            name = quote(unicodedata.normalize("NFC", path.relative_to(FILES).as_posix()))
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            if kind.startswith("text/"):
                kind += "; charset=utf-8"
            headers = {"x-ms-blob-type": "BlockBlob", "content-type": kind}
            _put(connection_string, f"{CONTAINER}/{name}", "", headers, path.read_bytes())
    return True


def seed_users(connection_string: str) -> None:
    """Make two users, whose password is `correct horse battery staple`, unless they are there."""
    store = UserStore(Storage(StorageSettings(connection_string)))
    for name, user_id in USERS:
        user = User(user_id=user_id, name=name, created=datetime.now(UTC), algorithm="argon2id")
        with suppress(UserExists):
            store.create(user, Secret(PASSWORD_HASH.encode()))


def seed_keys(connection_string: str, master_key: str) -> None:
    """Make the keys that the examples of the OpenAPI document use, unless they are there."""
    keys = KeyStore(Storage(StorageSettings(connection_string=connection_string)), FileMasterKey(master_key), 0)
    aes, ed25519, deleted = SAMPLE_KEYS
    with suppress(KeyExists):
        key = hashlib.sha256(b"strongroom sample key").digest()
        keys.import_key(aes, NewKey(type="AES-256", purpose="encrypt", deletable=True, tags=SAMPLE_TAGS), key)
    signing = NewKey(type="Ed25519", purpose="sign", exportable=True, deletable=True, tags=SAMPLE_TAGS)
    with suppress(KeyExists):
        keys.create(ed25519, signing)
    with suppress(KeyExists):
        keys.create(deleted, signing)
        keys.delete(deleted)


def _put(connection_string: str, path: str, query: str, headers: dict[str, str], body: bytes) -> int:
    account = account_of(StorageSettings(connection_string))
    url = f"{account.blob_url}/{path}"
    sent = {"x-ms-version": API_VERSION, "x-ms-date": formatdate(usegmt=True), **headers}
    if body:
        sent["content-length"] = str(len(body))
    fields = dict([query.split("=")]) if query else {}
    sent["authorization"] = shared_key(account, "PUT", urlsplit(url).path, fields, sent)
    response = urllib3.request("PUT", f"{url}?{query}", headers=sent, body=body)
    if response.status not in (201, 409):
        raise OSError(f"Blob Storage responded {response.status} to {path}")
    return response.status
