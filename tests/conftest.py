"""The fixtures of all tests: Azurite, and the real app as a process."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from scripts.azurite import Azurite, start_azurite
from scripts.samples import seed_database
from tests.support import App, StartApp, app_environ, run_app, run_sample_app

# No test asserts times: they depend on the machine.
settings.register_profile("strongroom", deadline=None)
settings.load_profile("strongroom")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """An Azurite for this test run, on free ports, with its data in memory."""
    running = start_azurite(tmp_path_factory.mktemp("storage") / "azurite", in_memory=True)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def storage_connection(azurite: Azurite) -> str:
    """The connection string of this run's Azurite."""
    return azurite.connection_string


@pytest.fixture(scope="session")
def running_app(storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app as a process, with the sample data. All tests share it, so each uses names of its own."""
    with run_sample_app(tmp_path_factory.mktemp("app"), storage_connection) as app:
        yield app


@pytest.fixture
def start_app(storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartApp]:
    """Starts apps with their own settings, and ends them: `start_app({"STRONGROOM_MAX_BODY_BYTES": "2048"})`.

    A setting of "" counts as unset. Two apps with the same `folder` share a key and a database.
    """
    with ExitStack() as apps:

        def start(settings: Mapping[str, str] = {}, folder: Path | None = None) -> App:
            folder = folder or tmp_path_factory.mktemp("app")
            folder.mkdir(exist_ok=True)
            seed_database(folder / "main.sqlite")
            return apps.enter_context(run_app(folder, app_environ(folder, storage_connection) | dict(settings)))

        yield start
