"""Real PostgreSQL, MariaDB and MySQL for tests: each has its own folder and port, and runs installed programs."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import free_port, stop

PASSWORD = "s3cret-&-/=?"
"""Of every role: with what a URL must escape."""
START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A running server: the URLs of its owner, a reader and a writer, and its process."""

    owner: str
    reader: str
    writer: str
    process: subprocess.Popen[bytes]
    stop: Callable[[], None]


@dataclass(frozen=True)
class Tls:
    """A certificate that a server presents, and its key."""

    certificate: Path
    key: Path

    def install(self, folder: Path) -> dict[str, Path]:
        """Copy the files beside the server's data, because the server must own them."""
        copies = {"cert": folder / "server.crt", "key": folder / "server.key"}
        copies["cert"].write_bytes(self.certificate.read_bytes())
        copies["key"].write_bytes(self.key.read_bytes())
        for copy in copies.values():
            copy.chmod(0o600)
            shutil.chown(copy, folder.stat().st_uid, folder.stat().st_gid)
        return copies


def _program(name: str, package: str, *folders: str) -> str:
    """The path of a program. If it is missing, the test is skipped; in continuous integration it fails."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders])
    found = shutil.which(name, path=path)
    if found is None:
        _skip_missing(name, package)
    return found


def _skip_missing(name: str, package: str) -> NoReturn:
    message = f"{name} is not installed: install the package {package} to run these tests."
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _folder() -> Path:
    """A folder that every user may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-test-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = folder / "server"
    made.mkdir()
    return made


def _as_user(user: str, folder: Path) -> list[str]:
    """The command prefix that runs as another user if we are root, because the servers refuse to run as root."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, user, user)
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]


def _wait(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
        except Exception as error:  # After any error, the server is not ready yet.
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"The server did not start:\n{log.read_text(errors='replace')}") from error
            time.sleep(0.05)
        else:
            return


def start_postgresql(tls: Tls | None = None) -> Server:
    """A PostgreSQL server with the database `shop`, and the roles of the README.

    With `tls` it requests cleartext passwords, as Azure's does, also over plain TCP: the client has to protect them.
    """
    import psycopg

    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: float(each.parent.name))
    folders = [str(each) for each in reversed(versions)]
    initdb = _program("initdb", "postgresql", *folders)
    postgres = _program("postgres", "postgresql", *folders)
    folder = _folder()
    user = _as_user("postgres", folder)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    made: list[str | Path] = [
        *user,
        initdb,
        "-D",
        folder / "data",
        "-U",
        "owner",
        "--auth=scram-sha-256",
        f"--pwfile={secret}",
    ]
    subprocess.run([*made, "-E", "UTF8", "--locale=C", "--no-sync"], check=True, capture_output=True, cwd=folder)
    port = free_port()
    log = folder / "log"
    options: dict[str, object] = {
        "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
    }  # fmt: skip
    if tls is not None:
        files = tls.install(folder)
        options |= {"ssl": "on", "ssl_cert_file": files["cert"], "ssl_key_file": files["key"]}
        (folder / "data" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 password\n")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*user, postgres, "-D", folder / "data", *(f"--{name}={value}" for name, value in options.items())],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    url = f"postgresql://{{}}:{_escaped(PASSWORD)}@127.0.0.1:{port}/"
    _wait(process, log, lambda: psycopg.connect(url.format("owner") + "postgres").close())
    with psycopg.connect(url.format("owner") + "postgres", autocommit=True) as connection:
        connection.execute("create database shop")
    with psycopg.connect(url.format("owner") + "shop", autocommit=True) as connection:
        connection.execute(f"create role reader login password '{PASSWORD}'")
        connection.execute(f"create role writer login password '{PASSWORD}'")
        connection.execute("grant create on schema public to writer")
        connection.execute("alter default privileges for role writer grant select on tables to reader")
    url += "shop"
    return Server(url.format("owner"), url.format("reader"), url.format("writer"), process, lambda: _stop(process))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End PostgreSQL without waiting for open connections."""
    process.send_signal(signal.SIGINT)
    stop(process)


def start_mariadb(tls: Tls | None = None) -> Server:
    """A MariaDB server with the database `shop`, and the users of the README. With `tls` it has `auth_test_plugin`."""
    mariadbd = _program("mariadbd", "mariadb-server")
    install = _program("mariadb-install-db", "mariadb-server")
    folder = _folder()
    make = [install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
    more: dict[str, object] = {} if tls is None else {"plugin-dir": _plugins(), "plugin-maturity": "unknown"}
    return _start_mysql(folder, [*make, f"--datadir={folder / 'data'}"], [mariadbd], more, tls)


@cache
def find_mysqld() -> str | None:
    """Oracle's server: the program that MYSQLD names, or else `mysqld`, unless that is MariaDB under the same name."""
    found = os.environ.get("MYSQLD") or shutil.which("mysqld", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found and b"MariaDB" in subprocess.run([found, "--version"], capture_output=True, check=True).stdout:
        return None
    return found


def start_mysql(tls: Tls | None = None) -> Server:
    """Oracle's MySQL server with the database `shop`, and the users of the README."""
    if (mysqld := find_mysqld()) is None:
        pytest.skip("MySQL itself is missing: let MYSQLD be the path of its mysqld to run the tests on it.")
    folder = _folder()
    make = [mysqld, "--no-defaults", "--initialize-insecure", f"--datadir={folder / 'data'}"]
    # Users who are not administrators may then create functions.
    return _start_mysql(folder, make, [mysqld], {"log-bin-trust-function-creators": 1, "mysqlx": 0}, tls)


def _plugins() -> Path:
    """The folder of MariaDB's test plugins, which only its test package installs."""
    name, folder = "auth_test_plugin.so", Path("/usr/lib/mysql/plugin")
    if not (folder / name).exists():
        _skip_missing(name, "mariadb-test")
    return folder


def _start_mysql(folder: Path, make: list[str], run: list[str], more: Mapping[str, object], tls: Tls | None) -> Server:
    """Start a server: `make` creates its data, `run` starts it with the options in `more`."""
    import pymysql

    user = _as_user("mysql", folder)
    made = subprocess.run([*user, *make], capture_output=True, cwd=folder, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    port = free_port()
    log = folder / "log"
    options: dict[str, object] = {
        "datadir": folder / "data", "port": port, "bind-address": "127.0.0.1", "socket": folder / "socket",
        "pid-file": folder / "pid", "innodb-flush-log-at-trx-commit": 0, "secure-file-priv": "",
        "innodb-buffer-pool-size": "64M", **more,
    }  # fmt: skip
    if tls is not None:
        options |= {f"ssl-{name}": path for name, path in tls.install(folder).items()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*user, *run, "--no-defaults", *(f"--{name}={value}" for name, value in options.items())],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip

    def connect() -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True)

    _wait(process, log, lambda: connect().close())
    connection = connect()
    with connection.cursor() as cursor:
        cursor.execute("create database shop character set utf8mb4")
        for role, rights in (("owner", "all"), ("reader", "select, show view"), ("writer", "all")):
            cursor.execute(f"create user {role} identified by '{PASSWORD}'")
            place = "*.*" if role == "owner" else "shop.*"
            may_grant = " with grant option" if role == "owner" else ""
            cursor.execute(f"grant {rights} on {place} to {role}{may_grant}")
    connection.close()
    url = f"mysql://{{}}:{_escaped(PASSWORD)}@127.0.0.1:{port}/shop"
    return Server(url.format("owner"), url.format("reader"), url.format("writer"), process, lambda: stop(process))


def _escaped(password: str) -> str:
    from urllib.parse import quote

    return quote(password, safe="")


MYSQLS: dict[str, Callable[..., Server]] = {"mariadb": start_mariadb}
if find_mysqld():  # If it is missing, only test_a_vector_is_bytes says so.
    MYSQLS["mysql"] = start_mysql
STARTS = {"postgresql": start_postgresql} | MYSQLS
"""What starts each server that there is."""
