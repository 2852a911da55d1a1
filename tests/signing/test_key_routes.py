"""Key operations over HTTP: create, import, rotate, revoke, delete, restore, export and publish."""

import base64
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from jwcrypto import jwk as jwcrypto_jwk  # type: ignore[import-untyped]

from shared.signing import algorithms, formats
from tests.signing.conftest import Caller

SIGNING = ("RSA-2048", "RSA-3072", "P-256", "P-384", "P-521", "Ed25519", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")
ENCRYPTING = ("RSA-2048", "P-256", "X25519", "AES-256")


@pytest.mark.parametrize("key_type", SIGNING)
def test_each_type_signs(app: Caller, new_name: str, key_type: str) -> None:
    """A key of each type is created, described, and signs in each of its algorithms and formats."""
    made = app.post("keys", name=new_name, type=key_type, purpose="sign", tags={"team": "a"})
    assert made == app.get(f"keys/{new_name}")
    assert (made["type"], made["purpose"], made["current_version"], made["tags"]) == (
        key_type,
        "sign",
        1,
        {"team": "a"},
    )
    version = made["versions"][0]
    assert version["state"] == "enabled"
    public: Any = load_pem_public_key(version["public_key_pem"].encode())
    assert formats.thumbprint(public) == version["key_id"] == version["public_key_jwk"]["kid"]
    assert formats.to_spki(formats.parse_public(version["public_key_jwk"], "x")[0]) == formats.to_spki(public)
    for algorithm in algorithms.fitting(key_type):
        for form in ("raw", "der", "jws", "jws-detached"):
            signed = app.post("sign", key=new_name, message="hello", algorithm=algorithm, format=form)
            assert (signed["version"], signed["key_id"]) == (1, version["key_id"])
            given_fields = {
                "message": "hello",
                "signature": signed["signature"],
                "algorithm": algorithm,
                "format": form,
            }
            assert app.post("verify", key=new_name, **given_fields)["valid"]
            assert app.post("verify", public_key=version["public_key_pem"], **given_fields)["valid"]
            assert app.post("verify", public_key=version["public_key_jwk"], **given_fields)["valid"]
            assert not app.post("verify", key=new_name, **given_fields | {"message": "other"})["valid"]


def test_a_jws_carries_its_message(app: Caller, new_name: str) -> None:
    """Verifying a JWS without a message returns its message, but only if the JWS is valid."""
    app.post("keys", name=new_name, type="Ed25519")
    token = app.get("sign", key=new_name, message="grüße", format="jws")["signature"]
    result = app.get("verify", key=new_name, signature=token, format="jws")
    assert (result["valid"], result["message"], result["message_base64"]) == (True, "grüße", "Z3LDvMOfZQ")
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "==")) == {
        "alg": "EdDSA",
        "kid": app.get(f"keys/{new_name}")["versions"][0]["key_id"],
    }
    start, _, last = token.rpartition(".")
    refused = app.get("verify", key=new_name, signature=f"{start}.{'A' * len(last)}", format="jws")
    assert (refused["valid"], refused["reason"]) == (False, "mismatch")
    assert not {"message", "message_base64"} & refused.keys()
    assert app.get("verify", key=new_name, signature="x.y", format="jws")["reason"] == "malformed"
    assert app.fails("GET", "verify", key=new_name, signature=token, format="jws-detached") == (400, "invalid-request")
    digest = "A" * 43
    for path, more in (("sign", {}), ("verify", {"signature": token})):
        fields = {"key": new_name, "message_base64": digest, "prehashed": True, "format": "jws"}
        assert app.fails("POST", path, **fields, **more) == (400, "invalid-request")


def test_the_jwk_says_which_algorithm(app: Caller) -> None:
    """A JWK that names its algorithm is for that algorithm only; an HMAC JWK verifies nothing."""
    private: Any = algorithms.generate("RSA-2048")
    jwk = formats.to_jwk(private.public_key())
    token = jwt.encode({"sub": "x"}, private, algorithm="RS256")
    fields = {"signature": token, "format": "jws"}
    assert app.post("verify", public_key=jwk | {"alg": "RS256"}, **fields)["valid"]
    assert app.post("verify", public_key=jwk, **fields)["reason"] == "mismatch"
    assert app.post("verify", public_key=jwk, algorithm="RS256", **fields)["valid"]
    assert app.fails("POST", "verify", public_key=jwk | {"alg": "HS256"}, **fields) == (422, "unfit-algorithm")
    assert app.fails("POST", "verify", public_key=jwk | {"alg": "PS256"}, algorithm="RS256", **fields) == (
        422,
        "unfit-algorithm",
    )
    assert app.get("verify", public_key=json.dumps(jwk | {"alg": "RS256"}), **fields)["valid"]


@pytest.mark.parametrize("key_type", ENCRYPTING)
def test_each_type_encrypts(app: Caller, new_name: str, key_type: str) -> None:
    """An encryption key of each type encrypts and decrypts, and refuses to sign; signing keys refuse to encrypt."""
    made = app.post("keys", name=new_name, type=key_type, purpose="encrypt")
    assert (made["purpose"], made["versions"][0]["public_key_pem"] is None) == ("encrypt", key_type == "AES-256")
    for fields in ({"plaintext": "grüße"}, {"plaintext_base64": "_wA"}, {"plaintext": ""}):
        for bound in ({}, {"associated_data": "row 7"}):
            sealed = app.post("encrypt", key=new_name, **fields, **bound)
            assert (sealed["version"], sealed["key_id"]) == (1, made["versions"][0]["key_id"])
            opened = app.post("decrypt", ciphertext=sealed["ciphertext"], **bound)
            assert opened == app.post("decrypt", key=new_name, ciphertext=sealed["ciphertext"], **bound)
            assert (opened["key"], opened["version"]) == (new_name, 1)
            if "plaintext" in fields:
                assert opened["plaintext"] == fields["plaintext"]
            else:
                assert (opened["plaintext_base64"], "plaintext" in opened) == ("_wA", False)
    assert app.fails("POST", "sign", key=new_name, message="x") == (422, "key-has-other-purpose")
    assert app.fails("POST", "verify", key=new_name, message="x", signature="AA") == (422, "key-has-other-purpose")
    assert app.fails("POST", "encrypt", key="default", plaintext="x")[0] in (404, 422)


def test_associated_data_is_bound(app: Caller, new_name: str) -> None:
    """Decryption fails with other, missing or extra associated data."""
    app.post("keys", name=new_name, type="AES-256")
    bound = app.post("encrypt", key=new_name, plaintext="x", associated_data="row 7")["ciphertext"]
    free = app.post("encrypt", key=new_name, plaintext="x")["ciphertext"]
    for fields in (
        {"ciphertext": bound},
        {"ciphertext": bound, "associated_data": "row 8"},
        {"ciphertext": bound | {"aad": "cm93IDg"}, "associated_data": "row 8"},
        {"ciphertext": free, "associated_data": "row 7"},
    ):
        assert app.fails("POST", "decrypt", **fields) == (422, "not-decryptable")
    assert app.post("decrypt", ciphertext=json.dumps(bound), associated_data="row 7")["plaintext"] == "x"


def test_a_failure_to_decrypt_says_nothing(app: Caller, new_name: str) -> None:
    """A changed ciphertext, one for another key, and one with an unknown key get identical responses."""
    app.post("keys", name=new_name, type="P-256", purpose="encrypt")
    app.post("keys", name=f"{new_name}-2", type="P-256", purpose="encrypt")
    good = app.post("encrypt", key=new_name, plaintext="a secret of some length")["ciphertext"]
    parts = good.split(".")
    header = json.loads(base64.urlsafe_b64decode(parts[0] + "=="))
    unknown = base64.urlsafe_b64encode(json.dumps(header | {"kid": "nobody"}).encode()).rstrip(b"=").decode()
    responses = [
        app.send("POST", "decrypt", {"ciphertext": ".".join([*parts[:4], "A" * 22])}),
        app.send("POST", "decrypt", {"ciphertext": ".".join([*parts[:3], "A" * len(parts[3]), parts[4]])}),
        app.send("POST", "decrypt", {"ciphertext": good, "key": f"{new_name}-2"}),
        app.send("POST", "decrypt", {"ciphertext": ".".join([unknown, *parts[1:]])}),
    ]
    assert {result.status_code for result in responses} == {422}
    assert len({result.text for result in responses}) == 1
    assert app.fails("POST", "decrypt", ciphertext="x") == (400, "invalid-request")


def test_data_keys_and_rewrapping(app: Caller, new_name: str) -> None:
    """A data key comes with its JWE; after a rotation it is rewrapped, and both JWEs decrypt to the same key."""
    app.post("keys", name=new_name, type="X25519")
    made = app.post("generate-data-key", key=new_name)
    assert len(base64.urlsafe_b64decode(made["plaintext_base64"] + "=")) == 32
    assert "plaintext_base64" not in app.post("generate-data-key", key=new_name, wrapped_only=True)
    bound = app.post("generate-data-key", key=new_name, associated_data="file 7")
    app.post(f"keys/{new_name}/rotate")
    for old, more in ((made, {}), (bound, {"associated_data": "file 7"})):
        rewrapped = app.post("rewrap", ciphertext=old["ciphertext"])
        assert (rewrapped["key"], rewrapped["version"]) == (new_name, 2)
        assert "plaintext_base64" not in rewrapped
        for ciphertext, version in ((old["ciphertext"], 1), (rewrapped["ciphertext"], 2)):
            opened = app.post("decrypt", ciphertext=ciphertext, **more)
            assert (opened["plaintext_base64"], opened["version"]) == (old["plaintext_base64"], version)


def test_states_of_an_encryption_key(app: Caller, new_name: str) -> None:
    """A disabled version does not decrypt, a revoked one does, and neither encrypts."""
    app.post("keys", name=new_name, type="AES-256")
    old = app.post("encrypt", key=new_name, plaintext="x")["ciphertext"]
    app.post(f"keys/{new_name}/rotate")
    app.call("PATCH", f"keys/{new_name}", disabled_versions=[1])
    assert app.fails("POST", "decrypt", ciphertext=old) == (422, "unusable-version")
    app.call("PATCH", f"keys/{new_name}", disabled_versions=[])
    app.post(f"keys/{new_name}/revoke", version=1, reason="lost")
    assert app.post("decrypt", ciphertext=old)["plaintext"] == "x"
    app.call("PATCH", f"keys/{new_name}", minimum_verify_version=2)
    assert app.fails("POST", "decrypt", ciphertext=old) == (422, "unusable-version")
    app.call("PATCH", f"keys/{new_name}", disabled_versions=[2])
    assert app.fails("POST", "encrypt", key=new_name, plaintext="x") == (422, "unusable-version")


def test_rotation_and_the_states_of_versions(app: Caller, new_name: str) -> None:
    """The newest enabled version signs; old signatures verify until their version is disabled or revoked."""
    app.post("keys", name=new_name, type="Ed25519")
    old = app.post("sign", key=new_name, message="x")["signature"]
    assert app.post(f"keys/{new_name}/rotate", expected_version=1)["current_version"] == 2
    assert app.fails("POST", f"keys/{new_name}/rotate", expected_version=1) == (409, "key-changed")
    assert app.post("sign", key=new_name, message="x")["version"] == 2
    assert app.post("sign", key=new_name, message="x", version=1)["version"] == 1
    check = {"key": new_name, "message": "x", "signature": old}
    assert app.post("verify", **check) == {"valid": True, "key": new_name, "version": 1, "algorithm": "EdDSA"}
    assert app.post("verify", version=2, **check)["reason"] == "mismatch"

    app.call("PATCH", f"keys/{new_name}", disabled_versions=[1])
    refused = app.post("verify", **check)
    assert (refused["valid"], refused["reason"], refused["signature_valid"]) == (False, "disabled", True)
    assert refused["disabled_at"].endswith("Z")
    assert app.fails("POST", "sign", key=new_name, message="x", version=1) == (422, "unusable-version")
    app.call("PATCH", f"keys/{new_name}", disabled_versions=[])
    assert app.post("verify", **check)["valid"]

    app.call("PATCH", f"keys/{new_name}", disable=[1])
    app.call("PATCH", f"keys/{new_name}", minimum_verify_version=2, enable=[1])
    assert app.post("verify", **check)["reason"] == "disabled"
    app.call("PATCH", f"keys/{new_name}", minimum_verify_version=1, minimum_sign_version=2)
    assert app.post("verify", **check)["valid"]
    assert app.fails("POST", "sign", key=new_name, message="x", version=1) == (422, "unusable-version")

    at = "2026-01-31T09:30:00Z"
    result = app.post(f"keys/{new_name}/revoke", version=1, at=at, reason="laptop lost")
    assert [each["state"] for each in result["versions"]] == ["revoked", "enabled"]
    refused = app.post("verify", **check)
    assert (refused["valid"], refused["reason"], refused["signature_valid"]) == (False, "revoked", True)
    assert (refused["revoked_at"], refused["revocation_reason"]) == (at, "laptop lost")
    assert app.fails("POST", f"keys/{new_name}/revoke", version=1, reason="again") == (409, "key-changed")
    assert app.fails("POST", f"keys/{new_name}/revoke", version=3, reason="x") == (404, "unknown-key")
    assert app.fails("POST", f"keys/{new_name}/revoke", version=2, reason="x", at="2999-01-01T00:00:00Z")[0] == 400
    assert app.fails("POST", f"keys/{new_name}/revoke", version=2, reason="x", at="2026-01-01T00:00:00")[0] == 400


def test_bad_changes_are_refused(app: Caller, new_name: str) -> None:
    """Invalid changes of a key are refused, with the field's name."""
    app.post("keys", name=new_name, type="Ed25519")
    for fields in (
        {"disabled_versions": [2]},
        {"disabled_versions": [0]},
        {"minimum_sign_version": 2},
        {"minimum_verify_version": 0},
        {"exportable": True},
        {"rotation_days": 0},
        {"tags": {str(number): "" for number in range(51)}},
        {"tags": {"a": "x" * 257}},
    ):
        response = app.send("PATCH", f"keys/{new_name}", fields)
        assert (response.status_code, response.json()["errors"][0]["field"].split("[")[0]) == (400, next(iter(fields)))
    assert app.call("PATCH", f"keys/{new_name}", rotation_days=30, tags={"a": "b"})["rotation_days"] == 30
    after = app.call("PATCH", f"keys/{new_name}", rotation_days=None)
    assert (after["rotation_days"], after["tags"]) == (None, {"a": "b"})


def test_names_and_types(app: Caller, new_name: str) -> None:
    """Names are unique; bad names, types and purposes are refused."""
    app.post("keys", name=new_name, type="Ed25519")
    assert app.fails("POST", "keys", name=new_name, type="P-256") == (409, "key-exists")
    for name in ("", "A", "a_b", "-a", "a" * 64, "a\n", "ü", "a/b"):
        assert app.fails("POST", "keys", name=name, type="Ed25519") == (400, "invalid-request")
    assert app.fails("POST", "keys", name="x", type="RSA-1024") == (400, "invalid-request")
    for key_type, purpose in (("Ed25519", "encrypt"), ("P-384", "encrypt"), ("X25519", "sign"), ("AES-256", "sign")):
        assert app.fails("POST", "keys", name="x", type=key_type, purpose=purpose) == (422, "unsupported-key")
    for method, path in (
        ("GET", "keys/no-such-key"),
        ("PATCH", "keys/no-such-key"),
        ("DELETE", "keys/no-such-key"),
        ("POST", "keys/no-such-key/rotate"),
        ("POST", "keys/no-such-key/restore"),
    ):
        assert app.fails(method, path) == (404, "unknown-key")


def test_keys_are_listed_by_pages(app: Caller, new_name: str) -> None:
    """The listing has pages and a prefix filter, and its cursor works for that listing only."""
    names = [f"{new_name}-{letter}" for letter in "abcde"]
    for name in names:
        app.post("keys", name=name, type="Ed25519")
    listed: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = app.get("keys", prefix=new_name, limit=2, **cursor)
        listed += [each["name"] for each in page["keys"]]
        assert len(page["keys"]) <= 2
        if page["cursor"] is None:
            break
        cursor = {"cursor": page["cursor"]}
    assert listed == names
    assert [each["name"] for each in app.get("keys", prefix=f"{new_name}-c")["keys"]] == [f"{new_name}-c"]
    assert app.get("keys", prefix="no-such-prefix") == {"keys": [], "cursor": None}
    assert app.fails("GET", "keys", prefix="other", **cursor) == (400, "invalid-request")
    assert app.fails("GET", "keys", cursor="x") == (400, "invalid-request")
    assert app.fails("GET", "keys", limit=1001) == (400, "invalid-request")


def test_deletion_is_off_soft_and_undone(app: Caller, new_name: str) -> None:
    """Only a deletable key can be deleted; it then disappears everywhere, keeps its name, and can be restored."""
    app.post("keys", name=new_name, type="Ed25519", published=True)
    signature = app.post("sign", key=new_name, message="x")["signature"]
    assert app.fails("DELETE", f"keys/{new_name}") == (409, "key-not-deletable")
    app.call("PATCH", f"keys/{new_name}", deletable=True)
    assert app.fails("POST", f"keys/{new_name}/restore") == (409, "key-exists")
    assert app.call("DELETE", f"keys/{new_name}") is None
    for method, path, fields in (
        ("GET", f"keys/{new_name}", {}),
        ("DELETE", f"keys/{new_name}", {}),
        ("POST", f"keys/{new_name}/rotate", {}),
        ("POST", "sign", {"key": new_name, "message": "x"}),
        ("POST", "verify", {"key": new_name, "message": "x", "signature": signature}),
    ):
        assert app.fails(method, path, **fields) == (404, "unknown-key")
    assert app.fails("POST", "keys", name=new_name, type="Ed25519") == (409, "key-exists")
    assert app.get("keys", prefix=new_name)["keys"] == []
    listed = app.get("keys", prefix=new_name, deleted=True)["keys"]
    assert listed[0]["name"] == new_name
    assert listed[0]["restorable_until"] > listed[0]["deleted"]
    app.post(f"keys/{new_name}/restore")
    assert app.post("verify", key=new_name, message="x", signature=signature)["valid"]


def test_only_exportable_keys_are_exported(app: Caller, new_name: str) -> None:
    """Any version of an exportable key is exported as PKCS#8 under the passphrase; other keys are not exported."""
    app.post("keys", name=new_name, type="P-256", exportable=True)
    app.post(f"keys/{new_name}/rotate")
    for fields, version in (({}, 2), ({"version": 1}, 1)):
        exported = app.post(f"keys/{new_name}/export", passphrase="correct horse battery", **fields)
        assert exported["version"] == version
        private: Any = load_pem_private_key(exported["private_key"].encode(), b"correct horse battery")
        assert formats.thumbprint(private.public_key()) == exported["key_id"]
        with pytest.raises(ValueError):  # noqa: PT011 - a wrong key may unpad by chance, and fail later.
            load_pem_private_key(exported["private_key"].encode(), b"wrong")
    assert app.fails("POST", f"keys/{new_name}/export", passphrase="x", version=3) == (404, "unknown-key")
    assert app.fails("POST", f"keys/{new_name}/export", passphrase="") == (400, "invalid-request")
    assert app.fails("POST", f"keys/{new_name}/export", passphrase="x" * 14) == (400, "invalid-request")
    app.post("keys", name=f"{new_name}-2", type="P-256")
    assert app.fails("POST", f"keys/{new_name}-2/export", passphrase="x") == (422, "not-exportable")
    aes = {"name": f"{new_name}-3", "exportable": True}
    assert app.fails("POST", "keys", type="AES-256", **aes) == (422, "not-exportable")
    octets = {"kty": "oct", "k": "A" * 43}
    assert app.fails("POST", "keys/import", private_key=octets, **aes) == (422, "not-exportable")


PRIVATE: dict[str, Any] = {
    "RSA-2048": rsa.generate_private_key(65537, 2048),
    **{each: algorithms.generate(each) for each in ("P-256", "P-384", "P-521", "Ed25519", "X25519", "ML-DSA-44")},
}


def private_forms(key_type: str) -> list[dict[str, Any]]:
    """Return all formats in which a private key may be imported."""
    key = PRIVATE[key_type]
    encrypted = BestAvailableEncryption(b"pass")
    found: list[dict[str, Any]] = [
        {"private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()},
        {"private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted).decode(), "passphrase": "pass"},
    ]
    if key_type[0] in "RP":
        form = PrivateFormat.TraditionalOpenSSL
        found += [
            {"private_key": key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()},
            {"private_key": key.private_bytes(Encoding.PEM, form, encrypted).decode(), "passphrase": "pass"},
        ]
    if not key_type.startswith("ML"):
        jwk = jwcrypto_jwk.JWK.from_pyca(key).export(as_dict=True)
        found += [{"private_key": jwk}, {"private_key": json.dumps(jwk)}]
    return found


@pytest.mark.parametrize("key_type", PRIVATE)
def test_private_keys_are_imported(app: Caller, new_name: str, key_type: str) -> None:
    """PKCS#8, PKCS#1, SEC1 and JWK, encrypted or not, are imported as the same, working key."""
    thumbprint = formats.thumbprint(PRIVATE[key_type].public_key())
    for number, form in enumerate(private_forms(key_type)):
        name = f"{new_name}-{number}"
        made = app.post("keys/import", name=name, exportable=True, **form)
        assert (made["type"], made["versions"][0]["key_id"]) == (key_type, thumbprint)
        if key_type != "X25519":
            signature = app.post("sign", key=name, message="x")["signature"]
            pem = PRIVATE[key_type].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            assert app.post("verify", public_key=pem, message="x", signature=signature)["valid"]
        rotated = app.post(f"keys/{name}/rotate")
        assert (rotated["type"], rotated["current_version"]) == (key_type, 2)
        exported = app.post(f"keys/{name}/export", passphrase="fifteen letters", version=1)
        private: Any = load_pem_private_key(exported["private_key"].encode(), b"fifteen letters")
        assert formats.thumbprint(private.public_key()) == thumbprint


def test_an_aes_key_and_an_ml_dsa_seed_are_imported_as_jwk(app: Caller, new_name: str) -> None:
    """An AES key is imported as `oct`, an ML-DSA key as `AKP`; both work."""
    app.post(
        "keys/import", name=new_name, private_key={"kty": "oct", "k": base64.urlsafe_b64encode(bytes(32)).decode()}
    )
    assert (
        app.post("decrypt", ciphertext=app.post("encrypt", key=new_name, plaintext="x")["ciphertext"])["key"]
        == new_name
    )
    key: Any = PRIVATE["ML-DSA-44"]
    jwk = formats.to_jwk(key.public_key()) | {"priv": base64.urlsafe_b64encode(key.private_bytes_raw()).decode()}
    made = app.post("keys/import", name=f"{new_name}-2", private_key=jwk)
    assert made["versions"][0]["key_id"] == formats.thumbprint(key.public_key())


def test_a_public_key_only_verifies(app: Caller, new_name: str) -> None:
    """An imported public key verifies; it cannot sign, rotate or be exported."""
    jwk = formats.to_jwk(PRIVATE["Ed25519"].public_key())
    made = app.post("keys/import", name=new_name, public_key=jwk)
    assert not made["versions"][0]["has_private_key"]
    signature = base64.urlsafe_b64encode(PRIVATE["Ed25519"].sign(b"x")).decode()
    assert app.post("verify", key=new_name, message="x", signature=signature)["valid"]
    assert app.fails("POST", "sign", key=new_name, message="x") == (422, "unsupported-key")
    assert app.fails("POST", f"keys/{new_name}/rotate") == (422, "unsupported-key")
    assert app.fails("POST", f"keys/{new_name}/export", passphrase="x") == (422, "not-exportable")


def test_bad_imports_are_refused(app: Caller, new_name: str) -> None:
    """The error for each bad import names the problem, and no key is created."""
    good, encrypted = private_forms("P-256")[0]["private_key"], private_forms("P-256")[1]["private_key"]
    jwk = jwcrypto_jwk.JWK.from_pyca(PRIVATE["P-256"]).export(as_dict=True)
    okp = jwcrypto_jwk.JWK.from_pyca(PRIVATE["Ed25519"]).export(as_dict=True)
    public = formats.to_jwk(PRIVATE["P-256"].public_key())
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505
    odd = rsa.generate_private_key(65537, 2056)
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({}, 400, "private_key"),
        ({"private_key": good, "public_key": public}, 400, "private_key"),
        ({"private_key": "x"}, 400, "private_key"),
        ({"private_key": good[:100]}, 400, "private_key"),
        ({"private_key": good, "passphrase": "x"}, 400, "passphrase"),
        ({"private_key": encrypted}, 400, "passphrase"),
        ({"private_key": encrypted, "passphrase": "wrong"}, 400, "passphrase"),
        ({"private_key": public}, 400, "private_key"),
        ({"public_key": jwk}, 400, "public_key"),
        ({"public_key": good}, 400, "public_key"),
        ({"public_key": public, "passphrase": "x"}, 400, "passphrase"),
        ({"public_key": public, "exportable": True}, 400, "exportable"),
        ({"private_key": good, "type": "P-384"}, 422, ""),
        ({"private_key": good, "name": "A"}, 400, "name"),
        ({"private_key": jwk | {"d": jwk["x"]}}, 422, ""),
        ({"private_key": okp | {"x": jwk["x"]}}, 422, ""),
        ({"public_key": public | {"x": public["y"]}}, 422, ""),
        ({"public_key": public | {"x": "AA"}}, 400, "public_key"),
        ({"public_key": {"kty": "EC"}}, 422, ""),
        ({"public_key": {}}, 400, "public_key"),
        ({"public_key": {"kty": "x"}}, 422, ""),
        ({"private_key": {"kty": "oct", "k": "AAAA"}}, 422, ""),
        ({"private_key": small.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()}, 422, ""),
        ({"private_key": odd.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()}, 422, ""),
    ]
    for fields, status, field in cases:
        response = app.send("POST", "keys/import", {"name": new_name, **fields})
        assert response.status_code == status, (fields, response.text)
        if field:
            assert response.json()["errors"][0]["field"] == field, fields
    assert app.fails("GET", f"keys/{new_name}") == (404, "unknown-key")


def test_openssl_makes_keys_that_are_imported(app: Caller, new_name: str, tmp_path: Path) -> None:
    """Keys made by the openssl command line, also encrypted, are imported, and openssl verifies their signatures."""
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_text("hello")
    for number, options in enumerate((["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], ["EC", "-pkeyopt", "group:P-384"])):
        private, public = tmp_path / "private.pem", tmp_path / "public.pem"
        run("genpkey", "-algorithm", *options, "-aes256", "-pass", "pass:secret", "-out", str(private))
        run("pkey", "-in", str(private), "-passin", "pass:secret", "-pubout", "-out", str(public))
        name = f"{new_name}-{number}"
        app.post("keys/import", name=name, private_key=private.read_text(), passphrase="secret")
        algorithm = "RS256" if options[0] == "RSA" else "ES384"
        result = app.post("sign", key=name, message="hello", algorithm=algorithm, format="der")
        signature.write_bytes(base64.urlsafe_b64decode(result["signature"] + "=="))
        run("dgst", f"-sha{algorithm[2:]}", "-verify", str(public), "-signature", str(signature), str(message))


def run(*arguments: str) -> None:
    """Run openssl; raises if it fails."""
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def test_the_jwks_verifies_elsewhere(app: Caller, new_name: str) -> None:
    """The JWKS lists published keys and needs no function key; other programs verify with it, by `kid`."""
    app.post("keys", name=new_name, type="P-256", published=True)
    app.post("keys", name=f"{new_name}-2", type="P-256")
    app.post("keys", name=f"{new_name}-3", type="P-256", purpose="encrypt", published=True)
    token = app.post("sign", key=new_name, message='{"sub":"alice"}', format="jws")["signature"]
    app.post(f"keys/{new_name}/rotate")

    def published() -> dict[str, Any]:
        response = jwks_when_fresh(app)
        assert response.headers["cache-control"] == "public, max-age=60"
        return {each["kid"]: each for each in response.json()["keys"]}

    versions = app.get(f"keys/{new_name}")["versions"]
    found = published()
    assert {each["key_id"] for each in versions} <= found.keys()
    assert app.get(f"keys/{new_name}-2")["versions"][0]["key_id"] not in found
    encrypting = found[app.get(f"keys/{new_name}-3")["versions"][0]["key_id"]]
    assert (encrypting["use"], encrypting["alg"]) == ("enc", "ECDH-ES+A256KW")
    kid = jwt.get_unverified_header(token)["kid"]
    assert jwt.decode(token, jwt.PyJWK(found[kid]), algorithms=["ES256"]) == {"sub": "alice"}
    app.post(f"keys/{new_name}/revoke", version=1, reason="lost")
    assert kid not in published()


def jwks_when_fresh(app: Caller) -> Any:
    """Return a JWKS made after this call: the app caches it for a second."""
    made = app.client.get("/api/jwks", headers={"x-functions-key": ""})
    stamp = app.post(
        "keys", name=f"t-{base64.b32encode(hash_of(made.text)).decode().lower()[:20]}", type="Ed25519", published=True
    )
    kid = stamp["versions"][0]["key_id"]
    while kid not in made.text:
        made = app.client.get("/api/jwks", headers={"x-functions-key": ""})
    return made


def hash_of(text: str) -> bytes:
    """Return a value that differs from text to text."""
    import hashlib

    return hashlib.sha256(text.encode()).digest()


def test_batches(app: Caller, new_name: str) -> None:
    """A batch returns its results in order: each item has its own result or problem, and its reference."""
    app.post("keys", name=new_name, type="Ed25519")
    items: list[dict[str, Any]] = [{"message": str(number), "reference": f"r{number}"} for number in range(300)]
    items[7] = {"message_base64": "?", "reference": "r7"}
    items[8] = {"message": "x", "key": "no-such-key"}
    signed = app.post("sign", key=new_name, batch=items)["results"]
    assert [each.get("reference") for each in signed] == [each.get("reference") for each in items]
    assert (signed[7]["status"], signed[7]["code"]) == (400, "invalid-request")
    assert (signed[8]["status"], signed[8]["code"]) == (404, "unknown-key")
    checks = [
        {"message": item["message"], "signature": each["signature"], "reference": each["reference"]}
        for item, each in zip(items, signed, strict=True)
        if "signature" in each
    ]
    checks[5]["message"] = "changed"
    checks.append({"message": "x", "signature": "?"})
    verified = app.post("verify", key=new_name, batch=checks)["results"]
    assert [number for number, each in enumerate(verified) if each.get("valid") is not True] == [5, len(checks) - 1]
    assert verified[5]["reason"] == "mismatch"
    assert verified[-1]["code"] == "invalid-request"
    assert verified[0]["reference"] == "r0"


def test_batches_of_encryption(app: Caller, new_name: str) -> None:
    """Encryption, decryption, data keys and rewrapping also accept batches."""
    app.post("keys", name=new_name, type="AES-256")
    sealed = app.post(
        "encrypt",
        key=new_name,
        batch=[{"plaintext": "a", "reference": "1"}, {}, {"plaintext": "c", "associated_data": "d"}],
    )["results"]
    assert [each.get("status") for each in sealed] == [None, 400, None]
    items = [{"ciphertext": sealed[0]["ciphertext"]}, {"ciphertext": sealed[2]["ciphertext"]}, {"ciphertext": "x"}]
    opened = app.post("decrypt", batch=items)["results"]
    assert [each.get("plaintext", each.get("code")) for each in opened] == ["a", "not-decryptable", "invalid-request"]
    rewrapped = app.post("rewrap", batch=items)["results"]
    assert [each.get("status") for each in rewrapped] == [None, None, 400]
    assert len(app.post("generate-data-key", key=new_name, batch=[{}, {"wrapped_only": True}])["results"]) == 2


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("sign", {"batch": []}),
        ("sign", {"batch": [{"message": "x"}] * 1001}),
        ("sign", {"batch": {"message": "x"}}),
        ("sign", {"message": "x", "batch": [{"message": "x"}]}),
        ("verify", {"signature": "AA", "batch": [{"message": "x", "signature": "AA"}]}),
        ("encrypt", {"plaintext": "x", "batch": [{"plaintext": "x"}]}),
        ("decrypt", {"ciphertext": "x", "batch": [{"ciphertext": "x"}]}),
    ],
)
def test_bad_batches_are_refused(app: Caller, path: str, fields: dict[str, Any]) -> None:
    """A batch that is empty, too long, misspelt or beside a single item is a bad request."""
    assert app.fails("POST", path, **fields) == (400, "invalid-request")


def test_a_batch_goes_by_post_alone(app: Caller) -> None:
    """A batch in a URL is refused: no URL is long enough."""
    assert app.fails("GET", "sign", batch='[{"message":"x"}]') == (400, "invalid-request")


def test_twenty_rotations_at_once_make_one_version(app: Caller, new_name: str) -> None:
    """Of twenty callers that rotate the same version, one succeeds, and the others get 409."""
    app.post("keys", name=new_name, type="P-256")
    with ThreadPoolExecutor(20) as pool:
        path = f"keys/{new_name}/rotate"
        responses = list(pool.map(lambda _: app.send("POST", path, {"expected_version": 1}).status_code, range(20)))
    assert sorted(responses) == [200] + [409] * 19
    assert app.get(f"keys/{new_name}")["latest_version"] == 2


@settings(max_examples=30)
@given(message=st.binary(max_size=200))
def test_any_message_is_signed_and_sealed(app: Caller, message: bytes) -> None:
    """Any bytes are signed, verified, encrypted and decrypted over HTTP."""
    for name, key_type in (("t-any-sign", "Ed25519"), ("t-any-seal", "AES-256")):
        app.send("POST", "keys", {"name": name, "type": key_type})
    text = base64.b64encode(message).decode()
    signature = app.post("sign", key="t-any-sign", message_base64=text)["signature"]
    assert app.post("verify", key="t-any-sign", message_base64=text, signature=signature)["valid"]
    opened = app.post("decrypt", ciphertext=app.post("encrypt", key="t-any-seal", plaintext_base64=text)["ciphertext"])
    assert base64.urlsafe_b64decode(opened["plaintext_base64"] + "==") == message
