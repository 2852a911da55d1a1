"""Puts the sample data of the documentation into a deployed app, by calling it.

    STRONGROOM_KEY=<host key> .venv/bin/python -m scripts.fill https://<app>.azurewebsites.net

Without STRONGROOM_KEY it prompts for the key. Existing data stays as it is, so it may run again. It makes the
container `samples` with a few files, three keys, two users, two models, and the table `fruit` of the database `main`.
"""

import base64
import getpass
import hashlib
import json
import mimetypes
import os
import sys
import tempfile
import unicodedata
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from scripts.samples import (
    CONTAINER,
    FILES,
    FRUIT,
    MODELS,
    PASSWORD_HASH,
    SAMPLE_KEYS,
    SAMPLE_TAGS,
    USERS,
    seed_database,
)

DATASETS = "datasets"
"""The container that the template reads the SQLite file `main.sqlite` from."""


def fail(message: str) -> NoReturn:
    """Print one line that names the fault, and end."""
    print(message, file=sys.stderr)
    raise SystemExit(1)


class App:
    """A deployed app, and a key that opens its functions."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key

    def call(self, method: str, path: str, body: object = None, *, accept: tuple[int, ...] = ()) -> Any:
        """The JSON of a success; None for a status in `accept`. Ends with one line on any other error.

        A body of bytes is sent as it is, and any other as JSON.
        """
        data, kind = (body, None) if isinstance(body, bytes) else (json.dumps(body).encode(), "application/json")
        headers = {"x-functions-key": self._key}
        if body is not None:
            headers["Content-Type"] = kind or content_type(path)
        request = urllib.request.Request(  # noqa: S310 - the address is the caller's.
            f"{self._url}/api/{path}", method=method, data=None if body is None else data, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=100) as response:  # noqa: S310 - as above.
                text = response.read()
        except urllib.error.HTTPError as error:
            if error.code in accept:
                return None
            hint = {401: "The key is wrong.", 403: "Your address is not on the allow-list."}.get(error.code, "")
            detail = error.read(2000).decode(errors="replace")
            fail(f"{method} /api/{path} returned {error.code}. {hint} {detail}".rstrip())
        except OSError as error:
            fail(f"{self._url} cannot be reached: {error}")
        return json.loads(text) if text.startswith((b"{", b"[")) else None


def content_type(path: str) -> str:
    """The media type that a file's name implies."""
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def fill_container(app: App) -> None:
    """Make the container `samples` with its files, unless it is there: then its content is the user's."""
    if app.call("POST", "containers", {"container": CONTAINER}, accept=(409,)) is None:
        return
    for path in sorted(FILES.rglob("*")):
        if path.is_file():
            name = unicodedata.normalize("NFC", path.relative_to(FILES).as_posix())
            app.call("PUT", f"blobs/{CONTAINER}/{quote(name)}", path.read_bytes())


def fill_keys(app: App) -> None:
    """Make the keys that the examples use, unless they are there."""
    aes, ed25519, deleted = SAMPLE_KEYS
    secret = base64.urlsafe_b64encode(hashlib.sha256(b"strongroom sample key").digest()).rstrip(b"=").decode()
    jwk = {"kty": "oct", "k": secret}
    options = {"deletable": True, "tags": SAMPLE_TAGS}
    app.call("POST", "keys/import", {"name": aes, "private_key": jwk, "purpose": "encrypt", **options}, accept=(409,))
    signing = {"type": "Ed25519", "exportable": True, "published": True, **options}
    app.call("POST", "keys", {"name": ed25519, **signing}, accept=(409,))
    if app.call("POST", "keys", {"name": deleted, **signing}, accept=(409,)) is not None:
        app.call("DELETE", f"keys/{deleted}")


def fill_users(app: App) -> None:
    """Make two users with the password `correct horse battery staple`, unless they are there."""
    for name, user_id in USERS:
        user = {"user": name, "hash": PASSWORD_HASH, "user_id": user_id}
        app.call("POST", "users/import", user, accept=(409,))


def fill_models(app: App) -> None:
    """Save the sample models; one that is the same stays as it is."""
    for model in MODELS:
        fields = {name: value for name, value in model.items() if name != "name"}
        app.call("PUT", f"models/{model['name']}", fields)


def fill_database(app: App) -> None:
    """Make the table `fruit`: in a database server, or as the SQLite file that the template reads."""
    if app.call("POST", "query-sql", {"sql": "select count(*) from fruit"}, accept=(404, 422, 503)) is not None:
        return
    create = {"sql": "create table fruit (id integer primary key, name varchar(100) not null, price real not null)"}
    insert = "insert into fruit (id, name, price) values (?, ?, ?)"
    rows = [{"sql": insert, "params": [index, *row]} for index, row in enumerate(FRUIT, 1)]
    if app.call("POST", "execute-sql", {"statements": [create, *rows]}, accept=(404, 422, 503)) is not None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "main.sqlite")
        seed_database(path)
        app.call("POST", "containers", {"container": DATASETS}, accept=(409,))
        app.call("PUT", f"blobs/{DATASETS}/{path.name}", path.read_bytes())


def main(url: str, key: str) -> None:
    """Fill the app at this address."""
    app = App(url, key)
    fill_container(app)
    fill_keys(app)
    fill_users(app)
    fill_models(app)
    fill_database(app)
    print(f"The app at {url} has the sample data.")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].startswith(("https://", "http://localhost", "http://127.0.0.1")):
        fail("Usage: .venv/bin/python -m scripts.fill https://<address of the app>")
    main(sys.argv[1], os.environ.get("STRONGROOM_KEY") or getpass.getpass("Host key: "))
