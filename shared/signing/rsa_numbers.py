"""The numbers of RSA keys: their sizes and relations, judged before any library computes with them. Pure.

A sender chooses the numbers. A search for factors, or a primality test of a number of any size, would hold a core for
as long as the sender likes. Here each step is bounded by the sizes that are served.
"""

from functools import cache
from math import gcd, isqrt
from typing import NamedTuple

from shared.signing.errors import UnsupportedKey, WeakKey

SERVED_BITS = (2048, 3072, 4096)
MAX_PUBLIC_BITS = 16384
"""OpenSSL's own limit."""
_SMALL_PRIMES = tuple(n for n in range(3, 168) if all(n % d for d in range(2, isqrt(n) + 1)))


class RsaNumbers(NamedTuple):
    """The numbers of a private key (RFC 8017, section 3.2). Zero stands for a number that was not sent."""

    n: int
    e: int
    d: int
    p: int = 0
    q: int = 0
    dp: int = 0
    dq: int = 0
    qi: int = 0


def check_public(n: int, e: int) -> None:
    """Raise WeakKey for a public key that nobody should trust.

    FIPS 186-5, section 5.4 and appendix A.1.1: at least 2048 bits, and 2^16 < e < 2^256, odd. ROCA: CVE-2017-15361.
    """
    if not 2048 <= n.bit_length() <= MAX_PUBLIC_BITS:
        raise WeakKey(f"This RSA key has {n.bit_length()} bits. Use one with 2048 to {MAX_PUBLIC_BITS}.")
    if not (e % 2 and 1 << 16 < e < 1 << 256):
        raise WeakKey("The exponent of this RSA key is even, or not between 2^16 and 2^256. 65537 is usual.")
    if n % 2 == 0 or any(n % prime == 0 for prime in _SMALL_PRIMES):
        raise WeakKey("The modulus of this RSA key has a small factor. Create a new key.")
    if has_roca_fingerprint(n):
        raise WeakKey("This RSA key has the ROCA fingerprint (CVE-2017-15361): it can be factored. Create a new key.")


def has_roca_fingerprint(n: int) -> bool:
    """Whether `n` is, modulo each small prime, a power of 65537, as the moduli of affected Infineon chips are."""
    return all(n % prime in powers for prime, powers in _powers_of_65537().items())


@cache
def _powers_of_65537() -> dict[int, frozenset[int]]:
    return {prime: frozenset(pow(65537, at, prime) for at in range(prime)) for prime in _SMALL_PRIMES}


def check_private_size(n: int) -> None:
    """Raise WeakKey or UnsupportedKey if no private key of this size is served."""
    bits = n.bit_length()
    if bits < SERVED_BITS[0]:
        raise WeakKey(f"This RSA key has {bits} bits. Use one with 2048, 3072 or 4096.")
    if bits not in SERVED_BITS:
        raise UnsupportedKey(f"Private RSA keys have 2048, 3072 or at most 4096 bits here, and this one has {bits}.")


def completed(numbers: RsaNumbers) -> RsaNumbers:
    """All numbers of the key, checked against each other; missing ones are computed.

    Whether p and q are prime is not checked: the library does that when it loads the key. Raises WeakKey and
    UnsupportedKey.
    """
    n, e, d, p, q, dp, dq, qi = numbers
    check_private_size(n)
    check_public(n, e)
    half = n.bit_length() // 2
    # FIPS 186-5, appendix A.1.1: 2^(nlen/2) < d < LCM(p-1, q-1). RFC 8017 allows d up to n.
    if not (d % 2 and half < d.bit_length() and d < n):
        raise WeakKey("The private exponent of this RSA key is out of range.")
    if not p or not q:
        p, q = recover_primes(n, e, d)
        dp = dq = qi = 0
    if p.bit_length() != half or q.bit_length() != half or p * q != n:
        raise WeakKey("The primes of this RSA key do not multiply to its modulus, or are not half as long.")
    if abs(p - q).bit_length() <= half - 100:
        raise WeakKey("The primes of this RSA key are too close to each other: it can be factored.")
    if (e * d - 1) % (p - 1) or (e * d - 1) % (q - 1):
        raise WeakKey("The exponents of this RSA key do not belong to each other.")
    expected = (d % (p - 1), d % (q - 1), pow(q, -1, p) if gcd(p, q) == 1 else 0)
    if any(sent and sent != computed for sent, computed in zip((dp, dq, qi), expected, strict=True)) or not expected[2]:
        raise WeakKey("The CRT numbers of this RSA key do not belong to its primes.")
    return RsaNumbers(n, e, d, p, q, *expected)


def recover_primes(n: int, e: int, d: int) -> tuple[int, int]:
    """p and q of a key without them, the larger first. Raises WeakKey if n, e and d do not determine two primes.

    e·d - 1 = (k/g)·φ(n), and φ(n) is so close to n that k/g is a convergent of (e·d - 1)/n, as in Wiener's attack (IEEE
    Transactions on Information Theory 36, 1990). That takes some hundred divisions, where the usual search for a square
    root of 1 never ends for numbers that are not a key.
    """
    product = e * d - 1
    numerator, denominator = product, n
    k, previous_k, g, previous_g = 1, 0, 0, 1
    limit = 1 << 300  # Beyond e < 2^256, no fraction can be the one.
    while denominator:
        quotient, remainder = divmod(numerator, denominator)
        k, previous_k = quotient * k + previous_k, k
        g, previous_g = quotient * g + previous_g, g
        if k > limit or g > limit:
            break
        # A convergent below the fraction is too small; the one that is sought is above it, or equal after rounding.
        if k and product * g % k == 0:
            total = n + 1 - product * g // k  # p + q
            square = total * total - 4 * n
            if total > 0 and square >= 0 and isqrt(square) ** 2 == square:
                p, q = (total + isqrt(square)) // 2, (total - isqrt(square)) // 2
                if p * q == n and q > 1:
                    return p, q
        numerator, denominator = denominator, remainder
    raise WeakKey("The numbers n, e and d of this RSA key do not belong to each other.")
