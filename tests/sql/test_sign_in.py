"""Sign-in with a token instead of a password, as for an Azure Database: real servers, TLS, the bytes on the wire."""

import secrets
import select
import socket
import socketserver
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pymysql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import StorageForbidden
from shared.sql.databases import Database, Databases
from shared.sql.errors import DatabaseUnavailable
from shared.sql.settings import DatabaseSettings
from tests.signing.vault import run_vault
from tests.sql.conftest import NO_FILES, no_token
from tests.sql.servers import STARTS, Server, Tls
from tests.sql.test_engines import rows, write
from tests.sql.test_servers import ask_mysql, ask_postgresql
from tests.support import StartApp

SCOPE = "https://ossrdbms-aad.database.windows.net/.default"
HOST = "shop.database.azure.com"


class Authority:
    """A certificate authority for the tests."""

    def __init__(self, folder: Path) -> None:
        """Create an authority, with its certificate in `folder`."""
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Authority {folder.name}")])
        use = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        made = self._certificate(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), use)
        self.path = folder / "authority.pem"
        self.path.write_bytes(made)

    def issue(self) -> Tls:
        """A certificate for HOST and for the loopback address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ip_address("127.0.0.1"))])
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
        tls = Tls(self.folder / "server.crt", self.folder / "server.key")
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        tls.certificate.write_bytes(self._certificate(name, key, names, use))
        tls.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return tls

    def _certificate(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> bytes:
        now, own = datetime.now(UTC), self._key.public_key()
        builder = x509.CertificateBuilder(
            self._name, name, key.public_key(), secrets.randbits(64) | 1, now - timedelta(1), now + timedelta(1)
        )
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(own)
        for extension in (identifier, issuer, *extensions):
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


class Relay(socketserver.ThreadingTCPServer):
    """A proxy in front of a server that keeps all bytes sent to it, as an eavesdropper could."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        """Listen on a free port, and forward to `port`."""
        super().__init__(("127.0.0.1", 0), RelayHandler)
        self.to = port
        self.received: list[bytes] = []
        self.port: int = self.server_address[1]
        self.thread = Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.thread.join()
        self.server_close()


class RelayHandler(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Forward the bytes of both sides until one of them ends."""
        relay, client = self.server, self.request
        assert isinstance(relay, Relay)
        with closing(socket.create_connection(("127.0.0.1", relay.to))) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    try:
                        data = source.recv(65536)
                        (server if source is client else client).sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
                    if source is client:
                        relay.received.append(data)


@dataclass
class Azure:
    """A server with the role `app`, whose password is the latest token, and a relay in front of it."""

    engine: str
    server: Server
    authority: Authority
    relay: Relay
    scopes: list[str] = field(default_factory=list)
    """The scopes of the requested tokens, in turn."""
    tokens: list[str] = field(default_factory=list)

    def token(self, scope: str) -> str:
        """A new token of realistic length; it replaces the one before."""
        self.scopes.append(scope)
        self.tokens.append(secrets.token_urlsafe(1500)[: self.length])
        self.let_in(self.tokens[-1])
        return self.tokens[-1]

    @property
    def length(self) -> int:
        """The length of a token. MariaDB stores no password of 1,500 characters."""
        return 1000 if self.engine == "mariadb" else 2000

    def let_in(self, password: str) -> None:
        """Set the password of `app` from now on."""
        if self.engine == "postgresql":
            ask_postgresql(self.server, f"alter role app password '{password}'")
        else:
            ask_mysql(self.server, f"alter user app identified with cleartext_plugin_server as '{password}'")

    def url(self, host: str = HOST, authority: Authority | None = None, more: str = "") -> str:
        """The server's URL without a password."""
        trusted = (authority or self.authority).path
        if self.engine == "postgresql":
            return f"postgresql://app@{host}:{self.relay.port}/shop?hostaddr=127.0.0.1&sslrootcert={trusted}{more}"
        return f"mysql://app@{host}:{self.relay.port}/shop?ssl_ca={trusted}{more}"

    def open(self, url: str, token: Callable[[str], str] | None = None) -> Database:
        """The database at `url`, with a reader and a writer."""
        return Databases({"shop": DatabaseSettings(url, url)}, token or self.token, NO_FILES).get("shop")

    def check_untold(self, text: str = "") -> None:
        """No token is in `text`, and none was readable on the wire."""
        sent = b"".join(self.relay.received)
        for token in self.tokens:
            assert token not in text
            assert token.encode() not in sent


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """The authority of the servers' certificates, and another one."""
    return Authority(tmp_path_factory.mktemp("ours")), Authority(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session", params=STARTS)
def tls_server(
    request: pytest.FixtureRequest, authorities: tuple[Authority, Authority]
) -> Iterator[tuple[str, Server]]:
    """Each server in turn, with TLS and the role `app`."""
    server = STARTS[request.param](authorities[0].issue())
    try:
        if request.param == "postgresql":
            ask_postgresql(server, "create role app login")
        else:
            try:
                ask_mysql(server, "install plugin cleartext_plugin_server soname 'auth_test_plugin.so'")
            except pymysql.MySQLError as error:
                if error.args[0] != 1126:
                    raise
                pytest.skip("auth_test_plugin.so is missing: MySQL has it in its test suite.")
            ask_mysql(server, "create user app identified with cleartext_plugin_server as 'x'")
            ask_mysql(server, "grant all on shop.* to app")
        yield request.param, server
    finally:
        server.stop()


@pytest.fixture
def azure(
    tls_server: tuple[str, Server], authorities: tuple[Authority, Authority], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Azure]:
    """Each server in turn, under the host name of an Azure Database."""
    resolve = socket.getaddrinfo

    def found(host: Any, *rest: Any, **more: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(".database.azure.com") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    engine, server = tls_server
    relay = Relay(port_of(server))
    yield Azure(engine, server, authorities[0], relay)
    relay.stop()


def port_of(server: Server) -> int:
    """The port in the server's URLs."""
    return int(server.owner.rpartition(":")[2].partition("/")[0])


SECURED = {
    "postgresql": "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
    "mysql": "show session status like 'ssl_version'",
}


def test_a_token_signs_in(azure: Azure) -> None:
    """A token of 2,000 characters (MariaDB: 1,000) is requested with the right scope, and sent only over TLS."""
    database = azure.open(azure.url())
    assert rows(database, "select 1") == [[1]]
    (response,) = rows(database, SECURED[database.engine])
    assert response[-1] is True or response[-1].startswith("TLSv1")
    assert (azure.scopes, len(azure.tokens[0])) == ([SCOPE], azure.length)
    database.close()
    assert azure.relay.received
    azure.check_untold()


def test_each_connection_has_a_new_token(azure: Azure) -> None:
    """An open connection keeps its token; a new connection requests a new token, and so does the writer's."""
    database = azure.open(azure.url())
    for _ in range(3):
        assert rows(database, "select 1") == [[1]]
    assert len(azure.tokens) == 1
    database.close()
    assert rows(database, "select 1") == [[1]]
    assert write(database, "select 1")[0].rows == [(1,)]
    assert azure.scopes == [SCOPE] * 3
    database.close()


def test_a_url_with_a_password_asks_for_no_token(azure: Azure) -> None:
    """A password in the URL is used directly, over TLS, with the certificate checked."""
    azure.let_in("the-password")
    database = azure.open(azure.url().replace("app@", "app:the-password@"), no_token)
    assert rows(database, "select 1") == [[1]]
    database.close()
    assert b"the-password" not in b"".join(azure.relay.received)


WAYS = {
    "postgresql": ["", "&sslmode=disable", "&sslmode=allow", "&sslmode=require", "&sslmode=verify-ca"],
    "mysql": ["", "&ssl=false", "&ssl_verify_cert=false"],
}
"""What a URL could say to weaken the check of certificates."""


def test_a_server_of_another_authority_gets_no_token(
    azure: Azure, authorities: tuple[Authority, Authority], caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate of an untrusted authority is refused, whatever the URL says; no token is sent, shown or logged."""
    caplog.set_level(0)
    for more in WAYS["mysql" if azure.engine == "mariadb" else azure.engine]:
        with pytest.raises(DatabaseUnavailable) as caught:
            rows(azure.open(azure.url(authority=authorities[1], more=more)), "select 1")
        assert caught.value.retry_after
        azure.check_untold("".join(traceback.format_exception(caught.value)) + caught.value.detail + caplog.text)


def test_a_server_of_another_name_gets_no_token(azure: Azure, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate for another name is refused, whatever the URL says; no token is sent, shown or logged."""
    caplog.set_level(0)
    for more in WAYS["mysql" if azure.engine == "mariadb" else azure.engine]:
        with pytest.raises(DatabaseUnavailable) as caught:
            rows(azure.open(azure.url(host="other.database.azure.com", more=more)), "select 1")
        azure.check_untold("".join(traceback.format_exception(caught.value)) + caught.value.detail + caplog.text)


def test_the_authorities_of_the_system_are_trusted(
    azure: Azure, authorities: tuple[Authority, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an authority in the URL, the system's authorities are trusted: SSL_CERT_FILE names them, as elsewhere."""
    url = azure.url().replace("sslrootcert=", "application_name=").replace("ssl_ca=", "x=")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities[0].path))
    database = azure.open(url)
    assert rows(database, "select 1") == [[1]]
    database.close()
    for trusted in (str(authorities[1].path), ""):
        monkeypatch.setenv("SSL_CERT_FILE", trusted) if trusted else monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(DatabaseUnavailable):
            rows(azure.open(url), "select 1")
    azure.check_untold()


def test_a_server_without_tls_gets_no_token(azure: Azure, request: pytest.FixtureRequest) -> None:
    """If a server has no TLS, or a man in the middle claims so, no token is sent."""
    plain: Server = request.getfixturevalue("postgresql" if azure.engine == "postgresql" else "mariadb")
    azure.relay.to = port_of(plain)
    with pytest.raises(DatabaseUnavailable):
        rows(azure.open(azure.url()), "select 1")
    azure.check_untold()


def test_an_identity_without_a_token_is_reported(azure: Azure) -> None:
    """If the identity gets no token, the error is the database's, not the storage account's."""

    def refused(_scope: str) -> str:
        raise StorageForbidden("Storage refused us.")

    with pytest.raises(DatabaseUnavailable) as caught:
        rows(azure.open(azure.url(), refused), "select 1")
    assert caught.value.retry_after


def test_a_password_goes_as_it_is_to_a_proven_server_alone(azure: Azure) -> None:
    """A MySQL server that requests a cleartext password gets it only if its certificate was checked."""
    if azure.engine == "postgresql":
        pytest.skip("libpq's own sslmode says it.")
    azure.let_in("the-password")
    url = azure.url(host="127.0.0.1").replace("app@", "app:the-password@")
    database = azure.open(url, no_token)
    assert rows(database, "select 1") == [[1]]
    database.close()
    with pytest.raises(DatabaseUnavailable):
        rows(azure.open(url.partition("?")[0], no_token), "select 1")


def test_the_identity_of_a_running_app_signs_in(
    azure: Azure, authorities: tuple[Authority, Authority], start_app: StartApp, tmp_path: Path
) -> None:
    """The running app signs in with its managed identity; an unverified server is 503, and no token is logged."""
    if azure.engine != "postgresql":
        pytest.skip("Only libpq accepts an address beside a name, which another process here could not resolve.")
    with run_vault(tmp_path) as vault:
        azure.let_in(vault.token)
        azure.tokens.append(vault.token)
        identity = {name: value for name, value in vault.environ.items() if name != "STRONGROOM_MASTER_KEY"}
        urls = {"DATABASE_SHOP": azure.url(), "DATABASE_OTHER": azure.url(authority=authorities[1])}
        app = start_app(identity | urls)
        with app.client() as client:
            response = client.post("/api/query-sql", json={"sql": "select 1 as one", "database": "shop"})
            assert response.json()["rows"] == [[1]]
            refused = client.post("/api/query-sql", json={"sql": "select 1 as one", "database": "other"})
            assert (refused.status_code, refused.json()["code"]) == (503, "database-unavailable")
            assert int(refused.headers["retry-after"]) > 0
        assert {f"{each}/.default" for each in vault.resources} == {SCOPE}
        azure.check_untold(refused.text + app.log.read_text())
