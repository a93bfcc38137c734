"""What would stop a training, said before the expensive stages that come before it."""

from __future__ import annotations

from collections.abc import Mapping

from mscl.config import ExperimentConfig
from mscl.errors import DataError
from storage.layout import Ingested
from storage.workspace import Result


def preflight(config: ExperimentConfig, results: Mapping[str, Result]) -> None:
    """Refuse settings of pretrain that cannot work, and videos too short for a clip as soon as these are known.

    Raises:
        ConfigError: no GPU for `runtime.device=cuda`; batch, processes and groups that do not divide; several nodes
            without a meeting point.
        CheckpointError: the file given as `pretrain.encoder` is unreadable or of another architecture.
        DataError: with the longest segment's fields and the span of a clip.
    """
    from mscl.pretrain.batch_checks import check_divisions
    from mscl.training.launch import check_nodes, processes_of

    pretrain, runtime = config.pretrain, config.runtime
    if pretrain.encoder:
        from mscl.models.external_encoder import external_encoder

        external_encoder(pretrain.encoder, model=pretrain.model, seed=pretrain.seed)
        return  # nothing is trained
    processes_of(runtime)  # refuses GPUs that are not there
    check_nodes(runtime)
    # Without a number, each node counts its GPUs when training starts, and asks then.
    processes = runtime.processes or (1 if runtime.device == "cpu" else 0)
    if processes:
        check_divisions(pretrain, processes=processes * runtime.nodes, cuda=runtime.device != "cpu")
    if "ingest" in results and not config.screen.released:  # clips of the released screening may run past the end
        _check_lengths(config, results["ingest"])


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
