"""A trained encoder as one file for others, with all that a video goes through before it."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from mscl.embedding.encoder_input import assumed_input, embedded_as, recorded_input
from mscl.errors import AssumptionWarning, UserError
from mscl.extract.recorded import recorded_frames
from mscl.models.files import read_encoder, write_encoder
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput
from storage.user_paths import user_path
from storage.workspace import Result, Workspace

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    checkpoint: Path
    input: EncoderInput
    lineage: dict[str, str]
    """Stage -> key of what the encoder was made from; empty for a file that is in no workspace."""


def export_encoder(source: str, out: Path, *, workspace: Workspace) -> Exported:
    """Write the encoder of a result, or of a file, as safetensors; nothing that is there is overwritten.

    Args:
        source: a file that `read_encoder` reads, or the key of a result of pretrain or of a stage that reads one. With
            the key of an `embed` result, or of one made from it, videos go through what its settings say; else through
            what those of the latest one made from this encoder say.

    Raises:
        UserError: `out` is there already or has another ending; the result was made without an encoder.
        CheckpointError: the encoder cannot be read.
        StorageError: no result with that key, or `out` cannot be written.
    """
    if out.suffix != _SUFFIX:
        raise UserError(f"{out} is to be a {_SUFFIX} file; give a name that ends so")
    if out.exists():
        raise UserError(f"{out} is there already; give another name, or remove it")
    checkpoint, results = _checkpoint(source, workspace)
    found = read_encoder(checkpoint, own_code=bool(results))
    found.encoder.input = _pipeline_input(checkpoint, results) or found.encoder.input
    if found.encoder.input is None:
        found.encoder.input = _assumed(results, checkpoint, found.crop_px)
    lineage = {stage: result.key for stage, result in results.items()}
    card = {"lineage": lineage, **({} if found.steps is None else {"steps": found.steps})}
    write_encoder(found.encoder, found.model, out, card=card)
    return Exported(out, checkpoint, found.encoder.input, lineage)


def named_checkpoint(source: str, *, workspace: Workspace) -> tuple[Path, EncoderInput | None]:
    """File of the encoder that a key or a path names, and what its videos go through where an `embed` result says it.

    Raises:
        UserError: the result was made without an encoder.
        StorageError: no result with that key.
    """
    checkpoint, results = _checkpoint(source, workspace)
    return checkpoint, _pipeline_input(checkpoint, results)


def _pipeline_input(checkpoint: Path, results: dict[str, Result]) -> EncoderInput | None:
    return recorded_input(results) if "embed" in results else embedded_as(checkpoint, stacklevel=4)


def _checkpoint(source: str, workspace: Workspace) -> tuple[Path, dict[str, Result]]:
    checkpoint = user_path(source)
    if checkpoint.is_file() or checkpoint.suffix or len(checkpoint.parts) != 1:
        return checkpoint, {}
    named = workspace.by_key(source)
    results = {result.record.stage: result for result in workspace.lineage(named)}
    if "pretrain" not in results:
        raise UserError(
            f"{named.record.stage} {named.key} was made without an encoder; give the key of a pretrain result or "
            "of a stage after it (`mscl ls`), or a file"
        )
    pretrained = results["pretrain"]
    return pretrained.folder / str(pretrained.record.metrics["checkpoint"]), results


def _assumed(results: dict[str, Result], checkpoint: Path, crop_px: int | None) -> EncoderInput:
    """Of an older checkpoint: what the records of its stages say, and for the rest the defaults, with a warning."""
    assumed = assumed_input(crop_px=crop_px)
    told: set[str] = set()
    if results:
        recipe, max_segment_seconds = recorded_frames(results)
        assumed = assumed.model_copy(update={"recipe": recipe, "max_segment_seconds": max_segment_seconds})
        told = {"recipe", "max_segment_seconds"}
        if (clip := results["pretrain"].record.config.get("clip")) is not None:
            assumed = assumed.model_copy(update={"clip": ClipConfig.model_validate(clip)})
            told |= {"clip"}
    unsaid = ", ".join(text for name, text in assumed.described().items() if name.partition(".")[0] not in told)
    warnings.warn(
        f"{checkpoint} does not say all that its videos go through; assumed: {unsaid}", AssumptionWarning, stacklevel=3
    )
    return assumed
