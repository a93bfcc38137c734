"""What would stop a training, said before the expensive stages that come before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mscl.config import ExperimentConfig
from mscl.errors import DataError
from mscl.video.config import ClipConfig
from storage.layout import Ingested
from storage.result_folder import Result

if TYPE_CHECKING:
    from mscl.models.outside_encoder import Encoder


def preflight(config: ExperimentConfig, results: Mapping[str, Result]) -> None:
    """Refuse settings of pretrain that cannot work, and videos too short for a clip as soon as these are known.

    Raises:
        UserError: a tracker that is not installed.
        ConfigError: no GPU for `runtime.device=cuda`; bfloat16 on a CPU that gets it wrong; batch, processes and groups
            that do not divide; several nodes without a meeting point.
        CheckpointError: the file given as `pretrain.encoder` is unreadable or of another architecture.
        UserError: that encoder cannot take the clips of `embed` or `finetune`.
        DataError: with the longest segment's fields and the span of a clip; a screen of other clips.
    """
    from mscl.pretrain.batch_checks import check_divisions
    from mscl.trackers.named import refuse_missing
    from mscl.training.launch import check_nodes, check_precision, processes_of

    pretrain, runtime = config.pretrain, config.runtime
    if pretrain.encoder:
        from mscl.models.external_encoder import external_encoder

        encoder = external_encoder(pretrain.encoder, model=pretrain.model, seed=pretrain.seed)
        _check_clips(config, encoder)
        return  # nothing is trained
    refuse_missing(runtime.trackers)
    processes_of(runtime)  # refuses GPUs that are not there
    check_nodes(runtime)
    check_precision(pretrain.precision, runtime, setting="pretrain.precision")
    # Without a number, each node counts its GPUs when training starts, and asks then.
    processes = runtime.processes or (1 if runtime.device == "cpu" else 0)
    if processes:
        check_divisions(pretrain, processes=processes * runtime.nodes, cuda=runtime.device != "cpu")
    if "screen" in results:
        _check_screened(config.clip, results["screen"])
    elif "ingest" in results and not config.screen.released:  # clips of the released screening may run past the end
        _check_lengths(config, results["ingest"])


def _check_clips(config: ExperimentConfig, encoder: Encoder) -> None:
    """Refuse clips of `embed` and `finetune` that a given encoder cannot take."""
    from mscl.models.outside_encoder import ClipSettings, check_clip

    asked = [(config.clip.length, config.embed.crop_px, "clip.length", "embed.crop_px")]
    if finetune := config.finetune if config.finetune.enabled else None:
        asked += [
            (finetune.frames, finetune.crop_px, "finetune.frames", "finetune.crop_px"),
            (finetune.frames, finetune.test_crop_px, "finetune.frames", "finetune.test_crop_px"),
        ]
    for frames, crop_px, *names in asked:
        check_clip(encoder, frames=frames, crop_px=crop_px, settings=ClipSettings(*names))


def _check_lengths(config: ExperimentConfig, ingest: Result) -> None:
    from mscl.extract.shard import num_fields

    flow, clip = config.flow, config.clip
    frames_S = Ingested(ingest.folder).manifest().ok().column("num_frames")
    longest = max(frames_S.tolist(), default=0)
    fields = num_fields(longest, flow)
    if fields < clip.span:
        raise DataError(
            f"no segment is long enough for a training clip: the longest of {len(frames_S)} has {longest} frames and "
            f"so {fields} fields, and clip.length {clip.length} with clip.stride {clip.stride} spans {clip.span}; "
            f"lower clip.stride, clip.length, flow.gap_frames {flow.gap_frames} or flow.span_frames {flow.span_frames}"
        )


def _check_screened(clip: ClipConfig, screen: Result) -> None:
    """Refuse starts that were chosen for other clips, as of a screen that is read because it is the latest.

    They may not even hold these clips, which would begin again at the first frame.
    """
    scored = ClipConfig.model_validate(screen.record.config["clip"])
    if scored != clip:
        raise DataError(
            f"screen {screen.key} chose starts of clips of {scored.length} with stride {scored.stride}, and "
            f"clip.length is {clip.length}, clip.stride {clip.stride}; run `mscl stage screen` with these, or give "
            "those here"
        )
