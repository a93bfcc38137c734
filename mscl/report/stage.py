"""Stage report: everything that was found, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mscl.config import ExperimentConfig
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import stage_view


def report_stage(stages: Sequence[Stage]) -> Stage:
    """The stage that shows these stages, in their order."""

    def run(run: StageRun) -> dict[str, Any]:
        from mscl.report.page import build_report

        views = [stage_view(result) for result in run.inputs.values()]
        run.progress.start("Drawing the report", None, "pages")
        page = build_report(views, run.folder / "report.html", stages=stages)
        run.progress.done()
        return {"bytes": page.stat().st_size}

    return Stage(
        name="report",
        version=1,
        needs=tuple(stage.name for stage in stages),
        settings=_settings,
        run=run,
        summary="One page: numbers with intervals, curves, pictures, lineage, settings.",
        headline=lambda _metrics: "one page",
        is_experiment=True,
    )


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {}
