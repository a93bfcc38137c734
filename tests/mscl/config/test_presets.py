"""Presets, overlays and files; and errors that say what would have fitted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mscl.config import ExperimentConfig, load_config, overlay_names, overlay_tree, preset_names
from mscl.config.presets import base_of
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
    r50 = load_config("kinetics400-r50").pretrain
    assert (r50.optim.lr, r50.batch_size, r50.epochs) == (0.03, 128, 200)  # D28
    moco = load_config("moco-r18").pretrain
    assert (moco.key_momentum, moco.optim.lr, moco.epochs, moco.loss.flow) == (0.999, 0.015, 120, False)
    finetune = config.finetune
    assert (finetune.frames, finetune.flip, finetune.dropout, finetune.optim.lr) == (16, 0.0, 0.5, 0.12)  # 1.8


def test_an_unknown_preset_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'demo'.*kinetics400-r18"):
        load_config("dmo")


def test_a_file_changes_its_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: demo\npretrain: {optim: {lr: 0.25}}\n")
    config, base = load_config(str(path)), load_config("demo")
    assert config.pretrain.optim.lr == 0.25
    assert config.pretrain.model_copy(update={"optim": base.pretrain.optim}) == base.pretrain


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: [", r"not valid YAML: .* \(line 1, column 5\)"),
        (b"- 1", "must hold sections like `data: ...`, found a list"),
        (b"7", "found a number"),
        (b"base: [demo]", "`base` must be the name of a preset"),
        (b"base: knn", r"PRESET\+knn"),
        (b"data: {root: caf\xe9}", "not UTF-8 .*0xe9 in line 1.*save it as UTF-8"),
        (b"data: {root: a\0b}", "not valid YAML"),
        (
            b"pretrain: {epochs: " + b"9" * 5000 + b"}",
            r"9\.\.\. \(5,000 characters\) is no int \(line 1, column 20\)",
        ),
        (b"pretrain: {epochs: " + b"9" * 4000 + b"}", "is too large a number"),
        (b"pretrain: {epochs: 0x" + b"f" * 5000 + b"}", "is too large a number"),
        (b"pretrain: {epochs: 2026-99-99}", "is no timestamp"),
        (b"pretrain: {epochs: 0_10}", r"0_10 is 8 to YAML .*\(line 1, column 20\)"),
        (b"pretrain: {optim: {lr: -1:30.5}}", r"-1:30.5 is -90.5 to YAML"),
        (b"pretrain: {epochs: !!int ''}", "is no int"),
        (b"[" * 5000, "nested too deep"),
        (b"pretrain: &own {loss: *own}", "nested too deep"),
        (
            b"a: &a [" + b"x," * 99 + b"x]\nb: &b [" + b"*a," * 99 + b"*a]\ndata: {classes: [" + b"*b," * 99 + b"*b]}",
            "more than 100,000 values with all its aliases",
        ),
        (b"pretrain: {epochs: 2}\ndata: {root: a}\npretrain: {seed: 1}", r"'pretrain' is given twice \(line 3"),
        (b"pretrain: {epochs: 1, epochs: 2}", "'epochs' is given twice"),
        (b"pretrain.epochs: 1", r"a file nests its sections; write pretrain: \{epochs: \.\.\.\}"),
        (b"pretrain: {optim.lr: 1}", r"write pretrain: \{optim: \{lr: \.\.\.\}\}"),
        (b"pretrian: {epochs: 1}", "unknown setting 'pretrian': did you mean 'pretrain'"),
        (b"pretrain: {optim: {l: 1}}", "unknown setting 'pretrain.optim.l': did you mean 'pretrain.optim.lr'"),
        (b"Data: {root: x}", "unknown setting 'Data': did you mean 'data'"),
        (b"temperature: 1", "did you mean 'pretrain.loss.temperature' or 'probe.temperature'"),
        (b"pretrain: {optim: {lr: .inf}}", "pretrain.optim.lr: .*finite"),
        (b"pretrain:", "pretrain"),
        (b"1: 2", "1"),
        (b"#" * (1 << 21), "too many for settings"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as raised:
        load_config(str(path))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600 and "mine.yaml" in str(raised.value)


def test_a_file_that_is_not_there_or_not_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for name, says in (("nothing.yaml", "does not exist"), ("folder.yaml", "cannot be read: Is a directory")):
        with pytest.raises(ConfigError, match=f"{name} {says}"):
            load_config(str(tmp_path / name))


def test_a_preset_that_is_its_own_base_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("base: b.yaml\n")
    Path("b.yaml").write_text("base: ./a.yaml\n")
    with pytest.raises(ConfigError, match=r"its own base: .*/a\.yaml -> .*/b\.yaml -> .*/a\.yaml; "):
        load_config("a.yaml")
    Path("c.yaml").write_text("base: c.yaml+linear\n")
    with pytest.raises(ConfigError, match=r"its own base: .*/c\.yaml -> .*/c\.yaml; "):
        load_config("c.yaml")
    for number in range(30):
        Path(f"chain{number}.yaml").write_text(f"base: chain{number + 1}.yaml\n")
    with pytest.raises(ConfigError, match="stands on more than 20 others"):
        load_config("chain0.yaml")


def test_a_base_lies_beside_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("other.yaml").write_text("clip: {length: 7}\n")  # the one that was meant is not this
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "other.yaml").write_text("clip: {length: 3}\n")
    (tmp_path / "sets" / "few.yaml").write_text("probe: {k: 3}\n")
    (tmp_path / "sets" / "mine.yaml").write_text("base: other.yaml+few.yaml+linear\n")
    for name in ("../sets/mine.yaml", str(tmp_path / "sets" / "mine.yaml")):
        config = load_config(name)
        assert (config.clip.length, config.probe.k) == (3, 3)
        base = base_of(name)
        assert base is not None and load_config(base).clip.length == 3


def settings_of(config: ExperimentConfig) -> dict[str, object]:
    """Dotted name -> value."""

    def flat(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
        for name, value in tree.items():
            yield from flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]

    return dict(flat(config.model_dump(mode="json")))


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize(
    ("overlay", "changed"),
    [
        ("mscl-no-fra", {"pretrain.loss.rotation": False}),
        ("mscl-no-lmcl", {"pretrain.loss.local_motion": False}),
        ("mscl-no-mds", {"screen.select": "all"}),
        ("flow-rgb-only", {"pretrain.loss.rotation": False, "pretrain.loss.local_motion": False}),
        ("moco", {"screen.select": "all", "pretrain.loss.flow": False}),
        ("mscl-rotation-both", {"pretrain.loss.rotation_role": "both"}),
        ("mscl-rotation-negatives", {"pretrain.loss.rotation_role": "negatives"}),
        ("mscl-rotation-hard", {"pretrain.loss.rotation_role": "hard"}),
        ("released-d25", {"pretrain.augment.flip_draw": "per_view"}),
        ("released-d5", {"pretrain.augment.routing": "released"}),
        ("released-d6", {"pretrain.loss.enqueue": "released"}),
        ("released-d7", {"pretrain.key_updates": "released"}),
    ],
)
def test_a_variant_changes_what_it_says_and_nothing_else(preset: str, overlay: str, changed: dict[str, object]) -> None:
    assert settings_of(load_config(f"{preset}+{overlay}")) == settings_of(load_config(preset)) | changed


@pytest.mark.parametrize("overlay", overlay_names())
def test_an_overlay_has_no_base_and_changes_what_it_names_alone(overlay: str) -> None:
    base, config = settings_of(load_config("demo")), settings_of(load_config(f"demo+{overlay}"))
    tree = overlay_tree(overlay)
    assert "base" not in tree
    for name in base:
        value: Any = tree
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        assert config[name] == (base[name] if value is None else value), name


def test_what_may_not_follow_a_plus(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: ucf101\npretrain: {seed: 3}\n")
    with pytest.raises(ConfigError, match=r"mine.yaml has a base of its own \(ucf101\)"):
        load_config(f"demo+{path}")
    with pytest.raises(ConfigError, match="'ucf101' is a preset of its own"):
        load_config("demo+ucf101")
    path.write_text("pretrain: {seed: 3}\n")
    assert settings_of(load_config(f"demo+{path}")) == settings_of(load_config("demo")) | {"pretrain.seed": 3}


@pytest.mark.parametrize("overlay", ["mscl-no-fra", "linear"])
def test_an_overlay_alone_is_no_preset(overlay: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{overlay}' is an overlay.*PRESET\+{overlay}"):
        load_config(overlay)


def test_hmdb51_is_fine_tuned_as_ucf101() -> None:
    ours, theirs = (settings_of(load_config(f"demo+finetune-{name}")) for name in ("hmdb51", "ucf101"))
    assert ours == theirs | {"finetune.protocol": "finetune-hmdb51"}


def test_the_moco_presets_are_the_overlay_and_a_schedule() -> None:
    for backbone in ("r18", "r50"):
        schedule: dict[str, object] = {
            "pretrain.optim.lr": 0.015, "pretrain.key_momentum": 0.999, "pretrain.key_momentum_schedule": "constant",
            "pretrain.epochs": 120,
        }  # fmt: skip
        base = settings_of(load_config(f"kinetics400-{backbone}+moco"))
        assert settings_of(load_config(f"moco-{backbone}")) == base | schedule


def test_epochs_of_ones_own_are_that_many(tmp_path: Path) -> None:
    preset = load_config("demo").pretrain
    assert (preset.epochs, preset.min_steps) == (7, 250)
    assert preset.total_steps(10) == 250
    assert preset.steps_text(10).startswith(
        "pre-training: 25 epochs x 10 steps = 250 steps, as pretrain.min_steps=250 asks for; pretrain.epochs=7 alone"
    )
    path = tmp_path / "mine.yaml"
    path.write_text("base: demo\npretrain: {epochs: 20}\n")
    for config in (load_config("demo", ["pretrain.epochs=20"]), load_config(str(path)), load_config(f"{path}+linear")):
        assert config.pretrain.total_steps(10) == 200
        assert config.pretrain.steps_text(10) == ("pre-training: 20 epochs (pretrain.epochs) x 10 steps = 200 steps")
    both = load_config("demo", ["pretrain.min_steps=300", "pretrain.epochs=20"]).pretrain
    assert both.total_steps(10) == 300
    assert load_config(str(path), ["pretrain.min_steps=300"]).pretrain.total_steps(10) == 300


def test_a_protocol_is_laid_over_a_preset(tmp_path: Path) -> None:
    base, config = load_config("demo"), load_config("demo+linear")
    assert config.probe.protocol == "linear" and config.probe.splits == () and config.embed.clips == 10
    assert not config.finetune.enabled
    assert config.pretrain == base.pretrain and config.data == base.data
    both = load_config("demo+linear+finetune-hmdb51", ["finetune.epochs=51"])
    assert both.finetune.enabled and both.finetune.protocol == "finetune-hmdb51" and both.probe.protocol == "linear"
    assert both.finetune.test_clips == 10 and both.finetune.epochs == 51
    path = tmp_path / "a+b.yaml"
    path.write_text("base: demo+knn\nprobe: {k: 3}\n")
    assert load_config(str(path)).probe.k == 3
    with pytest.raises(ConfigError, match=r"unknown overlay 'liner'; did you mean 'linear'"):
        load_config("demo+liner")


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("demo+linear+knn", r"linear and knn \(knn\) both say how probe scores; take one"),
        ("demo+finetune-ssv2+finetune-ucf101", r"both say how finetune scores"),
        (
            "demo+finetune-ucf101+retrieval",
            r"retrieval turns off .* write \+retrieval\+finetune-ucf101",
        ),
    ],
)
def test_a_protocol_does_not_take_another_ones_place_without_a_word(preset: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(preset)


def test_a_protocol_of_fine_tuning_leaves_nothing_of_another_one_that_counts() -> None:
    """On a preset with another protocol of its own, too, whose departures the report could not name."""
    plain = settings_of(load_config("ucf101+finetune-ucf101"))
    found = settings_of(load_config("diving48+finetune-ucf101")) | {"data.format": plain["data.format"]}
    assert {name for name in plain if found[name] != plain[name]} == {"finetune.short_side_px"}  # of frames_from=video


def test_the_published_ssv2_setting() -> None:
    config = load_config("kinetics400-r18+finetune-ssv2")
    finetune, optim = config.finetune, config.finetune.optim
    assert (finetune.sampling, finetune.frames, finetune.crop_px, finetune.flip) == ("segments", 16, 112, 0)  # 1.8
    assert (optim.lr, finetune.lr_batch_size, optim.momentum, optim.weight_decay) == (0.12, 32, 0.9, 1e-6)
    assert (finetune.milestones, finetune.epochs, optim.clip_norm, finetune.dropout) == ((14, 18), 22, 40, 0.5)
    assert (finetune.frames_from, finetune.short_side_px, finetune.test_crop_px) == ("video", 256, 128)
    assert finetune.area == (0.08, 1.0)  # D27
    assert config.flow == load_config("kinetics400-r18").flow, "the extraction of the base serves"
