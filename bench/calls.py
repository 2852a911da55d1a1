"""The cost of a call around its primitive, in process, from the bytes of the request to the bytes of the response."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from argon2 import PasswordHasher
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from shared.app import build
from shared.web import Request, Response, Route
from shared.web.respond import respond
from tests.support import app_environ

MAX_BODY_BYTES = 8 * 1024 * 1024


def _post(route: Route, body: bytes) -> Callable[[], Response]:
    request = Request("POST", f"http://localhost/api/{route.path}", {"content-type": "application/json"}, {}, body)
    response = respond(route, request, MAX_BODY_BYTES)
    assert response.status == 200, response.body
    return partial(respond, route, request, MAX_BODY_BYTES)


def run() -> Iterator[Figure]:
    """Milliseconds per call: the whole call, and only its primitive."""
    logging.getLogger("strongroom").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        azurite = start_azurite(Path(folder, "azurite"), in_memory=True)
        try:
            routes = {each.name: each for each in build(app_environ(Path(folder), azurite.connection_string)).routes}
            key = rsa.generate_private_key(65537, 3072)
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
            app_value, baseline = in_turns(
                _post(routes["sign"], b'{"message":"hello"}'),
                lambda: key.sign(b"hello", pss, hashes.SHA256()),
                rounds=15,
                calls=40,
            )
            yield Figure(
                "sign, RSA-3072 PS256", app_value * 1000, "raw cryptography", baseline * 1000, "ms", "at most 1.05"
            )
            hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
            app_value, baseline = in_turns(
                _post(routes["hash-password"], b'{"password":"correct horse battery staple"}'),
                lambda: hasher.hash("correct horse battery staple"),
                rounds=15,
                calls=5,
            )
            yield Figure("hash-password", app_value * 1000, "argon2-cffi", baseline * 1000, "ms", "at most 1.05")
        finally:
            azurite.stop()
