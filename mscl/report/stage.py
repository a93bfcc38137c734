"""Stage report: everything that was found, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mscl.config import ExperimentConfig
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import stage_view
from storage.result_folder import Result

PAGE_NAME = "report.html"


def report_stage(stages: Sequence[Stage]) -> Stage:
    """The stage that shows these stages, in their order."""

    def run(run: StageRun) -> dict[str, Any]:
        from mscl.report.page import build_report
        from mscl.report.tracked import tell_trackers

        views = [stage_view(result) for result in run.inputs.values()]
        run.progress.start("Drawing the report", None, "pages")
        page = build_report(views, run.folder / PAGE_NAME, stages=stages)
        run.progress.done()
        tell_trackers(run, page)
        return {"bytes": page.stat().st_size}

    return Stage(
        name="report",
        version=1,
        needs=tuple(stage.name for stage in stages),
        settings=_settings,
        run=run,
        summary="One page: numbers with intervals, curves, pictures, lineage, settings.",
        headline=lambda _metrics: "one page",
        preflight=_preflight,
        is_experiment=True,
    )


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {}


def _preflight(config: ExperimentConfig, results: Mapping[str, Result]) -> None:
    from mscl.trackers.named import refuse_missing

    refuse_missing(config.runtime.trackers)
