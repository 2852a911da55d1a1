"""Signed URLs: their contents, and how a real service treats them."""

import base64
import datetime as dt
import ipaddress
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from scripts.azurite import PROGRAM
from shared.errors import StorageUnavailable
from shared.settings import StorageSettings
from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY, ReservedContainer, Storage
from shared.storage.blobs import Blobs, Grant
from tests.blobs.support import respond, server

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
GRANT = Grant("container", "a/b c.txt", "r", NOW + dt.timedelta(hours=1))


def url_of(**changes: object) -> str:
    """The URL of a grant with these changes, signed with the emulator's key; no server is needed."""
    blobs = Blobs(Storage(StorageSettings("UseDevelopmentStorage=true")))
    return blobs.signed_url(msgspec.structs.replace(GRANT, **changes), NOW)[0]


def test_a_signed_url_names_what_it_allows() -> None:
    """The query has the permissions, expiry, protocol and address, as documented, and not the key."""
    url = url_of(ip_range="192.0.2.1", content_disposition="inline")
    assert url.startswith(f"http://127.0.0.1:10000/{EMULATOR_ACCOUNT}/container/a/b%20c.txt?")
    query = parse_qs(urlsplit(url).query)
    assert {name: query[name] for name in ("sp", "se", "spr", "sr", "sip", "rscd")} == {
        "sp": ["r"],
        "se": ["2026-01-02T04:04:05Z"],
        "spr": ["https,http"],
        "sr": ["b"],
        "sip": ["192.0.2.1"],
        "rscd": ["inline"],
    }
    assert EMULATOR_KEY not in url


def test_a_version_and_a_snapshot_are_named() -> None:
    """The URL of a version or a snapshot has it in its query, and the signature covers it."""
    version, snapshot = "2026-01-01T00:00:00.0000000Z", "2026-01-01T00:00:01.0000000Z"
    assert parse_qs(urlsplit(url_of(version_id=version)).query)["versionid"] == [version]
    query = parse_qs(urlsplit(url_of(snapshot=snapshot)).query)
    assert query["snapshot"] == [snapshot]
    assert query["sr"] == ["bs"]


@pytest.mark.parametrize("container", ["app-package", "azure-webjobs-secrets", "$logs"])
def test_no_url_opens_a_reserved_container(container: str) -> None:
    """No caller gets a signed URL for a container of the host or the app."""
    with pytest.raises(ReservedContainer):
        url_of(container=container)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(lambda name: name not in (".", "..")))
def test_every_field_counts(name: str) -> None:
    """A signature is valid for only one blob, time, permission, address and protocol."""
    changes: list[dict[str, object]] = [
        {},
        {"container": "container2"},
        {"name": name + "x"},
        {"permissions": "c"},
        {"permissions": "cw"},
        {"expires": GRANT.expires + dt.timedelta(seconds=1)},
        {"ip_range": "127.0.0.1"},
        {"content_disposition": "inline"},
        {"snapshot": "2026-01-01T00:00:00.0000000Z"},
    ]
    urls = [url_of(**({"name": name} | each)) for each in changes]
    signatures = [parse_qs(urlsplit(url).query)["sig"][0] for url in urls]
    assert len(set(signatures)) == len(signatures)


class Identity:
    """Issues a token like Entra ID's for the app's identity; Azurite reads it and does not check the signature."""

    requests = 0

    def get_token(self, *_: str, **__: object) -> AccessToken:
        """A token for storage, valid for an hour."""
        self.requests += 1
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
    """Blob Storage used with an identity over HTTPS, as in Azure: an Azurite that accepts tokens."""
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
    patch = pytest.MonkeyPatch()
    patch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificate))
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"listens on (https://127\.0\.0\.1:\d+)\n", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        url = f"{found[1]}/{EMULATOR_ACCOUNT}"
        storage = Storage(StorageSettings(None, url, url))
        storage.__dict__["credential"] = Identity()
        yield storage
    finally:
        process.terminate()
        process.wait(20)
        patch.undo()


@pytest.fixture
def anyone(tmp_path: Path, secure_storage: Storage) -> Iterator[httpx.Client]:
    """A client without an identity."""
    with httpx.Client(verify=False, timeout=60, trust_env=False) as client:  # noqa: S501 - this test made the certificate.
        yield client


def test_urls_signed_by_an_identity_open_their_blob(secure_storage: Storage, anyone: httpx.Client) -> None:
    """With a delegation key, a URL to create stores a blob once, a URL to read fetches it, and neither does both."""
    blobs = Blobs(secure_storage)
    blobs.container("by-identity").create_container()
    now = dt.datetime.now(dt.UTC)
    name = "a b/ü + %.txt"

    def url(permissions: str) -> str:
        grant = Grant("by-identity", name, permissions, now + dt.timedelta(minutes=5))
        return blobs.signed_url(grant, now)[0]

    assert urlsplit(url("r")).scheme == "https"
    assert parse_qs(urlsplit(url("r")).query)["spr"] == ["https"]
    headers = {"x-ms-blob-type": "BlockBlob"}
    assert anyone.put(url("r"), content=b"x", headers=headers).status_code == 403
    assert anyone.put(url("c"), content=b"hello", headers=headers).status_code == 201
    assert anyone.put(url("c"), content=b"other", headers=headers).status_code == 403
    assert anyone.get(url("r")).content == b"hello"
    assert anyone.get(url("c")).status_code == 403
    client = blobs.blob("by-identity", name)
    assert blobs.read(lambda options: client.download_blob(**options).readall()) == b"hello"


def test_a_listing_is_authorised_by_the_identity(secure_storage: Storage) -> None:
    """The app's own request for a listing has the identity's token, and no signature."""
    blobs = Blobs(secure_storage)
    with blobs.listing_page("", {"comp": "list"}, dt.datetime.now(dt.UTC)) as pieces:
        assert b"<EnumerationResults" in b"".join(pieces)


def test_a_delegation_key_is_requested_seldom(secure_storage: Storage) -> None:
    """One key signs many URLs; a new one is requested if a URL would outlive it."""
    blobs = Blobs(secure_storage)
    now = dt.datetime.now(dt.UTC)

    def key_of(minutes: int, later: dt.timedelta = dt.timedelta()) -> tuple[str, dt.datetime]:
        grant = Grant("c", "n", "r", now + later + dt.timedelta(minutes=minutes))
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


@pytest.mark.parametrize("body", [b"", b"<a/>", b"<UserDelegationKey/>", b"<UserDelegationKey>"])
def test_nonsense_for_a_delegation_key_is_an_outage(body: bytes) -> None:
    """An invalid delegation key is StorageUnavailable, and creates no URL."""
    with server(respond(200, body)) as url:
        storage = Storage(StorageSettings(None, f"{url}/a", f"{url}/a"))
        storage.__dict__["blob_service"] = BlobServiceClient(
            f"{url}/a", credential=AzureNamedKeyCredential("a", "aGk=")
        )
        with pytest.raises(StorageUnavailable):
            Blobs(storage).signed_url(GRANT, NOW)
