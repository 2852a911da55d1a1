"""The state of the key that signs records, with a storage of its own: the sample models are signed by the same key."""

from pathlib import Path

from scripts.azurite import start_azurite
from scripts.samples import _open_keys, seed_container
from shared.signing import keyring
from tests.models.test_routes import predict
from tests.models.test_trust import is_refused
from tests.support import app_environ, run_app

ROWS = [[5.1, 3.5, 1.4, 0.2]]
FIELDS = {"container": "samples", "blob": "models/iris.onnx"}


def test_the_state_of_the_signing_key_counts(tmp_path: Path) -> None:
    """Rotated, the key's signatures hold; disabled or revoked, they do not, until the model is saved again."""
    azurite = start_azurite(tmp_path / "azurite", in_memory=True)
    try:
        environ = app_environ(tmp_path, azurite.connection_string) | {"STRONGROOM_KEY_CACHE_SECONDS": "0"}
        seed_container(azurite.connection_string)
        keys = _open_keys(azurite.connection_string, environ["STRONGROOM_MASTER_KEY"])
        with run_app(tmp_path, environ) as app, app.client() as client:
            assert client.put("/api/models/state", json=FIELDS).status_code == 201
            first = keys.get("_models").current_version
            assert first is not None
            assert client.post("/api/keys/_models/rotate", json={}).status_code == 200
            assert predict(client, "state", rows=ROWS).status_code == 200

            now = keys.clock()
            keys.change("_models", lambda key: keyring.changed(key, keyring.Changes(disable=[first]), now))
            assert is_refused(predict(client, "state", rows=ROWS))
            keys.change("_models", lambda key: keyring.changed(key, keyring.Changes(enable=[first]), now))
            assert predict(client, "state", rows=ROWS).status_code == 200

            revoked = client.post("/api/keys/_models/revoke", json={"version": first, "reason": "lost"})
            assert revoked.status_code == 200
            assert is_refused(predict(client, "state", rows=ROWS))
            assert is_refused(client.get("/api/models/state"))
            saved = client.put("/api/models/state", json=FIELDS)
            assert (saved.status_code, saved.json()["version"]) == (201, 2)
            assert predict(client, "state", rows=ROWS).status_code == 200
            # With its only usable version revoked, the next save creates another.
            client.post("/api/keys/_models/revoke", json={"version": first + 1, "reason": "lost, too"})
            assert is_refused(predict(client, "state", rows=ROWS))
            assert client.put("/api/models/state", json=FIELDS).json()["version"] == 3
            assert predict(client, "state", rows=ROWS).status_code == 200
    finally:
        azurite.stop()
