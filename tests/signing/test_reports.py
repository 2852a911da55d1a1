"""Faults that users of other key services reported, as calls over HTTP and on several instances."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwcrypto import jwk as jwcrypto_jwk  # type: ignore[import-untyped]
from requests import Session

from shared.signing import algorithms, formats
from shared.signing.errors import DamagedKey, KeyNotDeletable, TooCostly, UnknownKey
from shared.signing.keyring import Changes, changed
from shared.signing.routes import ciphertexts, signatures
from shared.signing.routes.describe import key_set
from shared.signing.store import KeyStore, NewKey
from shared.web import encode_base64
from tests.signing.conftest import Caller, NewStore, two_processes

AES = NewKey(type="AES-256", purpose="encrypt", deletable=True)
ED25519 = NewKey(type="Ed25519", purpose="sign", deletable=True, published=True)


def test_what_one_instance_creates_another_finds(tmp_path: Path) -> None:
    """Ciphertexts, signatures, key sets and changes of one instance are valid on another at once."""
    with two_processes(tmp_path) as (first, second):
        mine, theirs = Caller(first), Caller(second)
        mine.post("keys", name="e", type="AES-256")
        mine.post("keys", name="s", type="Ed25519", published=True)
        for _ in range(3):
            sealed = mine.post("encrypt", key="e", plaintext="x")["ciphertext"]
            token = mine.post("sign", key="s", message="x", format="jws")["signature"]
            for key in ({}, {"key": "e"}):
                assert theirs.post("decrypt", ciphertext=sealed, **key)["plaintext"] == "x"
            assert theirs.post("verify", key="s", signature=token, format="jws")["valid"]
            mine.post("keys/e/rotate")
            mine.post("keys/s/rotate")
        ids = {each["key_id"] for each in mine.get("keys/s")["versions"]}
        assert {each["kid"] for each in theirs.get("keys/s/jwks")["keys"]} == ids
        assert {each["kid"] for each in theirs.get("jwks")["keys"]} == ids


def test_nothing_is_produced_that_is_refused_later(app: Caller, new_name: str) -> None:
    """If its newest version is disabled and older ones are too old, a key produces nothing; the error explains it."""
    for suffix, fields in (("e", {"type": "AES-256"}), ("s", {"type": "Ed25519"})):
        app.post("keys", name=f"{new_name}-{suffix}", **fields)
        app.post(f"keys/{new_name}-{suffix}/rotate")
        path = f"keys/{new_name}-{suffix}"
        assert app.fails("PATCH", path, minimum_verify_version=2) == (409, "version-in-use")
        response = app.send("PATCH", path, {"minimum_verify_version": 2})
        assert 0 < int(response.headers["retry-after"]) <= 30
        app.call("PATCH", path, disable=[1])
        app.call("PATCH", path, minimum_verify_version=2, enable=[1], disable=[2])
    unusable = (422, "unusable-version")
    assert app.fails("POST", "encrypt", key=f"{new_name}-e", plaintext="x") == unusable
    assert app.fails("POST", "generate-data-key", key=f"{new_name}-e") == unusable
    assert app.fails("POST", "sign", key=f"{new_name}-s", message="x") == unusable
    assert app.fails("POST", "sign", key=f"{new_name}-s", message="x", version=1) == unusable


def test_changes_are_conditional(app: Caller, new_name: str) -> None:
    """A key has an ETag, which every change renews; `If-Match` with another value is 412, and nothing changes."""
    made = app.send("POST", "keys", {"name": new_name, "type": "Ed25519", "deletable": True})
    etag = made.headers["etag"]
    assert etag == app.client.get(f"/api/keys/{new_name}").headers["etag"]
    assert etag.startswith('"')
    changed_key = app.client.patch(f"/api/keys/{new_name}", json={"published": True}, headers={"if-match": etag})
    assert changed_key.status_code == 200
    assert changed_key.headers["etag"] != etag
    calls: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("PATCH", f"/api/keys/{new_name}", {"published": False}),
        ("POST", f"/api/keys/{new_name}/rotate", {}),
        ("POST", f"/api/keys/{new_name}/revoke", {"version": 1, "reason": "x"}),
    )
    for method, path, fields in calls:
        response = app.client.request(method, path, json=fields, headers={"if-match": etag})
        assert (response.status_code, response.json()["code"]) == (412, "precondition-failed")
    assert app.client.delete(f"/api/keys/{new_name}", headers={"if-match": etag}).status_code == 412
    now = app.client.get(f"/api/keys/{new_name}")
    assert (now.headers["etag"], now.json()["published"]) == (changed_key.headers["etag"], True)
    both = {"if-match": f'"other", {now.headers["etag"]}'}
    assert app.client.patch(f"/api/keys/{new_name}", json={"tags": {}}, headers=both).status_code == 200
    assert app.client.delete(f"/api/keys/{new_name}", headers={"if-match": "*"}).status_code == 204


def test_a_key_is_bound_to_an_algorithm(app: Caller, new_name: str) -> None:
    """A bound key signs with its algorithm only, which JWK and JWKS name; older signatures still verify."""
    app.post("keys", name=new_name, type="RSA-2048", published=True)
    old = app.post("sign", key=new_name, message="x", algorithm="PS512")["signature"]
    assert "alg" not in app.get(f"keys/{new_name}")["versions"][0]["public_key_jwk"]
    bound = app.call("PATCH", f"keys/{new_name}", algorithm="RS256")
    assert (bound["algorithm"], bound["versions"][0]["public_key_jwk"]["alg"]) == ("RS256", "RS256")
    assert app.get(f"keys/{new_name}/jwks")["keys"][0]["alg"] == "RS256"
    assert app.post("sign", key=new_name, message="x")["algorithm"] == "RS256"
    unfit = (422, "unfit-algorithm")
    assert app.fails("POST", "sign", key=new_name, message="x", algorithm="PS256") == unfit
    assert app.post("verify", key=new_name, message="x", signature=old, algorithm="PS512")["valid"]
    assert app.fails("POST", "keys", name=f"{new_name}-2", type="P-256", algorithm="RS256") == unfit
    assert app.fails("POST", "keys", name=f"{new_name}-2", type="AES-256", algorithm="RS256") == unfit
    assert app.fails("PATCH", f"keys/{new_name}", algorithm="ES256") == unfit
    assert app.call("PATCH", f"keys/{new_name}", algorithm=None)["algorithm"] is None


def exported(key: Any, **more: str) -> dict[str, Any]:
    """Return a private key as JWK, written by another library."""
    jwk: dict[str, Any] = jwcrypto_jwk.JWK.from_pyca(key).export(as_dict=True)
    return {**jwk, **more}


def test_a_kid_stays_an_alias(app: Caller, new_name: str) -> None:
    """The `kid` of an imported JWK names its version in JWKS and look-ups; no other key can use it."""
    key = ec.generate_private_key(ec.SECP256R1())
    kid = f"{new_name}/2024 é"
    made = app.post("keys/import", name=new_name, private_key=exported(key, kid=kid), published=True)
    assert (made["aliases"], made["versions"][0]["aliases"]) == ([kid], [kid])
    kids = [each["kid"] for each in app.get(f"keys/{new_name}/jwks")["keys"]]
    assert sorted(kids) == sorted([kid, made["versions"][0]["key_id"]])
    other = exported(ec.generate_private_key(ec.SECP256R1()), kid=kid)
    assert app.fails("POST", "keys/import", name=f"{new_name}-2", private_key=other) == (409, "kid-taken")
    assert app.fails("POST", "keys/import", version_of=new_name, private_key=other) == (409, "kid-taken")
    stolen = exported(ec.generate_private_key(ec.SECP256R1()), kid=made["versions"][0]["key_id"])
    assert app.fails("POST", "keys/import", name=f"{new_name}-2", private_key=stolen) == (409, "kid-taken")
    again = app.post("keys/import", name=f"{new_name}-3", private_key=exported(key, kid=kid), published=True)
    assert again["aliases"] == [kid]
    everywhere = [each["kid"] for each in app.get("jwks")["keys"]]
    assert len(everywhere) == len(set(everywhere))


def test_an_alias_decrypts(app: Caller, new_name: str) -> None:
    """A ciphertext that names an imported key by its old `kid` is decrypted without `key`."""
    kid = f"{new_name}-old"
    app.post("keys/import", name=new_name, private_key={"kty": "oct", "k": "A" * 43, "kid": kid})
    sealed = jwcrypto_sealed({"alg": "A256KW", "enc": "A128CBC-HS256", "kid": kid})
    assert app.post("decrypt", ciphertext=sealed)["plaintext"] == "hello"


def jwcrypto_sealed(header: dict[str, str]) -> str:
    """Return a JWE made by another library under a key of zeros."""
    from jwcrypto import jwe

    made = jwe.JWE(b"hello", json.dumps(header))
    made.allowed_algs = [header["alg"], header["enc"]]
    made.add_recipient(jwcrypto_jwk.JWK(kty="oct", k="A" * 43))
    text: str = made.serialize(compact=True)
    return text


def test_further_versions_are_imported(app: Caller, new_name: str) -> None:
    """`version_of` adds a version of the same type and makes it current; any other type is refused."""
    first, second = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    app.post("keys/import", name=new_name, private_key=exported(first))
    old = app.post("sign", key=new_name, message="x")["signature"]
    made = app.post("keys/import", version_of=new_name, private_key=exported(second))
    assert (made["current_version"], made["versions"][1]["key_id"]) == (2, formats.thumbprint(second.public_key()))
    assert app.post("verify", key=new_name, message="x", signature=old)["version"] == 1
    refused = (
        ({"private_key": exported(second)}, (409, "key-exists")),
        ({"private_key": exported(ec.generate_private_key(ec.SECP384R1()))}, (422, "unsupported-key")),
        (
            {"public_key": formats.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())},
            (422, "unsupported-key"),
        ),
        ({"private_key": exported(first) | {"use": "enc"}}, (422, "contradictory-key")),
        ({"private_key": exported(first), "published": True}, (400, "invalid-request")),
        ({"private_key": exported(first), "name": "other"}, (400, "invalid-request")),
    )
    for fields, expected in refused:
        assert app.fails("POST", "keys/import", version_of=new_name, **fields) == expected
    missing = app.fails("POST", "keys/import", version_of=f"{new_name}-x", private_key=exported(first))
    assert missing == (404, "unknown-key")
    assert app.fails("POST", "keys/import", private_key=exported(first)) == (400, "invalid-request")


def test_a_private_key_serves_one_purpose(app: Caller, new_name: str) -> None:
    """A private key is refused for a second purpose, also while a deleted key has it; a public key is not."""
    key = rsa.generate_private_key(65537, 2048)
    app.post("keys/import", name=new_name, private_key=exported(key), purpose="sign", deletable=True)
    other = {"name": f"{new_name}-2", "purpose": "encrypt"}
    assert app.fails("POST", "keys/import", private_key=exported(key), **other) == (409, "key-used-otherwise")
    app.call("DELETE", f"keys/{new_name}")
    assert app.fails("POST", "keys/import", private_key=exported(key), **other) == (409, "key-used-otherwise")
    app.post("keys/import", public_key=formats.to_jwk(key.public_key()), **other)


def test_a_version_is_published_before_it_signs(app: Caller, new_name: str) -> None:
    """`publish_only` shows a version in the key set; the next rotation makes it current."""
    app.post("keys", name=new_name, type="Ed25519", published=True)
    published = app.post(f"keys/{new_name}/rotate", publish_only=True)
    assert (published["current_version"], published["latest_version"]) == (1, 2)
    assert len(app.get(f"keys/{new_name}/jwks")["keys"]) == 2
    assert app.post("sign", key=new_name, message="x")["version"] == 1
    assert app.fails("POST", f"keys/{new_name}/rotate", publish_only=True) == (409, "version-pending")
    rotated = app.post(f"keys/{new_name}/rotate")
    assert (rotated["current_version"], rotated["latest_version"]) == (2, 2)


def test_the_key_set_of_one_key_is_public_if_it_is_published(app: Caller, new_name: str) -> None:
    """A published key's set needs no function key; unpublished and missing keys give the same 404."""
    app.post("keys", name=new_name, type="X25519", published=True)
    app.post("keys", name=f"{new_name}-2", type="X25519")
    anonymous = {"x-functions-key": ""}
    found = app.client.get(f"/api/keys/{new_name}/jwks", headers=anonymous)
    assert [(each["use"], each["alg"]) for each in found.json()["keys"]] == [("enc", "ECDH-ES+A256KW")]
    for name in (f"{new_name}-2", f"{new_name}-3"):
        response = app.client.get(f"/api/keys/{name}/jwks", headers=anonymous)
        assert (response.status_code, response.json()["code"]) == (404, "unknown-key")


def test_a_pss_salt_has_any_length_unless_it_is_strict(app: Caller) -> None:
    """`verify` accepts a salt of any length; `strict_salt` requires the digest's."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for length, strict in ((0, False), (20, False), (32, True), (222, False)):
        signature = key.sign(b"x", padding.PSS(padding.MGF1(hashes.SHA256()), length), hashes.SHA256())
        fields = {"public_key": pem, "message": "x", "signature": encode_base64(signature)}
        assert app.post("verify", **fields)["valid"]
        assert app.post("verify", strict_salt=True, **fields)["valid"] is strict
        batch = app.post("verify", strict_salt=True, batch=[fields, {**fields, "strict_salt": False}])["results"]
        assert [each["valid"] for each in batch] == [strict, True]


BAD_ITEMS: list[Any] = [
    5,
    None,
    [],
    "x",
    {},
    {"message": 5, "plaintext": 5, "ciphertext": 5, "signature": 5},
    {"reference": 5},
    {"key": "_log", "message": "x", "plaintext": "x"},
    {"ciphertext": encode_base64(b'{"alg":"dir","enc":"A256GCM","kid":"\\ud800"}') + "....", "signature": "\\ud800"},
    {"ciphertext": {"protected": "\x00"}, "signature": "a.b.c", "format": "jws"},
    {"key": "unknown", "ciphertext": "x", "signature": "x", "message": "x", "plaintext": "x"},
]


@pytest.mark.parametrize("path", ["sign", "verify", "encrypt", "decrypt", "rewrap", "generate-data-key"])
def test_one_bad_item_affects_only_itself(app: Caller, new_name: str, path: str) -> None:
    """Each invalid item of a batch gets a problem, and the valid ones get their results."""
    signing, encrypting = f"{new_name}-s", f"{new_name}-e"
    app.post("keys", name=signing, type="Ed25519")
    app.post("keys", name=encrypting, type="AES-256")
    good: dict[str, Any] = {
        "sign": {"key": signing, "message": "x"},
        "verify": {"key": signing, "message": "x", "signature": "A" * 86},
        "encrypt": {"key": encrypting, "plaintext": "x"},
        "generate-data-key": {"key": encrypting},
    }.get(path) or {"ciphertext": app.post("encrypt", key=encrypting, plaintext="x")["ciphertext"]}
    batch = [each for bad in BAD_ITEMS for each in (bad, {**good, "reference": "good"})]
    results = app.post(path, batch=batch)["results"]
    assert len(results) == len(batch)
    assert all("status" not in each and each["reference"] == "good" for each in results[1::2])
    allowed = (400, 403, 404, 422)
    assert all(each.get("status") in allowed or path in ("sign", "verify") for each in results[0:18:2])
    assert all(each.get("status", 400) < 500 for each in results)


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "sign", {"message": "x"}),
        ("POST", "verify", {"message": "x", "signature": "AA"}),
        ("POST", "encrypt", {"plaintext": "x"}),
        ("POST", "generate-data-key", {}),
        ("POST", "decrypt", {"ciphertext": "x"}),
        ("POST", "rewrap", {"ciphertext": "x"}),
        ("POST", "keys", {"type": "Ed25519"}),
        ("POST", "keys/import", {"private_key": {"kty": "oct", "k": "A" * 43}}),
        ("PATCH", "keys/_log", {}),
        ("DELETE", "keys/_log", {}),
        ("POST", "keys/_log/export", {"passphrase": "x"}),
        ("POST", "keys/_log/restore", {}),
    ],
)
def test_the_apps_own_keys_are_not_for_callers(app: Caller, method: str, path: str, fields: dict[str, Any]) -> None:
    """A name that begins with an underscore is 403, whether or not the key exists."""
    field = {} if "_log" in path else {"name" if path.startswith("keys") else "key": "_log"}
    assert app.fails(method, path, **field, **fields) == (403, "reserved-key")


def test_the_apps_own_keys_are_kept_apart(new_store: NewStore) -> None:
    """Listings, JWKS and look-ups by kid skip the app's own keys, and the log's key is never rotated."""
    keys = new_store()
    own = keys.get_or_create("_tokens", NewKey(type="P-256", purpose="sign", published=True))
    keys.create("a", ED25519)
    assert [each.name for each in keys.page("", "", 10)[0]] == ["a"]
    assert [each.name for each in keys.published()] == ["a"]
    assert list(keys.find(own.versions[1].document.key_id, monotonic())) == []
    assert keys.rotate("_tokens").metadata.latest_version == 2
    with pytest.raises(UnknownKey):
        keys.get("_master")


def damage(table: Any, name: str, row: str) -> None:
    """Change one byte of a row."""
    entity = table.get_entity(name, row)
    entity["document"] = entity["document"].replace("Z", "z", 1)
    table.update_entity(entity, mode="replace")


@pytest.mark.parametrize("row", ["ring", "v00000001"])
@pytest.mark.parametrize("deletable", [True, False])
def test_a_damaged_row_stops_only_its_key(new_store: NewStore, table: Any, row: str, deletable: bool) -> None:
    """Other keys are still listed, published and purged; health shows the damage; delete-key removes that key."""
    keys = new_store()
    keys.create("bad", NewKey(type="Ed25519", purpose="sign", deletable=deletable, published=True))
    keys.create("good", ED25519)
    damage(table, "bad", row)
    fresh = new_store()
    assert "good" in [each.name for each in fresh.page("", "", 10)[0]]
    assert [each.name for each in fresh.published()] == ["good"]
    assert fresh.purge(fresh.clock()) == 0
    with pytest.raises(DamagedKey):
        fresh.get("bad")
    for store in (fresh, new_store()):
        with pytest.raises(DamagedKey, match="bad"):
            store.probe_keys()
    if row == "ring" or deletable:
        fresh.delete("bad")
        fresh.probe_keys()
        with pytest.raises(UnknownKey):
            fresh.restore("bad")
        fresh.create("bad", ED25519)
    else:
        with pytest.raises(KeyNotDeletable):
            fresh.delete("bad")


def test_a_version_of_another_key_of_the_name_does_not_open(new_store: NewStore, table: Any) -> None:
    """A version row is bound to its key's id: an old row under a new key of the same name is damage."""
    keys = new_store()
    keys.create("k", ED25519)
    old = dict(table.get_entity("k", "v00000001"))
    keys.delete("k")
    for row in ("ring", "v00000001"):
        table.delete_entity("k", row)
    new_store().create("k", ED25519)
    table.upsert_entity(old)
    with pytest.raises(DamagedKey):
        new_store().get("k")


def test_an_old_state_of_a_key_is_noticed(new_store: NewStore, table: Any) -> None:
    """Old metadata, restored beside a newer version, are damage."""
    keys = new_store()
    keys.create("k", ED25519)
    old = dict(table.get_entity("k", "ring"))
    keys.rotate("k")
    table.upsert_entity(old)
    with pytest.raises(DamagedKey):
        new_store().get("k")


class Requests:
    """Counts the requests to storage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        send = Session.send

        def counted(*arguments: Any, **more: Any) -> Any:
            self.count += 1
            return send(*arguments, **more)

        monkeypatch.setattr(Session, "send", counted)


def unknown(number: int) -> dict[str, str]:
    """Return a ciphertext with an unknown kid."""
    header = encode_base64(b'{"alg":"A256KW","enc":"A256GCM","kid":"nobody-%d"}' % number)
    return {"ciphertext": f"{header}.AA.AA.AA.AA"}


def test_unknown_kids_cost_three_requests(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of a thousand unknown kids causes three look-ups; the remaining items get a hint to send `key`."""
    keys = new_store()
    keys.create("k", AES)
    requests = Requests(monkeypatch)
    response: Any = ciphertexts.decrypt(
        keys, ciphertexts.DecryptRequest(batch=[unknown(number) for number in range(1000)])
    )
    codes = [each["code"] for each in response.results]
    assert (codes[:3], set(codes[3:])) == (["not-decryptable"] * 3, {"too-costly"})
    assert requests.count <= 3


def test_a_key_under_many_names_costs_three_requests(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up by `kid` finds the name that may decrypt among a few names, and stops among many."""
    keys = new_store()
    material: Any = algorithms.generate("X25519")
    new = NewKey(type="X25519", purpose="encrypt", deletable=True)
    for number in range(4):
        keys.import_key(f"k{number}", new, material)
    kid = keys.get("k0").versions[1].document.key_id
    sealed: Any = ciphertexts.encrypt(keys, ciphertexts.EncryptRequest(key="k1", plaintext="x"))
    keys.change("k0", lambda metadata: changed(metadata, Changes(disable=[1]), keys.clock()))
    other = new_store()
    opened: Any = ciphertexts.decrypt(other, ciphertexts.DecryptRequest(ciphertext=sealed.ciphertext))
    assert (opened.key, opened.plaintext) == ("k1", "x")
    fresh = new_store()
    fresh.derive_key("x")
    requests = Requests(monkeypatch)
    with pytest.raises(TooCostly):
        list(fresh.find(kid, monotonic()))
    assert requests.count <= 3


def test_a_key_set_of_many_keys_costs_three_requests(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh instance reads all published keys together, also later ones."""
    keys = new_store()
    for number in range(20):
        keys.create(f"k{number:02}", ED25519 if number % 2 else AES)
    plain = NewKey(type="Ed25519", purpose="sign")
    keys.create("later", plain)
    keys.rotate("later")
    keys.change("later", lambda metadata: changed(metadata, Changes(published=True), keys.clock()))
    fresh = new_store()
    fresh.derive_key("x")
    requests = Requests(monkeypatch)
    found = fresh.published()
    assert requests.count <= 3
    assert len(key_set(found).keys) == 12
    requests.count = 0
    assert len(fresh.published()) == len(found)
    assert requests.count == 1


def with_many_versions(keys: KeyStore, name: str, new: NewKey, count: int) -> None:
    """Return a key with many versions."""
    keys.create(name, new)
    for _ in range(count - 1):
        keys.rotate(name)


def test_versions_in_vain_are_bounded(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ciphertexts without kid, and signatures without version, cost bounded time on a key with many versions."""
    monkeypatch.setattr("shared.signing.routes.fields.EFFORT_SECONDS", 0.002)
    keys = new_store()
    with_many_versions(keys, "e", AES, 12)
    with_many_versions(keys, "s", ED25519, 12)
    header = encode_base64(b'{"alg":"A256KW","enc":"A256GCM"}')
    without_kid = {"ciphertext": f"{header}.{'A' * 54}.{'A' * 16}.AA.{'A' * 22}"}
    opened: Any = ciphertexts.decrypt(keys, ciphertexts.DecryptRequest(key="e", batch=[without_kid] * 50))
    verified: Any = signatures.verify(
        keys, signatures.VerifyRequest(key="s", batch=[{"message": "x", "signature": "A" * 86}] * 50)
    )
    assert opened.results[-1]["code"] == verified.results[-1]["code"] == "too-costly"


def test_racing_administrators_do_not_undo_each_other(app: Caller, new_name: str) -> None:
    """Two callers that disable different versions at the same time both succeed."""
    app.post("keys", name=new_name, type="Ed25519")
    for _ in range(3):
        app.post(f"keys/{new_name}/rotate")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: app.call("PATCH", f"keys/{new_name}", disable=[number]), (1, 2, 3)))
    assert [each["state"] for each in app.get(f"keys/{new_name}")["versions"]] == ["disabled"] * 3 + ["enabled"]


def test_an_rsa_key_has_the_usual_exponent(app: Caller, new_name: str) -> None:
    """Generated RSA keys have the exponent 65537."""
    jwk = app.post("keys", name=new_name, type="RSA-2048")["versions"][0]["public_key_jwk"]
    assert base64.urlsafe_b64decode(jwk["e"]) == b"\x01\x00\x01"


def test_hints_fit_their_context(app: Caller) -> None:
    """A PEM with a blank in a JSON body gets no hint about URLs."""
    text = "-----BEGIN PUBLIC KEY-----\nAA A\n-----END PUBLIC KEY-----"
    fields = {"message": "x", "signature": "AA", "public_key": text}
    assert "%2B" not in app.send("POST", "verify", fields).text
    url = "/api/verify?message=x&signature=AA&public_key=-----BEGIN+PUBLIC+KEY-----%0AAA+A%0A-----END+PUBLIC+KEY-----"
    assert "%2B" in app.client.get(url).text
