"""Settings: their defaults, their errors, and their documentation in docs/settings.md."""

import json
import re
from pathlib import Path

import pytest

from shared.app import build
from shared.blobs import settings as blobs
from shared.errors import InvalidSetting
from shared.passwords import settings as passwords
from shared.settings import ROOT, load_settings
from shared.signing import settings as signing
from shared.sql import settings as sql

SETTINGS_PAGE = Path(ROOT, "docs", "settings.md").read_text()
EXAMPLE = json.loads(Path(ROOT, "local.settings.json.example").read_text())["Values"]
NAME = r"`([A-Z]+_[A-Z_<>]+(?:__\w+)?|AzureWebJobsStorage\w*)`"
DOCUMENTED = set(re.findall(NAME, "".join(path.read_text() for path in Path(ROOT, "shared").rglob("settings.py"))))
"""The settings that the docstrings of the settings classes name."""


def test_an_empty_environment_gives_the_defaults() -> None:
    """An empty environment is valid."""
    assert load_settings({}).max_body_bytes == 8 * 1024 * 1024
    assert signing.load_settings({}).key_cache_seconds == 30
    assert 19 <= passwords.load_settings({}).hash_memory_mib <= 512
    assert sql.load_settings({}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRONGROOM_MAX_BODY_BYTES", "many"),
        ("STRONGROOM_MAX_BODY_BYTES", "0"),
        ("STRONGROOM_MAX_BODY_BYTES", "-1"),
        ("STRONGROOM_MAX_BODY_BYTES", "٥٠٠٠"),
        ("STRONGROOM_HASH_MEMORY_MIB", "18"),
        ("STRONGROOM_KEY_CACHE_SECONDS", "1.5"),
        ("STRONGROOM_BLOB_PRICES", "0.02"),
        ("STRONGROOM_BLOB_PRICES", '{"Hot": -1}'),
        ("STRONGROOM_BLOB_PRICES", '{"Hot": "cheap"}'),
        ("STRONGROOM_INLINE_HTML", "yes"),
        ("STRONGROOM_CONSOLE", "yes"),
        ("STRONGROOM_STORAGE_PRIVATE", "1"),
        ("STRONGROOM_PASSWORD_MIN_LENGTH", "7"),
        ("STRONGROOM_PASSWORD_MIN_LENGTH_SECOND_FACTOR", "x"),
        ("STRONGROOM_PASSWORD_PROFILE", "weak"),
        ("STRONGROOM_PASSWORD_PROFILE", "rfc9106-high"),
        ("STRONGROOM_URL", "keys.example.org"),
        ("STRONGROOM_URL", "http://keys.example.org"),
        ("STRONGROOM_URL", "https://keys.example.org/api"),
        ("STRONGROOM_URL", "https://user@keys.example.org"),
        ("STRONGROOM_PROXIES", "-1"),
        ("STRONGROOM_AZUREML_HOSTS", "https://example.org"),
        ("STRONGROOM_AZUREML_HOSTS", "com"),
        ("STRONGROOM_PUBLIC_SIGN_IN", "yes"),
        ("STRONGROOM_ORIGINS", "*"),
        ("STRONGROOM_ORIGINS", "https://app.example.org/"),
        ("STRONGROOM_ORIGINS", "http://app.example.org"),
        ("STRONGROOM_RP_ID", "https://example.org"),
        ("STRONGROOM_SESSION_DAYS", "0"),
        ("STRONGROOM_TOTP_SKEW", "3"),
        ("TRUSTED_ISSUER_X", "login.example.org"),
        ("TRUSTED_ISSUER_X", "http://login.example.org"),
        ("TRUSTED_ISSUER_X", "https://login.example.org/?x"),
        ("TRUSTED_ISSUER_X", "https://user@login.example.org"),
        ("TRUSTED_ISSUER_X_AUDIENCE", "https://api.example.org"),
        ("SSO_X_ISSUER", "https://login.example.org"),
        ("SSO_X_CLIENT_ID", "client"),
        ("AzureWebJobsStorage", "nonsense"),
        ("AzureWebJobsStorage", "="),
        ("AzureWebJobsStorage", "AccountName=a"),
        ("AzureWebJobsStorage", "AccountName=a;AccountKey=not base64"),
        ("AzureWebJobsStorage", "AccountName=a;AccountKey=eA==;BlobEndpoint=a.example.org"),
        ("AzureWebJobsStorage", "UseDevelopmentStorage=false"),
        ("STRONGROOM_STORAGE", "AccountKey=eA=="),
        ("STRONGROOM_STORAGE__blobServiceUri", "https://"),
        ("STRONGROOM_STORAGE__tableServiceUri", "https://a b.example.org"),
        ("STRONGROOM_PEPPER_KEY", "Pepper Key"),
        ("STRONGROOM_CALL_SECONDS", "9" * 5000),
        ("STRONGROOM_SANDBOX_PROCESSES", "17"),
        ("STRONGROOM_SANDBOX_MEMORY_MIB", "1 GiB"),
        ("STRONGROOM_CONSOLE_OPEN", "on"),
        ("STRONGROOM_SESSION_IDLE_HOURS", "-1"),
        ("STRONGROOM_BREACHED_PASSWORDS_URL", "http://api.pwnedpasswords.com/"),
        ("TRUSTED_ISSUER_X", "https://login example.org"),
        ("AzureWebJobsStorage__blobServiceUri", "http://account.blob.core.windows.net"),
        ("DATABASE_MAIN", "main.sqlite"),
        ("DATABASE_MAIN", "sqlite:///"),
        ("DATABASE_MAIN", "postgresql://"),
        ("DATABASE_MAIN", "blob://container"),
        ("DATABASE_MAIN_WRITE", "blob://container/data.sqlite"),
        ("DATABASE_MAIN_WRITE", "sqlite:///main.sqlite"),
    ],
)
def test_an_invalid_setting_is_named(name: str, value: str) -> None:
    """An invalid setting is refused at start, in one line with its name."""
    with pytest.raises(InvalidSetting, match=name) as caught:
        build({name: value})
    assert len(caught.value.detail) < 300
    assert "\n" not in caught.value.detail


def test_single_sign_on_needs_the_apps_url() -> None:
    """Providers redirect people to STRONGROOM_URL, so a provider without it is refused at start."""
    provider = {"SSO_X_ISSUER": "https://login.example.org", "SSO_X_CLIENT_ID": "client"}
    with pytest.raises(InvalidSetting, match="STRONGROOM_URL"):
        build(provider)
    build(provider | {"WEBSITE_HOSTNAME": "x.azurewebsites.net"})


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, ""),
        ({"WEBSITE_HOSTNAME": "x.azurewebsites.net"}, "https://x.azurewebsites.net"),
        ({"WEBSITE_HOSTNAME": "localhost:7071"}, "http://localhost:7071"),
        ({"WEBSITE_HOSTNAME": "x.azurewebsites.net", "STRONGROOM_URL": "https://k.example/"}, "https://k.example"),
        ({"STRONGROOM_URL": "http://localhost:7072"}, "http://localhost:7072"),
    ],
)
def test_the_url_is_that_of_the_setting_or_azure(environ: dict[str, str], url: str) -> None:
    """`STRONGROOM_URL` comes first, then the host name that Azure sets; neither comes from a request."""
    assert load_settings(environ).url == url


def test_prices_are_read() -> None:
    """Prices by tier are a JSON object; the default is the list prices."""
    assert blobs.load_settings({"STRONGROOM_BLOB_PRICES": '{"Hot": 1}'}).prices == {"Hot": 1.0}
    assert blobs.BLOB_PRICES["Archive"] < blobs.BLOB_PRICES["Hot"] == blobs.load_settings({}).prices["Hot"]


def test_databases_have_the_names_of_their_settings() -> None:
    """Each DATABASE_<NAME> is a database of that name in lower case, with a writer if one is set."""
    databases = sql.load_settings(
        {"DATABASE_MAIN": "sqlite:///a", "DATABASE_MAIN_WRITE": "sqlite:///b", "DATABASE_BIG_DATA": "sqlite:///c"}
    )
    assert set(databases) == {"main", "big_data"}
    assert (databases["main"].url, databases["main"].write_url) == ("sqlite:///a", "sqlite:///b")
    assert databases["big_data"].write_url is None


def test_a_relative_master_key_path_starts_at_the_app() -> None:
    """A relative path starts at the app's folder, wherever the process was started; an absolute one is kept."""
    assert signing.load_settings({"STRONGROOM_MASTER_KEY": ".data/k"}).master_key == str(Path(ROOT, ".data/k"))
    assert signing.load_settings({"STRONGROOM_MASTER_KEY": "/etc/k"}).master_key == "/etc/k"


def test_no_repr_shows_a_secret() -> None:
    """No repr contains a connection string or a database URL: both may contain passwords."""
    environ = {
        "AzureWebJobsStorage": "AccountName=a;AccountKey=hunter22",
        "DATABASE_MAIN": "sqlite:///hunter2",
        "DATABASE_MAIN_WRITE": "sqlite:////hunter2",
    }
    assert "hunter2" not in repr(load_settings(environ))
    assert "hunter2" not in repr(sql.load_settings(environ))


def test_the_docs_list_every_setting() -> None:
    """The tables of docs/settings.md and the settings classes name the same settings."""
    tables = SETTINGS_PAGE.partition("## Variables of the commands")[0]
    assert set(re.findall(rf"^\| {NAME} \|", tables, re.MULTILINE)) == DOCUMENTED


def test_the_example_names_settings_that_exist() -> None:
    """local.settings.json.example has every setting except endpoints, and no setting that the app does not read."""
    own = {"FUNCTIONS_WORKER_RUNTIME"}
    known = {re.sub("<NAME>", "MAIN", name) for name in DOCUMENTED}
    assert set(EXAMPLE) - own <= known
    assert {name for name in known if "__" not in name} <= set(EXAMPLE)


def test_the_example_loads() -> None:
    """The example is a valid configuration."""
    build(EXAMPLE)
    assert set(sql.load_settings(EXAMPLE)) == {"main"}
