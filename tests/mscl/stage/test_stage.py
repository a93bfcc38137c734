"""Running, reusing, forcing and resuming a stage."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mscl.config import ExperimentConfig, load_config
from mscl.errors import UserError
from mscl.pipeline import run_pipeline
from mscl.stage.contract import Outcome, Stage, StageRun
from mscl.stage.execute import execute
from mscl.stage.view import stage_view
from storage.errors import StorageError
from storage.record import sealed
from storage.result_folder import mark_damaged
from storage.workspace import Workspace


def counting_stage(calls: list[str], *, fail_after: int | None = None, needs: tuple[str, ...] = ()) -> Stage:
    """A stage of three units of work that notes which units it did, and resumes."""

    def run(run: StageRun) -> dict[str, Any]:
        for unit in range(3):
            path = run.folder / f"{unit}.txt"
            if path.exists():
                continue
            if fail_after is not None and unit >= fail_after:
                raise KeyboardInterrupt
            calls.append(f"unit {unit}")
            path.write_text(f"{run.config.pretrain.epochs}")
        return {"units": 3}

    return Stage("count", 1, needs, lambda config: {"epochs": config.pretrain.epochs}, run, "Counts.")


@pytest.fixture
def config() -> ExperimentConfig:
    return load_config("demo")


def test_settings_are_asked_once(tmp_path: Path, config: ExperimentConfig) -> None:
    """To ask for them may mean to look at every video."""
    asked: list[str] = []
    stage = counting_stage([])

    def settings(config: ExperimentConfig) -> dict[str, Any]:
        asked.append("settings")
        return stage.settings(config)

    execute(replace(stage, settings=settings), Workspace(tmp_path), config, {})
    assert asked == ["settings"]


def test_done_is_done(tmp_path: Path, config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    stage, workspace = counting_stage(calls), Workspace(tmp_path)
    first = execute(stage, workspace, config, {})

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "another user's file cannot be touched")

    monkeypatch.setattr("os.utime", refuse)
    again = execute(stage, workspace, config, {})
    assert len(calls) == 3
    assert (first.reused, again.reused) == (False, True)
    assert again.result == first.result


def test_a_changed_setting_computes_anew_and_an_unrelated_one_does_not(tmp_path: Path) -> None:
    calls: list[str] = []
    stage, workspace = counting_stage(calls), Workspace(tmp_path)
    first = execute(stage, workspace, load_config("demo"), {})
    other = execute(stage, workspace, load_config("demo", ["pretrain.epochs=9"]), {})
    unrelated = execute(stage, workspace, load_config("demo", ["retrieve.neighbours=3", "runtime.workers=1"]), {})
    assert not other.reused and other.result.key != first.result.key
    assert unrelated.reused and unrelated.result.key == first.result.key


def test_force_computes_again_under_the_same_key(tmp_path: Path, config: ExperimentConfig) -> None:
    calls: list[str] = []
    stage, workspace = counting_stage(calls), Workspace(tmp_path)
    first = execute(stage, workspace, config, {})
    forced = execute(stage, workspace, config, {}, force=True)
    assert len(calls) == 6 and forced.result.key == first.result.key


def test_what_another_run_is_reading_is_not_computed_again(tmp_path: Path, config: ExperimentConfig) -> None:
    """Its training went on with files that were gone, or others."""
    calls: list[str] = []
    stage, workspace = counting_stage(calls), Workspace(tmp_path)
    first = execute(stage, workspace, config, {}).result
    with workspace.claim("train", "a" * 16):
        workspace.begin("train", "a" * 16, config={}, inputs={"count": first.key})
        with pytest.raises(
            StorageError, match=f"count {first.key} is to be .* again, and train aaa.* is being computed"
        ):
            execute(stage, workspace, config, {}, force=True)
    assert workspace.find("count", first.key) == first and len(calls) == 3
    assert not execute(stage, workspace, config, {}, force=True).reused  # it was stopped


def test_what_was_made_of_a_forced_result_is_made_again_where_that_differs(
    tmp_path: Path, config: ExperimentConfig
) -> None:
    seen = tmp_path / "seen.txt"

    def look(run: StageRun) -> dict[str, Any]:
        (run.folder / "copy.txt").write_text(seen.read_text())
        return {}

    looks = Stage("look", 1, (), lambda _: {}, look, "Copies what it sees.")
    reads = Stage(
        "read", 1, ("look",), lambda _: {}, lambda run: {"read": (run.input("look") / "copy.txt").read_text()}, ""
    )
    workspace = Workspace(tmp_path / "w")

    def read(**forced: bool) -> Outcome:
        outcomes = run_pipeline(
            workspace, config, stages=(looks, reads), force=[name for name in forced if forced[name]]
        )
        return outcomes["read"]

    seen.write_text("old")
    old = read()
    assert read(look=True).reused, "the same files as before"
    seen.write_text("new")
    assert read().result.record.metrics == {"read": "old"}, "its key says nothing of what it sees"
    new = read(look=True)
    assert (new.reused, new.result.key, new.result.record.metrics) == (False, old.result.key, {"read": "new"})
    assert read().reused
    before = new.result.record.model_copy(update={"contents": {}})
    (new.result.folder / "record.json").write_text(sealed(before).model_dump_json(exclude={"contents"}))
    seen.write_text("newer")
    assert read(look=True).reused, "a record of before says nothing of contents, and opens"


def test_what_was_begun_on_an_input_that_is_another_by_now_is_not_gone_on_with(
    tmp_path: Path, config: ExperimentConfig
) -> None:
    calls: list[str] = []
    seen = tmp_path / "seen.txt"

    def look(run: StageRun) -> dict[str, Any]:
        (run.folder / "copy.txt").write_text(seen.read_text())
        return {}

    looks = Stage("look", 1, (), lambda _: {}, look, "Copies what it sees.")
    workspace = Workspace(tmp_path / "w")
    seen.write_text("old")
    old = {"look": execute(looks, workspace, config, {}).result}
    for _ in range(2):  # of the same input it goes on
        with pytest.raises(KeyboardInterrupt):
            execute(counting_stage(calls, fail_after=2, needs=("look",)), workspace, config, old)
    assert calls == ["unit 0", "unit 1"]
    seen.write_text("new")
    new = {"look": execute(looks, workspace, config, {}, force=True).result}
    done = execute(counting_stage(calls, needs=("look",)), workspace, config, new).result
    assert calls == ["unit 0", "unit 1", "unit 0", "unit 1", "unit 2"]
    (done.folder / "2.txt").unlink()  # finished once, and no longer whole
    execute(counting_stage(calls, needs=("look",)), workspace, config, new)
    assert calls[5:] == ["unit 2"]
    (done.folder / "2.txt").unlink()
    seen.write_text("newer")
    newer = {"look": execute(looks, workspace, config, {}, force=True).result}
    execute(counting_stage(calls, needs=("look",)), workspace, config, newer)
    assert calls[6:] == ["unit 0", "unit 1", "unit 2"]


def test_what_a_killed_removal_left_is_not_gone_on_with(
    tmp_path: Path, config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    workspace, stage, unlink = Workspace(tmp_path), counting_stage(calls), Path.unlink
    result = execute(stage, workspace, config, {}).result

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name == "1.txt":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    for _ in "ab":
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "unlink", killed)
            workspace.discard(stage.name, result.key)
    assert workspace.find(stage.name, result.key) is None and (result.folder / "1.txt").exists()
    execute(stage, workspace, config, {})
    assert calls[3:] == ["unit 0", "unit 1", "unit 2"]
    workspace.discard(stage.name, result.key)
    assert not result.folder.exists()


def test_force_goes_on_with_nothing_that_was_begun(tmp_path: Path, config: ExperimentConfig) -> None:
    calls: list[str] = []
    workspace = Workspace(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        execute(counting_stage(calls, fail_after=2), workspace, config, {})
    execute(counting_stage(calls), workspace, config, {}, force=True)
    assert calls == ["unit 0", "unit 1", "unit 0", "unit 1", "unit 2"]


def test_a_forced_run_that_is_tried_again_goes_on_with_its_own_work(tmp_path: Path, config: ExperimentConfig) -> None:
    calls: list[str] = []
    workspace = Workspace(tmp_path)
    execute(counting_stage(calls), workspace, config, {}, force=True, asked_by="run 1")
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        execute(counting_stage(calls, fail_after=2), workspace, config, {}, force=True, asked_by="run 2")
    again = execute(counting_stage(calls), workspace, config, {}, force=True, asked_by="run 2")
    assert calls == ["unit 0", "unit 1", "unit 2"]
    # It failed later, is begun once more, and has computed this already.
    assert execute(counting_stage(calls), workspace, config, {}, force=True, asked_by="run 2").reused
    assert not execute(counting_stage(calls), workspace, config, {}, force=True, asked_by="run 3").reused
    assert not again.reused and len(calls) == 6


def test_what_is_known_of_damage_may_be_damaged_itself(tmp_path: Path, config: ExperimentConfig) -> None:
    calls: list[str] = []
    workspace, stage = Workspace(tmp_path), counting_stage(calls)
    folder = execute(stage, workspace, config, {}).result.folder
    mark_damaged(folder, ["1.txt: digest"])
    (folder / ".damaged").write_bytes(b"1.txt: \xff\n")
    assert not execute(stage, workspace, config, {}).reused
    assert len(calls) == 6


def test_a_new_record_vouches_for_nothing_that_has_changed(tmp_path: Path, config: ExperimentConfig) -> None:
    calls: list[str] = []
    workspace, stage = Workspace(tmp_path), counting_stage(calls)
    folder = execute(stage, workspace, config, {}).result.folder
    whole = (folder / "2.txt").read_text()
    (folder / "1.txt").unlink()
    (folder / "2.txt").write_text("x" * len(whole))
    assert not execute(stage, workspace, config, {}).reused
    assert calls[3:] == ["unit 1", "unit 2"] and (folder / "2.txt").read_text() == whole


def test_ctrl_c_then_the_same_again_goes_on(tmp_path: Path, config: ExperimentConfig) -> None:
    calls: list[str] = []
    workspace = Workspace(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        execute(counting_stage(calls, fail_after=2), workspace, config, {})
    assert workspace.results() == []
    outcome = execute(counting_stage(calls), workspace, config, {})
    assert calls == ["unit 0", "unit 1", "unit 2"]
    # Its seconds are those since it went on, which tables must not show as the time of the whole.
    assert stage_view(outcome.result).took.startswith("≥ ")
    anew = execute(counting_stage(calls), workspace, config, {}, force=True).result
    assert not stage_view(anew).took.startswith("≥ ")
    assert {file.path for file in outcome.result.record.files} == {"0.txt", "1.txt", "2.txt"}


def test_what_a_killed_writer_left_half_written_is_no_part_of_the_result(
    tmp_path: Path, config: ExperimentConfig
) -> None:
    calls: list[str] = []
    workspace, stage = Workspace(tmp_path), counting_stage(calls)
    with pytest.raises(KeyboardInterrupt):
        execute(counting_stage(calls, fail_after=2), workspace, config, {})
    folder = workspace.folder("count", stage.key(config, {}))
    (folder / "checkpoints").mkdir()
    for name in (".staged-123-step-00000010.pt", "step-00000005.pt"):
        (folder / "checkpoints" / name).write_bytes(b"half")

    def lose_a_worker(run: StageRun) -> dict[str, Any]:
        (run.folder / "checkpoints" / ".staged-124-part").write_bytes(b"half")
        return stage.run(run)

    result = execute(replace(stage, run=lose_a_worker), workspace, config, {}).result
    assert not (folder / "checkpoints" / ".staged-123-step-00000010.pt").exists()
    assert {file.path for file in result.record.files} == {"0.txt", "1.txt", "2.txt", "checkpoints/step-00000005.pt"}


def test_a_missing_input_is_named(tmp_path: Path, config: ExperimentConfig) -> None:
    with pytest.raises(UserError, match=r"no finished result of ingest"):
        execute(counting_stage([], needs=("ingest",)), Workspace(tmp_path), config, {})


def test_what_is_known_to_be_damaged_is_made_from_nothing_unless_the_stage_repairs_it_in_place(
    tmp_path: Path, config: ExperimentConfig
) -> None:
    calls: list[str] = []
    workspace, stage = Workspace(tmp_path), counting_stage(calls)
    folder = execute(stage, workspace, config, {}).result.folder
    mark_damaged(folder, ["1.txt: a bit has flipped"])
    assert not execute(stage, workspace, config, {}).reused
    assert calls == ["unit 0", "unit 1", "unit 2"] * 2
    mark_damaged(folder, ["1.txt: a bit has flipped"])
    seen: list[bool] = []

    def mend(run: StageRun) -> dict[str, Any]:
        seen.append(run.is_damaged)
        return {}

    mending = replace(stage, repairs_in_place=True, run=mend)
    assert not execute(mending, workspace, config, {}).reused
    assert seen == [True] and len(calls) == 6 and (folder / "0.txt").exists()
    assert execute(mending, workspace, config, {}).reused


def test_a_lost_file_is_told_to_the_stage(tmp_path: Path, config: ExperimentConfig) -> None:
    calls: list[str] = []
    workspace, stage = Workspace(tmp_path), counting_stage(calls)
    folder = execute(stage, workspace, config, {}).result.folder
    (folder / "1.txt").unlink()
    assert not execute(stage, workspace, config, {}).reused
    assert calls[3:] == ["unit 1"]  # nobody said that the others are damaged: long trainings go on where they can


def test_what_the_disk_refuses_is_one_line_that_names_the_place(tmp_path: Path, config: ExperimentConfig) -> None:
    def fill(run: StageRun) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device", str(run.folder / "big.npy"))

    stage = replace(counting_stage([]), run=fill)
    with pytest.raises(StorageError, match=r"cannot write .*big.npy: No space left.*free space.*run the same command"):
        execute(stage, Workspace(tmp_path), config, {})

    def lose(run: StageRun) -> dict[str, Any]:
        (run.folder / "absent").read_bytes()
        return {}

    with pytest.raises(FileNotFoundError):  # a fault of ours stays one
        execute(replace(stage, run=lose), Workspace(tmp_path), config, {})
