"""Creates the sample data that does not exist yet: a database, a container of files, keys, users and models."""

import hashlib
import mimetypes
import sqlite3
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from shared.deadline import call_limit
from shared.errors import UserExists
from shared.models.errors import ModelTimeout
from shared.models.routes.saving import SaveModelRequest, save_model
from shared.models.settings import ModelSettings
from shared.models.store.engine import Engine
from shared.models.store.files import ModelFiles
from shared.models.store.records import RecordStore
from shared.passwords.pepper import Secret
from shared.passwords.store.users import User, UserStore
from shared.sandbox.process import Sandbox
from shared.sandbox.settings import SandboxSettings
from shared.settings import StorageSettings
from shared.signing.errors import KeyExists
from shared.signing.master import FileMasterKey
from shared.signing.own import OwnKey
from shared.signing.store import KeyStore, NewKey
from shared.storage import Storage
from shared.storage.records import Records

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

MODELS: tuple[dict[str, Any], ...] = (
    {
        "name": "iris",
        "container": CONTAINER,
        "blob": "models/iris.onnx",
        "labels": ["setosa", "versicolor", "virginica"],
        "features": ["sepal_length", "sepal_width", "petal_length", "petal_width"],
        "description": "The species of an iris, from four lengths in centimetres.",
    },
    {
        "name": "diabetes",
        "container": CONTAINER,
        "blob": "models/diabetes.onnx",
        "features": ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"],
        "description": "The progression of diabetes after a year.",
    },
)
MODEL_ATTEMPTS = 4
SEED_SECONDS = 30.0
SAMPLE_KEYS = ("sample-aes", "sample-ed25519", "sample-deleted")
SAMPLE_TAGS = {"note": "known to everyone: for the examples of the documentation alone"}


def seed_database(path: Path) -> None:
    """Make the database with its table `fruit`, unless the file is there: then it belongs to the user."""
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
    """Create the container `samples` with a few files, unless it exists: then it belongs to the user.

    Returns whether it was created.
    """
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import ContentSettings

    container = Storage(StorageSettings(connection_string)).blob_service.get_container_client(CONTAINER)
    try:
        container.create_container()
    except ResourceExistsError:
        return False
    for path in sorted(FILES.rglob("*")):
        if path.is_file():
            name = unicodedata.normalize("NFC", path.relative_to(FILES).as_posix())
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            if kind.startswith("text/"):
                kind += "; charset=utf-8"
            container.upload_blob(name, path.read_bytes(), content_settings=ContentSettings(content_type=kind))
    return True


def allow_uploads(connection_string: str, origins: Sequence[str]) -> None:
    """Let pages of these origins upload blobs by a signed URL, as infra/modules/storage.bicep does in Azure."""
    from azure.storage.blob import CorsRule

    headers = ["content-type", "x-ms-blob-type"]
    rule = CorsRule(list(origins), ["PUT"], allowed_headers=headers, max_age_in_seconds=3600)
    Storage(StorageSettings(connection_string)).blob_service.set_service_properties(cors=[rule])


def open_users(connection_string: str, master_key: str) -> UserStore:
    """The users of a storage account whose master key is in the file `master_key`."""
    keys = _open_keys(connection_string, master_key)
    return UserStore(Storage(StorageSettings(connection_string)), Records(lambda: keys.derive_key("users")))


def seed_users(connection_string: str, master_key: str) -> None:
    """Make two users with the password `correct horse battery staple`, unless they exist."""
    store = open_users(connection_string, master_key)
    for name, user_id in USERS:
        now = datetime.now(UTC)
        user = User(
            user_id=user_id,
            name=name,
            created=now,
            algorithm="argon2id",
            password_id=token_hex(8),
            signed_out_at=now,
        )
        with suppress(UserExists):
            store.create(user, Secret(PASSWORD_HASH.encode()))


def _open_keys(connection_string: str, master_key: str) -> KeyStore:
    return KeyStore(Storage(StorageSettings(connection_string=connection_string)), FileMasterKey(master_key), 0)


def seed_keys(connection_string: str, master_key: str) -> None:
    """Make the keys that the examples of the OpenAPI document use, unless they are there."""
    keys = _open_keys(connection_string, master_key)
    aes, ed25519, deleted = SAMPLE_KEYS
    with suppress(KeyExists):
        key = hashlib.sha256(b"strongroom sample key").digest()
        keys.import_key(aes, NewKey(type="AES-256", purpose="encrypt", deletable=True, tags=SAMPLE_TAGS), key)
    published = NewKey(
        type="Ed25519", purpose="sign", published=True, exportable=True, deletable=True, tags=SAMPLE_TAGS
    )
    with suppress(KeyExists):
        keys.create(ed25519, published)
    with suppress(KeyExists):
        keys.create(deleted, published)
        keys.delete(deleted)


def seed_models(connection_string: str, master_key: str) -> None:
    """Save the two sample models, whose files are in the container `samples`. A model that is the same stays."""
    keys = _open_keys(connection_string, master_key)
    storage = Storage(StorageSettings(connection_string))
    records = RecordStore(storage, lambda: OwnKey(keys, "_models", "Ed25519"), keys.derive_key)
    sandbox = Sandbox(SandboxSettings())
    try:
        for fields in MODELS:
            _save_model(records, ModelFiles(storage, records.hashes), Engine(sandbox), SaveModelRequest(**fields))
    finally:
        sandbox.close()


def _save_model(records: RecordStore, files: ModelFiles, engine: Engine, fields: SaveModelRequest) -> None:
    """Save a model, again where a busy machine took longer for the first run than a call may."""
    for _ in range(MODEL_ATTEMPTS):
        with suppress(ModelTimeout), call_limit(SEED_SECONDS):
            save_model(records, files, engine, ModelSettings(), fields)
            return
    raise ModelTimeout("The sample models did not run in time.")
