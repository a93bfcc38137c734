"""One step: schedules of the key networks, what each setting changes, accumulation."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mscl.errors import ConfigError, DataError
from mscl.models.mscl import MSCL
from mscl.models.weight_files import read_checkpoint
from mscl.pretrain.batch_checks import check_divisions
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.step import KeyMomenta, StepResult, momenta_of, train_step
from mscl.schedules import key_momentum
from mscl.training.checkpoint import checkpoints
from mscl.training.distributed import KeyExchange, World
from mscl.training.metrics import read_metrics
from mscl.training.updater import Updater
from tests.mscl.ranks import train_tiny, without_batch_statistics
from tests.mscl.synthetic import SyntheticBatches, plain_views, tiny_config

ALONE = World(0, 1, torch.device("cpu"))


def made(config: PretrainConfig) -> MSCL:
    return MSCL(config.model, config.loss, seed=config.seed, bn_splits=config.bn_splits).train()


SAME = KeyMomenta(0.9, (0.9,))


def one_step(model: MSCL, config: PretrainConfig, momenta: KeyMomenta = SAME) -> StepResult:
    raw = SyntheticBatches(batch_size=config.batch_size, total_steps=1).at(0)
    return train_step(
        model,
        model,
        Updater(model, config.optim),
        (plain_views(part) for part in raw.split(config.accumulate)),
        step=0,
        accumulate=config.accumulate,
        momenta=momenta,
        exchange=KeyExchange(ALONE, shuffle=True, seed=0),
    )


def test_d7_one_update_a_step_or_two_at_double_speed() -> None:
    ours, released = tiny_config(key_momentum=0.994), tiny_config(key_momentum=0.994, key_updates="released")
    assert momenta_of(25, 100, ours) == KeyMomenta(key_momentum(0.25), (key_momentum(0.25),))
    flow = momenta_of(25, 100, released)
    assert flow.rgb == key_momentum(0.25)
    assert flow.flow == (key_momentum(0.5), key_momentum(0.51))
    assert momenta_of(60, 100, released).flow == (1.0, 1.0), "over at half of the run"


def test_d7_released_updates_come_before_and_between_the_keys() -> None:
    """The flow key network ends where both updates lead, the RGB one where the first does."""
    config = tiny_config(key_updates="released")
    model, reference = made(config), made(config)
    for each in (model, reference):
        with torch.no_grad():
            for parameter in [*each.query_rgb.parameters(), *each.query_flow.parameters()]:  # type: ignore[union-attr]
                parameter.mul_(1.5)
    reference.update_keys(0.9, 0.8)
    reference.update_flow_keys([0.7])
    one_step(model, config, KeyMomenta(0.9, (0.8, 0.7)))
    for name, p in model.named_parameters():
        if name.startswith("key_"):
            assert torch.equal(p, dict(reference.named_parameters())[name]), name
    with pytest.raises(ValueError, match=r"key_updates=released .* 2 micro-batches .* accumulate=1"):
        tiny_config(key_updates="released", accumulate=2)


@pytest.mark.parametrize("role", ["negatives", "hard"])
def test_d26_a_step_in_each_role(role: str) -> None:
    """Nothing but the rotated key differs in what is encoded, and no rotated key enters a queue."""
    config = tiny_config(loss={"rotation_role": role, "queue_size": 32})
    model, both = made(config), made(tiny_config())
    terms, every = one_step(model, config).terms[0], one_step(both, tiny_config()).terms[0]
    assert list(terms.value) == ["rgb", "flow", "rgb_to_flow", "flow_to_rgb", "local_motion"]
    assert set(every.value) - set(terms.value) == {"rotated", "rgb_to_rotated", "rotated_to_rgb"}
    for name, value in terms.value.items():
        if role == "hard" and name in ("flow", "rgb_to_flow"):
            assert value > every.value[name], name
        else:
            assert torch.equal(value, every.value[name]), name
    for name, queue in model.queues.named_buffers():
        assert torch.equal(queue, dict(both.queues.named_buffers())[name]), name


def test_what_a_setting_cannot_change_is_said() -> None:
    def lines(length: int = 8, **changes: Any) -> str:
        return "; ".join(tiny_config(**changes).without_effect(length=length))

    assert lines() == lines(loss={"rotation_role": "hard"}) == ""
    assert "rotation_role=hard has no effect" in lines(loss={"rotation_role": "hard", "rotation": False})
    assert "rotation_role=negatives needs loss 8" in lines(loss={"rotation_role": "negatives", "local_motion": False})
    assert "routing=released" in lines(augment={"routing": "released"}, loss={"rotation": False})
    assert "key_updates=released" in lines(key_updates="released", loss={"flow": False})
    # Loss 8 is then exactly 0, or ln 2 by chance: one moment of RGB against one of flow.
    assert "local_motion has no effect: clips of clip.length=2" in lines(2, loss={"rotation": False})
    assert "local_motion tells plain flow from rotated alone" in lines(1)
    assert lines(3) == lines(2, loss={"local_motion": False}) == lines(2, loss={"flow": False}) == ""


def test_a_batch_larger_than_the_set_is_lowered_to_what_splits() -> None:
    def size(segments: int, processes: int = 1, **changes: Any) -> int:
        config = tiny_config(**{"batch_size": 48, "loss": {"queue_size": 96}} | changes)
        return config.fitted_to(segments, processes=processes).batch_size

    assert [size(segments) for segments in (2, 5, 47, 48, 100, 0)] == [2, 4, 32, 48, 48, 48]
    # 8 of the 10 segments would be more, and do not divide into three processes, or three groups.
    assert size(10, processes=3) == size(10, bn_splits=3) == 6 and size(11, accumulate=2) == 8
    with pytest.raises(DataError, match=r"5 segments to train on are too few: .* 3 processes x 1 micro-batches"):
        size(5, processes=3)
    with pytest.raises(DataError, match="1 segments to train on are too few"):
        size(1)


def test_a_queue_longer_than_the_set_is_said() -> None:
    config = tiny_config(batch_size=8, loss={"queue_size": 256})
    assert config.own_keys_text(256) == ""
    said = config.own_keys_text(100)  # 12 whole batches an epoch, which are 96 keys
    assert "pretrain.loss.queue_size=256 holds the keys of the last 2.7 epochs of 100 segments" in said
    assert "the last 4.0 epochs of 15 segments" in tiny_config(batch_size=8).own_keys_text(15)
    assert said.endswith("; pretrain.loss.queue_size=24 holds hardly any")
    assert "hardly" not in config.own_keys_text(9)  # no queue of whole batches would


def test_d8_momentum_needs_nothing_but_the_step() -> None:
    config = tiny_config()
    assert momenta_of(7, 10, config) == momenta_of(7, 10, config)
    constant = tiny_config(key_momentum=0.999, key_momentum_schedule="constant")
    assert momenta_of(7, 10, constant) == KeyMomenta(0.999, (0.999,))


def test_d6_the_released_order_shows_the_rotated_pass_its_own_keys() -> None:
    """Losses 3, 4 and 6 rise, all others are the same to the bit."""
    results = {}
    for order in ("after", "released"):
        config = tiny_config(loss={"enqueue": order, "queue_size": 8})
        results[order] = one_step(made(config), config).terms[0].value
    for name, value in results["after"].items():
        if name in {"rotated", "rgb_to_flow", "rgb_to_rotated"}:
            assert not torch.equal(results["released"][name], value), name
        else:
            assert torch.equal(results["released"][name], value), name
    # The flow key of the same clip is positive and negative at once.
    assert results["released"]["rgb_to_flow"] > 0.69
    # Each micro-batch would see its own keys alone, and not those of its step.
    with pytest.raises(ConfigError, match=r"enqueue=released .* pretrain\.accumulate=2 .* set pretrain\.accumulate=1"):
        check_divisions(tiny_config(loss={"enqueue": "released"}, accumulate=2), processes=1, cuda=False)


def test_only_rgb_and_plain_flow_keys_enter_the_queues() -> None:
    config = tiny_config()
    model = without_batch_statistics(made(config))
    reference = without_batch_statistics(made(config))
    keys = reference.encode_keys(plain_views(SyntheticBatches(batch_size=8, total_steps=1).at(0)).k)
    one_step(model, config)
    assert model.queues.flow_DK is not None and keys.flow is not None
    torch.testing.assert_close(model.queues.rgb_DK[:, :8], keys.rgb.T)
    torch.testing.assert_close(model.queues.flow_DK[:, :8], keys.flow.T)
    assert torch.equal(model.queues.rgb_DK[:, 8:], reference.queues.rgb_DK[:, 8:])
    assert model.queues.pointer == 8 and model.queues.age_K.tolist() == [1] * 8 + [1] * 24


def test_a_step_trains_the_query_and_not_the_keys() -> None:
    config = tiny_config(optim={"lr": 0.1})
    model = made(config)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    one_step(model, config, KeyMomenta(1.0, (1.0,)))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name.startswith("key_") or not p.requires_grad), name
    assert all(p.grad is None for p in model.parameters())


def test_the_gradient_is_clipped_and_its_norm_told() -> None:
    config = tiny_config(optim={"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.01})
    model = made(config)
    before = [p.detach().clone() for p in model.parameters()]
    raw = SyntheticBatches(batch_size=8, total_steps=1).at(0)
    result = train_step(
        model,
        model,
        Updater(model, config.optim),
        [plain_views(raw)],
        step=0,
        accumulate=1,
        momenta=KeyMomenta(1.0, (1.0,)),
        exchange=KeyExchange(ALONE, shuffle=True, seed=0),
    )
    moved = torch.cat([(p - old).flatten() for p, old in zip(model.parameters(), before, strict=True)]).norm()
    assert result.grad_norm > 0.01
    assert moved.item() == pytest.approx(0.01, rel=1e-3)


def test_accumulating_equals_one_batch_without_batch_statistics(tmp_path: Path) -> None:
    states = []
    for parts in (1, 4):
        changes = {"accumulate": parts}
        train_tiny(tmp_path / str(parts), ALONE, deed="fixed_bn", changes=changes)
        states.append(read_checkpoint(checkpoints(tmp_path / str(parts) / "checkpoints")[-1])["model"])
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-4, msg=name)
    rows = [read_metrics(tmp_path / str(parts) / "metrics.jsonl") for parts in (1, 4)]
    assert [r["loss"] for r in rows[0]] == pytest.approx([r["loss"] for r in rows[1]], abs=1e-3)


@pytest.mark.parametrize("parts", [1, 4])
def test_r50_trains(parts: int) -> None:
    """Neck of stride (1, 2, 2), and flow features through the 1x1 convolution."""
    config = tiny_config(
        model={"backbone": "r50", "rgb_width": 0.0625, "flow_width": 0.5, "neck_channels": 6}, accumulate=parts
    )
    model = made(config)
    assert model.query_flow is not None and isinstance(model.query_flow.local, torch.nn.Conv1d)
    result = one_step(model, config)
    assert len(result.terms) == parts and bool(torch.isfinite(result.grad_norm))
