"""Managed endpoints: which URLs are allowed, what is sent where, and what becomes of each response.

The server here follows Azure's documents: bearer authentication, the deployment's header, MLflow's form, and the
headers of a model's error.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.deadline import call_limit
from shared.errors import Busy, InvalidRequest, StorageForbidden, StorageUnavailable, StrongroomError
from shared.models.azureml import check_url, predictions_in, request_body
from shared.models.errors import (
    EndpointFailed,
    EndpointForbidden,
    EndpointTimeout,
    EndpointUnavailable,
    OutputTooLarge,
)
from shared.models.settings import AZUREML_HOSTS, load_settings
from shared.models.store.endpoints import SCOPE, Endpoints

HOST = "flowers.westeurope.inference.ml.azure.com"
URL = f"https://{HOST}/score"


@pytest.mark.parametrize(
    "url",
    [URL, f"https://{HOST}", f"{URL}?a=b", f"https://{HOST.upper()}/score", "https://a.inference.ml.azure.com/"],
)
def test_endpoints_of_azure_are_allowed(url: str) -> None:
    """An https URL of a host of Azure Machine Learning is allowed."""
    check_url(url, AZUREML_HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/score", f"HTTPS://{HOST}/score", f"//{HOST}/score", HOST, "", "https://",
        f"https://{HOST}:443/score", f"https://{HOST}:/score", f"https://user@{HOST}/score", f"https://a:b@{HOST}/",
        f"https://{HOST}./score", "https://inference.ml.azure.com/score", "https://.inference.ml.azure.com/score",
        "https://evil.example/score", f"https://evil.example/{HOST}", f"https://evil.example?{HOST}",
        f"https://evil.example#.{HOST}", f"https://evil.example\\@{HOST}/", f"https://{HOST}#x",
        f"https://{HOST}\\.evil.example/",
        "https://evilinference.ml.azure.com/score", f"https://{HOST}.evil.example/", f"https://{HOST}@evil.example/",
        f"https://evil.example\n.{HOST}/", f"https://evil.example\t.{HOST}/", f"https:// {HOST}/",
        f"https://{HOST}/a b",
        "https://a..inference.ml.azure.com/", "https://-a.inference.ml.azure.com/", "https://a_b.inference.ml.azure.com/",
        "https://ä.inference.ml.azure.com/", "https://%61.inference.ml.azure.com/",
        "https://[::1].inference.ml.azure.com/",
        "https://127.0.0.1/score", "https://169.254.169.254/metadata", f"ftp://{HOST}/", f"https:/{HOST}/",
        f"https:///{HOST}/",
    ],
)  # fmt: skip
def test_no_other_url_is_allowed(url: str) -> None:
    """Another scheme, host, user, port, trailing dot or fragment is refused, however it is written."""
    with pytest.raises(InvalidRequest):
        check_url(url, AZUREML_HOSTS)


def test_hosts_are_a_setting() -> None:
    """STRONGROOM_AZUREML_HOSTS adds suffixes; each is a whole domain."""
    hosts = load_settings({"STRONGROOM_AZUREML_HOSTS": "ml.example.org, .inference.azureml.us"}).azureml_hosts
    check_url("https://a.ml.example.org/score", hosts)
    check_url("https://a.inference.azureml.us/score", hosts)
    check_url(URL, hosts)
    for url in ("https://ml.example.org/score", "https://aml.example.org/score"):
        with pytest.raises(InvalidRequest):
            check_url(url, hosts)


def test_rows_with_names_are_in_mlflows_form() -> None:
    """Objects, and arrays with saved features, have columns, index and data."""
    expected = {"input_data": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}}
    assert request_body([{"a": 1, "b": 2}, {"b": 4, "a": 3}], None, None) == expected
    assert request_body([[1, 2], {"b": 4, "a": 3}], None, ["a", "b"]) == expected


def test_other_rows_are_in_the_plain_form() -> None:
    """Arrays without features are `data`, and `inputs` are the body itself."""
    assert request_body([[1, 2]], None, None) == {"data": [[1, 2]]}
    assert request_body(None, {"text": "x"}, None) == {"text": "x"}


@pytest.mark.parametrize("rows", [[{"a": 1}, {"b": 1}], [{"a": 1}, [1, 2]], [1], [{"a": 1}, None]])
def test_rows_that_do_not_fit_are_refused(rows: list[Any]) -> None:
    """A row of other fields than the first is named."""
    with pytest.raises(InvalidRequest):
        request_body(rows, None, None)


@pytest.mark.parametrize(
    ("body", "labels", "expected"),
    [
        ([1.5, 2.5], [], [{"value": 1.5}, {"value": 2.5}]),
        ({"predictions": ["a", "b"]}, [], ["a", "b"]),
        ([0, 1], ["no", "yes"], ["no", "yes"]),
        ("[0, 1]", ["no", "yes"], ["no", "yes"]),
        ([[0.2, 0.8], [0.9, 0.1]], ["no", "yes"], ["yes", "no"]),
        ([1], [], None),
        ({"a": 1, "b": 2}, [], None),
        ("not json", [], None),
        (None, [], None),
    ],
)
def test_responses_become_predictions(body: Any, labels: list[str], expected: list[Any] | None) -> None:
    """A list with one item for each row becomes predictions; anything else is a response alone."""
    found = predictions_in(body, labels, 2)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        plain = [
            {"value": each.value} if isinstance(target, dict) else each.label
            for each, target in zip(found, expected, strict=True)
        ]
        assert plain == expected


class Service(BaseHTTPRequestHandler):
    """A managed endpoint whose next response the test chooses."""

    protocol_version = "HTTP/1.1"
    requests: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []
    status: int = 200
    headers_out: ClassVar[dict[str, str]] = {}
    body: bytes = b"[1]"
    wait = threading.Event()
    waits = False

    def do_POST(self) -> None:
        """Respond as the test has chosen."""
        length = int(self.headers.get("content-length", "0"))
        data = self.rfile.read(length)
        Service.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, data))
        if Service.waits:
            Service.wait.wait(10)
        self.send_response(Service.status)
        for name, value in Service.headers_out.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(Service.body)))
        self.end_headers()
        self.wfile.write(Service.body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the endpoint's host, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "endpoint")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def endpoints(authority: tuple[Path, Path]) -> Iterator[Endpoints]:
    """The app's client, connected to a server of our own under the endpoint's name."""
    certificate, key = authority
    Service.requests, Service.status, Service.headers_out, Service.body, Service.waits = [], 200, {}, b"[1]", False
    Service.wait = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()

    def connect(host: str) -> urllib3.HTTPSConnectionPool:
        return urllib3.HTTPSConnectionPool(
            "127.0.0.1", server.server_port, server_hostname=host, assert_hostname=host, ca_certs=str(certificate)
        )

    yield Endpoints(lambda scope: f"token for {scope}", connect)
    Service.wait.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_identity_or_the_key_signs_in(endpoints: Endpoints) -> None:
    """Without a key the app sends a token of its identity for Azure Machine Learning; the deployment is a header."""
    assert endpoints.score(URL, None, "", {"data": [[1]]}) == [1]
    assert endpoints.score(f"{URL}?x=1", "blue", "secret", {"data": [[1]]}) == [1]
    (path, first, body), (other_path, second, _) = Service.requests
    assert (path, other_path) == ("/score", "/score?x=1")
    assert json.loads(body) == {"data": [[1]]}
    assert first["authorization"] == f"Bearer token for {SCOPE}"
    assert first["content-type"] == "application/json"
    assert "azureml-model-deployment" not in first
    assert (second["authorization"], second["azureml-model-deployment"]) == ("Bearer secret", "blue")


def test_the_models_own_error_is_424_with_its_code(endpoints: Endpoints) -> None:
    """The code and reason that the scoring script returned reach the caller."""
    Service.status = 424
    Service.headers_out = {"ms-azureml-model-error-statuscode": "500", "ms-azureml-model-error-reason": "shapes differ"}
    with pytest.raises(EndpointFailed, match="500 shapes differ") as caught:
        endpoints.score(URL, None, "", {})
    assert caught.value.status == 424


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (400, {}, EndpointFailed),
        (401, {}, EndpointForbidden),
        (403, {}, EndpointForbidden),
        (404, {}, EndpointFailed),
        (408, {}, EndpointTimeout),
        (413, {}, EndpointFailed),
        (429, {"retry-after": "7"}, Busy),
        (302, {"location": "https://evil.example/"}, EndpointFailed),
        (307, {"location": f"https://{HOST}/other"}, EndpointFailed),
        (500, {}, EndpointUnavailable),
        (503, {}, EndpointUnavailable),
        (504, {}, EndpointTimeout),
    ],
)
def test_every_status_is_an_error_and_nothing_is_repeated(
    endpoints: Endpoints, status: int, headers: dict[str, str], error: type[StrongroomError]
) -> None:
    """No status is retried or followed: the endpoint gets one request."""
    Service.status, Service.headers_out = status, headers
    with pytest.raises(error) as caught:
        endpoints.score(URL, None, "", {})
    assert len(Service.requests) == 1
    if status == 429:
        assert caught.value.retry_after == 7


def test_a_late_response_is_504_and_not_repeated(endpoints: Endpoints) -> None:
    """The call ends at its deadline, and the endpoint got one request."""
    Service.waits = True
    with call_limit(0.3), pytest.raises(EndpointTimeout) as caught:
        endpoints.score(URL, None, "", {})
    assert (caught.value.status, len(Service.requests)) == (504, 1)


def test_a_response_is_bounded_json(endpoints: Endpoints) -> None:
    """A body that is too large, or is not JSON, is an error."""
    Service.body = b"[" + b" " * 9_000_000 + b"]"
    with pytest.raises(OutputTooLarge):
        endpoints.score(URL, None, "", {})
    Service.body = b"<html>"
    with pytest.raises(EndpointFailed, match="not JSON"):
        endpoints.score(URL, None, "", {})


def test_another_servers_certificate_is_refused(endpoints: Endpoints) -> None:
    """A server that cannot prove its name gets neither token nor rows."""
    with pytest.raises(EndpointUnavailable):
        endpoints.score("https://other.inference.ml.azure.com/score", None, "", {})
    assert Service.requests == []


@pytest.mark.parametrize(
    ("error", "expected"), [(StorageForbidden, EndpointForbidden), (StorageUnavailable, EndpointUnavailable)]
)
def test_without_a_token_nothing_is_sent(error: type[StrongroomError], expected: type[StrongroomError]) -> None:
    """Where the identity gets no token, the error names the endpoint, not storage."""

    def token(_scope: str) -> str:
        raise error

    with pytest.raises(expected):
        Endpoints(token).score(URL, None, "", {})


def test_names_that_do_not_resolve_are_unavailable() -> None:
    """A host that does not exist is 503."""
    with pytest.raises(EndpointUnavailable):
        Endpoints(lambda _scope: "t").score("https://none.invalid/score", None, "", {})
