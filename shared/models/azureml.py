"""Managed online endpoints of Azure Machine Learning: the rules for their URLs, requests and responses. Pure."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from shared.errors import invalid_field


def check_url(url: str, hosts: Sequence[str]) -> None:
    """Raise InvalidRequest unless `url` is an https URL of one of `hosts`, and nothing else can be read into it."""
    problem = _problem(url, hosts)
    if problem:
        raise invalid_field("url", f"{problem} Send the scoring URI of a managed online endpoint.")


def _problem(url: str, hosts: Sequence[str]) -> str:
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' \\"<>^`{|}'):
        return "The `url` has characters that no URL has."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "The `url` is not a URL."
    if parts.scheme != "https" or not url.startswith("https://"):
        return "The `url` must begin with https://."
    if "@" in parts.netloc or port is not None or ":" in parts.netloc:
        return "The `url` must have no user and no port."
    if parts.fragment or "#" in url:
        return "The `url` must have no fragment."
    host = parts.netloc.lower()
    if not any(host.endswith(suffix) and host != suffix for suffix in hosts):
        return f"The host of the `url` must end with {' or '.join(hosts)}."
    labels = host.split(".")
    if not all(label and all(c.isalnum() or c == "-" for c in label) and label.strip("-") == label for label in labels):
        return "The host of the `url` is not a name."
    return ""
