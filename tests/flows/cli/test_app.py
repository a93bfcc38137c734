"""The `mscl` command: what users get wrong, and what the tables say."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows.cli import app as console
from flows.cli import motion_page, search_and_predict, tools

USER_ERROR = 2
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mscl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs the command in this process: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mscl", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            console.main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["search", "-k", "0", "a.mp4"], "'0' is not a whole number, 1 or more"),
        (["predict", "-k", "1.5", "a.mp4"], "'1.5' is not a whole number, 1 or more"),
        (["motion", "scores", "--limit", "-1"], "'-1' is not a whole number, 0 or more"),
        (["motion", "export", "flo", "out", "--official-split", "two"], "'two' is not a whole number, 1 or more"),
        (["demo-data", "out", "--train-per-class", "1"], "'1' is not a whole number, 2 or more"),
        (["motion-suite", "r3d_18", "--side", "64px"], "'64px' is not a whole number"),
    ],
)
def test_a_number_that_cannot_be_is_repeated_as_typed(mscl: Command, arguments: list[str], expected: str) -> None:
    code, _, err = mscl(*arguments)
    assert code == USER_ERROR
    assert err.rstrip().endswith(expected)


def test_what_takes_seconds_says_so_in_a_terminal(mscl: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before PyTorch is imported; what fails ends it."""
    for module, arguments, shown in (
        (search_and_predict, ["search", "a.mp4"], "Searching"),
        (search_and_predict, ["predict", "a.mp4"], "Classifying"),
        (motion_page, ["motion", "page"], "Drawing the page"),
        (tools, ["flow-eval", "nowhere"], "tvl1 balanced"),
    ):
        monkeypatch.setattr(module, "console", Console(force_terminal=True, color_system=None))
        code, out, err = mscl(*arguments)
        assert code == USER_ERROR and shown in out and err.count("\n") == 1, (code, out, err)
        assert out.endswith("\x1b[2K")  # away
        assert out.count("\x1b[?25h") == out.count("\x1b[?25l")  # the cursor is back


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo", "data.root=nowhere"], "nowhere"),
        (["demo"], "data.root"),
        (["demo", "data.root=empty"], "empty"),
        (["dem", "data.root=empty"], "unknown preset 'dem'; did you mean 'demo'"),
        (["my.yaml"], "my.yaml does not exist"),
        (["demo", "data.rot=x"], "unknown setting 'data.rot': did you mean 'data.root'"),
        (["demo", "dat.root=x"], "unknown setting 'dat.root': did you mean 'data.root'?"),
        (["demo", "lr=0.1"], "did you mean 'pretrain.optim.lr' or 'probe.lr' or 'finetune.optim.lr'?"),
        (["demo", "empty"], "if it is the folder of the videos, write data.root=empty"),
        (["demo", "data.root"], "'data.root' is not of the form section.name=value"),
        (["demo", "pretrain.epochs=many"], "pretrain.epochs"),
        (["demo", "pretrain.epochs=0"], "greater than or equal to 1"),
        (["demo", "pretrain=3"], "'pretrain' is a section"),
        (["demo", "data.root=empty", "--force", "extrct"], "unknown stage 'extrct'; did you mean 'extract'?"),
        (["demo", "data.root=empty", "--workspace", "full"], "holds other files"),
        (["demo", "data.root=s3://KEYID:SECRET@bucket/x"], "data.root must be like s3://bucket/folder, without user"),
        (["demo", "data.root=s3://KEYID:SEC/RET@bucket/x"], "credentials belong into the environment"),
        (["demo", "s3://KEYID:SECRET@bucket/x"], "data.root must be like s3://bucket/folder, without user"),
        (["demo", "data.root=v", "data.annotations=a.csv,https://h/b.csv?sig=SECRET"], "data.annotations must be like"),
        (["demo", "data.root=ftp://host/videos"], "data.root is ftp://...; give s3://, gs://, az://, https://, or"),
        (["demo", "data.root=https://127.0.0.1/v"], "give its address, data.root=https://127.0.0.1/v/videos.txt"),
        (
            ["demo", "data.root=gs://bucket/v"],
            "gs://bucket/v needs gcsfs, which is not installed: pip install 'mscl-pipel",
        ),
        (["demo", "data.root=s3://bucket/v"], "data.root s3://bucket/v does not answer: EndpointConnectionError"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    mscl: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # where nobody listens
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("keep me")
    code, out, err = mscl("run", *arguments, "--no-prefect")
    assert code == USER_ERROR
    assert err.startswith("mscl: ")
    assert expected in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err and "SEC" not in out + err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_a_stage_without_its_inputs(mscl: Command) -> None:
    code, _, err = mscl("stage", "pretrain", "demo")
    assert code == USER_ERROR
    assert "reads ingest, extract, screen" in err


def test_the_version_is_the_package_s(mscl: Command) -> None:
    assert mscl("--version") == (0, f"mscl {version('mscl-pipeline')}\n", "")


def test_an_unknown_option(mscl: Command) -> None:
    code, _, err = mscl("run", "demo", "--wrkspace", "x")
    assert code == USER_ERROR
    assert "No such option" in err


def test_a_server_elsewhere_that_does_not_answer(
    mscl: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("a/x.mp4", "b/y.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    monkeypatch.setenv("PREFECT_API_URL", "http://192.0.2.1:4200/api")  # an address for documentation: nobody is there
    code, _, err = mscl("run", "demo", "data.root=.", "data.test_pattern=y", "--until", "screen")
    assert code == USER_ERROR
    assert "no Prefect API answers at http://192.0.2.1:4200/api" in err
    assert "--no-prefect" in err


def test_a_server_that_went_away_in_the_middle_is_one_line(mscl: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    def gone(**_options: object) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(console, "app", gone)
    code, _, err = mscl("run", "demo")
    assert code == 1
    assert "does not answer any more (refused)" in err and "Traceback" not in err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 GiB"), OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_one_line(mscl: Command, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refused(**_options: object) -> None:
        raise error

    monkeypatch.setattr(console, "app", refused)
    code, _, err = mscl("run", "demo")
    assert code == 1 and err.startswith("mscl: memory ran out") and str(error) in err and err.count("\n") == 1


def test_commands_are_listed_without_heavy_imports() -> None:
    result = CliRunner().invoke(console.app, ["--help"])
    assert result.exit_code == 0
    for name in ("run", "stage", "ls", "show", "lineage", "gc", "up", "down", "status", "demo-data", "presets"):
        assert name in result.output


def test_status_of_nothing(mscl: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    code, out, _ = mscl("status")
    assert code == 1
    assert "no answer at http://127.0.0.1:9/api" in out
    assert "not running" in out
    code, out, _ = mscl("down")
    assert code == 0
    assert "no server was running" in out
