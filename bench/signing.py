"""Signatures in process, from the bytes of a request to those of its response, beside raw `cryptography`."""

import base64
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from shared.app import build
from shared.settings import load_settings
from shared.signing import settings as signing_settings
from shared.signing.master import FileMasterKey
from shared.signing.store import KeyStore, NewKey
from shared.storage import Storage
from shared.web import Request, Response, Route
from shared.web.respond import respond
from tests.support import app_environ

ROOT = Path(__file__).resolve().parent.parent
MAX_BODY_BYTES = 8 * 1024 * 1024
MESSAGE = "The quick brown fox jumps over the lazy dog."
SIGNING = (("RSA-2048", 40, "at most 1.05"), ("P-256", 500, "at most 1.5"), ("Ed25519", 500, "at most 1.5"))

COLD = """
import azure.data.tables, azure.core.credentials, os, time
from shared.app import build
from shared.web import Request
from shared.web.respond import respond
routes = {route.name: route for route in build(os.environ).routes}
request = Request("POST", "http://localhost/api/sign", {}, {}, b'{"message":"hello"}')
began = time.perf_counter()
assert respond(routes["sign"], request, 1 << 20).status == 200
print(time.perf_counter() - began)
"""
BARE = """
import azure.data.tables, azure.core.credentials, os, time
began = time.perf_counter()
service = azure.data.tables.TableServiceClient.from_connection_string(os.environ["AzureWebJobsStorage"])
table = service.get_table_client("strongroomkeys")
table.get_entity("_master", "data-key")
assert list(table.query_entities("PartitionKey eq 'default'"))
print(time.perf_counter() - began)
"""


def run() -> Iterator[Figure]:
    """Microseconds per call: the whole call, and only its primitive."""
    logging.getLogger("strongroom").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        azurite = start_azurite(Path(folder, "azurite"), in_memory=True)
        try:
            environ = app_environ(Path(folder), azurite.connection_string)
            routes = {each.name: each for each in build(environ).routes}
            keys = _keys(environ)
            yield from _signing(routes, keys)
            yield from _verifying(routes, keys)
            yield from _jws(routes, keys)
            yield _threads(routes)
            yield _cold(environ, Path(folder, "bytecode"))
        finally:
            azurite.stop()


def _keys(environ: dict[str, str]) -> dict[str, Any]:
    """The private keys of the app's own keys, which go by the names of their types."""
    store = KeyStore(
        Storage(load_settings(environ).storage), FileMasterKey(signing_settings.load_settings(environ).master_key), 30
    )
    store.get_or_create_default()
    return {
        key_type: store.create(key_type.lower(), NewKey(type=key_type, purpose="sign")).versions[1].private_key  # type: ignore[arg-type]
        for key_type, _, _ in SIGNING
    }


def _post(route: Route, **fields: Any) -> Callable[[], Response]:
    request = Request(
        "POST",
        f"http://localhost/api/{route.path}",
        {"content-type": "application/json"},
        {},
        msgspec.json.encode(fields),
    )
    response = respond(route, request, MAX_BODY_BYTES)
    assert response.status == 200, response.body
    return partial(respond, route, request, MAX_BODY_BYTES)


def _arguments(key_type: str) -> tuple[Any, ...]:
    if key_type.startswith("RSA"):
        return (padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH), hashes.SHA256())
    return (ec.ECDSA(hashes.SHA256()),) if key_type == "P-256" else ()


def _signing(routes: dict[str, Route], keys: dict[str, Any]) -> Iterator[Figure]:
    message = MESSAGE.encode()
    for key_type, calls, aim in SIGNING:
        raw = partial(keys[key_type].sign, message, *_arguments(key_type))
        call = _post(routes["sign"], key=key_type.lower(), message=MESSAGE)
        yield _figure(f"sign, {key_type}", call, raw, calls, aim)


def _verifying(routes: dict[str, Route], keys: dict[str, Any]) -> Iterator[Figure]:
    message = MESSAGE.encode()
    key = keys["RSA-2048"]
    signature = key.sign(message, *_arguments("RSA-2048"))
    raw = partial(key.public_key().verify, signature, message, *_arguments("RSA-2048"))
    call = _post(routes["verify"], key="rsa-2048", message=MESSAGE, signature=_encode(signature))
    yield _figure("verify, RSA-2048", call, raw, 500, "at most 1.7")

    public = keys["Ed25519"].public_key()
    items = [(number.to_bytes(32), keys["Ed25519"].sign(number.to_bytes(32))) for number in range(1000)]
    batch = [{"message_base64": _encode(each), "signature": _encode(signature)} for each, signature in items]

    def verify_all() -> None:
        for each, signature in items:
            public.verify(signature, each)

    call = _post(routes["verify"], key="ed25519", batch=batch)
    assert all(each["valid"] for each in json.loads(call().body)["results"])
    yield _figure("verify a batch of 1000, Ed25519", call, verify_all, 1, "at most 1.10")


def _jws(routes: dict[str, Route], keys: dict[str, Any]) -> Iterator[Figure]:
    payload = {"sub": "alice", "aud": "example", "iat": 1_700_000_000, "exp": 1_700_003_600}
    text = msgspec.json.encode(payload).decode()
    for key_type, algorithm in (("Ed25519", "EdDSA"), ("P-256", "ES256")):
        call = _post(routes["sign"], key=key_type.lower(), message=text, format="jws")
        baseline = partial(jwt.encode, payload, keys[key_type], algorithm=algorithm, headers={"kid": "k" * 43})
        yield _figure(f"sign a JWS, {algorithm}", call, baseline, 300, "at most 1.0", "PyJWT with the key object")
        token = json.loads(call().body)["signature"]
        public = keys[key_type].public_key()
        options: Any = {"verify_exp": False, "verify_aud": False, "verify_iat": False}
        opens = partial(jwt.decode, token, public, algorithms=[algorithm], options=options)
        call = _post(routes["verify"], key=key_type.lower(), signature=token, format="jws")
        yield _figure(f"verify a JWS, {algorithm}", call, opens, 300, "at most 1.0", "PyJWT with the key object")


def _threads(routes: dict[str, Route]) -> Figure:
    """Signatures per second by two threads, and by one."""
    call = _post(routes["sign"], key="rsa-2048", message=MESSAGE)

    def many(threads: int) -> float:
        began = perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: [call() for _ in range(400)], range(threads)))
        return threads * 400 / (perf_counter() - began)

    rates = [(many(2), many(1)) for _ in range(7)]
    two, one = (sorted(each)[3] for each in zip(*rates, strict=True))
    return Figure("sign on two threads, RSA-2048", two, "on one", one, "a second", "at least 1.7")


def _cold(environ: dict[str, str], bytecode: Path) -> Figure:
    """The first sign of a process, with an existing key, minus the two plain reads that it needs.

    Modules are compiled, as after any first start.
    """
    environ = {**os.environ, **environ, "PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONDONTWRITEBYTECODE": ""}

    def seconds(script: str) -> float:
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return float(ran.stdout)

    seconds(COLD)
    taken = [(seconds(COLD), seconds(BARE)) for _ in range(9)]
    app_value, bare = (sorted(each)[4] for each in zip(*taken, strict=True))
    return Figure("first sign after a cold start", (app_value - bare) * 1000, "limit", 30, "ms", "at most 1.0")


def _figure(
    what: str,
    call: Callable[[], object],
    raw: Callable[[], object],
    calls: int,
    aim: str,
    against: str = "raw cryptography",
) -> Figure:
    app_value, baseline = in_turns(call, raw, rounds=15, calls=calls)
    return Figure(what, app_value * 1e6, against, baseline * 1e6, "µs", aim)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
