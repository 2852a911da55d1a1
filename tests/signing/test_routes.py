"""`sign` and `verify` over HTTP, as a caller sees them."""

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.signing import algorithms
from tests.signing.conftest import two_processes
from tests.support import App, StartApp, closed_port


@pytest.fixture(scope="module")
def client(running_app: App) -> Iterator[httpx.Client]:
    """A client of the running app, which already has its default key."""
    with running_app.client() as client:
        client.get("/api/sign", params={"message": "first"}).raise_for_status()
        yield client


def call(client: httpx.Client, method: str, path: str, fields: dict[str, Any]) -> httpx.Response:
    """Call by URL or with a body, with the same fields."""
    if method == "POST":
        return client.post(path, json=fields)
    return client.get(
        path, params={name: value if isinstance(value, str) else str(value) for name, value in fields.items()}
    )


def signed(client: httpx.Client, method: str = "POST", **fields: Any) -> dict[str, Any]:
    """Return the JSON of sign."""
    response = call(client, method, "/api/sign", fields)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def verified(client: httpx.Client, method: str = "POST", **fields: Any) -> dict[str, Any]:
    """Return the JSON of verify."""
    response = call(client, method, "/api/verify", fields)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "message",
    [{"message": "hello"}, {"message": ""}, {"message": "Grüße, 世界 + 1\u0000"}, {"message_base64": "_-8"}],
)
def test_what_is_signed_verifies(client: httpx.Client, method: str, message: dict[str, str]) -> None:
    """By URL and by body, for text, bytes and the empty message: the signature verifies its message and no other."""
    result = signed(client, method, **message)
    assert result | {"signature": "", "key_id": ""} == {
        "key": "default",
        "version": 1,
        "key_id": "",
        "algorithm": "PS256",
        "signature": "",
    }
    assert len(result["signature"]) == 512
    assert verified(client, method, signature=result["signature"], **message) == {
        "valid": True,
        "key": "default",
        "version": 1,
        "algorithm": "PS256",
    }
    assert verified(client, method, signature=result["signature"], message="other") == {
        "valid": False,
        "key": "default",
        "version": None,
        "algorithm": "PS256",
        "reason": "mismatch",
        "signature_valid": False,
    }


def test_text_and_its_bytes_are_one_message(client: httpx.Client) -> None:
    """Text is signed as UTF-8: its signature verifies those bytes, in base64 or base64url, padded or not."""
    signature = signed(client, message="ü>?")["signature"]
    standard = base64.b64encode("ü>?".encode()).decode()
    for text in (standard, standard.rstrip("="), standard.replace("+", "-").replace("/", "_")):
        assert verified(client, message_base64=text, signature=signature)["valid"]


def test_a_signature_may_be_in_standard_base64(client: httpx.Client) -> None:
    """A signature in standard base64 is accepted; a bare plus sign in a URL gets an explanation."""
    raw = base64.urlsafe_b64decode(signed(client, message="x")["signature"])
    assert verified(client, message="x", signature=base64.b64encode(raw).decode())["valid"]
    response = client.get("/api/verify?message=x&signature=ab+d")
    assert response.status_code == 400
    assert "%2B" in response.json()["errors"][0]["detail"]


@pytest.mark.parametrize("algorithm", ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"])
def test_an_algorithm_of_the_key_can_be_chosen(client: httpx.Client, algorithm: str) -> None:
    """An unbound RSA key signs with every RSA algorithm, and each signature verifies under its own name only."""
    client.post("/api/keys", json={"name": "any-rsa", "type": "RSA-2048"})
    result = signed(client, key="any-rsa", message="hello", algorithm=algorithm)
    assert result["algorithm"] == algorithm
    check = {"key": "any-rsa", "message": "hello", "signature": result["signature"]}
    assert verified(client, algorithm=algorithm, **check)["valid"]
    other = "RS256" if algorithm != "RS256" else "PS256"
    assert verified(client, algorithm=other, **check)["reason"] == "mismatch"


def test_the_default_key_is_bound_to_one_algorithm(client: httpx.Client) -> None:
    """The default key signs with PS256 only, and its JWK names it: otherwise PyJWT would use RS256."""
    signed(client, message="hello")
    response = client.post("/api/sign", json={"message": "hello", "algorithm": "RS256"})
    assert (response.status_code, response.json()["code"]) == (422, "unfit-algorithm")
    key = client.get("/api/keys/default").json()
    assert (key["algorithm"], key["versions"][0]["public_key_jwk"]["alg"]) == ("PS256", "PS256")
    token = signed(client, message='{"sub":"alice"}', format="jws")["signature"]
    jwk = jwt.PyJWK(key["versions"][0]["public_key_jwk"])
    assert jwt.decode(token, jwk, algorithms=["PS256"]) == {"sub": "alice"}


def test_a_digest_can_be_signed(client: httpx.Client) -> None:
    """With `prehashed` the caller sends the digest; the signature is valid for the message."""
    digest = base64.b64encode(hashlib.sha256(b"a large file").digest()).decode()
    signature = signed(client, message_base64=digest, prehashed=True)["signature"]
    assert verified(client, message="a large file", signature=signature)["valid"]
    assert verified(client, message_base64=digest, prehashed=True, signature=signature)["valid"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"signature": ""}, "malformed"),
        ({"signature": "AAAA"}, "malformed"),
        ({"signature": "A" * 512}, "mismatch"),
        ({"signature": "_" * 512}, "mismatch"),
        ({"signature": "A" * 512, "version": 1}, "mismatch"),
        ({"signature": "A" * 512, "version": 2}, "unknown-version"),
    ],
)
def test_a_negative_response_says_why(client: httpx.Client, more: dict[str, Any], reason: str) -> None:
    """An invalid signature gets a normal response with the reason, not an error."""
    result = verified(client, message="hello", **more)
    assert (result["valid"], result["reason"], result["signature_valid"]) == (False, reason, False)


@pytest.mark.parametrize(
    ("path", "fields", "status", "code", "field"),
    [
        ("sign", {}, 400, "invalid-request", "message"),
        ("sign", {"message": "a", "message_base64": "YQ"}, 400, "invalid-request", "message_base64"),
        ("sign", {"message_base64": "?"}, 400, "invalid-request", "message_base64"),
        ("sign", {"message": "a", "key": "A"}, 400, "invalid-request", "key"),
        ("sign", {"message": "a", "key": "other"}, 404, "unknown-key", None),
        ("sign", {"message": "a", "version": 2}, 404, "unknown-key", None),
        ("sign", {"message": "a", "version": 0}, 400, "invalid-request", "version"),
        ("sign", {"message": "a", "algorithm": "ES256"}, 422, "unfit-algorithm", None),
        ("sign", {"message": "a", "algorithm": "none"}, 400, "invalid-request", "algorithm"),
        ("sign", {"message": "a", "format": "pgp"}, 400, "invalid-request", "format"),
        ("sign", {"message": "a", "prehashed": True}, 400, "invalid-request", "message"),
        ("sign", {"message": "a", "colour": "red"}, 400, "invalid-request", "colour"),
        ("verify", {"message": "a"}, 400, "invalid-request", "signature"),
        ("verify", {"signature": "AA"}, 400, "invalid-request", "message"),
        ("verify", {"message": "a", "signature": "?"}, 400, "invalid-request", "signature"),
        ("verify", {"message": "a", "signature": "AA", "key": "other"}, 404, "unknown-key", None),
        ("verify", {"message": "a", "signature": "AA", "public_key": "x"}, 400, "invalid-request", "public_key"),
        ("verify", {"message": "a", "signature": "AA", "algorithm": "EdDSA"}, 422, "unfit-algorithm", None),
    ],
)
def test_errors_of_bad_calls_name_the_fault(
    client: httpx.Client, path: str, fields: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    """Each bad call gets a problem with its status, its code, and the wrong field."""
    response = client.post(f"/api/{path}", json=fields)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert [each["field"] for each in problem.get("errors", [])] == ([field] if field else [])


# No URL is long enough for a key and a signature of ML-DSA.
OUTSIDE = [("POST", "ML-DSA-65")] + [
    (method, each) for method in ("GET", "POST") for each in ("P-256", "P-521", "Ed25519")
]


@pytest.mark.parametrize(("method", "key_type"), OUTSIDE)
def test_a_public_key_from_outside_verifies(client: httpx.Client, method: str, key_type: str) -> None:
    """A signature made elsewhere verifies with the public key in the request."""
    private: Any = algorithms.generate(key_type)
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    algorithm = algorithms.choose(key_type, None)
    raw = algorithms.sign(private, algorithm, b"hello")
    fields = {"public_key": pem, "message": "hello", "signature": base64.urlsafe_b64encode(raw).decode()}
    result = verified(client, method, **fields)
    assert result == {"valid": True, "key": None, "version": None, "algorithm": algorithm}
    assert verified(client, method, **fields | {"message": "other"})["reason"] == "mismatch"
    assert verified(client, method, **fields | {"signature": "AA"})["reason"] == "malformed"
    for name, value in (("key", "default"), ("version", 1)):
        refused = call(client, method, "/api/verify", fields | {name: value})
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["field"] == name


def test_openssl_signs_what_the_app_verifies(client: httpx.Client, tmp_path: Path) -> None:
    """A signature by `openssl dgst`, in ASN.1, verifies with the format `der`."""
    private, public, message = tmp_path / "private.pem", tmp_path / "public.pem", tmp_path / "message"
    message.write_text("hello")
    commands: list[list[str | Path]] = [
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private],
        ["openssl", "ec", "-in", private, "-pubout", "-out", public],
        ["openssl", "dgst", "-sha256", "-sign", private, "-out", tmp_path / "signature", message],
    ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    signature = base64.b64encode((tmp_path / "signature").read_bytes()).decode()
    fields = {"public_key": public.read_text(), "message": "hello", "signature": signature}
    assert verified(client, format="der", **fields)["valid"]
    assert verified(client, **fields)["reason"] == "malformed"


def test_any_pss_salt_is_taken_outside_jose(client: httpx.Client, tmp_path: Path) -> None:
    """A PSS signature with openssl's default, the longest salt, verifies; in a JWS it does not."""
    private, public, signed = tmp_path / "private.pem", tmp_path / "public.pem", tmp_path / "signed"
    header = base64.urlsafe_b64encode(b'{"alg":"PS256"}').rstrip(b"=").decode()
    text = f"{header}.{base64.urlsafe_b64encode(b'hello').rstrip(b'=').decode()}"
    signed.write_text(text)
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:max"]
    commands: list[list[str | Path]] = [
        ["openssl", "genrsa", "-out", private, "2048"],
        ["openssl", "rsa", "-in", private, "-pubout", "-out", public],
        ["openssl", "dgst", "-sha256", *pss, "-sign", private, "-out", tmp_path / "signature", signed],
    ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    signature = base64.urlsafe_b64encode((tmp_path / "signature").read_bytes()).rstrip(b"=").decode()
    key = {"public_key": public.read_text()}
    assert verified(client, message=text, signature=signature, **key)["valid"]
    assert verified(client, signature=f"{text}.{signature}", format="jws", **key)["reason"] == "mismatch"


def test_a_large_message_is_signed(client: httpx.Client) -> None:
    """A message of several megabytes is signed; one over the limit is refused."""
    text = "x" * (4 * 1024 * 1024)
    assert verified(client, message=text, signature=signed(client, message=text)["signature"])["valid"]
    assert client.post("/api/sign", json={"message": text * 2}).status_code == 413


def test_first_signs_from_two_processes_make_one_key(tmp_path: Path) -> None:
    """Twenty first calls, to two processes on one new storage account, all sign with the same key."""
    with two_processes(tmp_path) as (first, second), ThreadPoolExecutor(20) as pool:
        clients = [first, second] * 10
        responses = list(pool.map(lambda each: signed(each, "GET", message="hello"), clients))
        assert len({result["key_id"] for result in responses}) == 1
        for result in responses:
            assert verified(first, message="hello", signature=result["signature"])["valid"]
            assert verified(second, message="hello", signature=result["signature"])["valid"]


def test_without_a_master_key_it_is_503(start_app: StartApp) -> None:
    """Without a master key signing is 503 with its code, health says so, and the log says what to do."""
    app = start_app({"STRONGROOM_MASTER_KEY": "/nowhere/master.key"})
    with app.client() as client:
        response = client.get("/api/sign", params={"message": "hello"})
        assert response.status_code == 503
        assert response.json()["code"] == "master-key-unavailable"
        health = client.get("/api/health")
        assert health.status_code == 503
        services = health.json()["services"]
        assert (services["master-key"]["status"], services["storage"]["status"]) == ("down", "ok")
    assert "/nowhere/master.key" in app.log.read_text()
    assert "/nowhere" not in response.text


def test_without_storage_it_is_503(start_app: StartApp) -> None:
    """Without storage sign and verify are 503 with Retry-After, and health names the service that is down."""
    account = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=AAAA;"
    with closed_port() as port:
        app = start_app({"AzureWebJobsStorage": f"{account}TableEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"})
        with app.client() as client:
            for path in ("sign?message=hello", "verify?message=hello&signature=AA"):
                response = client.get(f"/api/{path}")
                assert (response.status_code, response.json()["code"]) == (503, "storage-unavailable")
                assert int(response.headers["retry-after"]) > 0
            services = client.get("/api/health/details").json()["services"]
        assert (services["master-key"]["status"], services["table-storage"]["status"]) == ("ok", "down")
