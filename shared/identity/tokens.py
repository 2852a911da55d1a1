"""Access tokens: JWTs by RFC 9068 (`at+jwt`, ES256), issued and checked. Pure.

The check is the hot path of each call with a session. A header that the app itself writes is compared as text, so
there is nothing to parse in it, and nothing in it can choose a key or an algorithm. Any other header is refused.
"""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from shared.errors import InvalidRequest
from shared.identity.jwt import TokenRefused
from shared.web import decode_base64, encode_base64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

LIFETIME_SECONDS = 600
CLIENT_ID = "strongroom"
MAX_LENGTH = 8192
"""Characters. A longer text is not an access token of this app."""
CLOCK_SKEW_SECONDS = 60
"""How far the clock of the instance that issued a token may be ahead."""
SIGNATURE_BYTES = 64
_ES256 = ECDSA(SHA256())


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of an access token (RFC 9068, section 2.2). Times are in seconds since 1970."""

    iss: str
    aud: str
    sub: str
    """The user id."""
    client_id: str = CLIENT_ID
    sid: str
    """The id of the session."""
    iat: int
    exp: int
    jti: str
    auth_time: int
    acr: str
    """`1` for one factor, `2` for two."""
    amr: tuple[str, ...]
    """The methods (RFC 8176): of `pwd`, `otp`, `pop`, `user`, `fed`, `mfa`."""
    roles: tuple[str, ...] = ()


_DECODER = msgspec.json.Decoder(Claims)
_ENCODER = msgspec.json.Encoder()


def acr_of(amr: tuple[str, ...]) -> str:
    """`2` if the methods are two factors, else `1`."""
    return "2" if "mfa" in amr else "1"


@lru_cache(1024)
def header(key_id: str) -> str:
    """The protected header of a token, in base64url."""
    return encode_base64(_ENCODER.encode({"typ": "at+jwt", "alg": "ES256", "kid": key_id}))


def issue(claims: Claims, key_id: str, sign: Callable[[bytes], bytes]) -> str:
    """The token. `sign` returns an ES256 signature as r‖s (RFC 7518, section 3.4)."""
    text = f"{header(key_id)}.{encode_base64(_ENCODER.encode(claims))}"
    return f"{text}.{encode_base64(sign(text.encode()))}"


def key_id_of(token: str) -> str:
    """The `kid` of a token that the app may have issued, which is not checked yet. Raises TokenRefused."""
    if len(token) > MAX_LENGTH:
        raise TokenRefused("malformed")
    return _key_id(token.partition(".")[0])


@lru_cache(256)
def _key_id(encoded: str) -> str:
    """The `kid` of a header that is exactly as `header` writes it."""
    try:
        key_id = msgspec.json.decode(decode_base64(encoded, "token"), type=dict[str, Any])["kid"]
    except (InvalidRequest, msgspec.DecodeError, KeyError, UnicodeDecodeError):
        raise TokenRefused("malformed") from None
    if not isinstance(key_id, str) or len(key_id) > 64 or header(key_id) != encoded:
        raise TokenRefused("malformed")
    return key_id


def check(token: str, public_key: "EllipticCurvePublicKey", issuer: str, audience: str, now: datetime) -> Claims:
    """The claims of a token that is signed by `public_key` and valid now. Raises TokenRefused."""
    signed, _, encoded = token.rpartition(".")
    payload = signed.partition(".")[2]
    if not token.isascii():
        raise TokenRefused("malformed")
    try:
        signature = decode_base64(encoded, "token")
        if len(signature) != SIGNATURE_BYTES or encode_base64(signature) != encoded:  # Only one form of each signature.
            raise TokenRefused("malformed")
        public_key.verify(
            encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:])),
            signed.encode(),
            _ES256,
        )
        claims = _DECODER.decode(decode_base64(payload, "token"))
    except InvalidSignature:
        raise TokenRefused("bad-signature") from None
    except (InvalidRequest, msgspec.DecodeError, UnicodeDecodeError):
        raise TokenRefused("malformed") from None
    moment = now.timestamp()
    if moment >= claims.exp:
        raise TokenRefused("expired")
    if claims.iat > moment + CLOCK_SKEW_SECONDS:
        raise TokenRefused("not-yet-valid")
    if claims.iss != issuer:
        raise TokenRefused("unknown-issuer")
    if claims.aud != audience:
        raise TokenRefused("wrong-audience")
    return claims
