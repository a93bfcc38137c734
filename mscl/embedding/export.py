"""An encoder as one file for others, with what it was made from, what it scores, and what videos go through."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mscl.embedding.encoder_input import assumed_input, embedded_as, recorded_input, say_assumed_views
from mscl.embedding.export_formats import ENDINGS, clip_shape, write_onnx, write_torch_export
from mscl.errors import AssumptionWarning, UserError
from mscl.extract.recorded import recorded_frames
from mscl.models.external_encoder import kind_of, named_file
from mscl.models.files import encoder_card, read_encoder, write_encoder
from mscl.stage.latest import made_of, outdated
from mscl.stage.skipped import Skipped
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput
from storage.result_folder import Result
from storage.user_paths import user_path
from storage.verify import refuse_changed
from storage.workspace import Workspace

_INTERVAL = "_interval"
"""End of the name beside a score's: a stage whose numbers have one has scored something."""


_FINETUNE = "finetune"
"""The stage that goes on training the encoder that it reads."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    checkpoint: Path
    input: EncoderInput
    lineage: dict[str, str]
    """Stage -> key of what the encoder was made from; empty for a file that is in no workspace."""


def export_encoder(source: str, out: str | PathLike[str], *, workspace: Workspace, to: str = "") -> Exported:
    """Write the encoder of a result, or of a file, for others; nothing that is there is overwritten.

    Args:
        source: what `pretrain.encoder` takes, or the key of a result of pretrain or of a stage that reads one. With
            the key of an `embed` result, or of one made from it, videos go through what its settings say; else through
            what those of the latest one made from this encoder say.
        out: its ending tells the format: .safetensors, .pt2 (`torch.export`) or .onnx.
        to: the format, one of `ENDINGS`, where it is to be checked against the ending.

    Raises:
        UserError: `out` is there already or has another ending; the result was made without an encoder, or trained it
            on; a format whose extra is not installed.
        CheckpointError: the encoder cannot be read, or not be written in that format.
        StorageError: no result with that key, or `out` cannot be written.
    """
    if to and to not in ENDINGS:
        raise UserError(f"no format is called {to!r}; choose one of {', '.join(ENDINGS)}")
    out = user_path(out)
    chosen = next((name for name, ending in ENDINGS.items() if ending == out.suffix), "")
    if not chosen or (to and to != chosen):
        wanted = ENDINGS[to] if to else ", ".join(ENDINGS.values())
        raise UserError(f"{out} is to be a file that ends in {wanted}; give a name that ends so")
    if out.exists():
        raise UserError(f"{out} is there already; give another name, or remove it")
    checkpoint, results = _checkpoint(source, workspace)
    found = read_encoder(checkpoint, own_code=True) if results else named_file(source)
    found.encoder.input = _pipeline_input(checkpoint, results) or found.encoder.input
    if found.encoder.input is None:
        found.encoder.input = _assumed(results, checkpoint, found.crop_px)
    elif found.encoder.input.of_training:
        say_assumed_views(checkpoint, found.encoder.input, stacklevel=3)
    lineage = {stage: result.key for stage, result in results.items()}
    card = {"lineage": lineage, **({} if found.steps is None else {"steps": found.steps})}
    if results:
        card |= {"recipe": results["pretrain"].record.config, "scores": _scores(results["pretrain"].key, workspace)}
    if chosen == "safetensors":
        write_encoder(found.encoder, found.model, out, card=card)
    else:
        write = write_onnx if chosen == "onnx" else write_torch_export
        shape = {"clips": ["any number", *clip_shape(found.encoder)]}
        write(found.encoder, out, card=encoder_card(found.encoder, found.model) | shape | card)
    return Exported(out, checkpoint, found.encoder.input, lineage)


def _scores(pretrained: str, workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Key of each result that scored this encoder -> its stage, of what and how, its numbers with their intervals.

    Keys say nothing where there is no workspace; of the videos the name of their folder is told, and not where it is.
    """

    def numbers(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in values.items()
            if (isinstance(value, int | float) and not isinstance(value, bool)) or name.endswith(_INTERVAL)
        }

    found = {}
    for result in workspace.results():
        if result.record.inputs.get("pretrain") != pretrained:
            continue
        lineage = workspace.lineage(result)
        if outdated(lineage):
            continue
        metrics = result.record.metrics
        variants = {name: numbers(value) for name, value in metrics.items() if isinstance(value, Mapping)}
        own = numbers(metrics)
        if any(name.endswith(_INTERVAL) for said in (own, *variants.values()) for name in said):
            scores = own | {name: said for name, said in variants.items() if said}
            roots = [str(one.record.config.get("data", {}).get("root", "")) for one in lineage]
            said = {"videos": Path(next(filter(None, roots), "")).name, "protocol": str(metrics.get("protocol", ""))}
            known = {name: text for name, text in said.items() if text}
            found[result.key] = {"stage": result.record.stage, **known, **scores}
    return found


def named_checkpoint(source: str, *, workspace: Workspace) -> tuple[Path, EncoderInput | None]:
    """File of the encoder that a key or a path names, and what its videos go through where an `embed` result says it.

    Raises:
        UserError: the result was made without an encoder, or trained it on.
        StorageError: no result with that key.
    """
    checkpoint, results = _checkpoint(source, workspace)
    return checkpoint, _pipeline_input(checkpoint, results)


def _pipeline_input(checkpoint: Path, results: dict[str, Result]) -> EncoderInput | None:
    return recorded_input(results) if "embed" in results else embedded_as(checkpoint, stacklevel=4)


def _checkpoint(source: str, workspace: Workspace) -> tuple[Path, dict[str, Result]]:
    checkpoint = user_path(source)
    if kind_of(source) != "file":
        return Path(source), {}
    if checkpoint.is_file() or checkpoint.suffix or len(checkpoint.parts) != 1:
        return checkpoint, {}
    named = workspace.by_key(source)
    results = made_of(workspace, named)
    if "pretrain" not in results:
        raise UserError(
            f"{named.record.stage} {named.key} was made without an encoder; give the key of a pretrain result or "
            "of a stage after it (`mscl ls`), or a file"
        )
    pretrained = results["pretrain"]
    if named.record.stage == _FINETUNE and Skipped.read(named.record.metrics) is None:
        raise UserError(
            f"{_FINETUNE} {named.key} trained an encoder of its own, which stays with its classifier (`mscl predict`); "
            f"for the encoder that it began with give pretrain {pretrained.key}"
        )
    refuse_changed(pretrained)  # a sound file, but another training's
    return pretrained.folder / str(pretrained.record.metrics["checkpoint"]), results


def _assumed(results: dict[str, Result], checkpoint: Path, crop_px: int | None) -> EncoderInput:
    """Of an older checkpoint: what the records of its stages say, and for the rest the defaults, with a warning."""
    assumed = assumed_input(crop_px=crop_px)
    told: set[str] = set()
    if results:
        recipe, segments = recorded_frames(results)
        assumed = assumed.model_copy(update={"recipe": recipe, **segments})
        told = {"recipe", *segments}
        if (clip := results["pretrain"].record.config.get("clip")) is not None:
            assumed = assumed.model_copy(update={"clip": ClipConfig.model_validate(clip)})
            told |= {"clip"}
    unsaid = ", ".join(text for name, text in assumed.described().items() if name.partition(".")[0] not in told)
    warnings.warn(
        f"{checkpoint} does not say all that its videos go through; assumed: {unsaid}", AssumptionWarning, stacklevel=3
    )
    return assumed
