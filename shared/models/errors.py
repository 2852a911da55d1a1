"""The errors of models and predictions."""

from shared.errors import NotFound, Refused, StrongroomError, Unavailable


class UnknownModel(NotFound):
    """No saved model has this name, or the model has no such version."""

    code = "unknown-model"
    title = "The model does not exist"


class UnknownPath(NotFound):
    """A path below `v2/` that the app does not serve."""

    code = "unknown-path"
    title = "The app does not serve this path of the protocol"


class UnsupportedModel(Refused):
    """The file is not an ONNX model, or the app does not run it; `detail` says what to change."""

    code = "unsupported-model"
    title = "The app does not run this model"


class ModelNotTrusted(Refused):
    """The record's signature, the key's state or the file's hash is wrong."""

    code = "model-not-trusted"
    title = "The saved model is not trusted"


class ModelTimeout(Refused):
    """The model did not respond before the deadline, and its process was ended."""

    code = "model-timeout"
    title = "The model takes too long"


class OutputTooLarge(Refused):
    """The outputs of a call have more bytes than a response may have."""

    code = "output-too-large"
    title = "The outputs are too large"


class EndpointFailed(StrongroomError):
    """A managed endpoint reports an error of its model."""

    status = 424
    code = "model-error"
    title = "The endpoint's model reports an error"


class EndpointUnavailable(Unavailable):
    """A managed endpoint cannot be reached, or reports a fault of its own."""

    code = "endpoint-unavailable"
    title = "The endpoint is unavailable"
    advice = "Nothing was changed. Try again after the seconds in Retry-After, and check the endpoint's deployment."


class EndpointForbidden(Unavailable):
    """A managed endpoint refuses the app's token or key."""

    code = "endpoint-forbidden"
    title = "The endpoint refuses this app"
    advice = (
        "Give the app's identity the role AzureML Data Scientist on the endpoint, or save the model again with a "
        "current key of it."
    )


class EndpointTimeout(StrongroomError):
    """A managed endpoint did not respond in time. It may have run the model."""

    status = 504
    code = "endpoint-timeout"
    title = "The endpoint did not respond in time"
    advice = "The endpoint may have run the model. Send a larger timeout_ms, or fewer rows."


class BatchTooLarge(Refused):
    """One blob takes longer than one call may."""

    code = "batch-too-large"
    title = "A blob is too large for one call"


class BadRow(Refused):
    """A row of a data file does not fit the model."""

    code = "bad-row"
    title = "A row does not fit the model"
