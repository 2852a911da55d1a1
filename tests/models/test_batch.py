"""`predict-batch`: one output for each input, written once, and continued by a cursor."""

import csv
import hashlib
import io
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from azure.storage.blob import ContainerClient

from scripts.azurite import Azurite
from shared.errors import invalid_field
from shared.models.batches import bad_row, header, is_output, lines
from tests.models import files
from tests.models.conftest import Save
from tests.models.test_routes import predict
from tests.support import app_environ, run_app

TARGET = {"container": "samples", "prefix": "out/"}
IRISES = {"container": "samples", "path": "models/irises.csv"}


def batch(client: httpx.Client, model: str, path: str, **fields: Any) -> httpx.Response:
    """A batch over a path in the samples."""
    source = {"container": "samples", "path": path}
    return client.post("/api/predict-batch", json={"model": model, "source": source, "target": TARGET, **fields})


def table(samples: ContainerClient, name: str) -> list[dict[str, str]]:
    """The rows of an output in CSV."""
    return list(csv.DictReader(io.StringIO(samples.download_blob(name).readall().decode())))


def test_an_output_has_the_inputs_columns_and_the_prediction(client: httpx.Client, samples: ContainerClient) -> None:
    """Columns that the model does not take stay, and each row has its label and score, as `predict` returns them."""
    response = batch(client, "iris", "models/irises.csv")
    assert response.status_code == 200, response.text
    (blob,) = response.json()["blobs"]
    assert (response.json()["row_count"], response.json()["cursor"]) == (10, None)
    assert blob["source"] == "models/irises.csv"
    assert blob["name"].startswith("out/models/irises.csv.iris-v")
    rows = table(samples, blob["name"])
    assert list(rows[0]) == [
        "flower",
        "sepal_length",
        "sepal_width",
        "petal_length",
        "petal_width",
        "prediction",
        "score",
    ]
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    values = [{name: float(row[name]) for name in names} for row in rows]
    alone = predict(client, "iris", rows=values).json()["predictions"]
    assert [row["prediction"] for row in rows] == [each["label"] for each in alone]
    assert [float(row["score"]) for row in rows] == [each["score"] for each in alone]
    assert [row["flower"] for row in rows] == ["1", "16", "31", "46", "61", "76", "91", "106", "121", "136"]


def test_a_repeated_call_does_nothing_twice(client: httpx.Client, samples: ContainerClient) -> None:
    """The same call returns the same, and the output stays as the first call wrote it."""
    first = batch(client, "iris", "models/irises.csv").json()
    before = samples.get_blob_client(first["blobs"][0]["name"]).get_blob_properties()
    assert batch(client, "iris", "models/irises.csv").json() == first
    after = samples.get_blob_client(first["blobs"][0]["name"]).get_blob_properties()
    assert (after.etag, after.metadata["sha256"]) == (before.etag, first["blobs"][0]["sha256"])


@pytest.mark.parametrize("kind", ["ndjson", "json", "parquet"])
def test_every_format_is_read(client: httpx.Client, samples: ContainerClient, kind: str) -> None:
    """NDJSON, JSON and Parquet give the predictions of CSV; a value of NULL stays one, and is NaN to the model."""
    names = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    values: list[list[Any]] = [
        [59, 2, 32.1, 101.5, 157, 93.2, 38.5, 4.5, 4.8, 87],
        [48, 1, None, 87.5, 183, 103.2, 70.5, 3.5, 3.9, 69],
    ]
    rows = [{"id": each, **dict(zip(names, line, strict=True))} for each, line in zip("ab", values, strict=True)]
    data = io.BytesIO()
    if kind == "parquet":
        pl.DataFrame(rows).write_parquet(data)
    elif kind == "ndjson":
        data.write("".join(json.dumps(each) + "\n" for each in rows).encode())
    else:
        data.write(json.dumps(rows).encode())
    samples.upload_blob(f"in/people.{kind}", data.getvalue(), overwrite=True)
    response = batch(client, "diabetes", f"in/people.{kind}", target=TARGET | {"format": "ndjson"})
    assert response.status_code == 200, response.text
    text = samples.download_blob(response.json()["blobs"][0]["name"]).readall().decode()
    found = [json.loads(line) for line in text.splitlines()]
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    assert (150 < found[0]["prediction"] < 250, found[1]["prediction"]) == (True, None)


@pytest.mark.parametrize("path", ["models/irises.csv", "empty/none.csv"])
def test_parquet_is_written(client: httpx.Client, samples: ContainerClient, path: str) -> None:
    """Parquet has the input's columns with their types, and the prediction; also for a file without rows."""
    samples.upload_blob("empty/none.csv", "sepal_length,sepal_width,petal_length,petal_width\n", overwrite=True)
    response = batch(client, "iris", path, target=TARGET | {"format": "parquet"})
    assert response.status_code == 200, response.text
    (blob,) = response.json()["blobs"]
    assert "sha256" in blob, blob
    data = samples.download_blob(blob["name"]).readall()
    assert hashlib.sha256(data).hexdigest() == blob["sha256"]
    found = pl.read_parquet(io.BytesIO(data))
    assert found.height == blob["row_count"]
    assert found.columns[-2:] == (["prediction", "score"] if found.height else ["petal_width", "prediction"])
    if found.height:
        rows = table(samples, batch(client, "iris", path).json()["blobs"][0]["name"])
        assert found["prediction"].to_list() == [row["prediction"] for row in rows]
        assert found["score"].to_list() == [float(row["score"]) for row in rows]
        assert found["flower"].to_list() == [int(row["flower"]) for row in rows]


def test_a_bad_row_stops_its_blob_and_is_named(client: httpx.Client, samples: ContainerClient) -> None:
    """The problem names row and column; the blob has no output, and the others have theirs."""
    good = "sepal_length,sepal_width,petal_length,petal_width\n" + "5.1,3.5,1.4,0.2\n" * 1500
    samples.upload_blob("bad/a.csv", good, overwrite=True)
    samples.upload_blob("bad/b.csv", good + "5.1,3.5,much,0.2\n", overwrite=True)
    samples.upload_blob("bad/c.csv", "sepal_length,sepal_width\n1,2\n", overwrite=True)
    response = batch(client, "iris", "bad/*.csv")
    assert response.status_code == 200, response.text
    first, second, third = response.json()["blobs"]
    assert (first["row_count"], response.json()["row_count"]) == (1500, 1500)
    assert (second["name"], second["status"], second["code"]) == ("bad/b.csv", 422, "bad-row")
    assert "Row 1501, column petal_length" in second["detail"]
    assert (third["name"], third["code"]) == ("bad/c.csv", "bad-row")
    assert "petal_length" in third["detail"]
    assert not list(samples.list_blob_names(name_starts_with="out/bad/b"))


def test_numbers_may_be_texts(client: httpx.Client, samples: ContainerClient) -> None:
    """A number that a file has as a text, or as a decimal, is a number to the model; another text is named."""
    lines = [
        dict.fromkeys(("sepal_length", "sepal_width", "petal_length", "petal_width"), each) for each in ("1", "-.5e1")
    ]
    samples.upload_blob("texts/a.ndjson", "".join(json.dumps(each) + "\n" for each in lines), overwrite=True)
    samples.upload_blob("texts/b.ndjson", json.dumps(lines[0]) + "\n" + json.dumps(lines[1] | {"sepal_width": ""}))
    mixed = [*({name: float(value) for name, value in each.items()} for each in lines), *lines]
    for name, last in (("c", "2"), ("d", "two"), ("e", True), ("f", [2])):
        rows = [*mixed, lines[0] | {"petal_width": last}]
        samples.upload_blob(f"mixed/{name}.ndjson", "\n".join(map(json.dumps, rows)), overwrite=True)
    first, *others = batch(client, "iris", "mixed/*.ndjson").json()["blobs"]
    assert first["row_count"] == 5
    assert [(each["code"], "Row 5, column petal_width" in each["detail"]) for each in others] == [("bad-row", True)] * 3
    good, bad = batch(client, "iris", "texts/*.ndjson").json()["blobs"]
    values = [{name: float(value) for name, value in line.items()} for line in lines]
    alone = predict(client, "iris", rows=values).json()["predictions"]
    assert [row["prediction"] for row in table(samples, good["name"])] == [each["label"] for each in alone]
    assert (bad["code"], "Row 2, column sepal_width" in bad["detail"]) == ("bad-row", True)


def test_a_model_of_a_fixed_number_of_rows(client: httpx.Client, samples: ContainerClient, save: Save) -> None:
    """A model that takes one row in one call predicts for all rows of a file."""
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    save("one-row", files.typed(files.FLOAT, [1, 4]), features=names)
    response = batch(client, "one-row", "models/irises.csv", target=TARGET | {"format": "ndjson"})
    assert response.json()["row_count"] == 10
    text = samples.download_blob(response.json()["blobs"][0]["name"]).readall().decode()
    for row in map(json.loads, text.splitlines()):
        assert row["prediction"] == pytest.approx([row[name] for name in names])


def test_one_process_is_enough(models_azurite: Azurite, tmp_path: Path) -> None:
    """On an instance that runs one process, the reader of the file and the model run one after the other."""
    environ = app_environ(tmp_path, models_azurite.connection_string) | {"STRONGROOM_SANDBOX_PROCESSES": "1"}
    with run_app(tmp_path, environ) as app, app.client() as client:
        for kind in ("csv", "parquet"):
            target = TARGET | {"prefix": "one-process/", "format": kind}
            response = batch(client, "iris", "models/irises.csv", target=target)
            assert (response.status_code, response.json()["row_count"]) == (200, 10), response.text


def test_a_cursor_continues_and_is_bound(client: httpx.Client, samples: ContainerClient, save: Save) -> None:
    """Where the time is over, the call returns a cursor for the next input; changed files or fields refuse it.

    A blob that no call can finish is 422 `batch-too-large`, when it is the first of a call.
    """
    save("slow", files.loop(late=True), features=["a", "b", "c", "d"])
    for number, rounds in enumerate((1, 1e15, 1)):
        samples.upload_blob(f"slow/{number}.csv", f"a,b,c,d\n{rounds},0,0,0\n", overwrite=True)
    done = batch(client, "slow", "slow/0.csv").json()["blobs"]
    first = batch(client, "slow", "slow/*.csv", timeout_ms=3000).json()
    assert first["blobs"] == done
    assert [each["source"] for each in first["blobs"]] == ["slow/0.csv"]
    cursor = first["cursor"]
    # The cursor goes on with its version, though there is a newer one.
    save("slow", files.loop(late=True), features=["a", "b", "c", "d"], description="A new version.")
    late = batch(client, "slow", "slow/*.csv", timeout_ms=2500, cursor=cursor)
    assert (late.status_code, late.json()["code"]) == (422, "batch-too-large")
    assert "slow/1.csv" in late.json()["detail"]
    assert batch(client, "slow", "slow/?.csv", cursor=cursor).status_code == 400
    assert batch(client, "iris", "slow/*.csv", cursor=cursor).status_code == 400
    samples.upload_blob("slow/1.csv", "a,b,c,d\n1,0,0,0\n", overwrite=True)
    changed = batch(client, "slow", "slow/*.csv", cursor=cursor)
    assert (changed.status_code, changed.json()["code"]) == (409, "data-changed")
    again = batch(client, "slow", "slow/*.csv", version=1).json()
    assert [each["source"] for each in again["blobs"]] == ["slow/0.csv", "slow/1.csv", "slow/2.csv"]
    assert again["blobs"][0] == first["blobs"][0]
    assert again["cursor"] is None


def test_calls_at_the_same_time_do_not_wait_for_each_other(client: httpx.Client, samples: ContainerClient) -> None:
    """Each call gets its processes, one after the other, or 429 with Retry-After; none hangs."""
    for number in range(4):
        text = "sepal_length,sepal_width,petal_length,petal_width\n" + f"5.1,3.5,1.4,0.{number}\n" * 3000
        samples.upload_blob(f"many/{number}.csv", text, overwrite=True)
    responses: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda each=number: responses.append(batch(client, "iris", f"many/{each}.csv")))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.status_code for each in responses} <= {200, 429}
    assert any(each.status_code == 200 for each in responses)
    assert all("retry-after" in each.headers for each in responses if each.status_code == 429)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"source": {"container": "samples", "path": "none/*.csv"}}, 404, "no-files"),
        ({"source": {"container": "samples", "path": "../x"}}, 400, "invalid-request"),
        ({"source": {"container": "strongroom-models", "path": "*"}}, 403, "reserved-container"),
        ({"target": {"container": "strongroom-models", "prefix": ""}}, 403, "reserved-container"),
        ({"target": {"container": "no-such-container", "prefix": ""}}, 404, "unknown-container"),
        ({"target": {"container": "samples", "format": "xml"}}, 400, "invalid-request"),
        ({"target": {"container": "samples", "prefixx": ""}}, 400, "invalid-request"),
        ({"model": "none"}, 404, "unknown-model"),
        ({"version": 99}, 404, "unknown-model"),
        ({"cursor": "x"}, 400, "invalid-request"),
        ({"timeout_ms": 300_000}, 400, "invalid-request"),
    ],
)
def test_a_wrong_request_is_refused(client: httpx.Client, change: dict[str, Any], status: int, code: str) -> None:
    """Each wrong field has its status and code."""
    fields = {"model": "iris", "source": IRISES, "target": TARGET} | change
    response = client.post("/api/predict-batch", json=fields)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


def test_a_file_without_rows(client: httpx.Client, samples: ContainerClient) -> None:
    """A file with a header alone has an output with a header alone."""
    samples.upload_blob("empty/a.csv", "sepal_length,sepal_width,petal_length,petal_width\n", overwrite=True)
    (blob,) = batch(client, "iris", "empty/a.csv").json()["blobs"]
    assert (blob["row_count"], table(samples, blob["name"])) == (0, [])


def test_outputs_are_not_inputs() -> None:
    """A blob of an earlier batch is recognised by its name."""
    assert is_output("out/a.csv.iris-v1-0123456789ab.csv", "out/")
    assert not is_output("out/a.csv", "out/")
    assert not is_output("in/a.csv.iris-v1-0123456789ab.csv", "out/")


def test_values_in_csv() -> None:
    """NULL is nothing, an empty text is quoted, and what would break a line is quoted, too."""
    row = [None, "", "a", 'b"c', "d,e", "f\ng", " h", True, 1, 1.5, float("nan"), b"\x00\xff", [1.0]]
    expected = b',"",a,"b""c","d,e","f\ng"," h",true,1,1.5,,AP8=,[1.0]\r\n'
    assert lines("csv", [], [row]) == expected
    assert header("ndjson", ["a"]) == b""


def test_the_row_of_an_error_counts_from_the_start_of_the_file() -> None:
    """Row numbers go on over the chunks of a file."""
    error = bad_row(invalid_field("rows[2][1]", "`rows[2][1]` is not a number: a text."), 1000, ["a", "b"])
    assert error.detail == "Row 1003, column b: is not a number: a text. Correct the file."
