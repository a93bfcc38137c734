"""Overrides from the command line: `section.name=value`."""

import pytest

from mscl.config import load_config
from mscl.errors import ConfigError


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
        ("[]", ()), ("['a, b', c]", ("a, b", "c")), ("[1, 2]", ("1", "2")), ("#cats", ("#cats",)),
        ("a #b, !c,&d", ("a #b", "!c", "&d")), ("'a, b'", ("a, b",)),
    ],
)  # fmt: skip
def test_classes_are_names_and_none_means_all(text: str, classes: tuple[str, ...]) -> None:
    assert load_config("demo", ["data.classes=Walk", f"data.classes={text}"]).data.classes == classes


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("pretrain.epoch=3", "did you mean 'pretrain.epochs'"),
        ("nothing.epochs=3", "'nothing' is not one of"),
        ("pretrain.loss=3", "is a section"),
        ("pretrain.epochs=many", "pretrain.epochs"),
        ("pretrain.epochs", "section.name=value"),
        ("pretrain.epochs=yes", "pretrain.epochs: true and false, yes and no are no value"),
        ("pretrain.optim.lr=true", "pretrain.optim.lr: true and false"),
        ("probe.l2=yes", "probe.l2"),
        ("pretrain.optim.lr.x=3", "'lr' is a setting and has none inside it"),
        ("pretrain.optim.lr=.nan", "finite"),
        pytest.param("pretrain.seed=" + "9" * 5000, r"99\.\.\. \(5,000 characters\) is no int", id="5,000 digits"),
        ("pretrain.seed=99999999999999999999", "99999999999999999999 is too large a number"),
        ("data.classes={a", "not valid YAML"),
        ("pretrain.epochs=010", "010 is 8 to YAML"),
        ("runtime.timeout_minutes=1:30", "1:30 is 90 to YAML"),
        ("finetune.seeds=1,010", "010 is 8"),
        ("probe.superclasses={turn: [a], turn: [b]}", "'turn' is given twice"),
        ("pretrain.batch_size=33", "queue_size 64 is not divisible by batch_size 33"),
        ("pretrain.epochs=1", r"warmup_epochs 1.0 must be below epochs 1; take e\.g\. optim\.warmup_epochs=0$"),
        ("data.root=caf\udce9", "data.root: this name is not UTF-8; rename the folder"),
        ("data.classes=a,caf\udce9", "data.classes: this name is not UTF-8"),
        ("flow.store_short_side=4000", "store_short_side 4000"),
    ],
)
def test_a_wrong_override_says_what_fits(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        load_config("demo", [override])
    assert len(str(raised.value)) < 500 and "\n" not in str(raised.value)


def test_numbers_of_a_tuple_need_no_brackets() -> None:
    assert load_config("demo", ["finetune.seeds=3"]).finetune.all_seeds == (3,)
    assert load_config("demo", ["finetune.seeds=0,1,2"]).finetune.all_seeds == (0, 1, 2)
    assert load_config("demo", ["finetune.seed=4"]).finetune.all_seeds == (4,)
    assert load_config("demo+knn", ["probe.seeds=0,1"]).probe.all_seeds == (0,)  # nothing is random in it
    with pytest.raises(ConfigError, match="names one number twice"):
        load_config("demo", ["finetune.splits=1,1"])


def test_a_section_inside_a_section_keeps_its_own_defaults() -> None:
    before, after = (load_config("kinetics400-r18", o).finetune.optim for o in ([], ["finetune.optim.lr=0.5"]))
    assert (before.schedule, before.weight_decay) == ("constant", 1e-6)  # not those of pre-training
    assert after == before.model_copy(update={"lr": 0.5})
