"""Private keys encrypted under a passphrase: the cost of decryption, decryption and encryption. No randomness here.

The sender of a key chooses the cost of its key derivation, so every parameter counts towards a bound, and the decrypted
bytes are judged before a library loads them. RFC 8018 (PBES2), RFC 7914 (scrypt), RFC 7292 appendix B (PKCS #12), and
OpenSSL's own PEM encryption.
"""

import hashlib
from typing import TYPE_CHECKING, Any

from shared.errors import invalid_field
from shared.signing import der
from shared.signing.errors import UnsupportedKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherAlgorithm

MAX_ITERATIONS = 1_000_000
"""Of PBKDF2 with SHA-256 and a key of one block: up to half a second of a core. OWASP recommends 600,000."""
MAX_PKCS12_ITERATIONS = 100_000
"""Each takes three hashes, in Python: a tenth of a second."""
MAX_SCRYPT_KIB = 128 * 1024
"""Memory times lanes; openssl uses 16 MiB."""
MAX_SALT_BYTES = 1024
EXPORT_ITERATIONS = 600_000
"""OWASP Password Storage Cheat Sheet: PBKDF2 with HMAC-SHA-256."""
SALT_BYTES = IV_BYTES = 16

_PBES2 = "1.2.840.113549.1.5.13"
_PBKDF2 = "1.2.840.113549.1.5.12"
_SCRYPT = "1.3.6.1.4.1.11591.4.11"
_PKCS12_3DES = "1.2.840.113549.1.12.1.3"
_HMAC_SHA256 = "1.2.840.113549.2.9"
_PRFS = {
    "1.2.840.113549.2.7": ("sha1", 1),
    "1.2.840.113549.2.8": ("sha224", 1),
    _HMAC_SHA256: ("sha256", 1),
    "1.2.840.113549.2.10": ("sha384", 2),
    "1.2.840.113549.2.11": ("sha512", 2),
}
"""Name, and the cost of one iteration relative to SHA-256, rounded up."""
_AES_256 = "2.16.840.1.101.3.4.1.42"
_CIPHERS = {
    "2.16.840.1.101.3.4.1.2": ("AES", 16),
    "2.16.840.1.101.3.4.1.22": ("AES", 24),
    _AES_256: ("AES", 32),
    "1.2.840.113549.3.7": ("3DES", 24),
}
"""In CBC mode: name, and bytes of the key."""
_PEM_CIPHERS = {
    "AES-128-CBC": ("AES", 16),
    "AES-192-CBC": ("AES", 24),
    "AES-256-CBC": ("AES", 32),
    "DES-EDE3-CBC": ("3DES", 24),
}
_ENCRYPT_AGAIN = "Encrypt it again with `openssl pkcs8 -topk8 -v2 aes256`."


class WrongPassphrase(Exception):
    """The passphrase does not decrypt the key, or the key is damaged."""


def is_encrypted(data: bytes) -> bool:
    """Whether `data` is an EncryptedPrivateKeyInfo (RFC 5958, section 3)."""
    try:
        algorithm, encrypted = der.sequence(data)
        return encrypted.tag == der.OCTET_STRING and bool(der.oid(der.elements(algorithm.content)[0]))
    except (ValueError, IndexError):
        return False


def decrypt(data: bytes, passphrase: str, field: str) -> bytes:
    """The PKCS#8 structure in an EncryptedPrivateKeyInfo.

    Raises InvalidRequest if it costs too much, UnsupportedKey for other ciphers, ValueError for other structures, and
    WrongPassphrase.
    """
    algorithm, encrypted = der.sequence(data)
    scheme, parameters = _algorithm(algorithm)
    ciphertext = der.expect(encrypted, der.OCTET_STRING)
    if scheme == _PKCS12_3DES:
        salt, iterations = der.elements(der.expect(parameters[0], der.SEQUENCE))
        _check_cost(field, der.integer(iterations), MAX_PKCS12_ITERATIONS, "iterations of PKCS #12")
        password = passphrase.encode("utf-16-be") + b"\0\0"
        key, iv = (
            _pkcs12(kind, password, _salt(salt, field), der.integer(iterations), size)
            for kind, size in ((1, 24), (2, 8))
        )
        return _decrypt_cbc("3DES", key, iv, ciphertext)
    if scheme != _PBES2:
        raise _not_accepted(scheme)
    derivation, cipher = der.elements(der.expect(parameters[0], der.SEQUENCE))
    cipher_oid, cipher_parameters = _algorithm(cipher)
    if cipher_oid not in _CIPHERS:
        raise _not_accepted(cipher_oid)
    name, key_bytes = _CIPHERS[cipher_oid]
    iv = der.expect(cipher_parameters[0], der.OCTET_STRING)
    return _decrypt_cbc(name, _derive(derivation, passphrase.encode(), key_bytes, field), iv, ciphertext)


def decrypt_pem(headers: str, ciphertext: bytes, passphrase: str) -> bytes:
    """The structure in a PEM with the header `DEK-Info`, as `openssl rsa -aes256` writes it (RFC 1423).

    Raises UnsupportedKey, WrongPassphrase, and ValueError for other headers.
    """
    lines = dict(line.partition(":")[::2] for line in headers.splitlines() if ":" in line)
    name, _, iv_hex = lines.get("DEK-Info", "").strip().partition(",")
    if name not in _PEM_CIPHERS:
        raise _not_accepted(name)
    iv = bytes.fromhex(iv_hex.strip())
    cipher, key_bytes = _PEM_CIPHERS[name]
    key = block = b""
    while len(key) < key_bytes:  # EVP_BytesToKey, with one iteration: it protects little, and costs nothing.
        block = hashlib.md5(block + passphrase.encode() + iv[:8], usedforsecurity=False).digest()
        key += block
    return _decrypt_cbc(cipher, key[:key_bytes], iv, ciphertext)


def encrypt(pkcs8: bytes, passphrase: str, salt: bytes, iv: bytes) -> bytes:
    """`pkcs8` as an EncryptedPrivateKeyInfo: PBES2 with PBKDF2 (HMAC-SHA-256) and AES-256-CBC.

    `salt` and `iv` are 16 random bytes each.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, EXPORT_ITERATIONS, 32)
    encryptor = Cipher(_algorithm_of("AES", key), modes.CBC(iv)).encryptor()
    pad = 16 - len(pkcs8) % 16
    ciphertext = encryptor.update(pkcs8 + bytes([pad]) * pad) + encryptor.finalize()
    prf = der.write(der.SEQUENCE, der.write_oid(_HMAC_SHA256), b"\x05\x00")
    derivation = der.write(der.SEQUENCE, der.write(der.OCTET_STRING, salt), der.write_integer(EXPORT_ITERATIONS), prf)
    parameters = der.write(
        der.SEQUENCE,
        der.write(der.SEQUENCE, der.write_oid(_PBKDF2), derivation),
        der.write(der.SEQUENCE, der.write_oid(_AES_256), der.write(der.OCTET_STRING, iv)),
    )
    scheme = der.write(der.SEQUENCE, der.write_oid(_PBES2), parameters)
    return der.write(der.SEQUENCE, scheme, der.write(der.OCTET_STRING, ciphertext))


def _algorithm(element: der.Element) -> tuple[str, list[der.Element]]:
    """Identifier and parameters of an AlgorithmIdentifier that has parameters."""
    identifier, *parameters = der.elements(der.expect(element, der.SEQUENCE))
    if len(parameters) != 1:
        raise ValueError("an algorithm without parameters")
    return der.oid(identifier), parameters


def _derive(derivation: der.Element, passphrase: bytes, key_bytes: int, field: str) -> bytes:
    identifier, parameters = _algorithm(derivation)
    salt, *numbers = der.elements(der.expect(parameters[0], der.SEQUENCE))
    if identifier == _SCRYPT:
        n, r, p, *key_length = map(der.integer, numbers)
        _check_length(key_length, key_bytes)
        _check_cost(field, n * r * p // 8, MAX_SCRYPT_KIB, "KiB of scrypt (128 · N · r · p)")
        return hashlib.scrypt(
            passphrase, salt=_salt(salt, field), n=n, r=r, p=p, dklen=key_bytes, maxmem=2 * MAX_SCRYPT_KIB * 1024
        )
    if identifier != _PBKDF2:
        raise _not_accepted(identifier)
    iterations, *rest = numbers
    _check_length([der.integer(each) for each in rest if each.tag == der.INTEGER], key_bytes)
    prf = "1.2.840.113549.2.7"  # RFC 8018, appendix A.2: the default is HMAC-SHA-1.
    for each in rest:
        if each.tag == der.SEQUENCE:
            prf = der.oid(der.elements(each.content)[0])
    if prf not in _PRFS:
        raise _not_accepted(prf)
    name, weight = _PRFS[prf]
    blocks = -(-key_bytes // hashlib.new(name).digest_size)
    # SHA-1 takes less time for two blocks than SHA-256 for one and a half, so that its usual keys pass.
    cost = der.integer(iterations) * weight * (blocks if name != "sha1" else 1)
    _check_cost(field, cost, MAX_ITERATIONS, "iterations of PBKDF2")
    return hashlib.pbkdf2_hmac(name, passphrase, _salt(salt, field), der.integer(iterations), key_bytes)


def _salt(element: der.Element, field: str) -> bytes:
    salt = der.expect(element, der.OCTET_STRING)
    _check_cost(field, len(salt), MAX_SALT_BYTES, "bytes of salt")
    return salt


def _check_length(sent: list[int], key_bytes: int) -> None:
    if sent not in ([], [key_bytes]):
        raise ValueError("a key length that is not the cipher's")


def _check_cost(field: str, cost: int, most: int, unit: str) -> None:
    if cost > most:
        shown = str(cost) if cost < 10**12 else "far more"
        raise invalid_field(field, f"Decrypting the key takes {shown} {unit}; the limit is {most}. {_ENCRYPT_AGAIN}")


def _not_accepted(name: str) -> UnsupportedKey:
    return UnsupportedKey(
        f"The key is encrypted with an algorithm that is not accepted ({name[:40]!a}). {_ENCRYPT_AGAIN}"
    )


def _pkcs12(kind: int, password: bytes, salt: bytes, iterations: int, size: int) -> bytes:
    """RFC 7292, appendix B.2, with SHA-1, for a result of at most two digests."""

    def filled(text: bytes) -> bytes:
        length = 64 * (-(-len(text) // 64))
        return (text * (length // len(text) + 1))[:length] if text else b""

    material = filled(salt) + filled(password)
    result = b""
    while len(result) < size:
        digest = hashlib.sha1(bytes([kind]) * 64 + material, usedforsecurity=False).digest()
        for _ in range(iterations - 1):
            digest = hashlib.sha1(digest, usedforsecurity=False).digest()
        result += digest
        addend = int.from_bytes((digest * 4)[:64]) + 1
        material = b"".join(
            ((int.from_bytes(material[at : at + 64]) + addend) % (1 << 512)).to_bytes(64)
            for at in range(0, len(material), 64)
        )
    return result[:size]


def _decrypt_cbc(name: str, key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    block = 8 if name == "3DES" else 16
    if len(iv) != block or not ciphertext or len(ciphertext) % block:
        raise WrongPassphrase
    decryptor = Cipher(_algorithm_of(name, key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    pad = padded[-1]
    if not 1 <= pad <= block or padded[-pad:] != bytes([pad]) * pad:
        raise WrongPassphrase
    return padded[:-pad]


def _algorithm_of(name: str, key: bytes) -> "CipherAlgorithm":
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers.algorithms import AES

    maker: Any = AES if name == "AES" else TripleDES
    algorithm: CipherAlgorithm = maker(key)
    return algorithm
