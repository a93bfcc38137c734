"""Stage retrieve: features -> nearest neighbours of the test videos among the train videos, and R@k."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.stages.base import Stage, StageRun


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"retrieve": config.retrieve.model_dump(mode="json")}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.evaluation.labels import evaluable
    from mscl.evaluation.variants import retrieve_variants
    from storage.manifest import read_manifest

    manifest = read_manifest(run.input("ingest") / "manifest.parquet").ok()
    if reason := evaluable(manifest):
        run.progress.say(f"retrieve skipped: {reason}")
        return {"skipped": reason}
    return retrieve_variants(run.input("embed"), run.folder, config=run.config.retrieve)


RETRIEVE = Stage(
    name="retrieve",
    version=1,
    needs=("ingest", "embed"),
    settings=_settings,
    run=_run,
    summary="Nearest neighbours of test videos among train videos: R@k, with its controls and chance.",
)
