"""The child's side of a model: loads one ONNX file with onnxruntime, and runs it.

Messages are MessagePack arrays: a method, the seconds that it may take and its arguments. Responses are the kind of an
error (empty without one), its text, and the outputs. `load` is followed by the file's bytes, in pieces.
"""

import os
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from shared.sandbox.child import Channel

ENTRY = "shared.models.child:serve"
PIECE_BYTES = 8 * 1024 * 1024
MAX_MESSAGE = 300
"""Characters of an engine's message."""

_TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "INT8": "i1",
    "UINT16": "<u2",
    "INT16": "<i2",
    "UINT32": "<u4",
    "INT32": "<i4",
    "UINT64": "<u8",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Types of numpy."""


class TooLarge(Exception):
    """The outputs have too many bytes."""


def serve(channel: "Channel") -> None:
    """Serve calls, one after the other, until the app disconnects."""
    import onnxruntime

    from shared.sandbox.child import confine, limit_cpu

    confine()
    onnxruntime.set_default_logger_severity(4)
    onnxruntime.disable_telemetry_events()
    run_options = onnxruntime.RunOptions()
    channel.on_interrupt(lambda: setattr(run_options, "terminate", True))
    session: Any = None
    while (message := channel.receive()) is not None:
        method, seconds, *arguments = msgspec.msgpack.decode(message)
        limit_cpu(seconds)
        run_options.terminate = False
        reply: tuple[str, str, list[Any]]
        try:
            if method == "load":
                session = None
                session = _load(channel, *arguments)
                reply = "", "", []
            else:
                reply = "", "", _run(session, run_options, *arguments)
        except MemoryError:
            reply = "memory", "", []
        except TooLarge as error:
            reply = "too-large", str(error), []
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no useful base class.
            text = " ".join(str(error).split())[:MAX_MESSAGE]
            is_memory = "bad_alloc" in text or "Failed to allocate memory" in text or "BFCArena" in text
            reply = "time" if run_options.terminate else "memory" if is_memory else "engine", text, []
        channel.send(msgspec.msgpack.encode(reply))


def _load(channel: "Channel", size: int) -> Any:
    import onnxruntime

    data = bytearray()
    while len(data) < size:
        piece = channel.receive()
        if piece is None:
            os._exit(0)  # The app has gone.
        data += piece
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    # The app has checked a protobuf file: onnxruntime must not take the bytes for its own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return onnxruntime.InferenceSession(bytes(data), options, providers=["CPUExecutionProvider"])


def _run(session: Any, run_options: Any, inputs: list[Any], outputs: list[str], max_bytes: int) -> list[Any]:
    import numpy as np

    feed = {}
    for name, datatype, shape, data, texts in inputs:
        if datatype == "BYTES":
            feed[name] = np.array(texts, dtype=object).reshape(shape)
        else:
            feed[name] = np.frombuffer(data, _TYPES[datatype]).reshape(shape)
    results = session.run(outputs, feed, run_options)
    encoded = []
    total = 0
    for name, result in zip(outputs, results, strict=True):
        if not isinstance(result, np.ndarray):
            raise TypeError(f"The output {name} is not a tensor.")
        shape = list(result.shape)
        if result.dtype == object:
            texts = [str(each) for each in result.ravel().tolist()]
            total += sum(4 * len(each) + 16 for each in texts)
            data, datatype = b"", "BYTES"
        else:
            total += result.nbytes
            datatype = next(key for key, code in _TYPES.items() if np.dtype(code) == result.dtype)
            texts = []
        if total > max_bytes:
            raise TooLarge(f"The outputs have more than {max_bytes} bytes.")
        if result.dtype != object:
            data = np.ascontiguousarray(result).tobytes()
        encoded.append((name, datatype, shape, data, texts))
    return encoded
