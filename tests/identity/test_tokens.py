"""Access tokens: what other libraries read, and what the check refuses."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from shared.identity.jwt import TokenRefused
from shared.identity.tokens import Claims, check, header, issue, key_id_of
from shared.signing import algorithms
from shared.web import decode_base64, encode_base64

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
ISSUER, AUDIENCE = "https://keys.example.org/api", "https://api.example.org"
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key()
STAMP = int(NOW.timestamp())
CLAIMS = Claims(
    iss=ISSUER,
    aud=AUDIENCE,
    sub="5eed0000-0000-4000-8000-000000000001",
    sid="0" * 32,
    iat=STAMP,
    exp=STAMP + 600,
    jti="x",
    auth_time=STAMP,
    acr="1",
    amr=("pwd",),
    roles=("editor",),
)


def sign(message: bytes) -> bytes:
    """An ES256 signature by this test's key."""
    return algorithms.sign(KEY, "ES256", message)


TOKEN = issue(CLAIMS, "kid-1", sign)


def reason(token: str, now: datetime = NOW, issuer: str = ISSUER, audience: str = AUDIENCE) -> str:
    """Why the check refuses a token; "" if it does not."""
    try:
        key_id_of(token)
        check(token, PUBLIC, issuer, audience, now)
    except TokenRefused as error:
        return error.reason
    return ""


def test_a_token_comes_back() -> None:
    """The check returns the claims that were issued, and the key's id is in the header."""
    assert key_id_of(TOKEN) == "kid-1"
    assert check(TOKEN, PUBLIC, ISSUER, AUDIENCE, NOW) == CLAIMS


def test_other_libraries_read_it() -> None:
    """PyJWT and joserfc verify the token with issuer, audience and algorithm, and its header is RFC 9068's."""
    moment: jwt.types.Options = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(TOKEN, PUBLIC, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER, options=moment)
    assert (claims["sub"], claims["client_id"], claims["roles"]) == (CLAIMS.sub, "strongroom", ["editor"])
    assert jwt.get_unverified_header(TOKEN) == {"typ": "at+jwt", "alg": "ES256", "kid": "kid-1"}
    public = jwk.ECKey.import_key(PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert joserfc_jwt.decode(TOKEN, public, algorithms=["ES256"]).claims == claims


def signed(head: object, claims: object, signer: Callable[[bytes], bytes] = sign) -> str:
    """A token with any header and claims, signed by our key."""
    parts = [encode_base64(each if isinstance(each, bytes) else json.dumps(each).encode()) for each in (head, claims)]
    text = ".".join(parts)
    return f"{text}.{encode_base64(signer(text.encode()))}"


HEAD: dict[str, Any] = {"typ": "at+jwt", "alg": "ES256", "kid": "kid-1"}
BODY: dict[str, Any] = json.loads(decode_base64(TOKEN.split(".")[1], "x"))


@pytest.mark.parametrize(
    "head",
    [
        HEAD | {"alg": "none"},
        HEAD | {"alg": "HS256"},
        HEAD | {"alg": "ES384"},
        HEAD | {"typ": "JWT"},
        HEAD | {"crit": ["exp"]},
        HEAD | {"jwk": {}},
        HEAD | {"jku": "https://evil.example"},
        HEAD | {"x5u": "https://evil.example"},
        HEAD | {"b64": False, "crit": ["b64"]},
        HEAD | {"kid": 7},
        HEAD | {"kid": "x" * 10_000},
        {"typ": "at+jwt", "alg": "ES256"},
        b'{"typ":"at+jwt","alg":"ES256","kid":"kid-1","kid":"kid-1"}',
        [],
        b"{",
        b"",
    ],
)
def test_no_other_header_is_accepted(head: object) -> None:
    """A header that the app does not write is malformed, though the signature is right."""
    assert reason(signed(head, BODY)) == "malformed"


def test_nothing_of_a_token_can_change() -> None:
    """Each character of a token matters, the last one of the signature, too; and so does the form."""
    for position in range(len(TOKEN)):
        for other in "AQgwz":
            changed = TOKEN[:position] + other + TOKEN[position + 1 :]
            if changed != TOKEN:
                assert reason(changed) in ("malformed", "bad-signature"), position
    for changed in (
        TOKEN + "=",
        TOKEN + "\n",
        TOKEN[:-1],
        TOKEN + ".x",
        TOKEN.replace(".", "..", 1),
        "a.b",
        "",
        "é" * 9,
    ):
        assert reason(changed) in ("malformed", "bad-signature"), changed
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert reason(issue(CLAIMS, "kid-1", lambda text: algorithms.sign(stranger, "ES256", text))) == "bad-signature"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": STAMP}, "expired"),
        ({"exp": STAMP + 1}, ""),
        ({"iat": STAMP + 61}, "not-yet-valid"),
        ({"iat": STAMP + 60}, ""),
        ({"iss": ISSUER + "/"}, "unknown-issuer"),
        ({"iss": ISSUER.upper()}, "unknown-issuer"),
        ({"aud": AUDIENCE + "/"}, "wrong-audience"),
        ({"exp": "9999999999"}, "malformed"),
        ({"sub": None}, "malformed"),
        ({"aud": [AUDIENCE]}, "malformed"),
    ],
)
def test_the_claims_are_checked(changes: dict[str, Any], expected: str) -> None:
    """Times, issuer and audience are compared exactly, and a claim has its type."""
    text = f"{header('kid-1')}.{encode_base64(json.dumps(BODY | changes).encode())}"
    assert reason(f"{text}.{encode_base64(sign(text.encode()))}") == expected


def test_time_passes() -> None:
    """A token is valid for ten minutes, to the second."""
    assert reason(TOKEN, NOW + timedelta(seconds=599.9)) == ""
    assert reason(TOKEN, NOW + timedelta(seconds=600)) == "expired"
