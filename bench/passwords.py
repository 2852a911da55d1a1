"""Passwords: time and memory of a hash beside argon2-cffi, and whether timing reveals which names exist."""

import math
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path
from threading import Thread
from time import perf_counter, process_time

from argon2 import PasswordHasher

from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from shared.passwords.accounts import Accounts, new_accounts
from shared.passwords.admission import HashingThreads
from shared.passwords.argon2 import Parameters
from shared.passwords.costs import LIMITS, MAX_CRYPT_BYTES, PROFILES
from shared.passwords.hashing import encode_hash, hash_password, memory_of, parse_hash, verify
from shared.passwords.settings import PasswordSettings
from shared.passwords.store.attempts import AttemptStore
from shared.settings import StorageSettings
from shared.signing.encryption import NamedKeys
from shared.signing.master import master_key
from shared.signing.store import KeyStore
from shared.storage import Storage
from shared.storage.records import Records
from shared.web import encode_base64

PASSWORD = "correct horse battery staple"
OWASP = PROFILES["owasp"]
LIMIT_MIB = 128
NAMES = 200

MEMORY = """
import re, threading
from pathlib import Path
from shared.passwords.admission import HashingThreads
from shared.passwords.costs import PROFILES
from shared.passwords.hashing import hash_password

def memory(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

threads = HashingThreads({limit}, wait_seconds=600)
profiles = [PROFILES[name] for name in {profiles}]
small = profiles[0]._replace(memory_kib=64)
threads.run(64, lambda memory: hash_password(b"password", small, bytes(16), memory))
before = memory("VmRSS")

def call(number):
    for round in range(6):
        cost = profiles[(number + round) % len(profiles)]
        threads.run(cost.memory_kib, lambda memory: hash_password(b"password", cost, bytes(16), memory))

callers = [threading.Thread(target=call, args=(number,)) for number in range(64)]
for each in callers: each.start()
for each in callers: each.join()
print((memory("VmHWM") - before) / 1024)
"""


def run() -> Iterator[Figure]:
    """Milliseconds, and MiB."""
    with tempfile.TemporaryDirectory() as folder:
        azurite = start_azurite(Path(folder, "azurite"), in_memory=True)
        try:
            storage = Storage(StorageSettings(azurite.connection_string))
            path = Path(folder, "master.key")
            path.write_text(encode_base64(os.urandom(32)))
            keys = KeyStore(storage, master_key(str(path)), 30)
            attempts = AttemptStore(storage, Records(lambda: keys.derive_key("users")))
            accounts = new_accounts(PasswordSettings(), storage, attempts, lambda: NamedKeys(keys), keys.derive_key)
            yield from _beside_argon2_cffi(accounts)
            yield from _two_threads()
            yield from _memory()
            yield from _who_is_a_user(accounts)
            yield from _limits()
        finally:
            azurite.stop()


def _beside_argon2_cffi(accounts: Accounts) -> Iterator[Figure]:
    baseline = PasswordHasher(OWASP.time_cost, OWASP.memory_kib, OWASP.parallelism)
    text = accounts.hasher.hash(PASSWORD, OWASP)
    for what, app_call, baseline_call in (
        ("hash", lambda: accounts.hasher.hash(PASSWORD, OWASP), lambda: baseline.hash(PASSWORD)),
        ("verify", lambda: accounts.hasher.verify_text(PASSWORD, text, OWASP), lambda: baseline.verify(text, PASSWORD)),
    ):
        app_value, argon = in_turns(app_call, baseline_call, rounds=30, calls=4)
        yield Figure(what, app_value * 1000, "argon2-cffi's PasswordHasher", argon * 1000, "ms", "at most 1.05")


def _two_threads() -> Iterator[Figure]:
    """Hashes per second of two callers, beside those of one, measured in turns."""
    hashing = HashingThreads(512)
    hash_one = partial(hashing.run, OWASP.memory_kib, lambda memory: hash_password(b"pw", OWASP, bytes(16), memory))

    def rate(callers: int) -> float:
        def call() -> None:
            for _ in range(20):
                hash_one()

        threads = [Thread(target=call) for _ in range(callers)]
        started = perf_counter()
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return callers * 20 / (perf_counter() - started)

    rates = [(rate(2), rate(1)) for _ in range(5)]
    two, one = (statistics.median(each) for each in zip(*rates, strict=True))
    cores = os.cpu_count()
    yield Figure(f"two callers at once ({cores} cores)", two, "one", one, "hashes/s", "at least 1.8")


def _memory() -> Iterator[Figure]:
    for profiles in (["owasp"], ["owasp", "owasp-46", "rfc9106-low"]):
        command = [sys.executable, "-c", MEMORY.format(limit=LIMIT_MIB, profiles=profiles)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        what = f"memory of 64 callers at once, {' and '.join(profiles)}"
        yield Figure(what, float(ran.stdout), "the limit", LIMIT_MIB, "MiB", "at most the limit and 10 MiB")


def _who_is_a_user(accounts: Accounts) -> Iterator[Figure]:
    """One wrong password for each of 200 users and 200 unknown names, in turns."""
    known = [f"user-{number}@example.org" for number in range(NAMES)]
    unknown = [f"none-{number}@example.org" for number in range(NAMES)]
    for name in known:
        accounts.create(name, PASSWORD, second_factor=False)
    for number in range(20):
        accounts.log_in(f"warm-{number}@example.org", "wrong")
    random.shuffle(known)

    def seconds(name: str) -> float:
        started = perf_counter()
        assert accounts.log_in(name, secrets.token_hex(8)).user is None
        return perf_counter() - started

    pairs = []
    for one, other in zip(known, unknown, strict=True):
        if random.random() < 0.5:
            pairs.append((seconds(one), seconds(other)))
        else:
            second = seconds(other)
            pairs.append((seconds(one), second))
    of_known, of_unknown = ([pair[index] for pair in pairs] for index in (0, 1))
    p = mann_whitney(of_known, of_unknown)
    yield Figure(
        f"wrong password of a user (Mann-Whitney p = {p:.3f}, aim: over 0.01)",
        statistics.median(of_known) * 1000,
        "of nobody",
        statistics.median(of_unknown) * 1000,
        "ms",
    )


def _limits() -> Iterator[Figure]:
    """CPU seconds of one hash at the limit of each algorithm: the most that a hostile hash may cost."""
    zeros = "A" * 43
    largest = 2 ** (LIMITS["scrypt"] // 1024).bit_length() * 512
    texts = {
        "argon2, 1 pass": encode_hash(Parameters(LIMITS["argon2"] // 2, 1, 1), bytes(16), bytes(32)),
        "argon2, 15 passes": encode_hash(Parameters(LIMITS["argon2"] // 16, 15, 1), bytes(16), bytes(32)),
        "bcrypt": f"$2b${LIMITS['bcrypt']}$" + "." * 53,
        "scrypt": f"$scrypt$ln={largest.bit_length() - 1},r=8,p=1$c2FsdA${zeros}",
        "scrypt, many lanes": f"$scrypt$ln=1,r=8,p={LIMITS['scrypt'] // 10}$c2FsdA${zeros}",
        "pbkdf2-sha1": f"$pbkdf2$i={LIMITS['pbkdf2-sha1']}$c2FsdA$" + "A" * 27,
        "pbkdf2-sha256": f"$pbkdf2-sha256$i={LIMITS['pbkdf2-sha256']}$c2FsdA${zeros}",
        "pbkdf2-sha512": f"$pbkdf2-sha512$i={LIMITS['pbkdf2-sha512']}$c2FsdA$" + "A" * 86,
        "sha256-crypt": f"$5$rounds={LIMITS['sha256-crypt']}$salt$" + "." * 43,
        "sha512-crypt": f"$6$rounds={LIMITS['sha512-crypt']}$salt$" + "." * 86,
        "phpass": f"$P${'./0123456789ABCDEFGHIJKLMN'[LIMITS['phpass']]}" + "." * 30,
    }
    for name, text in texts.items():
        stored = parse_hash(text)
        memory = mmap(-1, memory_of(stored) * 1024, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        started = process_time()
        assert not verify(stored, "x" * MAX_CRYPT_BYTES, OWASP, memory).valid
        yield Figure(f"a hash at the limit: {name}", process_time() - started, "a second", 1.0, "s", "at most 1")


def mann_whitney(ones: Sequence[float], others: Sequence[float]) -> float:
    """The two-sided p of the Mann-Whitney U test, by its normal approximation (no ties: these are clock readings)."""
    ranked = sorted([(value, True) for value in ones] + [(value, False) for value in others])
    rank_sum = sum(rank for rank, (_, is_one) in enumerate(ranked, 1) if is_one)
    n, m = len(ones), len(others)
    u = rank_sum - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))
