"""A stage added as CONTRIBUTING.md says: a room, a section, a line. Then it is everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mscl.pipeline import PIPELINE
from tests.flows.running import flow_runs, only, task_runs, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]

CONFIG = '''
"""Settings of stage tally."""

from pydantic import Field

from mscl.config.base import Section


class TallyConfig(Section):
    """What is counted."""

    letter: str = Field(default="e", max_length=1)
    """Letter of the alphabet."""
'''

STAGE = '''
"""Stage tally: how often the names of the classes have a letter."""

from typing import Any

from mscl.config import ExperimentConfig
from mscl.stage.contract import Stage, StageRun


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"tally": config.tally.model_dump(mode="json")}


def _run(run: StageRun) -> dict[str, Any]:
    from storage.manifest import read_manifest

    names = {row.class_name for row in read_manifest(run.input("ingest") / "manifest.parquet").rows()}
    count = sum(name.count(run.config.tally.letter) for name in names)
    (run.folder / "count.txt").write_text(str(count))
    return {"letters_found": count}


TALLY = Stage(
    name="tally", version=1, needs=("ingest",), settings=_settings, run=_run, summary="Letters of the classes."
)
'''

WALK = """
import json, sys
from flows.cli.app import app
from flows.pipeline import full
from flows.deployments import DEPLOYMENTS
from flows.server.checkout_files import prefect_yaml
from prefect.flows import load_flow_from_entrypoint

tiny, workspace = sys.argv[1:]
app(["run", tiny, "tally.letter=M", "-w", workspace], standalone_mode=False)
app(["ls", "-w", workspace], standalone_mode=False)
own = load_flow_from_entrypoint("flows.pipeline.tally")
facts = {
    "deployments": [one.name for one in DEPLOYMENTS],
    "prefect.yaml": prefect_yaml(),
    "form": "tally" in full.parameters.properties and "tally" in own.parameters.properties,
    "flow": [own.name, own.description],
}
print("facts " + json.dumps(facts))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout with the stage in it."""
    return _checkout_with_tally(tmp_path_factory.mktemp("new") / "checkout")


def test_a_room_a_section_and_a_line_make_a_stage(api: str, tiny: Path, copy: Path, tree: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WALK, tiny, copy], cwd=tree, text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(tree), "PREFECT_API_URL": api, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

    # The run: what was there is reused, the new stage is computed, and the report, which reads it.
    tally, before = only(copy, "tally"), [stage.name for stage in PIPELINE]
    assert tally.record.metrics == {"letters_found": 2}  # MoveLeft, MoveRight
    assert tally.record.config["tally"] == {"letter": "M"}
    (run,) = flow_runs(limit=1)
    names = {stage.name for stage in PIPELINE} | {"tally"}  # those that were reused say so
    wait_until(lambda: {one.name for one in task_runs(run.id)} == names, seconds=60, why="task runs are written down")

    # `mscl ls`, the report's page, its lineage.
    assert re.search(rf"^ *tally +{tally.key[:8]}", done.stdout, re.MULTILINE)
    report = max((copy / "report").glob("*/record.json"), key=lambda path: path.stat().st_mtime_ns)
    assert json.loads(report.read_text())["inputs"]["tally"] == tally.key
    page = (report.parent / "report.html").read_text()
    assert "letters_found" in page and f"tally {tally.key[:8]}" in page

    # Deployments and their forms.
    (said,) = [json.loads(line.removeprefix("facts ")) for line in done.stdout.splitlines() if line[:6] == "facts "]
    assert said["deployments"] == ["full", *before[:-1], "tally", "report", "ablate"]
    assert "entrypoint: flows.pipeline.tally\n" in said["prefect.yaml"]
    assert said["form"] is True
    assert said["flow"] == ["tally", "Letters of the classes."]


def test_the_room_is_a_layer(tree: Path) -> None:
    """The import contracts name every room, and hold the new one to its place."""
    lint = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(lint, cwd=tree, text=True, capture_output=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (tree / "mscl/models/early.py").write_text("import mscl.tally.stage\n")  # a floor that reads a room
    done = subprocess.run(lint, cwd=tree, text=True, capture_output=True, env=environment)
    assert done.returncode != 0 and "mscl.models.early -> mscl.tally.stage" in done.stdout


def _checkout_with_tally(tree: Path) -> Path:
    """A copy of the packages with the stage added."""
    for package in ("flows", "mscl", "kernels", "storage"):
        shutil.copytree(CHECKOUT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    room = tree / "mscl" / "tally"
    room.mkdir()
    (room / "__init__.py").write_text('"""Letters."""\n')
    (room / "config.py").write_text(CONFIG)
    (room / "stage.py").write_text(STAGE)
    shutil.copy(CHECKOUT / "pyproject.toml", tree)
    _insert(tree / "pyproject.toml", before='    "score",', line='    "tally",')
    configuration, pipeline = tree / "mscl/config/experiment.py", tree / "mscl/pipeline/stages.py"
    _insert(configuration, before="from mscl.training.config", line="from mscl.tally.config import TallyConfig")
    _insert(configuration, before="    runtime: RuntimeConfig", line="    tally: TallyConfig = TallyConfig()")
    _insert(pipeline, before="\n_REPORTED", line="from mscl.tally.stage import TALLY")
    _insert(pipeline, before=")\nPIPELINE", line="    TALLY,")
    return tree


def _insert(path: Path, *, before: str, line: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, f"{path} has {before!r} {text.count(before)} times"
    path.write_text(text.replace(before, f"{line}\n{before}"))
