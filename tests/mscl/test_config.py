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
    ("text", "classes"),
    [
        ("Punch,PushUps", ("Punch", "PushUps")), ("Punch", ("Punch",)), ("1,2", ("1", "2")), ("7", ("7",)), ("", ()),
        ("[]", ()), ("['a, b', c]", ("a, b", "c")), ("[1, 2]", ("1", "2")),
    ],
)  # fmt: skip
def test_classes_are_names_and_none_means_all(text: str, classes: tuple[str, ...]) -> None:
    assert load_config("demo", ["data.classes=Walk", f"data.classes={text}"]).data.classes == classes


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


def test_a_protocol_is_laid_over_a_preset(tmp_path: Path) -> None:
    base, config = load_config("demo"), load_config("demo+linear")
    assert config.probe.protocol == "linear" and config.probe.splits == (1, 2, 3) and config.embed.clips == 10
    assert not config.finetune.enabled
    assert config.pretrain == base.pretrain and config.data == base.data
    both = load_config("demo+linear+finetune-hmdb51", ["finetune.epochs=51"])
    assert both.finetune.enabled and both.finetune.protocol == "finetune-hmdb51" and both.probe.protocol == "linear"
    assert both.finetune.test_clips == 10 and both.finetune.epochs == 51
    path = tmp_path / "a+b.yaml"
    path.write_text("base: demo+knn\nprobe: {k: 3}\n")
    assert load_config(str(path)).probe.k == 3
    with pytest.raises(ConfigError, match=r"unknown preset 'liner'; did you mean 'linear'"):
        load_config("demo+liner")


def test_the_published_ssv2_setting() -> None:
    config = load_config("kinetics400-r18+finetune-ssv2")
    finetune, optim = config.finetune, config.finetune.optim
    assert (finetune.sampling, finetune.frames, finetune.crop_px, finetune.flip) == ("segments", 16, 112, 0)  # 1.8
    assert (optim.lr, finetune.lr_batch_size, optim.momentum, optim.weight_decay) == (0.12, 32, 0.9, 1e-6)
    assert (finetune.milestones, finetune.epochs, optim.clip_norm, finetune.dropout) == ((14, 18), 22, 40, 0.5)
    assert (config.flow.store_short_side, finetune.test_crop_px) == (256, 128)


def test_numbers_of_a_tuple_need_no_brackets() -> None:
    assert load_config("demo", ["finetune.seeds=3"]).finetune.all_seeds == (3,)
    assert load_config("demo", ["finetune.seeds=0,1,2"]).finetune.all_seeds == (0, 1, 2)
    assert load_config("demo", ["finetune.seed=4"]).finetune.all_seeds == (4,)
    assert load_config("demo+knn", ["probe.seeds=0,1"]).probe.all_seeds == (0,)  # nothing is random in it
    with pytest.raises(ConfigError, match="names one number twice"):
        load_config("demo", ["finetune.splits=1,1"])
