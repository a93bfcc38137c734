"""Workspaces that may only be read, or that are another user's; `~` in paths that no shell has seen."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import typer

import flows.progress
import mscl.pipeline.repair
import storage.garbage
import storage.verify
from flows.cli import app as console
from flows.cli.options import WorkspaceOption
from flows.workspace_slots import workspace_slot
from mscl.config import load_config
from mscl.ingest.places import dataset_root
from storage.errors import StorageError
from storage.record import RECORD_NAME
from storage.result_folder import is_damaged
from storage.user_paths import user_path
from storage.workspace import Workspace
from tests.flows.cli.test_workspace_commands import make
from tests.other_users import another_user, open_folder

IMPORTED_BEFORE_THE_USER_CHANGES = (flows.progress, mscl.pipeline.repair, storage.garbage, storage.verify)
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """Two experiments on one set of videos, in a folder that everybody may look into."""
    with open_folder() as folder:
        place = Workspace(folder / "workspace")
        ingest = make(place, "ingest", text="videos")
        for text in ("first", "second"):
            make(place, "embed", make(place, "motion", ingest, text=text), text=text)
        yield place


@pytest.fixture
def mscl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process: (exit code, output)."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["mscl", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            console.main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out + err

    return run


def test_in_another_users_workspace_reading_verbs_read_and_others_say_one_line(
    mscl: Command, workspace: Workspace
) -> None:
    motion, embed = (workspace.results(stage)[0].key for stage in ("motion", "embed"))
    where = ("--workspace", workspace.root)
    with another_user():
        for reading in (("ls",), ("show", embed), ("lineage", embed), ("gc",), ("gc", "--unfinished"), ("rm", motion)):
            code, output = mscl(*reading, *where)
            assert code == 0 and output, (reading, output)
        code, output = mscl("verify", *where)
        assert code == 0 and "5 results are whole" in output
        code, output = mscl("rm", embed, "--yes", *where)
        assert code == 2 and output.splitlines()[-1].startswith(f"mscl: cannot read or write {workspace.root}")
    assert len(workspace.results()) == 5
    workspace.results("embed")[0].folder.joinpath("data.bin").write_bytes(b"X" * 5000)
    with another_user():
        code, output = mscl("verify", embed, *where)
        assert code == 1 and "data.bin" in output and "it cannot be kept from being used as it is" in output


def test_what_may_not_be_read_is_said_and_is_neither_damaged_nor_gone(mscl: Command, workspace: Workspace) -> None:
    record = workspace.results("motion")[0].folder / RECORD_NAME
    key, where = record.parent.name, ("--workspace", workspace.root)
    record.chmod(0)
    for folder in (workspace.root / ".locks", record.parent):
        folder.chmod(0o777)  # a group's, say: it could be written
    with another_user():
        code, output = mscl("ls", *where)
        assert code == 0 and f"may not be read: motion/{key}" in output
        code, output = mscl("verify", *where)
        assert code == 1 and f"motion {key} cannot be verified: cannot read {record}: Permission denied" in output
        for command in (("show", key), ("rm", key, "--yes"), ("gc", "--unfinished", "--yes")):
            code, output = mscl(*command, *where)
            assert code == 2 and len(output.splitlines()) == 1 and "ask its owner" in output, output
    record.chmod(0o644)
    assert len(workspace.results()) == 5 and not any(is_damaged(path) for path in workspace.unfinished())


def test_another_users_lock_file_is_locked_and_not_refused(workspace: Workspace) -> None:
    with workspace.claim("motion", "0" * 16):
        pass
    (workspace.root / ".locks").chmod(0o777)
    with another_user(), workspace.claim("motion", "0" * 16):
        assert workspace.is_claimed("motion", "0" * 16)
    assert not workspace.is_claimed("motion", "0" * 16)


def test_a_run_needs_no_slot_in_a_workspace_that_it_can_only_read(workspace: Workspace) -> None:
    said: list[str] = []
    with another_user(), workspace_slot(workspace, limit=1, say=said.append):
        assert not said


def test_verify_of_a_read_only_disk_takes_nothing_away(
    mscl: Command, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))  # also for what is not there

    monkeypatch.setattr(Path, "unlink", refuse)
    assert mscl("verify", "--workspace", workspace.root)[0] == 0


def test_a_home_folder_is_found_wherever_a_path_is_given(
    mscl: Command, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("clip: {length: 3}\n")
    (tmp_path / "mine.yaml").write_text("base: ~/base.yaml\ndata: {root: ~/videos, annotations: '~/a,~/b'}\n")
    config = load_config("~/mine.yaml")
    assert config.clip.length == 3 and dataset_root(config) == tmp_path / "videos"
    workspace.root.rename(tmp_path / "workspace")
    code, output = mscl("ls", "--workspace", "~/workspace")
    assert code == 0 and "embed" in output
    code, output = mscl("export", "~/absent.pt", "~/out.safetensors", "--workspace", "~/workspace")
    assert code == 2 and output == f"mscl: {tmp_path}/absent.pt does not exist; check the path\n"
    for command in (("ls", "--workspace", "~nobody-of-this-name/x"), ("config", "~nobody-of-this-name/x.yaml")):
        code, output = mscl(*command)
        assert code == 2 and len(output.splitlines()) == 1 and "nobody's home folder" in output
    monkeypatch.chdir(tmp_path)
    assert (user_path("./~"), user_path("~")) == (Path("~"), tmp_path)
    (tmp_path / "~nobody-of-this-name.mp4").touch()
    assert user_path(Path("./~nobody-of-this-name.mp4")) == Path("~nobody-of-this-name.mp4")
    for command in (("search", "s3://bucket/a b.mp4"), ("ls", "--workspace", "s3://bucket/a b.mp4")):
        code, output = mscl(*command)
        assert code == 2 and output.startswith("mscl: s3://bucket/a b.mp4 is no path of this machine"), output
    with pytest.raises(StorageError, match="s3:/b/c is no path of this machine; .* has two slashes: s3://b/c"):
        user_path("s3:/b/c")


def test_every_path_that_a_command_takes_may_begin_at_home() -> None:
    def without(app: typer.Typer) -> Iterator[str]:
        for group in app.registered_groups:
            yield from without(group.typer_instance)
        for command in app.registered_commands:
            for name, hint in get_type_hints(command.callback, include_extras=True).items():
                if hint == WorkspaceOption or get_origin(hint) is not Annotated:  # `Workspace` looks for its own
                    continue
                given, said = get_args(hint)[:2]
                if "Path" in str(given) and said.callback is None:
                    yield f"{command.callback.__name__} {name}"

    assert list(without(console.app)) == []
