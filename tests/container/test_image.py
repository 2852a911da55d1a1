"""The image: what is in it, and that the app answers from it without rights and on a read-only root."""

from pathlib import Path

import pytest

from scripts.package import build

from .conftest import Image, Running

# The first test waits for a Debian to be fetched and two images to be built.
pytestmark = pytest.mark.timeout(900)


def test_only_what_is_deployed_is_in_it(image: Image, tmp_path: Path) -> None:
    """Beside the requirements, the app's folder in the image has the files of the package, and no other."""
    root = image.root / "home/site/wwwroot"
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith(".python_packages/")} == set(build(tmp_path / "package.zip"))
    assert any(name.startswith(".python_packages/lib/site-packages/azure/functions/") for name in found)


def test_it_says_what_it_needs(image: Image) -> None:
    """The image runs as a user without rights, says how its health is asked, and carries no secret."""
    assert image.config["User"] == "10001:10001"
    assert image.config["Cmd"] == ["/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"]
    assert list(image.config["ExposedPorts"]) == ["8080/tcp"]
    assert image.config["Healthcheck"]["Test"][0] == "CMD"
    names = {each.partition("=")[0] for each in image.config["Env"]}
    assert not names & {"AzureWebJobsStorage", "STRONGROOM_MASTER_KEY", "APPLICATIONINSIGHTS_CONNECTION_STRING"}


def test_it_runs_without_rights(running: Running) -> None:
    """The process has no capability, gets none, is no known user, and finds its root read-only."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{running.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == {"10001"}
    assert set(status["Gid"].split()) == {"10001"}
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
    for place in ("/x", "/home/site/wwwroot/x", "/home/site/wwwroot/shared/x", "/usr/bin/x"):
        assert "Read-only file system" in running.beside("touch", place).stderr
    assert running.beside("touch", "/tmp/x").returncode == 0


def test_its_health_is_asked_as_it_says(image: Image, running: Running) -> None:
    """The health check of the image succeeds where the app runs."""
    assert running.beside(*image.config["Healthcheck"]["Test"][1:]).returncode == 0
    assert (
        running.beside(
            "python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/api/no')"
        ).returncode
        != 0
    )


@pytest.mark.parametrize("message", ["pears", "crème brûlée"])
def test_it_signs(running: Running, message: str) -> None:
    """`sign` and `verify` answer from the container, with their keys in storage and the master key on the volume."""
    signed = running.client.post("/api/sign", json={"message": message})
    assert signed.status_code == 200, signed.text
    verified = running.client.post("/api/verify", json={"message": message, "signature": signed.json()["signature"]})
    assert verified.json()["valid"] is True


def test_it_hashes(running: Running) -> None:
    """`hash-password` and `verify-password` answer from the container."""
    hashed = running.client.post("/api/hash-password", json={"password": "correct horse battery"})
    assert hashed.status_code == 200, hashed.text
    fields = {"password": "correct horse battery", "hash": hashed.json()["hash"]}
    assert running.client.post("/api/verify-password", json=fields).json()["valid"] is True


def test_it_queries_and_lists(running: Running) -> None:
    """`query-sql` and `list-blobs` answer from the container."""
    answer = running.client.get("/api/query-sql", params={"sql": "select count(*) from fruit"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"][0][0] > 0
    listed = running.client.get("/api/list-blobs", params={"container": "samples"})
    assert listed.status_code == 200, listed.text
    assert listed.json()["blobs"]
