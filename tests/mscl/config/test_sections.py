"""Sections: frozen, merged by name, said in the form, each setting with its help."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

import mscl
from mscl.config import ExperimentConfig, PretrainConfig, load_config, merge_section
from mscl.config.describe import json_schema, sections_of, settings_of
from mscl.config.settings_page import settings_page
from mscl.errors import ConfigError


def test_a_section_given_in_part_keeps_the_presets_other_values() -> None:
    base = load_config("demo").pretrain
    merged = PretrainConfig.model_validate(merge_section(base, PretrainConfig(batch_size=16)))
    assert merged == base.model_copy(update={"batch_size": 16})


def test_epochs_of_a_form_count_and_the_presets_least_number_of_steps_does_not() -> None:
    base = load_config("demo").pretrain
    merged = PretrainConfig.model_validate(merge_section(base, PretrainConfig(epochs=3)))
    assert merged == base.model_copy(update={"epochs": 3, "min_steps": 0})


def test_a_mapping_takes_the_place_of_the_one_before_it(tmp_path: Path) -> None:
    """Of `{}` over a preset's pools all would have stayed, and a stage sent to a pool would have sent itself there."""
    (tmp_path / "mine.yaml").write_text("base: demo+kind\nruntime: {pools: {pretrain: gpu, embed: gpu}}\n")
    mine, groups = str(tmp_path / "mine.yaml"), "probe.superclasses={a: [MoveUp], b: [ZoomIn]}"
    assert load_config(mine, ["runtime.pools={}", "probe.superclasses={}"]).probe.superclasses == {}
    config = load_config(mine, ["runtime.pools={extract: cpu}", groups])
    assert config.runtime.pools == {"extract": "cpu"} and list(config.probe.superclasses) == ["a", "b"]
    assert list(config.retrieve.superclasses) == ["move", "turn", "zoom"]
    assert merge_section(load_config(mine).runtime, {"pools": {}})["pools"] == {}


def test_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load_config("demo").pretrain.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["finetune.area=0.2,20"], "finetune.area.1: Input should be less than or equal to 1"),
        (["pretrain.augment.area=0.9,0.1"], "pretrain.augment.area: 0.9 is above 0.1; give the least value first"),
        (["finetune.dropout=1"], "finetune.dropout: Input should be less than 1"),  # nothing would be learnt
        (["pretrain.augment.aspect=0,1"], "pretrain.augment.aspect.0: Input should be greater than 0"),
        (["probe.l2=0"], "probe.l2.0: Input should be greater than 0"),
        (["probe.l2="], "probe.l2: .* at least 1 item"),
        (["retrieve.ks="], "retrieve.ks: .* at least 1 item"),
        (["screen.min.mean_px=5", "screen.max.mean_px=1"], "screen: min.mean_px 5 is above max.mean_px 1"),
        # Was said by the kernel, in the motion stage, after all flow; and rounding chose the clips with no word.
        (["motion.weight=attention_map", "motion.attention=none"], "motion: weight attention_map .* leaves nothing"),
        (["motion.weight=attention_map", "motion.attention=sum"], "motion: .* rounding would choose the clips"),
    ],
)
def test_ranges_that_hold_nothing_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("demo", overrides)


def test_a_setting_that_came_later_is_in_the_key_only_where_it_says_something_new() -> None:
    assert PretrainConfig.done_before() == {"loss.rotation_role": "both", "augment.flip_draw": "per_sample"}
    plain = PretrainConfig().key_values(leave_out=["seed"])
    assert not {"rotation_role", "flip_draw", "seed"} & {*plain, *plain["loss"], *plain["augment"]}
    changed = PretrainConfig.model_validate({"loss": {"rotation_role": "hard"}}).key_values()
    assert changed["loss"]["rotation_role"] == "hard" and "flip_draw" not in changed["augment"]
    # Records of before it are read with its default, which therefore is what was done then.
    for path, section in every_section(ExperimentConfig()):
        plain = section.model_dump(mode="json")
        for name, old in type(section).before.items():  # type: ignore[attr-defined]
            assert plain[name] == old, f"{path}.{name}"


def every_section(section: BaseModel, path: str = "") -> Iterator[tuple[str, BaseModel]]:
    for name, below in sections_of(section).items():
        yield path + name, below
        yield from every_section(below, f"{path}{name}.")


SECTIONS = dict(every_section(ExperimentConfig()))


@pytest.mark.parametrize("path", SECTIONS)
def test_every_section_and_setting_says_what_it_does(path: str) -> None:
    assert (type(SECTIONS[path]).__doc__ or "").strip()
    for setting in settings_of(SECTIONS[path]):
        assert re.fullmatch(r"\S.{7,}[.)]", setting.help), f"{path}.{setting.name}: {setting.help!r}"
        # GitHub takes <these> for HTML and shows nothing, unless they are code.
        assert "<" not in re.sub("`[^`]*`", "", setting.help), f"{path}.{setting.name}"


def test_what_a_setting_may_be_is_said_in_words() -> None:
    said = {f"{path}.{s.name}": s.values for path, section in SECTIONS.items() for s in settings_of(section)}
    assert said["data.split"] == "whole number from 1 to 3"
    assert said["pretrain.optim.lr"] == "number above 0"
    assert said["pretrain.augment.area"] == "list of 2 numbers above 0 to 1"
    assert said["finetune.seeds"] == "list of whole numbers from 0"
    assert said["motion.window_px"] == "whole number from 1 | null"
    assert said["pretrain.loss.queue_decay"] == "number above 0 to 1 | null"
    assert said["data.classes"] == "list of names" and said["data.root"] == ""
    assert said["runtime.device"] == "auto | cpu | cuda" and said["pretrain.compile"] == "true | false"
    assert not any("[" in text or "Annotated" in text for text in said.values())


def test_the_page_of_settings_is_that_of_the_code() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "settings.md"
    assert page.read_text() == settings_page(), "run `make settings`"


def test_the_schema_has_every_default_and_refuses_what_the_program_refuses() -> None:
    schema = json_schema()
    check = jsonschema.Draft202012Validator(schema)
    check.check_schema(schema)
    for preset in ("demo", "ucf101+finetune-ssv2"):
        check.validate({"base": "demo"} | load_config(preset).model_dump(mode="json"))
    for wrong in ({"data": {"rot": "x"}}, {"pretrain": {"epochs": 0}}, {"pretrain": {"compile": "maybe"}}, {"a": 1}):
        assert not check.is_valid(wrong)
    defaults = ExperimentConfig().model_dump(mode="json")
    for name in ExperimentConfig.model_fields:
        assert schema["properties"][name]["default"] == defaults[name]
    assert schema["$defs"]["ClipConfig"]["properties"]["stride"]["default"] == 8
    assert schema["$defs"]["PretrainConfig"]["properties"]["compile"]["type"] == "boolean"


def test_the_schema_of_the_forms_has_no_default() -> None:
    """A form sends what it shows, and a class's default would go over the preset's value."""
    for section in ExperimentConfig.model_json_schema()["$defs"].values():
        assert all("default" not in entry for entry in section["properties"].values())


def test_a_rooms_section_costs_no_more_than_its_like() -> None:
    """A section read first of all imports sections alone: no cycle over `mscl.config`, and nothing that computes."""
    rooms = sorted(path.parent.name for path in Path(mscl.__path__[0]).glob("*/config.py"))
    assert len(rooms) >= 10
    code = """
import importlib, sys
for room in sys.argv[1:]:
    importlib.import_module(f"mscl.{room}.config")
    print(room, *(name for name in sys.modules if name.startswith("mscl.") or name == "torch"))
    for name in [name for name in sys.modules if name.startswith("mscl")]:
        del sys.modules[name]
"""
    done = subprocess.run([sys.executable, "-c", code, *rooms], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(rooms)
    for room, *names in map(str.split, lines):
        assert f"mscl.{room}.config" in names
        for name in names:
            sections = (".config", "mscl.config.base", "mscl.video.frame_recipe")
            assert name.count(".") == 1 or name.endswith(sections), (room, name)
