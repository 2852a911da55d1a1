"""The image: its content, and that the app runs in it without privileges and on a read-only root."""

from pathlib import Path

import pytest

from scripts.package import build

from .conftest import Image, Running

# The first test downloads a Debian and builds two images.
pytestmark = pytest.mark.timeout(900)


def test_the_image_has_only_deployed_files(image: Image, tmp_path: Path) -> None:
    """Except for requirements and bytecode, the app's folder in the image has exactly the files of the package."""
    root = image.root / "home/site/wwwroot"
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    app = {name for name in names if not name.startswith(".python_packages/") and not name.endswith(".pyc")}
    assert app == {name for name in build(tmp_path / "package.zip") if not name.endswith(".pyc")}
    assert any(name.startswith(".python_packages/lib/site-packages/azure/functions/") for name in names)


def test_every_module_has_bytecode(image: Image) -> None:
    """App and requirements have bytecode that no timestamp invalidates (PEP 552: unchecked)."""
    root = image.root / "home/site/wwwroot"
    sources = list(root.rglob("*.py"))
    assert any(".python_packages" in path.parts for path in sources)
    for source in sources:
        (compiled,) = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc")
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01, compiled


def test_sigterm_stops_it_as_sigint_does(image: Image) -> None:
    """Docker sends SIGINT, and the first process turns SIGTERM into it."""
    assert image.config["Entrypoint"] == ["/usr/local/bin/init"]
    assert image.config["StopSignal"] == "SIGINT"


def test_the_configuration(image: Image) -> None:
    """The image runs as an unprivileged user, has a health check, and contains no secret."""
    assert image.config["User"] == "10001:10001"
    assert image.config["Cmd"] == ["/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"]
    assert list(image.config["ExposedPorts"]) == ["8080/tcp"]
    assert image.config["Healthcheck"]["Test"][0] == "CMD"
    names = {each.partition("=")[0] for each in image.config["Env"]}
    assert not names & {"AzureWebJobsStorage", "STRONGROOM_MASTER_KEY", "APPLICATIONINSIGHTS_CONNECTION_STRING"}


def test_the_process_has_no_privileges(running: Running) -> None:
    """The process has no capability and cannot get one, and its root is read-only."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{running.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == {"10001"}
    assert set(status["Gid"].split()) == {"10001"}
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
    for place in ("/x", "/home/site/wwwroot/x", "/home/site/wwwroot/shared/x", "/usr/bin/x"):
        assert "Read-only file system" in running.execute("touch", place).stderr
    assert running.execute("touch", "/tmp/x").returncode == 0


def test_the_health_check_succeeds(image: Image, running: Running) -> None:
    """The health check of the image succeeds while the app runs."""
    assert running.execute(*image.config["Healthcheck"]["Test"][1:]).returncode == 0
    assert (
        running.execute(
            "python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/api/no')"
        ).returncode
        != 0
    )


@pytest.mark.parametrize("message", ["pears", "crème brûlée"])
def test_the_image_signs(running: Running, message: str) -> None:
    """`sign` and `verify` work in the container, with keys in storage and the master key on the volume."""
    signed = running.client.post("/api/sign", json={"message": message})
    assert signed.status_code == 200, signed.text
    verified = running.client.post("/api/verify", json={"message": message, "signature": signed.json()["signature"]})
    assert verified.json()["valid"] is True


def test_the_image_hashes_passwords(running: Running) -> None:
    """`hash-password` and `verify-password` work in the container."""
    hashed = running.client.post("/api/hash-password", json={"password": "correct horse battery"})
    assert hashed.status_code == 200, hashed.text
    fields = {"password": "correct horse battery", "hash": hashed.json()["hash"]}
    assert running.client.post("/api/verify-password", json=fields).json()["valid"] is True


def test_the_image_queries_and_lists(running: Running) -> None:
    """`query-sql` and `list-blobs` work in the container."""
    queried = running.client.get("/api/query-sql", params={"sql": "select count(*) from fruit"})
    assert queried.status_code == 200, queried.text
    assert queried.json()["rows"][0][0] > 0
    listed = running.client.get("/api/list-blobs", params={"container": "samples"})
    assert listed.status_code == 200, listed.text
    assert listed.json()["blobs"]
