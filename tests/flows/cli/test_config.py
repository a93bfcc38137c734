"""`mscl config` and `mscl presets`: what is printed can be saved and used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.app import app
from mscl.config import ExperimentConfig, load_config, overlay_names, preset_names, summary_of
from mscl.config.commented_yaml import commented_yaml
from mscl.errors import UserError


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        *([name] for name in preset_names()),
        *([f"demo+{name}"] for name in overlay_names()),
        [
            "ucf101+mscl-no-fra+linear",
            "data.classes=[1, on, 'a: b']",
            "data.root=C:\\x #é\tü",
            "data.test_pattern=a\nb",
        ],
        ["demo", "pretrain.epochs=20"],
        ["demo", "pretrain.epochs=20", "pretrain.min_steps=250"],
        ["demo", "pretrain.min_steps=0"],
        ["demo", "motion.window_px=5", "embed.controls=false", "probe.l2=1e-9,5", "data.root=007", "probe.seeds="],
    ],
    ids=" ".join,
)
def test_what_is_printed_is_a_preset_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], changed: bool
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(printed("config", *arguments, *(["--changed"] if changed else [])))
    assert load_config(str(path)) == load_config(arguments[0], arguments[1:])


def test_a_variant_is_one_setting_beside_its_preset() -> None:
    assert yaml.safe_load(printed("config", "ucf101+mscl-no-fra", "--changed")) == {
        "base": "ucf101",
        "pretrain": {"loss": {"rotation": False}},
    }
    ours, theirs = printed("config", "ucf101+mscl-no-fra").splitlines(), printed("config", "ucf101").splitlines()
    differing = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    assert differing[1:] == [("    rotation: false", "    rotation: true")]


def test_what_changed_is_taken_from_the_base() -> None:
    assert yaml.safe_load(printed("config", "kinetics400-r50", "--changed")) == {
        "base": "kinetics400-r18", "flow": {"store_short_side": 256}, "embed": {"crop_px": 224},
        "pretrain": {"epochs": 200, "model": {"backbone": "r50"}, "augment": {"crop_px": 224}, "optim": {"lr": 0.03}},
    }  # fmt: skip
    assert yaml.safe_load(printed("config", "demo", "clip.length=8", "--changed")) == {"base": "demo"}
    assert "base" not in yaml.safe_load(printed("config", "demo", "--changed"))


def test_a_preset_whose_name_is_no_plain_text_is_one_of_ones_own_too(tmp_path: Path) -> None:
    odd = tmp_path / "[b]own #1 \x1b[31m.yaml"
    odd.write_text("base: demo\npretrain: {epochs: 3}\n")
    text = printed("config", str(odd), "clip.length=4", "data.root=v\x1b[2J\x07", "--changed")
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    (tmp_path / "mine.yaml").write_text(text)
    expected = load_config(str(odd), ["clip.length=4", "data.root=v\x1b[2J\x07"])
    assert load_config(str(tmp_path / "mine.yaml")) == expected


def test_every_setting_has_its_help_above_it() -> None:
    lines = commented_yaml(ExperimentConfig()).splitlines()
    place = lines.index("  min_steps: 0")
    assert lines[place - 1].endswith("[whole number from 0]") and lines[place - 1].startswith("  # ")
    assert max(map(len, lines)) <= 110
    assert not any(line != line.rstrip() for line in lines)


def test_the_schema_is_json() -> None:
    assert json.loads(printed("config", "--schema"))["title"] == "MSCL Pipeline configuration"


def test_without_a_preset_it_says_what_is_missing() -> None:
    with pytest.raises(UserError, match="needs a preset"):
        printed("config")


def test_presets_and_overlays_are_listed_apart() -> None:
    text = printed("presets")
    presets, overlays = text.split("Overlays: PRESET+OVERLAY")
    for names, part in ((preset_names(), presets), (overlay_names(), overlays)):
        listed = [line.split(maxsplit=1) for line in part.splitlines() if line.startswith("  ")]
        assert listed == [[name, summary_of(name)] for name in names]
