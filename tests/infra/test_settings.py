"""The template matches the app: the app reads its settings, and its public paths are those of public functions."""

import json
import re
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest

from scripts.portal import README, written
from shared.app import build
from shared.settings import load_settings
from shared.signing import settings as signing_settings
from shared.sql import settings as sql_settings
from shared.web import Access
from tests.support import ROOT

from .bicep import INFRA, Snapshot
from .cases import CASES, NAME, Case
from .rules.app import CONCURRENCY, HOST_SETTINGS, settings_of
from .rules.common import ENVIRONMENT_ADDRESS

DOCUMENTED = {
    name
    for path in (ROOT / "shared").rglob("settings.py")
    for name in re.findall(r"`([A-Z]+_[A-Z]\w*|AzureWebJobsStorage\w*)`", path.read_text())
}
"""The settings that the settings classes name beside their fields."""
NAMED = re.compile(
    r"DATABASE_[A-Z0-9_]+?(_WRITE)?|TRUSTED_ISSUER_[A-Z0-9_]+?(_AUDIENCE|_TENANTS)?"
    r"|SSO_[A-Z0-9_]+?_(ISSUER|CLIENT_ID|CLIENT_SECRET|SCOPES|TENANTS|CREATE_USERS|SECOND_FACTOR)"
)
"""The settings that contain a name of the operator's choice."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_setting_is_read(case: Case, snapshot_of: Callable[[str], Snapshot]) -> None:
    """Every setting of the template is one that the app documents, or one of the host's list."""
    names = set(settings_of(snapshot_of(case.name), case))
    assert {name for name in names - HOST_SETTINGS if not NAMED.fullmatch(name)} <= DOCUMENTED


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_settings_load(case: Case, snapshot_of: Callable[[str], Snapshot]) -> None:
    """The app's own reader accepts the settings: endpoints and an identity, and no connection string."""
    if not case.has_host:
        pytest.skip("there is no app before there is an image")
    environ = settings_of(snapshot_of(case.name), case)
    # Only Azure knows these two: the host name that it gives a site, and the domain of an environment.
    address = "https://func.example.net"
    environ["WEBSITE_HOSTNAME"] = address.removeprefix("https://")
    if environ.get("STRONGROOM_URL") == ENVIRONMENT_ADDRESS:
        environ["STRONGROOM_URL"] = address
    settings = load_settings(environ)
    databases = sql_settings.load_settings(environ)
    assert settings.storage.connection_string is None
    assert settings.storage.blob_service_uri == f"https://st{NAME}.blob.core.windows.net"
    assert settings.storage.table_service_uri == f"https://st{NAME}.table.core.windows.net"
    assert settings.storage.client_id
    assert "AzureWebJobsStorage__tableServiceUri" not in environ
    assert settings.url == case.parameter("url", address)
    assert settings.proxies == int(environ["STRONGROOM_PROXIES"])
    assert signing_settings.load_settings(environ).master_key.endswith(f"https://kv-{NAME}.vault.azure.net/keys/master")
    assert set(databases) == {"main"}
    main = databases["main"]
    if case.database == "none":
        assert (main.url, main.write_url) == ("blob://datasets/main.sqlite", None)
    else:
        assert main.write_url is not None
        assert main.write_url == main.url.replace("reader", "writer") != main.url


def test_sign_in_leaves_open_what_is_public() -> None:
    """The paths without sign-in are those that the host leaves open: public functions, and those of sessions."""
    patterns = json.loads((INFRA / "public-paths.json").read_text())

    def is_open(path: str) -> bool:
        return any(fnmatchcase(f"/api/{path}", pattern) for pattern in patterns)

    for route in build({}).routes:
        # A pattern ends in its only `*`, and `/api/keys/*` would open everything about keys. The documents say so.
        if route.name == "key-jwks":
            assert not is_open(route.path)
            continue
        # A session's own token is in the header that sign-in would read.
        assert is_open(route.path) == (route.access is not Access.FUNCTION), route.name


def test_the_host_takes_as_many_calls_as_the_platform_sends() -> None:
    """host.json has the number of concurrent calls of the default instance; the template sets it for other sizes."""
    limits = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]
    assert limits["maxConcurrentRequests"] == int(CONCURRENCY[2048])
    assert limits["maxOutstandingRequests"] >= max(int(each) for each in CONCURRENCY.values())


def test_the_calls_for_the_portal_are_those_of_today() -> None:
    """The table of calls in infra/README.md is up to date: `python -m scripts.portal` writes it."""
    assert written(README.read_text()) == README.read_text()


def test_every_container_shares_the_keys_of_the_functions(snapshot_of: Callable[[str], Snapshot]) -> None:
    """On every hosting of the image, replicas share their function keys: same host id, and the host's own account."""
    found = {}
    for case in CASES:
        settings = settings_of(snapshot_of(case.name), case)
        if case.hosting != "flex" and case.has_host:
            account = settings["AzureWebJobsStorage__blobServiceUri"]
            found[case.hosting] = (
                settings["AzureFunctionsWebHost__hostid"],
                settings["AzureWebJobsSecretStorageType"],
                account,
            )
    assert set(found) == {"containerApp", "containerInstance", "virtualMachine", "appService"}
    assert set(found.values()) == {(f"strongroom-{NAME}", "blob", f"https://sthost{NAME}.blob.core.windows.net")}
    assert len(f"strongroom-{NAME}") < 32
