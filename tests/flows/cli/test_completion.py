"""What the shell is offered."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import completion


def test_presets_overlays_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ucf-mine.yaml").touch()
    assert completion.presets("uc") == ["ucf101", "ucf-mine.yaml"]
    assert completion.presets("ucf101+lin") == ["ucf101+linear"]


def test_settings_and_the_values_of_those_that_have_a_few() -> None:
    assert completion.settings("data.ro") == ["data.root="]
    assert completion.settings("runtime.device=c") == ["runtime.device=cpu", "runtime.device=cuda"]
    assert completion.settings("finetune.enabled=") == ["finetune.enabled=true", "finetune.enabled=false"]
    assert completion.settings("data=") == completion.settings("no.such=") == completion.settings("data.root=x") == []


def test_keys_of_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSCL_WORKSPACE", str(tmp_path))
    for key in ("ab12", "ac34"):
        (tmp_path / "embed" / key).mkdir(parents=True)
        (tmp_path / "embed" / key / "record.json").touch()
    assert completion.keys("ab") == ["ab12"]


def test_bash_gets_them_from_the_command() -> None:
    asked = {"_MSCL_COMPLETE": "complete_bash", "COMP_WORDS": "mscl stage extr", "COMP_CWORD": "2"}
    # The name by which Typer finds its variable is that of the program.
    code = "import sys; sys.argv = ['mscl']; from flows.cli.command import main; main()"
    offered = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True)
    assert offered.stdout.split() == ["extract"], offered.stderr
