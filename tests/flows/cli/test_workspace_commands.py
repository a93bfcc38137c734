"""gc, rm, ls and verify on a workspace with two experiments, through the console command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import app as console
from storage.commits import FINAL, CommitLog
from storage.record import result_key
from storage.result_folder import Result
from storage.workspace import Workspace

Command = Callable[..., tuple[int, str]]


def make(workspace: Workspace, stage: str, parent: Result | None = None, *, text: str) -> Result:
    inputs = {parent.record.stage: parent.key} if parent else {}
    key = result_key(stage, 1, {"text": text}, inputs)
    with workspace.claim(stage, key) as folder:
        workspace.begin(stage, key, config={"text": text}, inputs=inputs)
        (folder / "data.bin").write_bytes(text.encode() * 1000)
        return workspace.commit(
            stage, key, version=1, config={"text": text}, inputs=inputs, metrics={}, timings={"seconds": 1.0}
        )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two experiments on one set of videos, and flow by a third method that nobody trained on."""
    place = Workspace(tmp_path / "workspace")
    ingest = make(place, "ingest", text="videos")
    for text in ("stray", "first", "second"):
        extract = make(place, "extract", ingest, text=text)
        if text != "stray":
            make(place, "pretrain", extract, text=text)
    return place


@pytest.fixture
def mscl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workspace: Workspace) -> Command:
    """Runs the command in this process: (exit code, output)."""
    monkeypatch.chdir(workspace.root.parent)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["mscl", *arguments])
        with pytest.raises(SystemExit) as left:
            console.main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out + err

    return run


def keys(workspace: Workspace) -> dict[str, str]:
    return {f"{r.record.stage} {r.record.config['text']}": r.key for r in workspace.results()}


def test_gc_keeps_every_experiment_and_removes_only_when_told(mscl: Command, workspace: Workspace) -> None:
    before = keys(workspace)
    code, output = mscl("gc")
    assert code == 0 and "nothing removed yet: add --yes" in output
    assert before["extract stray"] in output and "0.0 MB in 1 result;" in output
    assert keys(workspace) == before
    code, output = mscl("gc", "--yes")
    assert code == 0 and "removed 1 result, freed" in output
    assert before.keys() - keys(workspace).keys() == {"extract stray"}
    assert "nothing to remove" in mscl("gc", "--yes")[1]


def test_an_ablation_is_kept_and_mended_by_its_own_command(mscl: Command, workspace: Workspace) -> None:
    first = make(workspace, "ablate", text="first")
    make(workspace, "ablate", text="second")
    assert "ablate" not in mscl("gc")[1]
    (first.folder / "data.bin").write_bytes(b"other" * 1000)
    for options in ((), ("--repair",)):
        code, output = mscl("verify", first.key, *options)
        assert code == 1 and "the command that made it makes it again" in output and "mscl: " not in output


def test_gc_can_keep_just_the_latest(mscl: Command, workspace: Workspace) -> None:
    code, _ = mscl("gc", "--keep-latest", "--yes")
    assert code == 0
    assert keys(workspace).keys() == {"ingest videos", "extract second", "pretrain second"}


def test_gc_ends_a_removal_that_was_killed(mscl: Command, workspace: Workspace) -> None:
    half, empty = workspace.folder("extract", "a" * 16), workspace.folder("motion", "b" * 16)
    for folder, name in ((half, ".half-removed"), (empty, "")):
        folder.mkdir(parents=True)
        (folder / name).touch()
        assert f"half removed (`mscl gc --yes` removes the rest): {folder.relative_to(workspace.root)}" in mscl("ls")[1]
    code, output = mscl("gc")
    assert code == 0 and half.name in output and "can be resumed" not in output
    assert f"for half removed: extract {half.name}, motion {empty.name}; `mscl gc" in mscl("verify")[1]
    with workspace.claim("motion", empty.name):  # a stage has just begun, and what it reads is not known yet
        assert mscl("gc", "--yes")[0] == 0
    assert half.exists() and empty.exists()
    assert mscl("gc", "--yes")[0] == 0 and not half.exists() and not empty.exists()


def test_rm_takes_what_was_made_of_it_along(mscl: Command, workspace: Workspace) -> None:
    before = keys(workspace)
    code, output = mscl("rm", before["extract first"][:8])
    assert code == 0 and before["pretrain first"] in output and "nothing removed yet" in output
    assert mscl("rm", before["extract first"], "--yes")[0] == 0
    assert before.keys() - keys(workspace).keys() == {"extract first", "pretrain first"}
    code, output = mscl("rm", "ffffffff", "--yes")
    assert code == 2 and "'ffffffff' is unknown" in output


def test_rm_and_gc_leave_what_a_running_stage_reads(mscl: Command, workspace: Workspace) -> None:
    before = keys(workspace)
    extract = before["extract first"]
    with workspace.claim("motion", "c" * 16):
        workspace.begin("motion", "c" * 16, config={"text": "running"}, inputs={"extract": extract})
        for key in (extract, before["ingest videos"]):
            code, output = mscl("rm", key, "--yes")
            assert code == 2 and f"nothing was removed: motion {'c' * 16} is being computed" in output
        code, output = mscl("gc")
        assert code == 0 and "1 unfinished, 0.0 MB, can be resumed and stay; --unfinished takes them, too" in output
        assert mscl("gc", "--keep-latest", "--unfinished", "--yes")[0] == 0
        assert before.keys() - keys(workspace).keys() == {"extract stray", "pretrain first"}
    assert mscl("rm", extract, "--yes")[0] == 0
    assert "extract first" not in keys(workspace)


def test_damage_of_any_result_is_named_and_shown_by_ls(mscl: Command, workspace: Workspace) -> None:
    for result in workspace.results("extract"):  # theirs have stores; tests/faults is about those
        workspace.discard("extract", result.key)
    code, output = mscl("verify")
    assert code == 0 and "3 results are whole" in output and "not verified" not in output
    with workspace.claim("motion", "c" * 16):  # as a repair leaves it that was killed
        workspace.begin("motion", "c" * 16, config={}, inputs={})
    code, output = mscl("verify")
    assert code == 0 and f"not verified, for begun and not finished: motion {'c' * 16}; `mscl run` goes on" in output
    pretrain = keys(workspace)["pretrain second"]
    (workspace.folder("pretrain", pretrain) / "data.bin").write_bytes(b"X" * 6000)
    code, output = mscl("verify")
    assert code == 1
    assert "data.bin" in output and "was" in output and "when written" in output
    assert f"mscl verify {pretrain} --repair" in output and "all of this pretrain" in output
    assert f"damaged (`mscl verify` tells): pretrain/{pretrain}" in mscl("ls")[1]
    code, output = mscl("show", pretrain)
    assert code == 2 and "is damaged" in output
    (workspace.folder("pretrain", pretrain) / "data.bin").write_bytes(b"second" * 1000)  # from a backup
    assert mscl("verify", pretrain)[0] == 0
    assert mscl("show", pretrain)[0] == 0


def test_a_result_that_is_being_computed_again_is_not_called_damaged(mscl: Command, workspace: Workspace) -> None:
    """Its mark would have stood on the files that took the place of those that were looked at."""
    pretrain = keys(workspace)["pretrain second"]
    with workspace.claim("pretrain", pretrain) as folder:
        (folder / "data.bin").write_bytes(b"X" * 6000)
        code, output = mscl("verify", pretrain)
        assert code == 1 and "is being computed by another process; verify it when that is done" in output
        assert not (folder / ".damaged").exists()
    assert "all of this pretrain" in mscl("verify", pretrain)[1]


def test_a_result_that_cannot_be_made_again_says_why(mscl: Command, workspace: Workspace) -> None:
    ingest = keys(workspace)["ingest videos"]
    (workspace.folder("ingest", ingest) / "data.bin").unlink()
    code, output = mscl("verify", ingest, "--repair")
    assert code == 2 and "Traceback" not in output
    assert "mscl: " in output


def test_what_cannot_be_made_again_loses_nothing_that_a_backup_could_mend(mscl: Command, workspace: Workspace) -> None:
    extract = workspace.by_key(keys(workspace)["extract first"])
    log = CommitLog(extract.folder / "commits.jsonl")
    for shard in (0, FINAL):
        log.append(shard, {"data.bin": extract.record.files[0].digest})
    before = log.path.read_bytes()
    (extract.folder / "data.bin").write_bytes(b"other" * 1000)
    code, output = mscl("verify", extract.key, "--repair")
    assert code == 2 and "cannot be made again from its record" in output
    assert log.path.read_bytes() == before


def test_show_is_for_reading_and_json_holds_all(mscl: Command, workspace: Workspace) -> None:
    pretrain = keys(workspace)["pretrain first"]
    record = workspace.by_key(pretrain).record
    code, output = mscl("show", pretrain[:8])
    assert code == 0 and f"pretrain {pretrain}" in output and "  text: first" in output and "data.bin" in output
    assert f"reads     extract {record.inputs['extract']}" in output
    code, output = mscl("show", pretrain, "--json")
    assert code == 0 and json.loads(output) == json.loads(record.model_dump_json())


def test_lineage_names_what_is_gone(mscl: Command, workspace: Workspace) -> None:
    extract = keys(workspace)["extract first"]
    assert "is not there" not in mscl("lineage", keys(workspace)["pretrain first"])[1]
    with workspace.claim("motion", "d" * 16):
        workspace.commit(
            "motion", "d" * 16, version=1, config={"text": "of another"}, inputs={"extract": extract}, metrics={},
            timings={}, contents={"extract": "of the one before"},
        )  # fmt: skip
    said = f"motion {'d' * 16} was made from another extract {extract} than is there now"
    assert said in mscl("lineage", "d" * 16)[1]
    workspace.discard("extract", extract)
    code, output = mscl("lineage", keys(workspace)["pretrain first"])
    assert code == 0 and f"extract   {extract}  is not there" in output
