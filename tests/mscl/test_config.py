"""Presets, files and overrides; and errors that say what would have fitted."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from mscl.config import ExperimentConfig, PretrainConfig, load_config, merge_section, preset_names
from mscl.errors import ConfigError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name: str) -> None:
    assert isinstance(load_config(name), ExperimentConfig)


def test_the_papers_numbers() -> None:
    config = load_config("kinetics400-r18")
    assert (config.flow.gap_frames, config.flow.span_frames) == (2, 8)  # METHOD 1.1
    assert (config.clip.length, config.clip.stride) == (8, 8)  # 1.3
    assert (config.pretrain.optim.lr, config.pretrain.epochs, config.pretrain.batch_size) == (0.02, 400, 128)  # 1.7
    assert config.pretrain.loss.temperature == 0.07 and config.pretrain.loss.queue_size == 65536  # 1.6
    moco = load_config("moco-r18").pretrain
    assert (moco.key_momentum, moco.optim.lr, moco.epochs, moco.loss.flow) == (0.999, 0.015, 120, False)
    finetune = config.finetune
    assert (finetune.frames, finetune.flip, finetune.dropout, finetune.optim.lr) == (16, 0.0, 0.5, 0.12)  # 1.8


def test_overrides_reach_nested_names_and_keep_the_rest() -> None:
    config = load_config("demo", ["pretrain.optim.lr=0.5", "data.classes=Punch,PushUps", "data.root=007"])
    assert config.pretrain.optim.lr == 0.5
    assert config.pretrain.optim.name == load_config("demo").pretrain.optim.name
    assert config.data.classes == ("Punch", "PushUps")
    assert config.data.root == "007"  # a path, not a number


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("pretrain.epoch=3", "did you mean 'epochs'"),
        ("nothing.epochs=3", "'nothing' is not one of"),
        ("pretrain.loss=3", "is a section"),
        ("pretrain.epochs=many", "pretrain.epochs"),
        ("pretrain.epochs", "section.name=value"),
        ("pretrain.batch_size=33", "queue_size 64 is not divisible by batch_size 33"),
        ("flow.store_short_side=4000", "store_short_side 4000"),
    ],
)
def test_a_wrong_override_says_what_fits(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config("demo", [override])


def test_an_unknown_preset_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'demo'.*kinetics400-r18"):
        load_config("dmo")


def test_a_file_changes_its_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: demo\npretrain: {optim: {lr: 0.25}}\n")
    config, base = load_config(str(path)), load_config("demo")
    assert config.pretrain.optim.lr == 0.25
    assert config.pretrain.model_copy(update={"optim": base.pretrain.optim}) == base.pretrain


@pytest.mark.parametrize(("text", "says"), [("a: [", "not valid YAML"), ("- 1", "must hold sections")])
def test_a_broken_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_config(str(path))


def test_a_section_given_in_part_keeps_the_presets_other_values() -> None:
    base = load_config("demo").pretrain
    merged = PretrainConfig.model_validate(merge_section(base, PretrainConfig(epochs=3)))
    assert merged == base.model_copy(update={"epochs": 3})


def test_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load_config("demo").pretrain.epochs = 3  # type: ignore[misc]
