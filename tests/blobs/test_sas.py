"""Signed URLs: what they hold, and what a real service makes of them."""

import base64
import datetime as dt
import hmac
import ipaddress
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from azure.core.credentials import AccessToken
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from scripts.azurite import PROGRAM
from shared.blobs.sas import DelegationKey, Grant, sign
from shared.blobs.store.blobs import ANY, BlobStore, Condition
from shared.errors import StorageUnavailable
from shared.settings import StorageSettings
from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY, Storage
from tests.blobs.support import account_at, respond, server

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
GRANT = Grant("container", "a/b c.txt", "read", NOW + dt.timedelta(hours=1), True)
DELEGATION = DelegationKey(
    "oid", "tid", "2026-01-02T00:00:00Z", "2026-01-08T00:00:00Z", "b", "2023-11-03", EMULATOR_KEY
)


def test_a_signature_by_the_account_key_is_as_documented() -> None:
    """The query holds each field of the documentation, and the signature is over them in its order."""
    text = "r\n\n2026-01-02T04:04:05Z\n/blob/account/container/a/b c.txt\n\n\nhttps\n2022-11-02\nb\n\n\n\n\n\n\n"
    assert parse_qs(sign(GRANT, "account", "a2V5")) == {
        "sp": ["r"],
        "se": ["2026-01-02T04:04:05Z"],
        "spr": ["https"],
        "sv": ["2022-11-02"],
        "sr": ["b"],
        "sig": [base64.b64encode(hmac.digest(b"key", text.encode(), "sha256")).decode()],
    }


def test_a_signature_by_a_delegation_key_names_it() -> None:
    """A delegated signature tells the key that it was made by, all but its value."""
    told = parse_qs(sign(GRANT, "account", DELEGATION))
    assert {name: told[name] for name in ("skoid", "sktid", "skt", "ske", "sks", "skv")} == {
        "skoid": ["oid"],
        "sktid": ["tid"],
        "skt": ["2026-01-02T00:00:00Z"],
        "ske": ["2026-01-08T00:00:00Z"],
        "sks": ["b"],
        "skv": ["2023-11-03"],
    }
    assert EMULATOR_KEY not in json.dumps(told)
    assert EMULATOR_KEY not in repr(DELEGATION)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), st.sampled_from([EMULATOR_KEY, DELEGATION]))
def test_every_field_counts(name: str, key: str | DelegationKey) -> None:
    """A signature for one blob, time, right, address or protocol is no other's."""
    others = [
        Grant("container", name, "read", GRANT.expires, True),
        Grant("container2", name, "read", GRANT.expires, True),
        Grant("container", name + "x", "read", GRANT.expires, True),
        Grant("container", name, "write", GRANT.expires, True),
        Grant("container", name, "read", GRANT.expires + dt.timedelta(seconds=1), True),
        Grant("container", name, "read", GRANT.expires, False),
        Grant("container", name, "read", GRANT.expires, True, ip_range="127.0.0.1"),
        Grant("container", name, "read", GRANT.expires, True, content_disposition="inline"),
    ]
    signatures = [parse_qs(sign(each, EMULATOR_ACCOUNT, key))["sig"][0] for each in others]
    assert len(set(signatures)) == len(signatures)


class Identity:
    """Hands out a token such as Entra ID would give to the app's identity; Azurite reads it and checks no signature."""

    asked = 0

    def get_token(self, *_: str, **__: object) -> AccessToken:
        """A token for storage, good for an hour."""
        self.asked += 1
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 3600,
            "oid": "23657296-5cd5-45b0-a809-d972a7f4dfe1",
            "tid": "ab1f708d-50f6-404c-a006-d71b2ac7a606",
            "ver": "1.0",
        }
        parts = [{"alg": "HS256", "typ": "JWT"}, claims]
        text = ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts)
        return AccessToken(f"{text}.c2ln", now + 3600)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def secure_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Blob Storage reached by an identity over HTTPS, as in Azure: an Azurite that takes tokens."""
    folder = tmp_path_factory.mktemp("secure")
    certificate, key = make_certificate(folder)
    command = [
        "node",
        str(PROGRAM.with_name("blob") / "main.js"),
        "--inMemoryPersistence",
        "--disableTelemetry",
    ]
    command += ["--blobHost", "127.0.0.1", "--blobPort", "0", "--oauth", "basic"]
    command += ["--silent", "--skipApiVersionCheck", "--cert", str(certificate), "--key", str(key)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(certificate)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"listens on (https://127\.0\.0\.1:\d+)\n", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        url = f"{found[1]}/{EMULATOR_ACCOUNT}"
        storage = Storage(StorageSettings(None, url, url))
        storage.__dict__["_credential"] = Identity()
        yield storage
    finally:
        process.terminate()
        process.wait(20)
        if before is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = before


def test_urls_signed_by_an_identity_open_their_blob(secure_storage: Storage) -> None:
    """With a delegation key, a URL to write stores a blob, one to read fetches it, and neither can do both."""
    blobs = BlobStore(secure_storage)
    blobs.create_container("by-identity", {})
    now = dt.datetime.now(dt.UTC)
    name = "a b/ü + %.txt"

    def url(permissions: str) -> str:
        grant = Grant("by-identity", name, permissions, now + dt.timedelta(minutes=5), blobs.https_only)  # type: ignore[arg-type]
        return blobs.signed_url(grant, now)[0]

    assert urlsplit(url("read")).scheme == "https"
    assert parse_qs(urlsplit(url("read")).query)["spr"] == ["https"]
    with httpx.Client(trust_env=True) as client:
        headers = {"x-ms-blob-type": "BlockBlob"}
        assert client.put(url("read"), content=b"x", headers=headers).status_code == 403
        assert client.put(url("write"), content=b"hello", headers=headers).status_code == 201
        assert client.get(url("read")).content == b"hello"
        assert client.get(url("write")).status_code == 403
    assert blobs.read("by-identity", name, most=100).body == b"hello"


def test_a_delegation_key_is_asked_for_seldom(secure_storage: Storage) -> None:
    """Many URLs are signed by one key; it is asked for anew where a URL is to last longer than it does."""
    blobs = BlobStore(secure_storage)
    now = dt.datetime.now(dt.UTC)

    def key_of(minutes: int, later: dt.timedelta = dt.timedelta()) -> tuple[str, dt.datetime]:
        grant = Grant("c", "n", "read", now + later + dt.timedelta(minutes=minutes), True)
        url, ends = blobs.signed_url(grant, now + later)
        assert ends <= grant.expires
        return parse_qs(urlsplit(url).query)["ske"][0], ends

    week = 7 * 24 * 60
    first, _ = key_of(60)
    assert key_of(60, dt.timedelta(hours=1))[0] == first
    longest, ends = key_of(week)
    assert longest == first
    assert dt.timedelta(days=6, hours=23) < ends - now < dt.timedelta(days=7)
    again, ends = key_of(week, dt.timedelta(days=1))
    assert again > first
    assert ends - now > dt.timedelta(days=7, hours=23)


@pytest.mark.parametrize("body", [b"", b"<a/>", b"<!DOCTYPE x []><UserDelegationKey/>", b"<UserDelegationKey>"])
def test_nonsense_for_a_delegation_key_is_an_outage(body: bytes) -> None:
    """A delegation key that is none is StorageUnavailable, and no URL comes of it."""
    with server(respond(200, body)) as url:
        storage = Storage(StorageSettings(None, f"{url}/a", f"{url}/a"))
        storage.__dict__["_credential"] = Identity()
        with pytest.raises(StorageUnavailable):
            BlobStore(storage).signed_url(GRANT, NOW)


def test_what_was_lost_on_its_way_is_not_done_twice() -> None:
    """A write on a condition whose answer is lost is not sent again: it would be refused for what it did itself."""
    asked: list[bytes] = []

    def hang_up(connection: object, request: bytes) -> bool:
        asked.append(request.partition(b" ")[0])
        return False

    with server(hang_up) as url:
        blobs = BlobStore(Storage(StorageSettings(account_at(url))))
        with pytest.raises(StorageUnavailable):
            blobs.put("container", "n", b"x", Condition(if_none_match="*"), content_type="text/plain")
        with pytest.raises(StorageUnavailable):
            blobs.delete("container", "n", ANY, snapshots=False)
        assert asked == [b"PUT", b"DELETE"]
        with pytest.raises(StorageUnavailable):
            blobs.put("container", "n", b"x", ANY, content_type="text/plain")
        assert asked == [b"PUT", b"DELETE", b"PUT", b"PUT", b"PUT"]
