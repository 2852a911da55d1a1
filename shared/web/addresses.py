"""The address of a caller behind proxies."""


def caller_address(forwarded_for: str, proxies: int) -> str | None:
    """The caller's address: the entry of X-Forwarded-For that the outermost of `proxies` trusted proxies added.

    None where no proxy is trusted, or the header is shorter than that. Azure adds a port to an address.
    """
    entries = [each.strip() for each in forwarded_for.split(",")]
    if proxies < 1 or len(entries) < proxies:
        return None
    entry = entries[-proxies]
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
