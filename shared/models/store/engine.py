"""Runs ONNX models in child processes: one per file, kept for the next call."""

import math
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Literal
from weakref import WeakSet

import msgspec

from shared.deadline import deadline
from shared.models.child import ENTRY, PIECE_BYTES
from shared.models.errors import ModelTimeout, OutputTooLarge, UnsupportedModel
from shared.models.onnx import TensorSpec
from shared.models.tensors import MAX_OUTPUT_BYTES, Tensor, is_whole
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sandbox.process import MEMORY, TIME, Child, ChildDied, ChildLate, Sandbox


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """A message of the child: the outputs, or the kind of an error and its text."""

    error: Literal["", "time", "memory", "too-large", "engine"]
    text: str
    outputs: list[Tensor]


_REPLY = msgspec.msgpack.Decoder(Reply)
_BROKEN = "The process that ran the model returned no tensors. Save a model that onnxruntime can run."
_LATE = "The model did not respond in time, and was ended. Send a larger timeout_ms or fewer rows."
_MEMORY = "The model needs more memory than its process may take. Send fewer rows, or use a smaller model."


class Engine:
    """Models that run in child processes of the sandbox. Safe to use from many threads."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._loaded: WeakSet[Child] = WeakSet()

    def run(
        self,
        sha256: str,
        load: Callable[[], bytes],
        inputs: Sequence[Tensor],
        outputs: Sequence[TensorSpec],
        *,
        max_bytes: int = MAX_OUTPUT_BYTES,
        seconds: float = math.inf,
    ) -> list[Tensor]:
        """The outputs of the model whose file has this hash; `load` reads the file where no child has it yet.

        `seconds` limit the run alone, without the start of the process. Raises ModelTimeout then and at the call's
        deadline, OutOfMemory, EngineFailed, OutputTooLarge, UnsupportedModel where the file does not load, Busy, and
        the errors of `load`.
        """
        ends = deadline()
        child = self._sandbox.take(ENTRY, ends, sha256)
        is_good = False
        try:
            if child not in self._loaded:
                self._load(child, load(), ends)
            ends = min(ends, monotonic() + seconds)
            message = ("run", _left(ends), inputs, [each.name for each in outputs], max_bytes)
            child.send(msgspec.msgpack.encode(message), ends)
            reply = _REPLY.decode(child.receive(ends))
            is_good = True
        except ChildLate:
            raise ModelTimeout(_LATE) from None
        except ChildDied as error:
            raise _death(error) from error
        except msgspec.DecodeError as error:
            raise EngineFailed(_BROKEN) from error
        finally:
            self._sandbox.give(child, reusable=is_good)
        if reply.error:
            raise _failure(reply)
        if not all(is_whole(each) for each in reply.outputs) or len(reply.outputs) != len(outputs):
            raise EngineFailed(_BROKEN)
        return reply.outputs

    def _load(self, child: Child, data: bytes, ends: float) -> None:
        child.send(msgspec.msgpack.encode(("load", _left(ends), len(data))), ends)
        for at in range(0, len(data), PIECE_BYTES):
            child.send(data[at : at + PIECE_BYTES], ends)
        reply = _REPLY.decode(child.receive(ends))
        if reply.error == "engine":
            raise UnsupportedModel(f"onnxruntime does not load the model: {reply.text}")
        if reply.error:
            raise _failure(reply)
        self._loaded.add(child)


def _left(ends: float) -> float:
    return max(0.0, ends - monotonic())


def _failure(reply: Reply) -> Exception:
    if reply.error == "time":
        return ModelTimeout(_LATE)
    if reply.error == "memory":
        return OutOfMemory(_MEMORY)
    if reply.error == "too-large":
        return OutputTooLarge(f"{reply.text} Send fewer rows.")
    return EngineFailed(f"onnxruntime reports: {reply.text}")


def _death(error: ChildDied) -> Exception:
    reason = str(error)
    if reason == MEMORY:
        return OutOfMemory(_MEMORY)
    if reason == TIME:
        return ModelTimeout("The model took more CPU time than the call has, and its process was ended.")
    return EngineFailed("The model ended the process that ran it. Save a model that onnxruntime can run.")
