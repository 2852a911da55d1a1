"""Passwords: time and memory of a hash beside argon2-cffi, and whether timing reveals which names exist."""

import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from time import perf_counter

from argon2 import PasswordHasher

from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from shared.passwords.accounts import Accounts
from shared.passwords.admission import HashingThreads
from shared.passwords.hashing import PROFILES, hash_password
from shared.passwords.pepper import Pepper
from shared.passwords.policy import Policy
from shared.passwords.store import UserStore
from shared.settings import StorageSettings
from shared.signing.encryption import NamedKeys
from shared.signing.master import master_key
from shared.signing.store import KeyStore
from shared.storage import Storage

PASSWORD = "correct horse battery staple"
OWASP = PROFILES["owasp"]
LIMIT_MIB = 128
NAMES = 200

MEMORY = """
import re, threading
from pathlib import Path
from shared.passwords.admission import HashingThreads
from shared.passwords.hashing import PROFILES, hash_password

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
            accounts = Accounts(
                UserStore(storage),
                HashingThreads(512),
                Pepper(NamedKeys(KeyStore(storage, master_key(""), 30)), ""),
                Policy(),
                OWASP,
            )
            yield from _beside_argon2_cffi(accounts)
            yield from _two_threads()
            yield from _memory()
            yield from _who_is_a_user(accounts)
        finally:
            azurite.stop()


def _beside_argon2_cffi(accounts: Accounts) -> Iterator[Figure]:
    baseline = PasswordHasher(OWASP.time_cost, OWASP.memory_kib, OWASP.parallelism)
    text = accounts.hash(PASSWORD, OWASP)
    for what, app_call, baseline_call in (
        ("hash", lambda: accounts.hash(PASSWORD, OWASP), lambda: baseline.hash(PASSWORD)),
        ("verify", lambda: accounts.verify_hash(PASSWORD, text, OWASP), lambda: baseline.verify(text, PASSWORD)),
    ):
        app_value, argon = in_turns(app_call, baseline_call, rounds=30, calls=4)
        yield Figure(what, app_value * 1000, "argon2-cffi's PasswordHasher", argon * 1000, "ms", "at most 1.05")


def _two_threads() -> Iterator[Figure]:
    """Hashes a second of two callers, beside those of one; each on its own in turns."""
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
    """One wrong password for each of 200 users and 200 names that nobody has, in turns."""
    known = [f"user-{number}@example.org" for number in range(NAMES)]
    unknown = [f"none-{number}@example.org" for number in range(NAMES)]
    for name in known:
        accounts.create(name, PASSWORD, None, second_factor=False)
    for number in range(20):
        accounts.log_in(f"warm-{number}@example.org", "wrong")
    random.shuffle(known)

    def seconds(name: str) -> float:
        started = perf_counter()
        assert not accounts.log_in(name, "wrong password").valid
        return perf_counter() - started

    pairs = []
    for one, other in zip(known, unknown, strict=True):
        if random.random() < 0.5:
            pairs.append((seconds(one), seconds(other)))
        else:
            second = seconds(other)
            pairs.append((seconds(one), second))
    of_known, of_unknown = ([pair[place] for pair in pairs] for place in (0, 1))
    p = mann_whitney(of_known, of_unknown)
    yield Figure(
        f"wrong password of a user (Mann-Whitney p = {p:.3f}, aim: over 0.01)",
        statistics.median(of_known) * 1000,
        "of nobody",
        statistics.median(of_unknown) * 1000,
        "ms",
    )


def mann_whitney(ones: Sequence[float], others: Sequence[float]) -> float:
    """The two-sided p of the Mann-Whitney U test, by its normal approximation (no ties: these are clock readings)."""
    ranked = sorted([(value, True) for value in ones] + [(value, False) for value in others])
    rank_sum = sum(rank for rank, (_, is_one) in enumerate(ranked, 1) if is_one)
    n, m = len(ones), len(others)
    u = rank_sum - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))
