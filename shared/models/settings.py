"""The settings of models."""

import re
from collections.abc import Mapping

import msgspec

from shared.errors import InvalidSetting
from shared.settings import read_list, shown

AZUREML_HOSTS = (".inference.ml.azure.com",)
_HOST = re.compile(r"\.?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class ModelSettings(msgspec.Struct, frozen=True):
    """Built by `load_settings`."""

    azureml_hosts: tuple[str, ...] = AZUREML_HOSTS
    """`STRONGROOM_AZUREML_HOSTS`: suffixes of the hosts of managed endpoints, in addition to Azure's own."""


def load_settings(environ: Mapping[str, str]) -> ModelSettings:
    """Raises InvalidSetting, naming the variable."""
    name = "STRONGROOM_AZUREML_HOSTS"
    hosts = [each.lower() for each in read_list(environ, name)]
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise InvalidSetting(
                f"{name} must be suffixes of host names, separated by commas, such as .example.org, and has "
                f"{shown(host)}."
            )
    return ModelSettings(azureml_hosts=(*AZUREML_HOSTS, *(f".{host.lstrip('.')}" for host in hosts)))
