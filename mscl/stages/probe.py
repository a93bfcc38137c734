"""Stage probe: features -> accuracy of a linear classifier on them."""

from __future__ import annotations

from typing import Any

from mscl.config import ExperimentConfig
from mscl.stages.base import Stage, StageRun


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"probe": config.probe.model_dump(mode="json")}


def _run(run: StageRun) -> dict[str, Any]:
    from mscl.evaluation.labels import evaluable
    from mscl.evaluation.variants import probe_variants
    from storage.manifest import read_manifest

    manifest = read_manifest(run.input("ingest") / "manifest.parquet").ok()
    if reason := evaluable(manifest):
        run.progress.say(f"probe skipped: {reason}")
        return {"skipped": reason}
    return probe_variants(run.input("embed"), run.folder, classes=manifest.classes, config=run.config.probe)


PROBE = Stage(
    name="probe",
    version=1,
    needs=("ingest", "embed"),
    settings=_settings,
    run=_run,
    summary="Linear classifier on frozen features, with its controls and chance.",
)
