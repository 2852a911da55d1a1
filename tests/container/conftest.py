"""Builds the image with buildah on a substitute base: Debian, Python, and a launcher that starts the local host.

The tests need no access to Microsoft's registry. They prove the Dockerfile: its stages, files and user, and that the
app runs on a read-only root without privileges.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.azurite import start_azurite
from scripts.samples import seed_container, seed_database
from tests.support import ROOT, app_environ, wait_for_port

LAUNCHER = "/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"
LAUNCH = """#!/bin/sh
# A substitute for Microsoft's host: the local host, on the port of ASPNETCORE_URLS.
export PYTHONPATH=/substitute:/substitute/packages:$AzureWebJobsScriptRoot/.python_packages/lib/site-packages
exec python -m scripts.host --address 127.0.0.1 --port "${ASPNETCORE_URLS##*:}" --app-root "$AzureWebJobsScriptRoot"
"""
KEYS = "/var/lib/strongroom/keys"
USER = 10001


@dataclass(frozen=True)
class Image:
    """A built image: its files and its configuration."""

    root: Path
    config: dict[str, Any]


def buildah(*arguments: str | Path) -> str:
    """Run buildah with a store of the tests' own, and return its output."""
    store = ROOT / ".data" / "buildah"
    command = ["buildah", "--storage-driver", "vfs", "--root", store / "root", "--runroot", store / "run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def able() -> None:
    """Skips with the reason if images cannot be built and run; in continuous integration a missing tool fails."""
    if "INFRA_CHECKED" not in os.environ:
        pytest.skip("`make infra` builds the image")
    if os.geteuid() != 0:
        pytest.skip("building and running the image needs root")
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if missing:
        message = f"not installed: {' and '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounts")


@pytest.fixture(scope="session")
def base(able: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The substitute base image. Its Debian is kept in .data/ between runs."""
    debian = ROOT / ".data" / "substitute.tar"
    folder = tmp_path_factory.mktemp("base")
    if not debian.exists():
        debian.parent.mkdir(mode=0o700, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", "--include=python3,python3-pip,ca-certificates", "bookworm"]
        done = subprocess.run([*command, folder / "debian"], capture_output=True, text=True, check=False, timeout=280)
        if done.returncode:
            pytest.skip(f"debootstrap failed: {(done.stdout or done.stderr).strip().splitlines()[-1]}")
        subprocess.run(["tar", "-C", folder / "debian", "-cf", folder / "debian.tar", "."], check=True)
        shutil.move(folder / "debian.tar", debian)
    container = buildah("from", "scratch")
    root = Path(buildah("mount", container))
    subprocess.run(["tar", "-C", root, "-xf", debian], check=True)
    (root / "usr/bin/python").symlink_to("python3")
    # The certificate authorities of this machine, for pip.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
    (root / "substitute/scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/__init__.py", root / "substitute/scripts")
    shutil.copytree(ROOT / "scripts/host", root / "substitute/scripts/host")
    (root / LAUNCHER[1:]).parent.mkdir()
    (root / LAUNCHER[1:]).write_text(LAUNCH)
    (root / LAUNCHER[1:]).chmod(0o755)
    shutil.copy(ROOT / "requirements-local.txt", root / "tmp")
    pip = "python -m pip install --quiet --require-hashes --target=/substitute/packages -r /tmp/requirements-local.txt"
    buildah("run", "--isolation", "chroot", *wheels(), container, "--", *pip.split())
    buildah("umount", container)
    name = f"localhost/substitute:{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    buildah("commit", "--quiet", "--rm", container, name)
    return name


def wheels() -> list[str]:
    """Options that mount the folder of wheels that this machine's pip uses, for the pip in a container."""
    folder = os.environ.get("PIP_FIND_LINKS", "")
    return ["--volume", f"{folder}:{folder}:ro"] if folder.startswith("/") else []


@pytest.fixture(scope="session")
def image(base: str) -> Iterator[Image]:
    """The image, built by the Dockerfile."""
    name = base.replace("substitute", "strongroom")
    options = ["--format=docker", "--isolation=chroot", f"--build-arg=BASE={base}", f"--tag={name}", "--quiet"]
    buildah("build", *options, *wheels(), str(ROOT))
    container = buildah("from", "--pull-never", name)
    config = json.loads(buildah("inspect", "--type", "image", name))["Docker"]["config"]
    yield Image(Path(buildah("mount", container)), config)
    buildah("umount", container)
    buildah("rm", container)
    buildah("rmi", name, base)


@dataclass(frozen=True)
class Running:
    """The running image: a client, its first process, and a function that runs a command in it."""

    client: httpx.Client
    pid: int
    execute: Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def run(image: Image, keys: Path, settings: Mapping[str, str]) -> Iterator[Running]:
    """Run the image's command as its user: read-only, without privileges, its keys on a volume."""
    environ = dict(each.split("=", 1) for each in image.config["Env"]) | dict(settings)
    environ |= {"ASPNETCORE_URLS": "http://+:0", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    uid, gid = image.config["User"].split(":")
    root = image.root
    privileges = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--inh-caps=-all"]
    privileges += ["--bounding-set=-all", "--"]
    mounts = [
        f"mount --bind {root} {root}",
        f"mount --bind /dev {root}/dev",
        f"mount --bind {keys} {root}{KEYS}",
        f"mount -t tmpfs -o uid={uid},gid={gid} tmpfs {root}/tmp",
        f"mount -t proc proc {root}/proc",
        f"mount -o remount,bind,ro {root}",
        f'exec chroot {root} {" ".join(privileges)} "$@"',
    ]
    script = ["sh", "-euc", "\n".join(mounts), "sh", *image.config["Entrypoint"], *image.config["Cmd"]]
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private", *script]
    log = keys.parent / "container.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        port = wait_for_port(process, log)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            (child,) = _children(process)

            def execute(*arguments: str) -> subprocess.CompletedProcess[str]:
                enter = ["nsenter", f"--target={child}", "--mount", "--root", "--wd=/", *privileges, *arguments]
                command = [each.replace(":8080/", f":{port}/") for each in enter]
                return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

            yield Running(client, child, execute)
    finally:
        # Killing the first process of the namespace kills the others. It outlives unshare, because dropping privileges
        # cleared its parent-death signal.
        for each in _children(process):
            os.kill(each, signal.SIGKILL)
        process.kill()
        process.wait()


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    """The child processes of `process`; none once it has ended."""
    if process.poll() is not None:
        return []
    return [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.fixture(scope="session")
def running(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The image, running with its own storage and the sample data."""
    folder = tmp_path_factory.mktemp("container")
    keys = folder / "keys"
    keys.mkdir()
    azurite = start_azurite(folder / "azurite", in_memory=True)
    settings = app_environ(keys, azurite.connection_string)
    seed_database(keys / "main.sqlite")
    seed_container(azurite.connection_string)
    for each in (keys, *keys.iterdir()):
        os.chown(each, USER, USER)
    inside = {name: value.replace(str(keys), KEYS) for name, value in settings.items()}
    try:
        with run(image, keys, inside) as running:
            yield running
    finally:
        azurite.stop()
