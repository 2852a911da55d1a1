"""The settings of passwords and users."""

import re
from collections.abc import Mapping

import msgspec

from shared.errors import InvalidSetting
from shared.memory import instance_memory
from shared.settings import read_flag, read_list, read_number, read_text, shown

_PROFILE_MIB = {"owasp": 19, "owasp-46": 46, "rfc9106-low": 64, "rfc9106-high": 2048}
"""The memory that one hash of each profile takes."""


class PasswordSettings(msgspec.Struct, frozen=True):
    """Built by `load_settings`."""

    hash_memory_mib: int = 512
    """`STRONGROOM_HASH_MEMORY_MIB`: the memory in MiB that all password hashes at work may take together."""
    min_length: int = 15
    """`STRONGROOM_PASSWORD_MIN_LENGTH`: the minimum in code points if the password is the only factor."""
    min_length_with_second_factor: int = 8
    """`STRONGROOM_PASSWORD_MIN_LENGTH_SECOND_FACTOR`: the minimum in code points if there is a second factor."""
    service_names: tuple[str, ...] = ()
    """`STRONGROOM_SERVICE_NAMES`: words that no password may contain, separated by commas."""
    profile: str = "owasp"
    """`STRONGROOM_PASSWORD_PROFILE`: the cost of users' hashes."""
    pepper_key: str = ""
    """`STRONGROOM_PEPPER_KEY`: the name of the AES-256 key that encrypts users' hashes. Unset: plain hashes."""
    pepper_required: bool = False
    """`STRONGROOM_PEPPER_REQUIRED`: refuse a plain hash in any case, not only after `rewrap-passwords` found none."""
    spray_names: int = 100
    """`STRONGROOM_SPRAY_NAMES`: from so many names within an hour on, one wrong password has to wait. 0: off."""
    breached_passwords_url: str = ""
    """`STRONGROOM_BREACHED_PASSWORDS_URL`: a service with the range interface of Have I Been Pwned. Unset: off."""


def load_settings(environ: Mapping[str, str]) -> PasswordSettings:
    """Raises InvalidSetting, naming the variable."""
    hash_memory_mib = read_number(
        environ, "STRONGROOM_HASH_MEMORY_MIB", _default_hash_memory_mib(), _PROFILE_MIB["owasp"], 1024 * 1024
    )
    return PasswordSettings(
        hash_memory_mib=hash_memory_mib,
        min_length=read_number(environ, "STRONGROOM_PASSWORD_MIN_LENGTH", 15, 8, 128),
        min_length_with_second_factor=read_number(environ, "STRONGROOM_PASSWORD_MIN_LENGTH_SECOND_FACTOR", 8, 8, 128),
        service_names=read_list(environ, "STRONGROOM_SERVICE_NAMES"),
        profile=_profile(environ, hash_memory_mib),
        pepper_key=_pepper_key(environ),
        pepper_required=_pepper_required(environ),
        spray_names=read_number(environ, "STRONGROOM_SPRAY_NAMES", 100, 0, 500),
        breached_passwords_url=_breached_passwords_url(environ),
    )


def _pepper_key(environ: Mapping[str, str]) -> str:
    name = read_text(environ, "STRONGROOM_PEPPER_KEY")
    if name and not re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", name):
        raise InvalidSetting(f"STRONGROOM_PEPPER_KEY must be the name of a key, such as pepper, and is {shown(name)}.")
    return name


def _pepper_required(environ: Mapping[str, str]) -> bool:
    required = read_flag(environ, "STRONGROOM_PEPPER_REQUIRED")
    if required and not read_text(environ, "STRONGROOM_PEPPER_KEY"):
        raise InvalidSetting("STRONGROOM_PEPPER_REQUIRED is true, so STRONGROOM_PEPPER_KEY must name a key.")
    return required


def _breached_passwords_url(environ: Mapping[str, str]) -> str:
    url = read_text(environ, "STRONGROOM_BREACHED_PASSWORDS_URL")
    if url and not re.fullmatch(r"https://[^\s?#@]+|http://(localhost|127\.0\.0\.1)(:\d+)?(/[^\s?#]*)?", url):
        raise InvalidSetting(
            "STRONGROOM_BREACHED_PASSWORDS_URL must be a URL such as https://api.pwnedpasswords.com/range/; http:// "
            "only for localhost."
        )
    return url


def _default_hash_memory_mib() -> int:
    """512 MiB, or a quarter of the machine's memory if that is less; at least the memory of one hash."""
    quarter = instance_memory() // 4 // 1024**2
    return max(_PROFILE_MIB["owasp"], min(512, quarter))


def _profile(environ: Mapping[str, str], hash_memory_mib: int) -> str:
    profile = read_text(environ, "STRONGROOM_PASSWORD_PROFILE") or "owasp"
    needed_mib = _PROFILE_MIB.get(profile)
    if needed_mib is None:
        raise InvalidSetting(
            "STRONGROOM_PASSWORD_PROFILE must be owasp, owasp-46, rfc9106-low or rfc9106-high, and is "
            f"{shown(profile)}."
        )
    if needed_mib > hash_memory_mib:
        raise InvalidSetting(
            f"STRONGROOM_PASSWORD_PROFILE is {profile}, which takes {needed_mib} MiB; STRONGROOM_HASH_MEMORY_MIB is "
            f"{hash_memory_mib}."
        )
    return profile
