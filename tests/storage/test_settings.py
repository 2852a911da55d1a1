"""The account that the settings name, and the containers that no function may use. No server is needed."""

import pytest

from shared.errors import InvalidSetting
from shared.settings import StorageSettings, load_settings
from shared.storage import ReservedContainer, StorageNotConfigured, account_of, check_container, is_reserved

HOST = {"AzureWebJobsStorage": "AccountName=host;AccountKey=eA=="}
OWN_URIS = {
    "STRONGROOM_STORAGE__blobServiceUri": "https://own.blob.core.windows.net/",
    "STRONGROOM_STORAGE__tableServiceUri": "https://own.table.core.windows.net",
}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (HOST, "host"),
        (HOST | {"STRONGROOM_STORAGE": "AccountName=own;AccountKey=eA=="}, "own"),
        (HOST | OWN_URIS, "own"),
        (HOST | {"STRONGROOM_STORAGE": " "}, "host"),
    ],
)
def test_our_account_is_the_own_one_else_the_hosts(environ: dict[str, str], name: str) -> None:
    """`STRONGROOM_STORAGE…` names the account of the app's records; without it, they are in the host's account."""
    account = account_of(load_settings(environ).storage)
    assert account.name == name
    assert account.blob_url == f"https://{name}.blob.core.windows.net"


def test_half_an_account_is_none() -> None:
    """The host's endpoints do not complete the app's: the records would be split over two accounts."""
    environ = HOST | {"STRONGROOM_STORAGE__blobServiceUri": "https://own.blob.core.windows.net"}
    with pytest.raises(InvalidSetting, match="STRONGROOM_STORAGE__tableServiceUri"):
        load_settings(environ)


def test_no_account_is_named_as_such() -> None:
    """If the settings name no account, the error names the settings."""
    with pytest.raises(StorageNotConfigured) as raised:
        account_of(StorageSettings())
    assert "AzureWebJobsStorage" in raised.value.advice


def test_the_client_id_may_be_our_own() -> None:
    """The app's account may have its own user-assigned identity; otherwise it uses the host's."""
    host = {"AzureWebJobsStorage__clientId": "a"}
    assert load_settings(host).storage.client_id == "a"
    assert load_settings(host | {"STRONGROOM_STORAGE__clientId": "b"}).storage.client_id == "b"


@pytest.mark.parametrize(
    "container",
    [
        "azure-webjobs-secrets",
        "azure-webjobs-hosts",
        "AZURE-WEBJOBS-SECRETS",
        "app-package",
        "app-package-1a2b3c",
        "scm-releases",
        "function-releases",
        "$logs",
        "$blobchangefeed",
        "insights-logs-storageread",
        "strongroom-log",
    ],
)
def test_containers_of_the_host_and_the_app_are_reserved(container: str) -> None:
    """Reserved containers are refused with 403, in any case of letters."""
    assert is_reserved(container)
    with pytest.raises(ReservedContainer) as raised:
        check_container(container)
    assert (raised.value.status, raised.value.code) == (403, "reserved-container")


@pytest.mark.parametrize("container", ["samples", "$root", "$web", "app-packages", "azure", "logs", "strongroom", ""])
def test_other_containers_are_not(container: str) -> None:
    """A container whose name only resembles a reserved one belongs to the user."""
    check_container(container)
