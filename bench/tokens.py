"""The check of an access token of a trusted issuer, beside PyJWT with the key at hand."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jwt

from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from shared.identity.checking import ForeignTokens
from shared.identity.jwt import parse
from shared.identity.settings import Issuer
from shared.identity.store.providers import Providers
from shared.settings import StorageSettings
from shared.storage import Storage
from tests.identity.provider import run_provider

AUDIENCE = "https://api.example"


def run() -> Iterator[Figure]:
    """Microseconds per token."""
    with TemporaryDirectory() as folder, run_provider() as provider:
        azurite = start_azurite(Path(folder) / "azurite", in_memory=True)
        try:
            providers = Providers(Storage(StorageSettings(azurite.connection_string)), lambda _: bytes(32))
            tokens = ForeignTokens([Issuer("ACME", provider.url)], AUDIENCE, lambda: providers, time.time)
            token = provider.key.sign(provider.access_claims())
            tokens.check(parse(token))
            key: Any = provider.key.key.raw_value.public_key()  # type: ignore[union-attr]

            def own() -> None:
                tokens.check(parse(token))

            def pyjwt() -> None:
                jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=provider.url)

            value, other = in_turns(own, pyjwt, 15, 200)
            yield Figure("check of a trusted issuer's token (RS256)", value * 1e6, "PyJWT", other * 1e6, "µs", "2")
        finally:
            azurite.stop()
