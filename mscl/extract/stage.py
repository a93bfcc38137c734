"""Stage extract: manifest and videos -> flow store and frame store; every video is decoded once, here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kernels.tvl1 import resolve_backend
from mscl.config import ExperimentConfig
from mscl.devices import device_of, gpus_to_use
from mscl.display.blocks import Block
from mscl.errors import DataError
from mscl.extract.config import FlowConfig
from mscl.extract.picture_marks import pictures_mark
from mscl.extract.plugin_marks import file_mark, plugin_marks
from mscl.ingest.left_out import refuse_too_bad
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages
from storage.record import result_key
from storage.result_folder import Result
from storage.user_paths import user_path

_ALIKE = ("cpp", "triton", "torch")
"""Backends of TV-L1 that are one algorithm, and part in rounding."""


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return _settings_of(_resolved(config))


def _settings_elsewhere(config: ExperimentConfig) -> list[dict[str, Any]]:
    """Of flow that `flow.backend=auto` computes on a machine with a GPU, or without one.

    Else a workspace that was filled on a GPU would be computed again, with all that was trained on it, by the first
    command on a machine without.
    """
    flow = _resolved(config)
    if flow.method != "tvl1" or config.flow.backend != "auto":
        return []
    return [_settings_of(flow.model_copy(update={"backend": other})) for other in _ALIKE if other != flow.backend]


def _settings_of(flow: FlowConfig) -> dict[str, Any]:
    # Names of settings that are of no use here would change the key of every result.
    unused = () if flow.method == "denseflow" else ("pictures", "pictures_bound_px")
    noted = {name: value for name, value in flow.noted().items() if name not in unused}
    if flow.method == "denseflow":
        return {"flow": noted, "pictures": pictures_mark(Path(flow.pictures))}
    if flow.is_plugin:
        return {"flow": noted, "plugin": plugin_marks(flow)}
    if flow.method.startswith("raft") and flow.raft_weights:
        return {"flow": noted, "raft_weights": file_mark(flow.raft_weights)}
    if flow.method == "tvl1" and flow.preset != "opencv":
        # 3: before, no preset took flow back from plain surroundings; `balanced` made 4 x 2 x 15 iterations a level.
        return {"flow": noted, "tvl1": 3}
    if flow.method == "tvl1" and flow.backend == "triton":
        return {"flow": noted, "tvl1": 2}  # 2: before, Triton made every iteration, whatever epsilon said
    return {"flow": noted}


def _gpus(config: ExperimentConfig) -> tuple[int, ...]:
    """Where flow is computed: OpenCV's methods know the CPU only, and reading pictures computes none."""
    on_cpu = config.flow.method in ("dis", "farneback", "denseflow")
    return () if on_cpu else gpus_to_use(config.runtime.device, config.runtime.gpus)


def _resolved(config: ExperimentConfig) -> FlowConfig:
    """Backends agree to float32 accuracy only, so the one that is used is part of the result's name."""
    flow = config.flow
    if flow.weights and not flow.is_plugin:
        raise DataError(f"flow.weights is {flow.weights}, which flow.method {flow.method} does not use; leave it out")
    if flow.raft_bf16 and not flow.method.startswith("raft"):
        raise DataError(f"flow.raft_bf16 is on, which flow.method {flow.method} does not use; leave it out")
    if flow.raft_bf16 and not _gpus(config):
        raise DataError("flow.raft_bf16 is on, and RAFT runs on the CPU here, where bfloat16 is slower; leave it out")
    backend = resolve_backend(flow.backend, device_of(0, _gpus(config))) if flow.method == "tvl1" else ""
    if flow.method != "denseflow" and flow.pictures:
        raise DataError(
            f"flow.pictures is {flow.pictures}, and flow.method {flow.method} computes flow itself; to import the "
            "pictures set flow.method=denseflow"
        )
    if flow.method == "denseflow" and not (flow.pictures and user_path(flow.pictures).is_dir()):
        there = f"{flow.pictures} is no folder" if flow.pictures else "is not set"
        raise DataError(f"flow.method is denseflow, and flow.pictures {there}; give the folder of the flow pictures")
    pictures = str(user_path(flow.pictures).resolve()) if flow.pictures else ""
    return flow.model_copy(update={"backend": backend, "pictures": pictures})


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.extract.extraction import extract  # brings the decoder, which a run that reuses all need not wait for

    key_of = partial(result_key, EXTRACT.name, EXTRACT.version, run.settings)
    return extract(run, _resolved(run.config), gpus=_gpus(run.config), key_of=key_of)


def _preflight(config: ExperimentConfig, results: Mapping[str, Result]) -> None:
    from mscl.extract.preflight import check_disk, check_weights

    flow = _resolved(config)
    _gpus(config)
    check_weights(flow)
    if "ingest" in results:
        ingest = results["ingest"]
        refuse_too_bad(ingest.record.metrics.get("verdicts", {}), config.data, ingest.folder)
        check_disk(flow, ingest, ingest.folder.parents[1] / "extract" / EXTRACT.key(config, results))


def _blocks(stages: Stages) -> list[Block]:
    from mscl.extract.blocks import extract_blocks

    return extract_blocks(stages)


def _headline(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['fields']:,} fields of {metrics['segments']:,} segments"


EXTRACT = Stage(
    name="extract",
    version=5,
    needs=("ingest",),
    settings=_settings,
    settings_elsewhere=_settings_elsewhere,
    run=_run,
    summary="Optical flow and the frames beside it, every video decoded once, shard by shard over processes.",
    repairs_in_place=True,
    title="Optical flow",
    lead=(
        "Frames of a video, and under each the flow that starts at it: hue is direction, saturation speed relative "
        "to the fastest point of the row. White is still."
    ),
    preflight=_preflight,
    headline=_headline,
    blocks=_blocks,
)
