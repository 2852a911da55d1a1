"""Models over HTTP: saved, listed, called and deleted."""

import base64
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import httpx
import jwt
import numpy as np
import pytest
from jwt.algorithms import OKPAlgorithm
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tests.models import files
from tests.models.conftest import Save
from tests.support import ROOT

IRIS: dict[str, Any] = {"model": "iris", "rows": [[5.1, 3.5, 1.4, 0.2]], "timeout_ms": 60_000}


def predict(client: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    """A prediction."""
    return client.post("/api/predict", json={"model": model, "timeout_ms": 60_000, **fields})


def test_the_sample_models_predict(client: httpx.Client) -> None:
    """An iris is classified with one call, by array and by feature; a regression returns a value."""
    by_array = client.post("/api/predict", json=IRIS).json()
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    by_name = predict(client, "iris", rows=[dict(zip(names, IRIS["rows"][0], strict=True))]).json()
    assert by_array == by_name
    (prediction,) = by_array["predictions"]
    assert prediction["label"] == "setosa"
    assert prediction["score"] == max(prediction["scores"]) > 0.9
    assert sum(prediction["scores"]) == pytest.approx(1)
    assert (by_array["model"], by_array["version"]) == ("iris", 1)
    assert by_array["outputs"]["label"] == [0]
    (value,) = predict(client, "diabetes", rows=[[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87]]).json()[
        "predictions"
    ]
    assert 150 < value["value"] < 250


@pytest.mark.parametrize("data", ["iris", "wine", "diabetes"])
def test_outputs_are_scikit_learns(client: httpx.Client, save: Save, data: str) -> None:
    """Every row of the data set gets the prediction that scikit-learn makes."""
    if data == "diabetes":
        rows, target = load_diabetes(return_X_y=True)
        trained = Ridge().fit(rows, target)
        made = to_onnx(trained, rows[:1].astype(np.float32))
    else:
        rows, target = (load_iris if data == "iris" else load_wine)(return_X_y=True)
        trained = RandomForestClassifier(20, random_state=1) if data == "wine" else LogisticRegression(max_iter=1000)
        trained = make_pipeline(StandardScaler(), trained).fit(rows, target)
        made = to_onnx(trained, rows[:1].astype(np.float32), options={"zipmap": False})
    rows = rows.astype(np.float32)
    assert save(f"sk-{data}", made.SerializeToString()).status_code == 201
    found = predict(client, f"sk-{data}", rows=rows.tolist()).json()["predictions"]
    if data == "diabetes":
        np.testing.assert_allclose([each["value"] for each in found], trained.predict(rows), rtol=1e-4)
    else:
        assert [each["label"] for each in found] == trained.predict(rows).tolist()
        np.testing.assert_allclose([each["scores"] for each in found], trained.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneVsRestClassifier(LogisticRegression(max_iter=1000)),
        lambda: StackingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier(random_state=1))], cv=2),
        lambda: VotingClassifier([("a", GaussianNB()), ("b", GaussianNB())], voting="soft", flatten_transform=False),
        lambda: GradientBoostingClassifier(n_estimators=5, random_state=1),
        lambda: KNeighborsClassifier(3),
        lambda: KMeans(3, n_init=1, random_state=1),
    ],
    ids=["one against the rest", "stacking", "voting", "boosting", "neighbours", "clusters"],
)
@pytest.mark.parametrize("labels", [None, ["a", "b", "c"]])
def test_label_and_score_belong_together(
    client: httpx.Client, save: Save, make: Callable[[], Any], labels: list[str] | None
) -> None:
    """Whatever classifiers a model consists of, and whatever its classes are, the score is that of the label."""
    rows, target = load_iris(return_X_y=True)
    rows, target = rows.astype(np.float32), target + 5
    trained = make().fit(rows, target)
    made = to_onnx(trained, rows[:1], options=None if isinstance(trained, KMeans) else {"zipmap": False})
    name = f"parts-{type(trained).__name__.lower()}"
    assert save(name, made.SerializeToString(), labels=labels).is_success
    expected = trained.predict(rows)
    scores = trained.transform(rows) if isinstance(trained, KMeans) else trained.predict_proba(rows)
    positions = expected if isinstance(trained, KMeans) else expected - 5
    found = predict(client, name, rows=rows.tolist()).json()["predictions"]
    names = expected.tolist() if labels is None else [labels[each] for each in positions]
    assert [each["label"] for each in found] == names
    np.testing.assert_allclose([each["score"] for each in found], scores[range(len(rows)), positions], atol=1e-3)


def test_what_does_not_convert() -> None:
    """docs/models.md names the errors of the pinned skl2onnx, and its version."""
    page = (ROOT / "docs" / "models.md").read_text()
    assert f"skl2onnx {version('skl2onnx')}, scikit-learn {version('scikit-learn')}" in page
    rows, target = load_iris(return_X_y=True)
    rows = rows.astype(np.float32)
    with pytest.raises(NotImplementedError) as voting:
        to_onnx(VotingClassifier([("a", GaussianNB())]).fit(rows, target), rows[:1])
    assert str(voting.value).partition(" You may")[0] in page
    for trained in (HistGradientBoostingClassifier(max_iter=2), HistGradientBoostingRegressor(max_iter=2)):
        with pytest.raises(ValueError, match="Unable to create node 'TreeEnsemble") as boosting:
            to_onnx(trained.fit(rows, target), rows[:1])
        assert str(boosting.value.__cause__) in page


def test_a_changed_model_is_the_next_version(client: httpx.Client, save: Save) -> None:
    """The same again is the old version with 200; every change is a version, and each stays callable."""
    first = save("versions", files.identity())
    assert (first.status_code, first.json()["version"], first.json()["versions"]) == (201, 1, [1])
    assert first.json()["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    again = save("versions", files.identity())
    assert (again.status_code, again.json()) == (200, first.json())
    named = save("versions", files.identity(), features=["a", "b", "c", "d"])
    assert (named.status_code, named.json()["version"], named.json()["versions"]) == (201, 2, [1, 2])
    assert named.json()["sha256"] == first.json()["sha256"]
    row = {"a": 1, "b": 2, "c": 3, "d": 4}
    assert predict(client, "versions", rows=[row]).json()["version"] == 2
    assert predict(client, "versions", version=1, rows=[row]).status_code == 400
    assert predict(client, "versions", version=1, rows=[[1, 2, 3, 4]]).json()["outputs"] == {"y": [[1, 2, 3, 4]]}
    assert predict(client, "versions", version=3, rows=[[1, 2, 3, 4]]).status_code == 404
    assert client.get("/api/models/versions?version=1").json()["signature"] == first.json()["signature"]

    assert client.delete("/api/models/versions?version=2").status_code == 204
    assert client.get("/api/models/versions").json()["version"] == 1
    assert save("versions", files.identity(), labels=None, description="x").json()["version"] == 3
    assert client.delete("/api/models/versions").status_code == 204
    assert client.delete("/api/models/versions").status_code == 404
    assert client.get("/api/models/versions").json()["code"] == "unknown-model"
    assert predict(client, "versions", rows=[[1, 2, 3, 4]]).status_code == 404


def test_models_are_listed_in_pages(client: httpx.Client, save: Save) -> None:
    """A listing has each model once, by name, in pages."""
    for number in range(3):
        save(f"page-{number}", files.identity())
    first = client.get("/api/models?prefix=page-&limit=2").json()
    second = client.get(f"/api/models?prefix=page-&limit=2&cursor={first['cursor']}").json()
    assert [each["name"] for each in first["models"] + second["models"]] == ["page-0", "page-1", "page-2"]
    assert second["cursor"] is None
    assert client.get(f"/api/models?prefix=other&cursor={first['cursor']}").status_code == 400


def test_the_signature_is_a_jws_that_others_verify(client: httpx.Client) -> None:
    """PyJWT verifies the signature with the published key; it covers what a caller relies on."""
    model = client.get("/api/models/iris").json()
    header = jwt.get_unverified_header(model["signature"])
    assert (header["typ"], header["alg"]) == ("strongroom-model", "EdDSA")
    keys = {each["kid"]: each for each in client.get("/api/keys/_models/jwks").json()["keys"]}
    key: Any = OKPAlgorithm.from_jwk(keys[header["kid"]])
    payload = jwt.decode(model["signature"], key, ["EdDSA"])
    for member in ("name", "version", "kind", "sha256", "inputs", "outputs", "labels", "features"):
        assert payload[member] == model[member]
    assert payload["time"] == model["created"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"container": "samples", "blob": "nothing.onnx"}, 404, "unknown-blob"),
        ({"container": "no-such-container", "blob": "x"}, 404, "unknown-container"),
        ({"container": "strongroom-models", "blob": "x"}, 403, "reserved-container"),
        ({"container": "azure-webjobs-secrets", "blob": "x"}, 403, "reserved-container"),
        ({"container": "samples", "blob": "welcome.txt"}, 422, "unsupported-model"),
        ({"container": "samples"}, 400, "invalid-request"),
        ({"container": "samples", "blob": "models/iris.onnx", "url": "https://x"}, 400, "invalid-request"),
        ({"container": "samples", "blob": "models/iris.onnx", "labels": ["a", "b"]}, 400, "invalid-request"),
        ({"container": "samples", "blob": "models/iris.onnx", "labels": ["a", "a", "b"]}, 400, "invalid-request"),
        ({"container": "samples", "blob": "models/iris.onnx", "features": ["a", "b"]}, 400, "invalid-request"),
        ({"container": "samples", "blob": "models/iris.onnx", "features": list("abca")}, 400, "invalid-request"),
        ({"kind": "azureml", "url": "https://evil.example/score"}, 400, "invalid-request"),
        ({"kind": "azureml"}, 400, "invalid-request"),
        ({"kind": "azureml", "url": "https://a.inference.ml.azure.com/", "blob": "x"}, 400, "invalid-request"),
        ({"kind": "pickle"}, 400, "invalid-request"),
    ],
)
def test_what_cannot_be_saved(client: httpx.Client, fields: dict[str, Any], status: int, code: str) -> None:
    """A wrong request is refused with its reason, and no model of the name exists then."""
    response = client.put("/api/models/refused", json=fields)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert client.get("/api/models/refused").status_code == 404


def test_no_function_reaches_the_kept_files(client: httpx.Client, samples: Any) -> None:
    """The container of the copies is reserved for the app."""
    assert client.get("/api/list-blobs?container=strongroom-models").status_code == 403
    containers = client.get("/api/list-blobs").json()["containers"]
    assert "strongroom-models" not in [each["name"] for each in containers]


def test_an_endpoint_is_saved_without_showing_its_key(client: httpx.Client) -> None:
    """The key of an endpoint is in no response; another key is another version, the same is not."""
    fields = {
        "kind": "azureml",
        "url": "https://a.inference.ml.azure.com/score",
        "deployment": "blue",
        "key": "hunter2",
    }
    first = client.put("/api/models/remote", json=fields)
    assert first.status_code == 201
    model = first.json()
    assert (model["inputs"], model["outputs"], model["sha256"], model["has_key"]) == (None, None, None, True)
    payload = json.loads(base64.urlsafe_b64decode(model["signature"].split(".")[1] + "=="))
    assert (payload["url"], payload["deployment"]) == (fields["url"], "blue")
    assert client.put("/api/models/remote", json=fields).status_code == 200
    assert client.put("/api/models/remote", json=fields | {"key": "other"}).json()["version"] == 2
    for response in (first, client.get("/api/models/remote"), client.get("/api/models")):
        assert "hunter2" not in response.text
        assert "hunter2" not in json.dumps(payload)
    infer = client.post("/api/v2/models/remote/infer", json={"inputs": []})
    assert (infer.status_code, infer.json()["code"]) == (422, "unsupported-model")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rows": [[1, 2, 3, 4]], "inputs": {"X": [[1, 2, 3, 4]]}},
        {"rows": []},
        {"rows": [[1, 2, 3]]},
        {"rows": [[1, 2, 3, "4"]]},
        {"rows": [[1, 2, 3, True]]},
        {"rows": [[1, 2, 3, 1e39]]},
        {"rows": [[1, 2, 3, 10**400]]},
        {"rows": [[1, 2, 3, [4]]]},
        {"rows": [[1, 2, 3, {}]]},
        {"rows": [[1, 2, 3, 4], [1, 2]]},
        {"rows": [{"sepal_length": 1}]},
        {"rows": [{}]},
        {"rows": ["text"]},
        {"rows": [[1, 2, 3, 4]] * 10_001},
        {"inputs": {}},
        {"inputs": {"X": [[1, 2, 3]]}},
        {"inputs": {"X": [[[1, 2, 3, 4]]]}},
        {"inputs": {"X": [[1, 2, 3, 4], [1]]}},
        {"inputs": {"X": []}},
        {"inputs": {"x": [[1, 2, 3, 4]]}},
        {"rows": [[1, 2, 3, 4]], "version": 0},
        {"rows": [[1, 2, 3, 4]], "timeout_ms": 1},
        {"rows": {"a": 1}},
    ],
)
def test_a_wrong_input_is_a_400_that_names_it(client: httpx.Client, fields: dict[str, Any]) -> None:
    """No wrong row, tensor or option reaches the model; the next call works."""
    response = client.post("/api/predict", json={"model": "iris", **fields})
    assert response.status_code == 400, response.text
    assert response.json()["errors"][0]["field"]
    assert client.post("/api/predict", json=IRIS).status_code == 200


def test_a_body_with_nan_is_not_json(client: httpx.Client) -> None:
    """NaN is not JSON (RFC 8259); null is the missing number, and comes back as null."""
    response = client.post(
        "/api/predict",
        content=b'{"model":"iris","rows":[[NaN,1,1,1]]}',
        headers={"content-type": "application/json"},
    )
    assert (response.status_code, response.json()["code"]) == (400, "invalid-json")
    found = predict(client, "diabetes", rows=[[None] * 10]).json()
    assert found["predictions"] == [{"value": None}]


def test_ten_thousand_rows_at_once(client: httpx.Client) -> None:
    """A call takes 10,000 rows."""
    response = predict(client, "iris", rows=[[5.1, 3.5, 1.4, 0.2]] * 10_000)
    assert response.status_code == 200
    assert len(response.json()["predictions"]) == 10_000


def test_texts_go_in_and_out(client: httpx.Client, save: Save) -> None:
    """A model of texts takes and returns them."""
    save("texts", files.texts())
    assert predict(client, "texts", rows=[["grün"], [""]]).json()["outputs"] == {"u": [["grün"], [""]]}
    assert predict(client, "texts", rows=[[1]]).status_code == 400


def test_a_model_with_several_inputs(client: httpx.Client, save: Save) -> None:
    """Rows by input name and tensors give the same outputs."""
    save("two", files.two_inputs())
    by_rows = predict(client, "two", rows=[{"a": 1, "b": [2, 3]}, [4, [5, 6]]]).json()["outputs"]
    by_tensors = predict(client, "two", inputs={"a": [[1], [4]], "b": [[2, 3], [5, 6]]}).json()["outputs"]
    assert by_rows == by_tensors == {"y": [[3, 4], [9, 10]]}
