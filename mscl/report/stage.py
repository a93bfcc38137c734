"""Stage report: everything that was found, on one page."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.stage.base import Stage, StageRun, stage_view


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.report.page import build_report

    run.progress.start("Drawing the report", None, "page")
    page = build_report([stage_view(result) for result in run.inputs.values()], run.folder / "report.html")
    run.progress.done()
    return {"bytes": page.stat().st_size}


REPORT = Stage(
    name="report",
    version=1,
    needs=("ingest", "extract", "motion", "screen", "pretrain", "embed", "probe", "retrieve", "finetune"),
    settings=_settings,
    run=_run,
    summary="One page: numbers with intervals, curves, pictures, lineage, settings.",
)
