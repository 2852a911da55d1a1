"""The errors of models and predictions."""

from shared.errors import Conflict, NotFound, Refused, StrongroomError


class UnknownModel(NotFound):
    """No saved model has this name, or the model has no such version."""

    code = "unknown-model"
    title = "The model does not exist"


class UnsupportedModel(Refused):
    """The file is no ONNX model, or one that this app does not run; `detail` says what to change."""

    code = "unsupported-model"
    title = "The app does not run this model"


class ModelNotTrusted(Refused):
    """The signature, the key's state or the file's hash does not hold."""

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


class EndpointTimeout(StrongroomError):
    """A managed endpoint did not respond in time. It may have run the model."""

    status = 504
    code = "endpoint-timeout"
    title = "The endpoint did not respond in time"
    advice = "The endpoint may have run the model. Send a larger timeout_ms, or fewer rows."


class DataChanged(Conflict):
    """The files changed since the first call with this cursor."""

    code = "data-changed"
    title = "The files have changed"


class BatchTooLarge(Refused):
    """One blob takes longer than one call may."""

    code = "batch-too-large"
    title = "A blob is too large for one call"
