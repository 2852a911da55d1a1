"""The check of an access token, beside the raw ES256 verification and beside PyJWT and joserfc in the same run."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from shared.identity.settings import load_settings
from shared.identity.store.sessions import SessionStore
from shared.identity.tokens import CLIENT_ID, Claims, issue
from shared.passwords.store.users import UserStore
from shared.settings import Settings, StorageSettings
from shared.signing.master import FileMasterKey
from shared.signing.own import OwnKey
from shared.signing.store import KeyStore
from shared.storage import Storage
from shared.storage.records import Records
from shared.web import decode_base64
from tests.support import app_environ

ROUNDS, CALLS = 40, 200


def run() -> Iterator[Figure]:
    """Microseconds per token."""
    with tempfile.TemporaryDirectory() as folder:
        azurite = start_azurite(Path(folder, "azurite"), in_memory=True)
        try:
            environ = app_environ(Path(folder), azurite.connection_string)
            storage = Storage(StorageSettings(azurite.connection_string))
            keys = KeyStore(storage, FileMasterKey(environ["STRONGROOM_MASTER_KEY"]), 3600)
            yield from _checking(storage, OwnKey(keys, "_tokens", "P-256"))
        finally:
            azurite.stop()


def _checking(storage: Storage, key: OwnKey) -> Iterator[Figure]:
    settings = load_settings({}, Settings(url="https://keys.example.org"))
    users = UserStore(storage, Records(lambda: bytes(32)))
    sessions = SessionStore(users, key, lambda: bytes(32), settings, lambda: datetime.now(UTC))
    now = int(datetime.now(UTC).timestamp())
    claims = Claims(
        iss=settings.issuer,
        aud=settings.audience,
        sub="5eed0000-0000-4000-8000-000000000001",
        client_id=CLIENT_ID,
        sid="0" * 32,
        iat=now,
        exp=now + 36_000,
        jti="x" * 22,
        auth_time=now,
        acr="2",
        amr=("pwd", "otp", "mfa"),
        roles=("editor",),
    )
    token = issue(claims, *key.signer())
    signed, _, encoded = token.rpartition(".")
    signature = decode_base64(encoded, "signature")
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    public_key = key.public_key(key.signer()[0], 0.0)
    message, algorithm = signed.encode(), ECDSA(SHA256())

    def raw() -> None:
        public_key.verify(der, message, algorithm)

    own, verified = in_turns(lambda: sessions.check_token(token), raw, ROUNDS, CALLS, process_time)
    yield Figure("access token, check", own * 1e6, "raw ES256", verified * 1e6, "µs", "at most 1.25")

    def by_pyjwt() -> object:
        return jwt.decode(token, public_key, algorithms=["ES256"], issuer=settings.issuer, audience=settings.audience)

    own, other = in_turns(lambda: sessions.check_token(token), by_pyjwt, ROUNDS, CALLS, process_time)
    yield Figure("access token, check", own * 1e6, "PyJWT", other * 1e6, "µs", "under 1")

    key_set = jwk.KeySet.import_key_set({"keys": [dict(each) for each in key.public_jwks()]})
    rules = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": settings.issuer}, aud={"essential": True, "value": settings.audience}
    )

    def by_joserfc() -> object:
        decoded = joserfc_jwt.decode(token, key_set, algorithms=["ES256"])
        rules.validate(decoded.claims)
        return decoded

    own, other = in_turns(lambda: sessions.check_token(token), by_joserfc, ROUNDS, CALLS, process_time)
    yield Figure("access token, check", own * 1e6, "joserfc", other * 1e6, "µs", "under 1")
