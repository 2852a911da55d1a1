"""A TLS server for the part of Azure Key Vault that the app uses. It refuses what Key Vault refuses.

It also issues tokens as App Service does for an app's managed identity. Written from
https://learn.microsoft.com/rest/api/keyvault/keys: get-key, wrap-key, unwrap-key, and the authentication challenge.
"""

import json
import re
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from shared.web import decode_base64, encode_base64

OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class Vault:
    """The vault's state: the versions of its one key, the permitted callers, and the requests received."""

    name = "strongroom"

    def __init__(self, port: int, identity_port: int, certificate: Path) -> None:
        self.url = f"https://127.0.0.1:{port}/keys/{self.name}"
        self.identity_url = f"http://127.0.0.1:{identity_port}/msi/token"
        self.identity_secret = secrets.token_hex(8)
        self.certificate = certificate
        self.versions: dict[str, rsa.RSAPrivateKey] = {}
        self.disabled: set[str] = set()
        self.forbidden: set[str] = set()
        """Operations that the identity has no role for: get, wrapkey, unwrapkey."""
        self.busy = 0
        """The number of requests that still get 429."""
        self.operations: list[str] = []
        self.token = secrets.token_hex(16)
        self.resources: list[str] = []
        """The scopes of the tokens that the identity requested."""
        self.rotate()

    def rotate(self) -> str:
        """Create a new version and return its name."""
        version = secrets.token_hex(16)
        self.versions[version] = rsa.generate_private_key(65537, 2048)
        return version

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment variables with which an app reaches this vault as its managed identity."""
        return {
            "STRONGROOM_MASTER_KEY": self.url,
            "IDENTITY_ENDPOINT": self.identity_url,
            "IDENTITY_HEADER": self.identity_secret,
            "REQUESTS_CA_BUNDLE": str(self.certificate),
        }

    def response(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Return status, headers and JSON of a response."""
        where, _, query = path.partition("?")
        if where == "/msi/token":
            return self._token(query, headers)
        if self.busy:
            self.busy -= 1
            return problem(429, "Throttled", {"Retry-After": "0"})
        if headers.get("Authorization") != f"Bearer {self.token}":
            # The resource's domain must be a suffix of the vault's host: for an IP address, its last digits.
            resource = f"https://{self.url.split('/')[2].partition('.')[2]}"
            challenge = f'Bearer authorization="https://login.example.org/tenant", resource="{resource}"'
            return problem(401, "Unauthorized", {"WWW-Authenticate": challenge})
        if not re.search(r"(^|&)api-version=[0-9][0-9.-]*(&|$)", query):
            return problem(400, "BadParameter")
        parts = where.strip("/").split("/")
        if parts[:2] != ["keys", self.name]:
            return problem(404, "KeyNotFound")
        operation = parts[-1] if parts[-1] in ("wrapkey", "unwrapkey") else "get"
        named_version = parts[2] if len(parts) > 2 and parts[2] != operation else ""
        version = named_version or list(self.versions)[-1]
        self.operations.append(operation)
        if (method == "POST") != (operation != "get"):
            return problem(405, "MethodNotAllowed")
        if version not in self.versions:
            return problem(404, "KeyNotFound")
        if operation in self.forbidden:
            return problem(403, "Forbidden")
        if version in self.disabled and operation != "get":
            return problem(403, "Forbidden")
        kid = f"{self.url}/{version}"
        key = self.versions[version]
        if operation == "get":
            numbers = key.public_key().public_numbers()
            jwk = {
                "kid": kid,
                "kty": "RSA",
                "key_ops": ["wrapKey", "unwrapKey"],
                "n": encode_base64(numbers.n.to_bytes(256)),
                "e": encode_base64(numbers.e.to_bytes(3)),
            }
            return 200, {}, {"key": jwk, "attributes": {"enabled": version not in self.disabled}}
        try:
            fields = json.loads(body)
            value = decode_base64(fields["value"], "value")
            if fields["alg"] != "RSA-OAEP-256":
                return problem(400, "BadParameter")
            result = key.public_key().encrypt(value, OAEP) if operation == "wrapkey" else key.decrypt(value, OAEP)
        except Exception:  # noqa: BLE001 - Key Vault responds to any failure with BadParameter.
            return problem(400, "BadParameter")
        return 200, {}, {"kid": kid, "value": encode_base64(result)}

    def _token(self, query: str, headers: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
        if headers.get("X-IDENTITY-HEADER") != self.identity_secret or "resource=" not in query:
            return problem(400, "invalid_request")
        self.resources += parse_qs(query)["resource"]
        expires = str(int(time.time()) + 3600)
        return 200, {}, {"access_token": self.token, "expires_on": expires, "resource": "x", "token_type": "Bearer"}


def problem(
    status: int, code: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return an error in Key Vault's format."""
    return status, headers or {}, {"error": {"code": code, "message": code}}


def write_certificate(folder: Path) -> Path:
    """Write a certificate for the loopback address, with its key, to one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "vault.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


@contextmanager
def run_vault(folder: Path) -> Iterator[Vault]:
    """Run a vault with one key until the context ends."""
    vault: Vault

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Send the response."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, fields = vault.response(self.command, self.path, self.headers, body)
            content = json.dumps(fields).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(content)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    # The platform's identity endpoint is on the same machine, without TLS.
    server, identity = (ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2))
    certificate = write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    vault = Vault(server.server_port, identity.server_port, certificate)
    threads = [Thread(target=each.serve_forever, args=(0.05,)) for each in (server, identity)]
    for each in (server, identity):
        each.daemon_threads = True
    for thread in threads:
        thread.start()
    try:
        yield vault
    finally:
        for each, thread in zip((server, identity), threads, strict=True):
            each.shutdown()
            thread.join()
            each.server_close()
