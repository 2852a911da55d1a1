"""The app's own signing keys, with several instances."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from shared.signing.own import SEARCH_SECONDS, OwnKey
from shared.signing.store import Key
from tests.signing.conftest import NewStore

THREADS, CALLS = 8, 4


def test_another_instance_knows_a_new_version_at_once(new_store: NewStore) -> None:
    """A version that one instance has just created is found by another, in whose memory it is not yet."""
    one, other = OwnKey(new_store(), "_tokens", "P-256"), OwnKey(new_store(), "_tokens", "P-256")
    for _ in range(3):
        key_id, sign = one.signer()
        assert other.public_key(key_id, monotonic()) is not None
        assert key_id in [each["kid"] for each in other.public_jwks()]
        assert len(sign(b"message")) == 64
        one._keys.rotate("_tokens")


@pytest.mark.parametrize("call", ["public_key", "public_jwks"])
def test_calls_without_a_credential_cause_few_reads(
    call: str, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many calls name unknown versions, or get the key set, two reads begin at most in SEARCH_SECONDS."""
    keys = new_store()
    own = OwnKey(keys, "_tokens", "P-256")
    own.signer()
    reads: list[float] = []
    read = keys.cache._read

    def counted(name: str, known: Key | None) -> Key:
        key = read(name, known)
        reads.append(key.read_at)
        return key

    monkeypatch.setattr(keys.cache, "_read", counted)

    def search(number: int) -> None:
        for position in range(CALLS):
            if call == "public_key":
                assert own.public_key(f"{number}-{position}", monotonic()) is None
            else:
                assert len(own.public_jwks()) == 1

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(search, range(THREADS)))
    assert 0 < len(reads) < THREADS * CALLS
    assert all(later - earlier >= SEARCH_SECONDS for earlier, later in zip(reads, reads[2:], strict=False))
