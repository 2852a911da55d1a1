"""Managed online endpoints of Azure Machine Learning: the rules for their URLs, requests and responses. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from shared.errors import invalid_field
from shared.models.predictions import Prediction


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


def request_body(
    rows: Sequence[Any] | None, inputs: Mapping[str, Any] | None, features: Sequence[str] | None
) -> dict[str, Any]:
    """The body of a scoring request. Raises InvalidRequest.

    Rows with names are in MLflow's form (`input_data` with columns, index and data), and rows without are in the plain
    form that Azure's scoring scripts read (`data`). `inputs` are the body itself, for any other script.

    https://learn.microsoft.com/azure/machine-learning/how-to-deploy-mlflow-models-online-endpoints
    """
    if rows is None:
        return dict(inputs or {})
    columns = list(features or [])
    if not columns and isinstance(rows[0], dict):
        columns = list(rows[0])
    data = []
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            if len(row) != len(columns) or not all(name in row for name in columns):
                raise invalid_field(
                    f"rows[{number}]",
                    f"Row {number} has other fields than {', '.join(columns[:20]) or 'the first row'}.",
                )
            data.append([row[name] for name in columns])
        elif not isinstance(row, list):
            raise invalid_field(f"rows[{number}]", f"Row {number} is neither an object nor an array.")
        elif columns and len(row) != len(columns):
            raise invalid_field(
                f"rows[{number}]", f"Row {number} has {len(row)} values, and there are {len(columns)} columns."
            )
        else:
            data.append(row)
    if not columns:
        return {"data": data}
    return {"input_data": {"columns": columns, "index": list(range(len(data))), "data": data}}


def predictions_in(body: Any, labels: Sequence[str], row_count: int | None) -> list[Prediction] | None:
    """A prediction for each row, from the body of a response; None where it is not a list with one item for each."""
    if isinstance(body, str):  # A script that returns json.dumps(…) sends a text.
        try:
            body = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return None
    if isinstance(body, dict) and len(body) == 1:
        (body,) = body.values()
    if not isinstance(body, list) or row_count is None or len(body) != row_count:
        return None
    return [_prediction(each, labels) for each in body]


def _prediction(value: Any, labels: Sequence[str]) -> Prediction:
    if isinstance(value, str):
        return Prediction(label=value, score=None, scores=None)
    if labels and type(value) is int and 0 <= value < len(labels):
        return Prediction(label=labels[value], score=None, scores=None)
    is_scores = isinstance(value, list) and all(type(each) in (int, float) for each in value)
    if labels and is_scores and len(value) == len(labels):
        best = max(range(len(value)), key=value.__getitem__)
        return Prediction(label=labels[best], score=value[best], scores=value)
    return Prediction(value=value)
