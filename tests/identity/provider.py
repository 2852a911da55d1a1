"""An OpenID provider under the test's control: a test sets what it signs, and how it misbehaves."""

import base64
import json
import secrets
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey


def encode(data: bytes | Mapping[str, Any]) -> str:
    """Base64url, of an object as JSON."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class SigningKey:
    """A key of the provider, with its `kid`."""

    def __init__(self, kid: str, algorithm: str = "RS256", bits: int = 2048) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.key: Key
        if algorithm[:2] in ("RS", "PS"):
            with warnings.catch_warnings(action="ignore"):  # Of short keys: a test uses one.
                self.key = RSAKey.import_key(rsa.generate_private_key(65537, bits))
        elif algorithm == "ES256":
            self.key = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
        elif algorithm == "ES384":
            self.key = ECKey.import_key(ec.generate_private_key(ec.SECP384R1()))
        else:
            self.key = OKPKey.import_key(ed25519.Ed25519PrivateKey.generate())

    def public(self, **more: Any) -> dict[str, Any]:
        """The public key as a JWK."""
        return {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", **more}

    def sign(self, claims: Mapping[str, Any] | bytes, **header: Any) -> str:
        """A token. A member of `header` that is None is left out."""
        merged = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid} | header
        protected = {name: value for name, value in merged.items() if value is not None}
        return self.sign_raw(encode(protected), claims if isinstance(claims, bytes) else json.dumps(claims).encode())

    def sign_raw(self, header: str, claims: bytes) -> str:
        """A token with this encoded header, whatever it contains."""
        signed = f"{header}.{encode(claims)}"
        name = "Ed25519" if self.algorithm == "EdDSA" else self.algorithm
        algorithm = jws.JWSRegistry(algorithms=[name]).get_alg(name)
        return f"{signed}.{encode(algorithm.sign(signed.encode(), self.key))}"


class Provider:
    """The provider at `url`. Tests change its attributes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = SigningKey("k1")
        self.reset()

    def reset(self) -> None:
        """Behave as at first, with the same key."""
        self.issuer = self.url
        """The `issuer` of its metadata, and the `iss` of its ID tokens."""
        self.metadata: dict[str, Any] = {}
        """Replaces members of its metadata."""
        self.statuses: dict[str, int] = {}
        """The status of a path, such as `/jwks`, where it is not 200."""
        self.requests: list[str] = []
        """The paths of all requests."""
        self.forms: list[dict[str, str]] = []
        """The token requests."""
        self.authorizations: list[str] = []
        """Their `Authorization` headers."""
        self.keys: list[dict[str, Any]] = [self.key.public()]
        self.claims: dict[str, Any] = {}
        """Replaces claims of the ID tokens; None leaves one out."""
        self.header: dict[str, Any] = {}
        self.token: Any = None
        """Replaces the whole token response."""
        self.nonces: dict[str, str] = {}
        """The nonce of each authorization code."""
        self.client_id = "client-1"

    def count(self, path: str) -> int:
        """How many requests came for this path."""
        return self.requests.count(path)

    def access_claims(self, **more: Any) -> dict[str, Any]:
        """The claims of a valid access token. A member of `more` that is None is left out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "alice", "aud": "https://api.example", "iat": now, "exp": now + 600} | more
        return {name: value for name, value in claims.items() if value is not None}

    def code(self, nonce: str) -> str:
        """An authorization code for a request with this nonce."""
        code = secrets.token_urlsafe(8)
        self.nonces[code] = nonce
        return code

    def document(self, path: str, form: Mapping[str, str]) -> tuple[int, Any]:
        """The status and JSON for a request."""
        if path.endswith("/.well-known/openid-configuration"):
            below = path.removesuffix("/.well-known/openid-configuration")
            return 200, {
                "issuer": self.url + below if self.issuer == self.url else self.issuer,
                "jwks_uri": f"{self.url}/jwks",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                **self.metadata,
            }
        if path == "/jwks":
            return 200, {"keys": self.keys}
        if path == "/token":
            if self.token is not None:
                return 200, self.token
            now = int(time.time())
            claims = {
                "iss": self.issuer,
                "sub": "alice",
                "aud": self.client_id,
                "iat": now,
                "exp": now + 300,
                "nonce": self.nonces.pop(form.get("code", ""), None),
            } | self.claims
            kept = {name: value for name, value in claims.items() if value is not None}
            token = self.key.sign(kept, **self.header)
            return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": token}
        return 404, {}


@contextmanager
def run_provider() -> Iterator[Provider]:
    """Run a provider on this machine until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            provider.forms.append(form)
            provider.authorizations.append(self.headers.get("authorization", ""))
            self._respond(form)

        def _respond(self, form: dict[str, str]) -> None:
            path = urlsplit(self.path).path
            provider.requests.append(path)
            status, document = provider.document(path, form)
            status = provider.statuses.get(path, status)
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"{provider.url}/elsewhere")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests read the app's log, not this server's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
