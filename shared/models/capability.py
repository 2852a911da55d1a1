"""Models, predictions and the content types of blobs: the routes, and how the app builds their stores and services."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shared.capability import Capability
from shared.models.settings import load_settings
from shared.once import Once
from shared.web import DELETE, FUNCTION, GET, POST, PUT, Cursors, Operation, Route

if TYPE_CHECKING:
    from shared.models.routes.batching import Parquet, Reader
    from shared.models.routes.predicting import Models as Predicting
    from shared.models.store.engine import Engine
    from shared.models.store.files import ModelFiles
    from shared.models.store.identifying import Identifier
    from shared.models.store.records import RecordStore, SigningKey
    from shared.sandbox.process import Sandbox
    from shared.storage import Storage


class Models(Capability, frozen=True, kw_only=True):
    """The parts of this capability that the app composes."""

    identifier: Callable[[], "Identifier"]
    """Determines the type of bytes."""


def build(
    environ: Mapping[str, str],
    storage: Callable[[], "Storage"],
    own_key: Callable[[], "SigningKey"],
    derive_key: Callable[[str], bytes],
    cursors: Cursors,
    sandbox: Callable[[], "Sandbox"],
    max_body_bytes: int,
    reader: Callable[[], "Reader"],
    parquet: "Parquet",
) -> Models:
    """Connects to nothing. Raises InvalidSetting.

    `own_key` signs the records; `derive_key` returns 32 bytes for a purpose; models run in `sandbox`; `reader` reads
    data files, and `parquet` makes them.
    """
    settings = load_settings(environ)

    @Once
    def records() -> "RecordStore":
        from shared.models.store.records import RecordStore

        return RecordStore(storage(), own_key, derive_key)

    @Once
    def files() -> "ModelFiles":
        from shared.models.store.files import ModelFiles

        return ModelFiles(storage(), lambda: records().hashes())

    @Once
    def engine() -> "Engine":
        from shared.models.store.engine import Engine

        return Engine(sandbox())

    @Once
    def identifier() -> "Identifier":
        from shared.models.store.identifying import Identifier

        return Identifier(storage(), engine)

    @Once
    def saving() -> Mapping[str, Operation]:
        from shared.models.routes.saving import operations

        return operations(records(), files(), engine, settings, cursors)

    @Once
    def models() -> "Predicting":
        from shared.models.routes.predicting import Models
        from shared.models.store.endpoints import Endpoints

        return Models(records(), files(), engine, Endpoints(lambda scope: storage().token(scope)), settings)

    @Once
    def predicting() -> Mapping[str, Operation]:
        from shared.models.routes.predicting import operations

        return operations(models())

    @Once
    def batching() -> Mapping[str, Operation]:
        from shared.models.routes.batching import operations
        from shared.models.store.outputs import Outputs

        return operations(models(), Outputs(storage()), reader, parquet, cursors)

    @Once
    def protocol() -> Mapping[str, Operation]:
        from shared.models.routes.protocol import operations

        return operations(models(), max_body_bytes)

    @Once
    def identifying() -> Mapping[str, Operation]:
        from shared.models.routes.identifying import operations

        return operations(identifier(), cursors)

    return Models(
        routes=(
            Route("save-model", "models/{name}", PUT, FUNCTION, saving),
            Route("list-models", "models", GET, FUNCTION, saving),
            Route("get-model", "models/{name}", GET, FUNCTION, saving),
            Route("delete-model", "models/{name}", DELETE, FUNCTION, saving),
            Route("predict", "predict", POST, FUNCTION, predicting),
            Route("predict-batch", "predict-batch", POST, FUNCTION, batching),
            Route("v2-metadata", "v2/{*path}", GET, FUNCTION, protocol),
            Route("v2-infer", "v2/models/{model}/{*rest}", POST, FUNCTION, protocol),
            Route("identify-blobs", "identify-blobs", POST, FUNCTION, identifying),
        ),
        expiring={"models": files},
        identifier=identifier,
    )
