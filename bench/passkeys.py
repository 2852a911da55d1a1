"""Passkeys: the check of an assertion beside Yubico's fido2 alone."""

import os
from collections.abc import Iterator

import msgspec
from fido2.server import Fido2Server
from fido2.webauthn import AttestedCredentialData, PublicKeyCredentialRpEntity

from bench.report import Figure, in_turns
from shared.identity.passkeys import (
    AssertionCredential,
    RegistrationCredential,
    RelyingParty,
    check_assertion,
    check_registration,
    creation_options,
    request_options,
)
from shared.web import encode_base64
from tests.identity.authenticator import Authenticator

ORIGIN = "https://example.org"
USER = "5eed0000-0000-4000-8000-000000000001"


def run() -> Iterator[Figure]:
    """The figures."""
    rp, challenge = RelyingParty("example.org", (ORIGIN,)), os.urandom(32)
    key = Authenticator(ORIGIN, "example.org")
    created = key.register(creation_options(rp, challenge, USER, "alice", []))
    passkey = check_registration(rp, challenge, msgspec.convert(created, RegistrationCredential))
    signed = key.sign(request_options(rp, challenge, [], require_user_verification=True))
    state = {"challenge": encode_base64(challenge), "user_verification": "required"}

    def check() -> None:
        response = msgspec.convert(signed, AssertionCredential)
        check_assertion(
            rp, challenge, response, passkey, USER, require_user_verification=True, require_user_handle=True
        )

    def library() -> None:
        server = Fido2Server(PublicKeyCredentialRpEntity(id="example.org", name="example.org"))
        server.authenticate_complete(state, [AttestedCredentialData(passkey.credential)], signed)

    own, alone = in_turns(check, library, 15, 50)
    yield Figure("check of a passkey's assertion", own * 1e6, "fido2 alone", alone * 1e6, "µs", "1.5")
