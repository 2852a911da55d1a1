"""The app checks the numbers of RSA keys before any library computes with them."""

from functools import cache
from math import lcm
from time import thread_time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.signing.errors import UnsupportedKey, WeakKey
from shared.signing.rsa_numbers import RsaNumbers, check_public, completed, has_roca_fingerprint, recover_primes


@cache
def numbers(bits: int = 2048) -> RsaNumbers:
    """Return the numbers of a good key."""
    found = rsa.generate_private_key(65537, bits).private_numbers()
    public = found.public_numbers
    return RsaNumbers(public.n, public.e, found.d, found.p, found.q, found.dmp1, found.dmq1, found.iqmp)


@pytest.mark.parametrize("bits", [2048, 3072])
@pytest.mark.parametrize("exponent", [65537, (1 << 255) + 95])
def test_the_primes_are_recovered(bits: int, exponent: int) -> None:
    """n, e and d alone give the primes, with d modulo phi or lambda, and for the largest exponents."""
    key = numbers(bits)
    phi, smallest = (key.p - 1) * (key.q - 1), lcm(key.p - 1, key.q - 1)
    for modulus in (phi, smallest):
        d = pow(exponent, -1, modulus)
        assert recover_primes(key.n, exponent, d) == (max(key.p, key.q), min(key.p, key.q))
    whole = completed(RsaNumbers(key.n, 65537, key.d))
    assert {whole.p, whole.q} == {key.p, key.q}
    assert whole.dp == key.d % (whole.p - 1)


def prime_modulus() -> int:
    """Return a prime of 2048 bits: RFC 3526, group 14."""
    return int(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B"
        "302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"
        "49286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D"
        "670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
        "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
        16,
    )


@pytest.mark.parametrize(
    "n",
    [prime_modulus(), numbers().p ** 2, (1 << 2048) - 1, (1 << 2047) + 1],
    ids=["a prime", "a square", "2^2048 - 1", "2^2047 + 1"],
)
def test_a_modulus_that_is_no_product_of_two_primes_is_refused_at_once(n: int) -> None:
    """A prime, a square or any other number is refused after a bounded number of divisions."""
    began = thread_time()
    for d in (3, 65537, n // 2 | 1, n - 2):
        with pytest.raises(WeakKey):
            recover_primes(n, 65537, d)
    assert thread_time() - began < 1  # It takes microseconds; a search for factors never ends.


GOOD = numbers()


@pytest.mark.parametrize(
    "change",
    [
        {"d": GOOD.d + 1},
        {"d": GOOD.d + 2},
        {"d": GOOD.d | 1 << 100_000},
        {"d": 65537},
        {"d": 0},
        {"p": GOOD.q},
        {"p": GOOD.p + 2},
        {"p": 1, "q": GOOD.n},
        {"p": GOOD.p << 24_576},
        {"dp": GOOD.dp + 2},
        {"dq": GOOD.dq + 2},
        {"qi": GOOD.qi + 1},
        {"e": 3},
        {"e": 65536},
        {"e": 1 << 300 | 1},
        {"n": GOOD.n + 2},
        {"n": 3 * 5 * ((1 << 2044) - 1)},
    ],
)
def test_numbers_that_do_not_belong_together_are_refused(change: dict[str, int]) -> None:
    """A number out of its range, or inconsistent with the others, makes the key invalid."""
    assert completed(GOOD) == GOOD
    with pytest.raises(WeakKey):
        completed(GOOD._replace(**change))


@pytest.mark.parametrize("bits", [2047, 2056, 4095, 4097, 8192])
def test_other_sizes_are_not_served(bits: int) -> None:
    """Private keys may have three sizes only."""
    with pytest.raises(WeakKey if bits < 2048 else UnsupportedKey):
        completed(GOOD._replace(n=1 << (bits - 1) | 1))


def test_close_primes_are_refused() -> None:
    """If primes share their upper half, anybody can factor the modulus (FIPS 186-5, appendix A.1.3)."""
    p = GOOD.p
    q = p + (1 << 400)
    with pytest.raises(WeakKey):
        completed(RsaNumbers(p * q, 65537, GOOD.d, p, q))


def test_the_roca_fingerprint_is_refused() -> None:
    """A modulus that is a power of 65537 modulo each small prime is refused (CVE-2017-15361); others are not."""
    primorial = 1
    for prime in (n for n in range(3, 168) if all(n % d for d in range(2, n))):
        primorial *= prime
    weak: Any = pow(65537, 12345, primorial) + primorial * (1 << (2047 - primorial.bit_length() + 1))
    weak += primorial * (weak % 2 == 0)
    assert weak.bit_length() >= 2048
    assert has_roca_fingerprint(weak)
    assert not has_roca_fingerprint(GOOD.n)
    with pytest.raises(WeakKey, match="ROCA"):
        check_public(weak, 65537)
