"""Access tokens: the check of ours beside the bare signature and two libraries, and that of a trusted issuer's."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from shared.identity.checking import ForeignTokens
from shared.identity.jwt import parse
from shared.identity.settings import Issuer
from shared.identity.store.providers import Providers
from shared.identity.tokens import Claims, check, issue, key_id_of
from shared.settings import StorageSettings
from shared.signing import algorithms
from shared.storage import Storage
from tests.identity.provider import run_provider

ISSUER, AUDIENCE = "https://keys.example.org/api", "https://api.example"


def run() -> Iterator[Figure]:
    """The figures."""
    yield from _own()
    yield from _foreign()


def _own() -> Iterator[Figure]:
    private = generate_private_key(SECP256R1())
    public, now = private.public_key(), datetime.now(UTC)
    claims = Claims(
        iss=ISSUER,
        aud=AUDIENCE,
        sub=str(uuid4()),
        sid="0" * 32,
        iat=int(now.timestamp()),
        exp=int(now.timestamp()) + 600,
        jti="0" * 22,
        auth_time=int(now.timestamp()),
        acr="2",
        amr=("pwd", "otp", "mfa"),
    )
    token = issue(claims, "kid", lambda message: algorithms.sign(private, "ES256", message))
    signed, _, encoded = token.rpartition(".")
    signature = jwt.utils.base64url_decode(encoded)
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    data, algorithm = signed.encode(), ECDSA(SHA256())

    def own() -> None:
        key_id_of(token)
        check(token, public, ISSUER, AUDIENCE, datetime.now(UTC))

    def pyjwt() -> None:
        jwt.decode(token, public, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)

    key = jwk.ECKey.import_key(public)
    registry = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}
    )

    def joserfc() -> None:
        registry.validate(joserfc_jwt.decode(token, key, algorithms=["ES256"]).claims)

    value, raw = in_turns(own, lambda: public.verify(der, data, algorithm), 15, 200)
    yield Figure("check of an access token", value * 1e6, "the signature alone", raw * 1e6, "µs", "1.25")
    for name, call in (("PyJWT", pyjwt), ("joserfc", joserfc)):
        value, other = in_turns(own, call, 15, 200)
        yield Figure("check of an access token", value * 1e6, name, other * 1e6, "µs", "below 1")


def _foreign() -> Iterator[Figure]:
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
