"""What would stop the training of a run is said before its expensive stages begin, by the stages that begin them."""

from __future__ import annotations

from collections.abc import Mapping

from mscl.config import ExperimentConfig
from mscl.errors import DataError
from storage.manifest import read_manifest
from storage.workspace import Result


def check_training(config: ExperimentConfig, _inputs: Mapping[str, Result]) -> None:
    """Refuse settings of pretrain that do not fit each other, this machine or the file given as `pretrain.encoder`.

    Raises:
        ConfigError: batch, processes and groups do not divide; several nodes without a meeting point.
        CheckpointError: the given encoder is unreadable or of another architecture.
    """
    from mscl.pretrain.batch_checks import check_divisions
    from mscl.training.launch import check_nodes

    pretrain, runtime = config.pretrain, config.runtime
    if pretrain.encoder:
        from mscl.models.external_encoder import given_encoder

        given_encoder(pretrain.encoder, model=pretrain.model, seed=pretrain.seed)
        return
    check_nodes(runtime)
    # Without a number, each node counts its GPUs when training starts, and asks then.
    processes = runtime.processes or (1 if runtime.device == "cpu" else 0)
    if processes:
        check_divisions(pretrain, processes=processes * runtime.nodes, cuda=runtime.device != "cpu")


def check_lengths(config: ExperimentConfig, inputs: Mapping[str, Result]) -> None:
    """`check_training`, and refuse to extract what is too short for a single training clip.

    Raises:
        DataError: with the longest segment's fields and the span of a clip.
    """
    from mscl.extract.shard import num_fields

    check_training(config, inputs)
    if config.pretrain.encoder or config.screen.released:
        return  # nothing is trained, or clips may run past the end
    flow, clip = config.flow, config.clip
    frames_S = read_manifest(inputs["ingest"].folder / "manifest.parquet").ok().column("num_frames")
    longest = max(frames_S.tolist(), default=0)
    fields = num_fields(longest, flow)
    if fields < clip.span:
        raise DataError(
            f"no segment is long enough for a training clip: the longest of {len(frames_S)} has {longest} frames and "
            f"so {fields} fields, and clip.length {clip.length} with clip.stride {clip.stride} spans {clip.span}; "
            f"lower clip.stride, clip.length, flow.gap_frames {flow.gap_frames} or flow.span_frames {flow.span_frames}"
        )
