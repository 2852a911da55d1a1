"""Accept-Encoding and If-None-Match (RFC 9110): which form of a document a caller takes, and whether it has it."""


def accepts(coding: str, header: str) -> bool:
    """Whether an Accept-Encoding (section 12.5.3) names `coding`, and at least as much as the plain form.

    `*` does not count: a caller that can decode `br` says so.
    """
    weights: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = [each.strip().lower() for each in part.split(";")]
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        weights[name] = weight
    return 0 < weights.get(coding, 0) <= 1 and weights[coding] >= weights.get("identity", 0)


def is_current(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match (section 13.1.2) names `etag`; the comparison is weak."""
    tags = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
