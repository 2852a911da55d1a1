"""An authenticator and a browser in software: they make what `navigator.credentials` returns, and wrong variants of it.

Encoders of its own, so that a mistake of the app's library does not cancel out.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from shared.web import encode_base64

UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80


def cbor(value: object) -> bytes:
    """CBOR (RFC 8949) of maps, texts, bytes and integers, in the order of the map."""
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    assert isinstance(value, dict)
    return _head(5, len(value)) + b"".join(cbor(each) + cbor(value[each]) for each in value)


def _head(kind: int, length: int) -> bytes:
    if length < 24:
        return bytes([kind << 5 | length])
    size = 1 if length < 256 else 2 if length < 65536 else 4
    return bytes([kind << 5 | {1: 24, 2: 25, 4: 26}[size]]) + length.to_bytes(size)


@dataclass
class Authenticator:
    """One credential of one user."""

    origin: str
    rp_id: str
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    user_handle: bytes = b""
    flags: int = UP | UV
    count: int = 0
    """The signature counter; 0 stays 0, as with most synced passkeys."""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def cose_key(self) -> dict[int, object]:
        """The public key (RFC 9053, section 7.1)."""
        numbers = self.key.public_key().public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}

    def client_data(self, ceremony: str, sent: str, **members: object) -> bytes:
        """clientDataJSON; `members` change or add members, and None removes one."""
        content = {"type": ceremony, "challenge": sent, "origin": self.origin, "crossOrigin": False} | members
        return json.dumps({name: value for name, value in content.items() if value is not None}).encode()

    def data(self, flags: int, attested: bytes = b"", extensions: bytes = b"") -> bytes:
        """Authenticator data (WebAuthn, section 6.1)."""
        rp_id_hash = hashlib.sha256(self.rp_id.encode()).digest()
        return rp_id_hash + bytes([flags]) + self.count.to_bytes(4) + attested + extensions

    def register(
        self,
        options: dict[str, Any],
        *,
        cose_key: object = None,
        statement: tuple[str, object] = ("none", {}),
        **members: object,
    ) -> dict[str, Any]:
        """RegistrationResponseJSON for the options of `begin-passkey`."""
        self.user_handle = decode(options["user"]["id"])
        attested = bytes(16) + len(self.credential_id).to_bytes(2) + self.credential_id
        attested += cbor(self.cose_key() if cose_key is None else cose_key)
        attestation = {
            "fmt": statement[0],
            "attStmt": statement[1],
            "authData": self.data(self.flags | AT, attested),
        }
        client_data = self.client_data("webauthn.create", options["challenge"], **members)
        return self._credential(
            {
                "clientDataJSON": encode_base64(client_data),
                "attestationObject": encode_base64(cbor(attestation)),
                "transports": ["internal", "hybrid"],
            }
        )

    def sign(self, options: dict[str, Any], **members: object) -> dict[str, Any]:
        """AuthenticationResponseJSON for the options of `begin-passkey-sign-in`."""
        self.count += 1 if self.count else 0
        client_data = self.client_data("webauthn.get", options["challenge"], **members)
        data = self.data(self.flags)
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        return self._credential(
            {
                "clientDataJSON": encode_base64(client_data),
                "authenticatorData": encode_base64(data),
                "signature": encode_base64(signature),
                "userHandle": encode_base64(self.user_handle),
            }
        )

    def _credential(self, response: dict[str, object]) -> dict[str, Any]:
        credential_id = encode_base64(self.credential_id)
        return {
            "id": credential_id,
            "rawId": credential_id,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }


def decode(text: str) -> bytes:
    """The bytes of base64url without padding."""
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
