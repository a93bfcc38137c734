"""What a video goes through before a given encoder sees it: from the encoder's file, from a caller, or assumed."""

import warnings
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mscl.embedding.config import EmbedConfig
from mscl.errors import AssumptionWarning, ConfigError
from mscl.extract.config import FlowConfig
from mscl.extract.recorded import recorded_frames
from mscl.ingest.config import DataConfig
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput, FrameRecipe
from storage.errors import StorageError
from storage.record import RECORD_NAME
from storage.result_folder import Result
from storage.user_paths import user_path
from storage.workspace import Workspace

if TYPE_CHECKING:
    from mscl.models.outside_encoder import Encoder


def load_encoder(path: str | PathLike[str], *, own_code: bool = False) -> "Encoder":
    """RGB encoder of a training checkpoint (`.pt`) or an exported one (`.safetensors`), in eval mode, on the CPU.

    Takes what `pretrain.encoder` takes, too: weights of torchvision's video networks or the name of one, a folder of a
    video encoder of `transformers`, `module:function`.

    Calling it with (B, 3, T, H, W) ImageNet-normalised clips gives features (B, C). `recipe` and `clip` say how the
    videos of its training were prepared, `input` everything that `embed` does with a video: for a file in a workspace
    what its embed results say. Files of older versions and of other programs do not say it: a warning tells what is
    assumed.

    Args:
        path: file, folder or name.
        own_code: whether a function may be called that the file names, which builds its network.

    Raises:
        CheckpointError: missing, unreadable, or no such encoder.
        UserError: an extra that is not installed, a function that is not there.
    """
    from mscl.models.external_encoder import named_file

    found = named_file(str(path), own_code=own_code)
    found.encoder.input = embedded_as(path, stacklevel=3) or found.encoder.input
    if found.encoder.input is None:
        found.encoder.input = assumed_input(crop_px=found.crop_px)
        warnings.warn(
            f"{path} does not say how the videos of its training were prepared; assumed: {found.encoder.input}. "
            "Give mscl.embed what differs",
            AssumptionWarning,
            stacklevel=2,
        )
    elif found.encoder.input.of_training:
        say_assumed_views(path, found.encoder.input, stacklevel=3)
    return found.encoder


def say_assumed_views(path: str | PathLike[str], said: EncoderInput, *, stacklevel: int) -> None:
    """Warn that a training says how its videos were prepared, and not how many views of one are embedded."""
    warnings.warn(
        f"{path} says how the videos of its training were prepared, not how they were embedded; assumed: "
        f"clips {said.clips}, crop_px {said.crop_px}, crops {said.crops}. `mscl export KEY` of an embed result says "
        "that too",
        AssumptionWarning,
        stacklevel=stacklevel,
    )


def embedded_as(path: str | PathLike[str], *, stacklevel: int = 2) -> EncoderInput | None:
    """What the embed results of an encoder's workspace did with their videos; None where there is none.

    Where they did different things the latest counts, and a warning says so.
    """
    place = user_path(path).resolve()
    folder = next((above for above in place.parents[:2] if (above / RECORD_NAME).is_file()), None)
    if not place.is_file() or folder is None or folder.parent.name != "pretrain":
        return None
    try:
        workspace = Workspace(folder.parents[1])
        made = [one for one in workspace.results("embed") if one.record.inputs.get("pretrain") == folder.name]
    except StorageError:  # a result that was copied out of its workspace
        return None
    lineages = [{one.record.stage: one for one in workspace.lineage(result)} for result in made]
    found = [(one["embed"].key, recorded_input(one)) for one in lineages if one.keys() >= {"ingest", "extract"}]
    if not found:
        return None
    latest_key, latest = found[-1]
    others = [(key, *one.differing(latest)) for key, one in found if one != latest]
    if others:
        told = "; ".join(f"{there}, while embed {key} took {here}" for key, here, there in others)
        warnings.warn(
            f"embed results of {path} differ, and the latest counts: embed {latest_key} took {told}. What "
            "`mscl export KEY` writes says what that embed result did",
            AssumptionWarning,
            stacklevel=stacklevel,
        )
    return latest


def assumed_input(*, crop_px: int | None = None) -> EncoderInput:
    """The defaults of the settings, which are the paper's; `crop_px`: of the training, where that is known."""
    embed = EmbedConfig() if crop_px is None else EmbedConfig(crop_px=crop_px)
    return embed.encoder_input(FlowConfig().recipe, ClipConfig(), max_segment_seconds=DataConfig().max_segment_seconds)


def recorded_input(results: Mapping[str, Result]) -> EncoderInput:
    """What the videos of an embed result went through, from its record and those of ingest and extract."""
    settings = results["embed"].record.config
    recipe, segments = recorded_frames(results)
    clip = ClipConfig.model_validate(settings["clip"])
    embed = EmbedConfig.model_validate(settings["embed"])
    return embed.encoder_input(recipe, embed.clip(clip, recipe), **segments)


def chosen_input(encoder: "Encoder", asked: dict[str, Any], frames: dict[str, int]) -> EncoderInput:
    """What a caller asks for, and for the rest what the encoder says; where neither does, the paper's, with a warning.

    Args:
        asked: settings of `EncoderInput`; None: not asked for.
        frames: single settings of its recipe.

    Raises:
        ConfigError: an unknown setting, or a value that does not fit.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    own = encoder.input or assumed_input()
    try:
        recipe = FrameRecipe.model_validate(asked.get("recipe", own.recipe).model_dump() | frames)
        chosen = EncoderInput.model_validate(own.model_dump() | asked | {"recipe": recipe})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"mscl.embed: {'.'.join(map(str, first['loc']))}: {first['msg']} (given {first['input']!r}); of the frames "
            f"it takes {', '.join(FrameRecipe.model_fields)}"
        ) from error
    if encoder.input is None:
        given = {*asked, *(f"recipe.{name}" for name in frames)}
        settings = chosen.described(trained=True).items()
        unsaid = ", ".join(text for name, text in settings if not {name, name.partition(".")[0]} & given)
        if unsaid:
            _warn(f"the encoder does not say how the videos of its training were prepared; assumed: {unsaid}")
        return chosen
    here, there = chosen.differing(own, trained=True)
    if here:
        _warn(f"embedding with {here}; the encoder was trained with {there}")
    return chosen


def _warn(text: str) -> None:
    warnings.warn(text, AssumptionWarning, stacklevel=4)  # where `embed` is called
