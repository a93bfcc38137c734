"""An encoder as a program that runs without this package: of `torch.export`, or ONNX; compared before it is written."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mscl.errors import CheckpointError, UserError, one_line
from mscl.models.outside_encoder import Encoder
from storage.atomic import write_atomic

ENDINGS = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}
"""Format -> ending of its files."""
TOLERANCE = 1e-4
"""How far features may lie from those of the encoder itself, by the largest of them."""


def write_torch_export(encoder: Encoder, path: Path, *, card: Mapping[str, Any]) -> None:
    """Write a program of `torch.export`, with the card in its extra file `card.json`; any number of clips at a time.

    Raises:
        CheckpointError: a network that cannot be exported, or whose program gives other features.
    """
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(_program(encoder), buffer, extra_files={"card.json": json.dumps(card)})
        buffer.seek(0)
        program = torch.export.load(buffer).module()
    _compare(encoder, program, path)
    write_atomic(path, buffer.getvalue())


def write_onnx(encoder: Encoder, path: Path, *, card: Mapping[str, Any]) -> None:
    """Write ONNX, input `clips`, output `features`, the card in its metadata; any number of clips at a time.

    Raises:
        UserError: the extra `onnx` is not installed.
        CheckpointError: an operator that ONNX has not, a network over 2 GB, or other features out of onnxruntime.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch writes ONNX through it)
    except ImportError as error:
        raise UserError(
            f"{path} needs {error.name}, which is not installed: pip install 'mscl-pipeline[onnx]'"
        ) from error
    with _quiet():
        program = _program(encoder)
        try:
            written = torch.onnx.export(
                program, input_names=["clips"], output_names=["features"], dynamo=True, verbose=False
            )
            assert written is not None, "the exporter gives a program"
            model = written.model_proto
            onnx.helper.set_model_props(model, {"card": json.dumps(card)})
            content: bytes = model.SerializeToString()
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # whatever three libraries raise of an operator or a size
            raise _refused(encoder, "ONNX", error) from error

    def run(clips_B3THW: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"clips": clips_B3THW.numpy()})[0])

    _compare(encoder, run, path)
    write_atomic(path, content)


def clip_shape(encoder: Encoder) -> tuple[int, int, int, int]:
    """(3, T, H, W) of the clips that an exported program takes."""
    assert encoder.input is not None, "an export knows what its videos go through"
    return 3, encoder.input.clip.length, encoder.input.crop_px, encoder.input.crop_px


def _clips(encoder: Encoder, count: int) -> Tensor:
    return torch.randn(count, *clip_shape(encoder), generator=torch.Generator().manual_seed(count))


def _program(encoder: Encoder) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(
                encoder, (_clips(encoder, 2),), dynamic_shapes=({0: torch.export.Dim("clips", min=1)},)
            )
    except Exception as error:  # whatever the exporter raises of a stranger's network
        raise _refused(encoder, "torch.export", error) from error


def _compare(encoder: Encoder, program: Callable[[Tensor], Tensor], path: Path) -> None:
    """Another number of clips than it was exported with, and one alone."""
    for count in (3, 1):
        clips_B3THW = _clips(encoder, count)
        with torch.inference_mode():
            wanted_BC, found_BC = encoder(clips_B3THW), program(clips_B3THW)
        apart = float((found_BC - wanted_BC).abs().max() / wanted_BC.abs().max().clamp_min(1e-12))
        if not apart <= TOLERANCE:  # NaN, too
            raise CheckpointError(
                f"{path} is not written: its features lie {apart:.1e} of the largest from the encoder's, and at most "
                f"{TOLERANCE:g} is allowed"
            )


def _refused(encoder: Encoder, what: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{type(encoder).__name__} cannot be written as {what}: {one_line(error, named=True)}; --to safetensors keeps "
        "it for this program"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' notes on their own insides are for their authors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
