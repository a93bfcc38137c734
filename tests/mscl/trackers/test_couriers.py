"""What trackers are told of a training: every step once, whatever stops it, and nothing of theirs stops it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mscl.config import load_config
from mscl.errors import ConfigError, UserError
from mscl.pipeline.stages import PIPELINE
from mscl.stage.contract import Stage, StageRun
from mscl.stage.execute import execute
from mscl.trackers import couriers
from mscl.trackers.named import refuse_missing
from mscl.trackers.tracking import Tracking
from mscl.training.distributed import World
from mscl.training.metrics import Journal, StepMetrics, read_metrics
from storage.workspace import Workspace
from tests.mscl.trackers import own_trackers

OWN = "tests.mscl.trackers.own_trackers:"
ALONE = World(0, 1, torch.device("cpu"))
STEPS = 8


def new_journal(folder: Path, *trackers: str, world: World = ALONE) -> Journal:
    tracking = Tracking(trackers=trackers, stage="pretrain", key="0123456789abcdef", settings={"pretrain": {"lr": 1}})
    return Journal(folder, world, total_steps=STEPS, steps_per_epoch=4, batch_size=2, advice="", tracking=tracking)


def train(folder: Path, *trackers: str, start: int = 0, until: int = STEPS, world: World = ALONE) -> None:
    """A training's journal, a row a step."""
    journal = new_journal(folder, *trackers, world=world)
    with journal.begun_at(start):
        for step in range(start + 1, until + 1):
            values = {"loss": torch.tensor(float(step)), "grad_norm": torch.tensor(1.0), "rgb_top1": torch.tensor(0.5)}
            journal.step_done(step, StepMetrics(values, torch.zeros(2)))
            journal.write(step, lr=0.1)


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "told.jsonl").read_text().splitlines()]


def steps_told(folder: Path) -> list[int]:
    return [row["step"] for row in told(folder) if "step" in row]


def test_a_run_that_goes_on_is_the_same_run_and_tells_each_step_once(tmp_path: Path) -> None:
    train(tmp_path, f"{OWN}Writing", until=5)
    train(tmp_path, f"{OWN}Writing", start=3)  # the last checkpoint was that of step 3
    rows = told(tmp_path)
    assert steps_told(tmp_path) == list(range(1, STEPS + 1))
    assert [row["values"]["loss/loss"] for row in rows if "step" in row] == list(range(1, STEPS + 1))
    assert {"top1/rgb", "run/lr", "run/grad_norm"} <= set(rows[1]["values"])
    begun = [row for row in rows if "id" in row]
    assert len(begun) == 2 and begun[0] == begun[1] and begun[0]["name"] == "pretrain 01234567"
    assert [row["ending"] for row in rows if "ending" in row] == ["stopped", "finished"]


def test_a_tracker_that_comes_later_is_told_what_was_before(tmp_path: Path) -> None:
    train(tmp_path, until=5)
    train(tmp_path, f"{OWN}Writing", start=3)
    assert steps_told(tmp_path) == list(range(1, STEPS + 1))


def test_a_tracker_that_was_left_out_for_a_while_is_told_of_that_while(tmp_path: Path) -> None:
    for names, start, until in (((f"{OWN}Writing",), 0, 2), ((), 2, 5), ((f"{OWN}Writing",), 5, STEPS)):
        train(tmp_path, *names, start=start, until=until)
    assert steps_told(tmp_path) == list(range(1, STEPS + 1))


def test_a_tracker_that_fails_costs_one_line_and_is_made_up_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, f"{OWN}Breaking", f"{OWN}Nowhere", until=6)
    said = capsys.readouterr().err.splitlines()
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert steps_told(tmp_path) == [1, 2]
    assert len(said) == 2
    nowhere, breaking = sorted(said, key=len, reverse=True)
    assert "Breaking failed after step 2 and is left out (ConnectionError: the server is gone)" in breaking
    assert "Nowhere failed at its beginning" in nowhere and "nothing of the run is lost" in nowhere
    train(tmp_path, f"{OWN}Breaking", start=6)
    assert steps_told(tmp_path) == [1, 2, 3, 4]


def test_a_tracker_that_hangs_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(couriers, "CLOSE_SECONDS", 0.1)
    own_trackers.ANSWER.clear()
    train(tmp_path, f"{OWN}Hanging")
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == STEPS
    assert "Hanging does not answer and is left" in capsys.readouterr().err
    own_trackers.ANSWER.set()


def test_what_a_tracker_that_hung_has_missed_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "LEAVE_SECONDS", 0.1)
    own_trackers.ANSWER.clear()
    train(tmp_path, f"{OWN}HangingAfterTwo", until=5)  # a server that does not answer, and the job is stopped
    assert steps_told(tmp_path) == [1, 2]
    monkeypatch.setattr(own_trackers.HangingAfterTwo, "most", STEPS)
    train(tmp_path, f"{OWN}HangingAfterTwo", start=5)
    assert steps_told(tmp_path) == list(range(1, STEPS + 1))


def test_what_fails_ends_as_failed(tmp_path: Path) -> None:
    def broken() -> None:
        journal = new_journal(tmp_path, f"{OWN}Writing")
        journal.note(0, {"val_top1": 0.5})  # an epoch's end that is made up for as the run goes on
        with journal.begun_at(0):
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        broken()
    assert told(tmp_path)[1:] == [{"step": 0, "values": {"top1/val": 0.5}}, {"ending": "failed"}]


def test_only_the_first_process_tells(tmp_path: Path) -> None:
    journal = new_journal(tmp_path, f"{OWN}Writing", world=World(1, 2, torch.device("cpu")))
    with journal.begun_at(0):
        journal.note(1, {"val_top1": 0.5})
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()  # what W&B leaves in the current folder is not its library
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with monkeypatch.context() as alone:
        alone.setattr(sys, "path", [str(tmp_path)])
        with pytest.raises(UserError, match=r"^runtime.trackers: wandb is not installed: pip .*\[wandb\]'$"):
            refuse_missing(("tensorboard", "wandb"))
    for name, why in (("Nowhere", "cannot be imported"), ("NO_TRACKER", "is a str; it is to be a function")):
        config = load_config("demo", [f"runtime.trackers=[{OWN}{name}]"])
        for stage in PIPELINE:
            if stage.name in ("pretrain", "finetune", "report"):
                assert stage.preflight is not None
                with pytest.raises(UserError, match=rf"own_trackers:{name} {why}") as refused:
                    stage.preflight(config, {})
                assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="tracker 'wandbb' is unknown; take tensorboard, .* or module:function"):
        load_config("demo", ["runtime.trackers=[wandbb]"])
    with pytest.raises(ConfigError, match="names one twice"):
        load_config("demo", ["runtime.trackers=[mlflow,mlflow]"])


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "trackers.md").read_text()
    (tmp_path / "example_of_docs.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    train(tmp_path, "example_of_docs:Lines")
    lines = (tmp_path / "lines.txt").read_text().splitlines()
    assert len(lines) == STEPS and lines[0].startswith("1 {") and "'loss/loss': 1.0" in lines[0]


def test_a_damaged_memory_is_no_hindrance(tmp_path: Path) -> None:
    unknown = json.dumps({"id": "a", "told": {f"{OWN}Writing": "x"}})
    for damaged in (unknown, '{"id"', '{"id": "a", "told": 3}'):
        (tmp_path / ".trackers.json").write_text(damaged)
        train(tmp_path, f"{OWN}Writing", until=1)
    assert steps_told(tmp_path) == [1, 1, 1]


def test_trackers_change_no_key() -> None:
    plain, told_all = load_config("demo"), load_config("demo", ["runtime.trackers=[wandb,mlflow,trackio]"])
    for stage in PIPELINE:
        if stage.name != "ingest":  # whose settings are those of a folder of videos
            assert stage.settings(plain) == stage.settings(told_all)


def test_the_report_is_a_run_with_the_scores_settings_and_lineage_of_all(tmp_path: Path) -> None:
    def made(name: str, needs: tuple[str, ...], metrics: dict[str, Any]) -> Stage:
        def run(run: StageRun) -> dict[str, Any]:
            return metrics

        return Stage(name, 1, needs, lambda config: {"clip": {"length": 8}}, run, "")

    from mscl.report.stage import report_stage

    stages = [made("pretrain", (), {"loss": 2.5, "checkpoint": "a"}), made("other", ("pretrain",), {"a": {"b": 1}})]
    config, workspace = load_config("demo", [f"runtime.trackers=[tensorboard,{OWN}Writing]"]), Workspace(tmp_path)
    results: dict[str, Any] = {}
    for stage in (*stages, report_stage(stages)):
        results[stage.name] = execute(stage, workspace, config, results).result
    report = results["report"]
    begun, scores, page, end = told(report.folder)
    assert begun["name"] == f"report {report.key[:8]}" and begun["encoder"] == results["pretrain"].key
    assert begun["lineage"] == {name: result.key for name, result in results.items()}
    assert begun["settings"]["other"] == {"clip": {"length": 8}}
    assert scores == {"step": 0, "values": {"pretrain/loss": 2.5, "other/a/b": 1.0}}
    assert page == {"page": "report.html"} and end == {"ending": "finished"}
    assert sorted(path.name for path in report.folder.iterdir() if path.name[0] != ".") == [
        "record.json", "report.html", "told.jsonl",
    ]  # fmt: skip


def test_the_libraries_keep_the_curve_here_and_by_default_none_is_there(tmp_path: Path) -> None:
    """A real training with the real libraries: alone, then told to all four, stopped and gone on with."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mscl.trackers.tracked_training", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["by default"] == {"imported": [], "asked for": []}
    losses = [row["loss"] for row in read_metrics(tmp_path / "alone" / "metrics.jsonl")]
    assert [row["loss"] for row in read_metrics(tmp_path / "tracked" / "metrics.jsonl")] == losses
    curve = [[step, pytest.approx(loss)] for step, loss in enumerate(losses, 1)]
    assert len(curve) == STEPS
    for name in ("tensorboard", "wandb", "mlflow", "trackio"):
        assert found[name]["curve"] == curve, name
        assert found[name]["setting"] == "0.25" and found[name]["lineage"] == "0123456789abcdef", name
        assert name == "tensorboard" or "the page" in found[name]["page"], name
    assert found["mlflow"]["status"] == "FINISHED"
    assert found["mlflow"]["scores"] == {"probe/top1": 0.5, "retrieve/trained/R at 1": 0.25}
    assert len(found["mlflow"]["long"]) == 500 and found["mlflow"]["long"].endswith("...")
    assert found["warned"] == []
    assert found["at once"] == [7]
    assert len(found["odd"]) == 1 and "why?, whose name has a ?; rename it" in found["odd"][0]
    assert not (tmp_path / "why").exists()
    assert found["sent"] == []
