"""Passkeys: the checks of a registration and of an assertion (WebAuthn Level 3, sections 7.1 and 7.2). Pure.

Yubico's fido2 parses and checks type, challenge, RP id, user presence and signature. This module adds what it leaves to
its callers: strict client data, exact origins, no frames of other origins, the backup flags, the signature counter, the
user handle, and the algorithms, keys and lengths that the app accepts.
"""

import base64
import hashlib
import hmac
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.identity.errors import PasskeyRefused
from shared.web import encode_base64

if TYPE_CHECKING:
    from fido2.cose import CoseKey
    from fido2.server import Fido2Server
    from fido2.webauthn import AttestedCredentialData, AuthenticatorData

CHALLENGE_BYTES = 32
MAX_CREDENTIAL_ID_BYTES = 1023
TIMEOUT_MS = 300_000
"""The five minutes of a ticket."""
ALGORITHMS = (-7, -8, -257)
"""ES256, EdDSA (Ed25519) and RS256 (IANA COSE Algorithms), which authenticators use, in order of preference."""
_KEY_TYPES = {-7: 2, -8: 1, -257: 3}
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096
MAX_CLIENT_DATA_BYTES = 8 * 1024
MAX_ATTESTATION_BYTES = 32 * 1024
MAX_AUTHENTICATOR_DATA_BYTES = 4 * 1024
MAX_SIGNATURE_BYTES = 1024
MAX_TRANSPORTS = 8
_UP, _UV, _BE, _BS, _AT = 0x01, 0x04, 0x08, 0x10, 0x40


class RelyingParty(NamedTuple):
    """The app, as browsers know it."""

    rp_id: str
    """A domain, or `localhost`."""
    origins: tuple[str, ...]
    """The origins whose pages may use its passkeys; compared exactly."""


class AttestationResponse(msgspec.Struct, frozen=True, rename="camel"):
    """The new credential. Other members, which a browser adds, are ignored."""

    client_data_json: str = msgspec.field(name="clientDataJSON")
    attestation_object: str
    transports: list[str] | None = None


class RegistrationCredential(msgspec.Struct, frozen=True, rename="camel"):
    """RegistrationResponseJSON: the result of `credential.toJSON()` after `navigator.credentials.create`."""

    id: str
    raw_id: str
    response: AttestationResponse
    type: str


class AssertionResponse(msgspec.Struct, frozen=True, rename="camel"):
    """The signed assertion. Other members are ignored."""

    client_data_json: str = msgspec.field(name="clientDataJSON")
    authenticator_data: str
    signature: str
    user_handle: str | None = None


class AssertionCredential(msgspec.Struct, frozen=True, rename="camel"):
    """AuthenticationResponseJSON: the result of `credential.toJSON()` after `navigator.credentials.get`."""

    id: str
    raw_id: str
    response: AssertionResponse
    type: str


class Passkey(msgspec.Struct, frozen=True):
    """A registered credential, as it is stored."""

    credential: bytes
    """Attested credential data (section 6.5.1): AAGUID, credential id and COSE key."""
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    rp_id: str
    """The RP id of its registration: the credential works with no other."""
    transports: tuple[str, ...] = ()

    @property
    def credential_id(self) -> bytes:
        """The id that the authenticator chose."""
        length = int.from_bytes(self.credential[16:18])
        return self.credential[18 : 18 + length]


class Assertion(NamedTuple):
    """The result of a valid assertion."""

    passkey: Passkey
    """With the new counter and backup state, to be stored."""
    user_verified: bool
    counter_fell: bool
    """The counter did not rise although it is in use. A synced passkey (BE=1) is accepted all the same."""


# Options


def user_handle(user_id: str) -> bytes:
    """The user handle of all passkeys of a user: the 16 bytes of the id, which say nothing about the person."""
    return bytes.fromhex(user_id.replace("-", ""))


def creation_options(
    rp: RelyingParty, challenge: bytes, user_id: str, name: str, existing: Iterable[Passkey]
) -> dict[str, Any]:
    """PublicKeyCredentialCreationOptionsJSON (section 5.4). The credential is discoverable, so that it can be a first
    factor."""
    return {
        "rp": {"id": rp.rp_id, "name": rp.rp_id},
        "user": {"id": encode_base64(user_handle(user_id)), "name": name, "displayName": name},
        "challenge": encode_base64(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
        "timeout": TIMEOUT_MS,
        "excludeCredentials": descriptors(rp, existing),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "preferred",
        },
        "attestation": "none",
        "extensions": {"credProps": True},
    }


def request_options(
    rp: RelyingParty, challenge: bytes, allowed: list[dict[str, Any]], *, require_user_verification: bool
) -> dict[str, Any]:
    """PublicKeyCredentialRequestOptionsJSON (section 5.5). Without `allowed`, any discoverable credential may sign."""
    return {
        "challenge": encode_base64(challenge),
        "timeout": TIMEOUT_MS,
        "rpId": rp.rp_id,
        "allowCredentials": allowed,
        "userVerification": "required" if require_user_verification else "preferred",
    }


def descriptors(rp: RelyingParty, passkeys: Iterable[Passkey]) -> list[dict[str, Any]]:
    """The credentials that a browser may use with this RP id."""
    return [
        _descriptor(each.credential_id, each.transports)
        for each in sorted(passkeys, key=lambda each: each.credential_id)
        if each.rp_id == rp.rp_id
    ]


def decoy_descriptors(mac: bytes) -> list[dict[str, Any]]:
    """The credential of a name that has none: it looks like a platform's, and is the same for the same 64 bytes.

    `mac` is a keyed digest of the name, so that nobody else can compute the decoy and compare.
    """
    length = (16, 20, 32)[mac[0] % 3]
    return [_descriptor(mac[-length:], ("hybrid", "internal"))]


def _descriptor(credential_id: bytes, transports: tuple[str, ...]) -> dict[str, Any]:
    descriptor: dict[str, Any] = {"type": "public-key", "id": encode_base64(credential_id)}
    return descriptor | ({"transports": list(transports)} if transports else {})


# Registration


def check_registration(rp: RelyingParty, challenge: bytes, response: RegistrationCredential) -> Passkey:
    """The new passkey (section 7.1). Raises PasskeyRefused. The caller checks that nobody has the credential id."""
    credential_id = _checked_id(response.id, response.raw_id, response.type)
    client_data = _bytes(response.response.client_data_json, MAX_CLIENT_DATA_BYTES, "clientDataJSON")
    _check_client_data(rp, client_data, "webauthn.create", challenge)
    attestation = _bytes(response.response.attestation_object, MAX_ATTESTATION_BYTES, "attestationObject")
    data = _registered(rp, challenge, credential_id, client_data, attestation)
    attested = data.credential_data
    if attested is None or attested.credential_id != credential_id:
        raise PasskeyRefused("The attestation is of another credential id.")
    _check_backup_flags(data)
    _check_key(attested.public_key)
    transports = tuple(sorted({each for each in response.response.transports or () if _is_transport(each)}))
    return Passkey(
        bytes(attested),
        data.counter,
        bool(data.flags & _BE),
        bool(data.flags & _BS),
        rp.rp_id,
        transports[:MAX_TRANSPORTS],
    )


def _registered(
    rp: RelyingParty, challenge: bytes, credential_id: bytes, client_data: bytes, attestation: bytes
) -> "AuthenticatorData":
    from fido2.webauthn import AttestationObject

    encoded = {
        "id": encode_base64(credential_id),
        "rawId": encode_base64(credential_id),
        "type": "public-key",
        "response": {"clientDataJSON": encode_base64(client_data), "attestationObject": encode_base64(attestation)},
    }
    try:
        parsed = AttestationObject(attestation)
        if not parsed.auth_data.flags & _AT:
            raise PasskeyRefused("The authenticator sent no credential.")
        if parsed.fmt == "none" and parsed.att_stmt != {}:
            raise PasskeyRefused("An attestation of the format `none` has an empty statement.")
        return _server(rp).register_complete(_state(challenge), encoded)
    except PasskeyRefused:
        raise
    except Exception as error:
        raise _refused(error) from error


def _check_key(key: "CoseKey") -> None:
    """Refuse a key that could not verify a signature later: section 7.1, step 21, and what the library leaves open."""
    from cryptography.exceptions import InvalidSignature
    from fido2.utils import bytes2int

    algorithm = key.get(3)
    if type(algorithm) is not int or algorithm not in ALGORITHMS or key.get(1) != _KEY_TYPES[algorithm]:
        raise PasskeyRefused("The authenticator used an algorithm that the options do not list.")
    try:
        if algorithm == -257 and not MIN_RSA_BITS <= bytes2int(key[-1]).bit_length() <= MAX_RSA_BITS:
            raise PasskeyRefused("The RSA key of the credential is shorter than 2048 or longer than 4096 bits.")
        # Any signature will do: the key loads before it is compared, and a key off its curve fails.
        key.verify(b"", b"")
    except InvalidSignature:
        return
    except PasskeyRefused:
        raise
    except Exception as error:
        raise PasskeyRefused("The public key of the credential is malformed.") from error
    raise PasskeyRefused("The public key of the credential accepts any signature.")


# Assertion


def credential_id_of(response: AssertionCredential) -> bytes:
    """The credential that a browser says it used. Raises PasskeyRefused for a malformed id."""
    return _checked_id(response.id, response.raw_id, response.type)


def check_assertion(
    rp: RelyingParty,
    challenge: bytes,
    response: AssertionCredential,
    passkey: Passkey,
    user_id: str,
    *,
    require_user_verification: bool,
    require_user_handle: bool,
) -> Assertion:
    """The result of a valid assertion of a user's passkey (section 7.2). Raises PasskeyRefused.

    `require_user_handle`: the user was not known before, so the assertion must name them.
    """
    credential_id = _checked_id(response.id, response.raw_id, response.type)
    if credential_id != passkey.credential_id or passkey.rp_id != rp.rp_id:
        raise PasskeyRefused("The user has no such passkey.")
    handle = response.response.user_handle
    if not handle and require_user_handle:
        raise PasskeyRefused("The assertion names no user.")
    if handle and not hmac.compare_digest(_bytes(handle, 64, "userHandle"), user_handle(user_id)):
        raise PasskeyRefused("The assertion is of another user.")
    client_data = _bytes(response.response.client_data_json, MAX_CLIENT_DATA_BYTES, "clientDataJSON")
    _check_client_data(rp, client_data, "webauthn.get", challenge)
    data_bytes = _bytes(response.response.authenticator_data, MAX_AUTHENTICATOR_DATA_BYTES, "authenticatorData")
    signature = _bytes(response.response.signature, MAX_SIGNATURE_BYTES, "signature")
    data = _asserted(rp, challenge, passkey, client_data, data_bytes, signature)
    if require_user_verification and not data.flags & _UV:
        raise PasskeyRefused("The authenticator did not verify the user.")
    _check_backup_flags(data)
    if bool(data.flags & _BE) != passkey.backup_eligible:
        raise PasskeyRefused("The backup eligibility of a passkey never changes.")
    counter_fell = (data.counter or passkey.sign_count) and data.counter <= passkey.sign_count
    if counter_fell and not passkey.backup_eligible:
        raise PasskeyRefused("The signature counter did not rise: the passkey may have been cloned.")
    updated = msgspec.structs.replace(
        passkey, sign_count=max(data.counter, passkey.sign_count), backed_up=bool(data.flags & _BS)
    )
    return Assertion(updated, bool(data.flags & _UV), bool(counter_fell))


def _asserted(
    rp: RelyingParty, challenge: bytes, passkey: Passkey, client_data: bytes, data: bytes, signature: bytes
) -> "AuthenticatorData":
    from fido2.webauthn import AuthenticatorData

    credential_id = encode_base64(passkey.credential_id)
    encoded = {
        "id": credential_id,
        "rawId": credential_id,
        "type": "public-key",
        "response": {
            "clientDataJSON": encode_base64(client_data),
            "authenticatorData": encode_base64(data),
            "signature": encode_base64(signature),
        },
    }
    try:
        _server(rp).authenticate_complete(_state(challenge), [_attested(passkey)], encoded)
        return AuthenticatorData(data)
    except Exception as error:
        raise _refused(error) from error


# Both


def _server(rp: RelyingParty) -> "Fido2Server":
    from fido2.server import Fido2Server
    from fido2.webauthn import PublicKeyCredentialRpEntity

    # It would log the id of every credential.
    logging.getLogger("fido2").setLevel(logging.WARNING)
    # The client data is checked before, but the library needs the origins, too.
    return Fido2Server(PublicKeyCredentialRpEntity(id=rp.rp_id, name=rp.rp_id), verify_origin=rp.origins.__contains__)


def _state(challenge: bytes) -> dict[str, Any]:
    return {"challenge": encode_base64(challenge), "user_verification": None}


def _attested(passkey: Passkey) -> "AttestedCredentialData":
    from fido2.webauthn import AttestedCredentialData

    return AttestedCredentialData(passkey.credential)


def _checked_id(text: str, raw_id: str, kind: str) -> bytes:
    if kind != "public-key":
        raise PasskeyRefused("The type of the credential is not `public-key`.")
    if text != raw_id:
        raise PasskeyRefused("The id of the credential differs from its rawId.")
    credential_id = _bytes(raw_id, MAX_CREDENTIAL_ID_BYTES, "rawId")
    if not credential_id:
        raise PasskeyRefused("The id of the credential is empty.")
    return credential_id


def _bytes(text: str, limit: int, name: str) -> bytes:
    """The bytes of base64url, with or without padding."""
    if len(text) > limit * 4 // 3 + 4:
        raise PasskeyRefused(f"`{name}` is longer than {limit} bytes.")
    try:
        unpadded = text.rstrip("=").encode("ascii")
        data = base64.b64decode(unpadded + b"=" * (-len(unpadded) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise PasskeyRefused(f"`{name}` is not base64url (RFC 4648, section 5).") from None
    if len(data) > limit:
        raise PasskeyRefused(f"`{name}` is longer than {limit} bytes.")
    return data


def _check_client_data(rp: RelyingParty, client_data: bytes, kind: str, challenge: bytes) -> None:
    """Section 5.8.1. The library would accept a frame of another origin, and wrong types."""
    try:
        parsed = msgspec.json.decode(client_data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PasskeyRefused("clientDataJSON is not JSON.") from None
    if not isinstance(parsed, dict):
        raise PasskeyRefused("clientDataJSON is not an object.")
    if parsed.get("type") != kind:
        raise PasskeyRefused(f"The type of the client data is not `{kind}`.")
    sent = parsed.get("challenge")
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), encode_base64(challenge).encode()):
        raise PasskeyRefused("The challenge is not that of the ticket.")
    if parsed.get("origin") not in rp.origins:
        raise PasskeyRefused("The page's origin is not in STRONGROOM_ORIGINS.")
    if parsed.get("crossOrigin", False) is not False or parsed.get("topOrigin") is not None:
        raise PasskeyRefused("The page was in a frame of another origin.")


def _check_backup_flags(data: "AuthenticatorData") -> None:
    if data.flags & _BS and not data.flags & _BE:
        raise PasskeyRefused("The authenticator says that a credential is backed up that cannot be.")


def _is_transport(text: str) -> bool:
    return 0 < len(text) <= 32 and text.isascii() and text.replace("-", "").isalnum()


def _refused(error: Exception) -> PasskeyRefused:
    """The library's own messages name no secret: it raises ValueError with a fixed text for each failed check."""
    detail = str(error) if type(error) is ValueError and str(error) in _LIBRARY_DETAILS else "The data is malformed."
    return PasskeyRefused(f"The passkey is not valid: {detail}")


_LIBRARY_DETAILS = frozenset(
    {
        "Wrong RP ID hash in response.",
        "User Present flag not set.",
        "Invalid signature.",
    }
)


def index_key(credential_id: bytes) -> str:
    """The row key of a credential id in the index of all users' credentials."""
    return hashlib.sha256(credential_id).hexdigest()
