"""The checks of passkeys: the vectors of WebAuthn Level 3, a second implementation, and wrong data of every kind."""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import webauthn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from webauthn.helpers.exceptions import WebAuthnException

from shared.identity.errors import PasskeyRefused
from shared.identity.passkeys import (
    Assertion,
    AssertionCredential,
    Passkey,
    RegistrationCredential,
    RelyingParty,
    check_assertion,
    check_registration,
    creation_options,
    decoy_descriptors,
    request_options,
    user_handle,
)
from shared.web import encode_base64
from tests.identity.authenticator import BE, BS, UP, UV, Authenticator, cbor, decode

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "webauthn.json").read_text())["vectors"]
ORIGIN = "https://example.org"
RP = RelyingParty("example.org", (ORIGIN,))
USER = "5eed0000-0000-4000-8000-000000000001"
CHALLENGE = bytes(range(32))
UNLISTED = ("ES384", "ES512")


def registration(credential: dict[str, Any]) -> RegistrationCredential:
    """The credential as the app decodes it."""
    return msgspec.convert(credential, RegistrationCredential)


def assertion(credential: dict[str, Any]) -> AssertionCredential:
    """The credential as the app decodes it."""
    return msgspec.convert(credential, AssertionCredential)


def register(key: Authenticator, **changes: Any) -> Passkey:
    """Register with the options of the app."""
    options = creation_options(RP, CHALLENGE, USER, "alice@example.org", [])
    return check_registration(RP, CHALLENGE, registration(key.register(options, **changes)))


def sign_in(key: Authenticator, passkey: Passkey, *, first: bool = True, user: str = USER, **changes: Any) -> Assertion:
    """Sign in with the options of the app; `first`: as a first factor without a name."""
    options = request_options(RP, CHALLENGE, [], require_user_verification=first)
    response = assertion(key.sign(options, **changes))
    return check_assertion(
        RP, CHALLENGE, response, passkey, user, require_user_verification=first, require_user_handle=first
    )


def from_vector(vector: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two credentials of a vector in JSON."""

    def text(value: str) -> str:
        return encode_base64(bytes.fromhex(value))

    identity = {"id": text(vector["credential_id"]), "rawId": text(vector["credential_id"]), "type": "public-key"}
    created, signed = vector["registration"], vector["authentication"]
    return (
        identity
        | {"response": {each: text(created[each]) for each in ("clientDataJSON", "attestationObject")}}
        | {"clientExtensionResults": {}},
        identity
        | {"response": {each: text(signed[each]) for each in ("clientDataJSON", "authenticatorData", "signature")}}
        | {"clientExtensionResults": {}},
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors_of_webauthn(vector: dict[str, Any]) -> None:
    """Section 16 of WebAuthn Level 3: each pair is accepted, except for those of a page in a foreign frame and of
    algorithms that the options do not list."""
    created, signed = from_vector(vector)
    challenges = [bytes.fromhex(vector[each]["challenge"]) for each in ("registration", "authentication")]
    reason = "frame" if "Origin" in vector["name"] else "algorithm" if vector["name"][-5:] in UNLISTED else ""
    if reason:
        with pytest.raises(PasskeyRefused, match=reason):
            check_registration(RP, challenges[0], registration(created))
        return
    passkey = check_registration(RP, challenges[0], registration(created))
    assert passkey.credential_id.hex() == vector["credential_id"]
    result = check_assertion(
        RP,
        challenges[1],
        assertion(signed),
        passkey,
        USER,
        require_user_verification=False,
        require_user_handle=False,
    )
    assert not result.counter_fell
    for part in ("clientDataJSON", "authenticatorData", "signature"):
        changed = msgspec.json.decode(msgspec.json.encode(signed))
        data = bytearray(decode(changed["response"][part]))
        data[-1] ^= 1
        changed["response"][part] = encode_base64(bytes(data))
        with pytest.raises(PasskeyRefused):
            check_assertion(
                RP,
                challenges[1],
                assertion(changed),
                passkey,
                USER,
                require_user_verification=False,
                require_user_handle=False,
            )


@pytest.mark.parametrize(
    "vector",
    [each for each in VECTORS if "Origin" not in each["name"] and each["name"][-5:] not in UNLISTED],
    ids=lambda vector: vector["name"],
)
def test_agrees_with_py_webauthn(vector: dict[str, Any]) -> None:
    """A second implementation accepts the same vectors, with the same credential, counter and backup flags."""
    created, signed = from_vector(vector)
    challenges = [bytes.fromhex(vector[each]["challenge"]) for each in ("registration", "authentication")]
    passkey = check_registration(RP, challenges[0], registration(created))
    if vector["name"].startswith("packed-self"):
        created["response"]["attestationObject"] = encode_base64(
            cbor({"fmt": "none", "attStmt": {}, "authData": _auth_data(created)})
        )
    theirs = webauthn.verify_registration_response(
        credential=created,
        expected_challenge=challenges[0],
        expected_rp_id="example.org",
        expected_origin=ORIGIN,
    )
    assert theirs.credential_id == passkey.credential_id
    assert theirs.sign_count == passkey.sign_count
    assert (theirs.credential_device_type == "multi_device") == passkey.backup_eligible
    assert theirs.credential_backed_up == passkey.backed_up
    webauthn.verify_authentication_response(
        credential=signed,
        expected_challenge=challenges[1],
        expected_rp_id="example.org",
        expected_origin=ORIGIN,
        credential_public_key=theirs.credential_public_key,
        credential_current_sign_count=theirs.sign_count,
    )


def _auth_data(created: dict[str, Any]) -> bytes:
    from fido2.webauthn import AttestationObject

    return bytes(AttestationObject(decode(created["response"]["attestationObject"])).auth_data)


@pytest.mark.parametrize("flags", range(32))
def test_flags_agree_with_py_webauthn(flags: int) -> None:
    """Every combination of presence, verification and backup flags gives the result of py_webauthn, and an
    assertion without user verification is refused as a first factor only."""
    flags = sum(bit for number, bit in enumerate((UP, UV, BE, BS, 2)) if flags >> number & 1)
    key = Authenticator(ORIGIN, "example.org", flags=flags)
    options = creation_options(RP, CHALLENGE, USER, "alice", [])
    created = key.register(options)

    def theirs() -> bool:
        try:
            webauthn.verify_registration_response(
                credential=created, expected_challenge=CHALLENGE, expected_rp_id="example.org", expected_origin=ORIGIN
            )
        except WebAuthnException:
            return False
        return True

    try:
        passkey = check_registration(RP, CHALLENGE, registration(created))
    except PasskeyRefused:
        assert not theirs()
        return
    assert theirs()
    assert (passkey.backup_eligible, passkey.backed_up) == (bool(flags & BE), bool(flags & BS))
    assert sign_in(key, passkey, first=False).user_verified == bool(flags & UV)
    if flags & UV:
        assert sign_in(key, passkey).user_verified
    else:
        with pytest.raises(PasskeyRefused, match="verify the user"):
            sign_in(key, passkey)


@pytest.mark.parametrize(
    ("stored", "sent", "is_accepted"),
    [(0, 0, True), (0, 1, True), (5, 6, True), (5, 5, False), (5, 4, False), (5, 0, False)],
)
@pytest.mark.parametrize("flags", [UP | UV, UP | UV | BE])
def test_counters(flags: int, stored: int, sent: int, is_accepted: bool) -> None:
    """A counter in use that does not rise is refused where the credential cannot be copied, and else noticed."""
    key = Authenticator(ORIGIN, "example.org", flags=flags, count=stored)
    passkey = register(key)
    assert passkey.sign_count == stored
    key.count = sent - 1 if sent else 0
    if sent == 1:
        key.count = 1
        passkey = msgspec.structs.replace(passkey, sign_count=0)
    if flags & BE or is_accepted:
        result = sign_in(key, passkey)
        assert result.counter_fell != is_accepted
        assert result.passkey.sign_count == max(stored, key.count)
    else:
        with pytest.raises(PasskeyRefused, match="counter"):
            sign_in(key, passkey)


@pytest.mark.parametrize(
    "origin",
    [
        "http://example.org",
        "https://example.org:8443",
        "https://www.example.org",
        "https://example.org/",
        "https://EXAMPLE.org",
        "https://example.org.evil.example",
        "null",
        "",
    ],
)
def test_origins_are_exact(origin: str) -> None:
    """Another scheme, port, subdomain, case or a slash is another origin, for a registration and an assertion."""
    with pytest.raises(PasskeyRefused, match="origin"):
        register(Authenticator(origin, "example.org"))
    key = Authenticator(ORIGIN, "example.org")
    passkey = register(key)
    key.origin = origin
    with pytest.raises(PasskeyRefused, match="origin"):
        sign_in(key, passkey)


CLIENT_DATA = [
    {"crossOrigin": True},
    {"crossOrigin": "false"},
    {"crossOrigin": 0},
    {"topOrigin": "https://example.com"},
    {"topOrigin": ORIGIN},
    {"type": "payment.get"},
    {"type": "webauthn.other"},
    {"type": ["webauthn.get"]},
    {"challenge": encode_base64(bytes(32))},
    {"challenge": encode_base64(CHALLENGE) + "="},
    {"challenge": encode_base64(CHALLENGE) + "A"},
    {"challenge": 5_000_000_000},
    {"challenge": ""},
    {"challenge": "é"},
    {"origin": [ORIGIN]},
    {"origin": None},
    {"type": None},
]


@pytest.mark.parametrize("members", CLIENT_DATA, ids=str)
def test_client_data_is_strict(members: dict[str, Any]) -> None:
    """Client data of another type, challenge or frame, or with members of a wrong type, is refused."""
    with pytest.raises(PasskeyRefused):
        register(Authenticator(ORIGIN, "example.org"), **members)
    key = Authenticator(ORIGIN, "example.org")
    passkey = register(key)
    with pytest.raises(PasskeyRefused):
        sign_in(key, passkey, **members)


def test_a_registration_is_no_assertion() -> None:
    """The client data of one ceremony is refused in the other."""
    key = Authenticator(ORIGIN, "example.org")
    with pytest.raises(PasskeyRefused, match="type"):
        register(key, type="webauthn.get")
    passkey = register(key)
    with pytest.raises(PasskeyRefused, match="type"):
        sign_in(key, passkey, type="webauthn.create")


def test_another_rp_id() -> None:
    """A credential of another RP id is refused, and one that was stored under another is never tried."""
    with pytest.raises(PasskeyRefused, match="RP ID"):
        register(Authenticator(ORIGIN, "org"))
    key = Authenticator(ORIGIN, "example.org")
    passkey = register(key)
    key.rp_id = "www.example.org"
    with pytest.raises(PasskeyRefused, match="RP ID"):
        sign_in(key, passkey)
    key.rp_id = "example.org"
    with pytest.raises(PasskeyRefused, match="no such passkey"):
        sign_in(key, msgspec.structs.replace(passkey, rp_id="old.example"))


def test_user_handles() -> None:
    """A first factor names its user; the handle of another user is refused in any case."""
    key = Authenticator(ORIGIN, "example.org")
    passkey = register(key)
    assert key.user_handle == user_handle(USER)
    other = "5eed0000-0000-4000-8000-000000000002"
    for first in (True, False):
        with pytest.raises(PasskeyRefused, match="another user"):
            sign_in(key, passkey, first=first, user=other)
    key.user_handle = b""
    sign_in(key, passkey, first=False)
    with pytest.raises(PasskeyRefused, match="names no user"):
        sign_in(key, passkey)


def test_signature_of_another_key() -> None:
    """A signature of another key is refused, also with the right credential id."""
    key = Authenticator(ORIGIN, "example.org")
    passkey = register(key)
    key.key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(PasskeyRefused, match="signature"):
        sign_in(key, passkey)


@pytest.mark.parametrize(("length", "is_accepted"), [(1, True), (1023, True), (1024, False), (0, False)])
def test_length_of_credential_ids(length: int, is_accepted: bool) -> None:
    """A credential id has 1 to 1023 bytes."""
    key = Authenticator(ORIGIN, "example.org", credential_id=bytes(length))
    if is_accepted:
        passkey = register(key)
        assert passkey.credential_id == bytes(length)
        sign_in(key, passkey)
    else:
        with pytest.raises(PasskeyRefused):
            register(key)


def _cose(**changes: Any) -> dict[Any, Any]:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    key: dict[Any, Any] = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
    return key | {int(name[1:].replace("_", "-")): value for name, value in changes.items()}


def _rsa(bits: int) -> dict[int, Any]:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    return {1: 3, 3: -257, -1: numbers.n.to_bytes(bits // 8), -2: b"\1\0\1"}


@pytest.mark.parametrize(
    "key",
    [
        _cose(k3=-47),
        _cose(k3=-65535),
        _cose(k3=-37),
        _cose(k3=-48),
        _cose(k3=-9),
        _cose(k3=0),
        _cose(k3="-7"),
        _cose(k1=3),
        _cose(k1=1),
        _cose(k_1=2),
        _cose(k_2=bytes(32)),
        _cose(k_2="text"),
        _cose(k_3=1),
        {1: 2, 3: -7},
        {1: 3, 3: -257, -1: b"\xff" * 128, -2: b"\1\0\1"},
        {1: 3, 3: -257, -1: b"\xff" * 1024, -2: b"\1\0\1"},
        {1: 3, 3: -257, -1: b"\xff" * 256, -2: b"\1"},
        {1: 1, 3: -8, -1: 6, -2: bytes(31)},
        {1: 1, 3: -8, -1: 7, -2: bytes(57)},
        {},
        "text",
        7,
    ],
)
def test_keys_that_cannot_verify(key: object) -> None:
    """Unlisted algorithms, weak RSA keys, points off the curve and malformed keys are refused at registration."""
    with pytest.raises(PasskeyRefused):
        register(Authenticator(ORIGIN, "example.org"), cose_key=key)


def test_rsa_keys() -> None:
    """RS256, which Windows Hello uses, is accepted with 2048 bits."""
    assert register(Authenticator(ORIGIN, "example.org"), cose_key=_rsa(2048)).sign_count == 0


def test_attestation_is_not_requested() -> None:
    """Other attestation formats are accepted without trust, and a statement of the format `none` is empty."""
    passkey = register(Authenticator(ORIGIN, "example.org"), statement=("packed", {"alg": -7, "sig": b"x"}))
    assert passkey.rp_id == "example.org"
    with pytest.raises(PasskeyRefused, match="empty statement"):
        register(Authenticator(ORIGIN, "example.org"), statement=("none", {"alg": -7}))


def test_other_id_than_the_attested() -> None:
    """The id beside the attestation is the attested one, and equals rawId."""
    key = Authenticator(ORIGIN, "example.org")
    options = creation_options(RP, CHALLENGE, USER, "alice", [])
    created = key.register(options)
    created["id"] = created["rawId"] = encode_base64(b"another")
    with pytest.raises(PasskeyRefused, match="another credential id"):
        check_registration(RP, CHALLENGE, registration(created))
    created = key.register(options) | {"id": encode_base64(b"another")}
    with pytest.raises(PasskeyRefused, match="rawId"):
        check_registration(RP, CHALLENGE, registration(created))
    with pytest.raises(PasskeyRefused, match="public-key"):
        check_registration(RP, CHALLENGE, registration(key.register(options) | {"type": "password"}))


@given(st.data())
def test_broken_data_is_refused(data: st.DataObject) -> None:
    """Changed, cut and random bytes in any part are refused, and never another exception."""
    key = Authenticator(ORIGIN, "example.org")
    options = creation_options(RP, CHALLENGE, USER, "alice", [])
    created = key.register(options)
    part = data.draw(st.sampled_from(["clientDataJSON", "attestationObject"]))
    original = decode(created["response"][part])
    start = data.draw(st.integers(0, len(original) - 1))
    end = data.draw(st.integers(start, len(original)))
    created["response"][part] = encode_base64(original[:start] + data.draw(st.binary(max_size=40)) + original[end:])
    with suppress(PasskeyRefused):
        check_registration(RP, CHALLENGE, registration(created))


@pytest.mark.parametrize(
    "attestation",
    [
        b"",
        b"\x81" * 20_000,
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8 + b"\x80" * 20_000,
        b"\xa1\x63fmt\x64none",
        b"\xf6",
        b"\x1b",
        cbor({"fmt": "none", "attStmt": {}, "authData": 5}),
        cbor({"fmt": "none", "attStmt": {}, "authData": bytes(37)}),
        cbor({"fmt": "none", "attStmt": {}, "authData": b""}),
    ],
    ids=range(10),
)
def test_hostile_attestation(attestation: bytes) -> None:
    """Deep nesting, huge lengths and missing parts are refused."""
    key = Authenticator(ORIGIN, "example.org")
    created = key.register(creation_options(RP, CHALLENGE, USER, "alice", []))
    created["response"]["attestationObject"] = encode_base64(attestation)
    with pytest.raises(PasskeyRefused):
        check_registration(RP, CHALLENGE, registration(created))


@pytest.mark.parametrize("text", ["%%%", "a", "AAAA AAAA", "é", "A" * 100_000, "\ud800"])
@pytest.mark.parametrize("part", ["clientDataJSON", "authenticatorData", "signature", "userHandle"])
def test_text_that_is_no_base64url(part: str, text: str) -> None:
    """Other characters and too long texts are refused."""
    key = Authenticator(ORIGIN, "example.org")
    passkey = register(key)
    signed = key.sign(request_options(RP, CHALLENGE, [], require_user_verification=True))
    signed["response"][part] = text
    with pytest.raises(PasskeyRefused):
        check_assertion(
            RP,
            CHALLENGE,
            assertion(signed),
            passkey,
            USER,
            require_user_verification=True,
            require_user_handle=True,
        )


@pytest.mark.parametrize(
    "client_data", [b"", b"[]", b"null", b'{"type":', b"\xff", b"[" * 5000, b'{"challenge":"\\ud800"}']
)
def test_client_data_that_is_no_object(client_data: bytes) -> None:
    """Client data that does not parse is refused."""
    key = Authenticator(ORIGIN, "example.org")
    created = key.register(creation_options(RP, CHALLENGE, USER, "alice", []))
    created["response"]["clientDataJSON"] = encode_base64(client_data)
    with pytest.raises(PasskeyRefused):
        check_registration(RP, CHALLENGE, registration(created))


def test_options() -> None:
    """The options require a discoverable credential, exclude those that exist, and name only those of this RP id."""
    passkey = register(Authenticator(ORIGIN, "example.org"))
    old = msgspec.structs.replace(passkey, rp_id="old.example")
    options = creation_options(RP, CHALLENGE, USER, "alice", [passkey, old])
    assert [each["id"] for each in options["excludeCredentials"]] == [encode_base64(passkey.credential_id)]
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["attestation"] == "none"
    assert decode(options["user"]["id"]) == user_handle(USER)
    assert webauthn.helpers.parse_registration_options_json(options).challenge == CHALLENGE
    request = request_options(RP, CHALLENGE, [], require_user_verification=True)
    assert webauthn.helpers.parse_authentication_options_json(request).user_verification == "required"


def test_decoys_look_like_credentials() -> None:
    """A decoy has the length of a platform's credential id, and depends on the name alone."""
    decoys = [decoy_descriptors(bytes([number]) * 64) for number in range(9)]
    assert {len(decode(each[0]["id"])) for each in decoys} == {16, 20, 32}
    assert decoys == [decoy_descriptors(bytes([number]) * 64) for number in range(9)]


def test_the_library_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The log of the app, which takes lines from INFO on, never has the id of a credential."""
    caplog.set_level(logging.INFO)
    key = Authenticator(ORIGIN, "example.org")
    sign_in(key, register(key))
    assert caplog.text == ""
