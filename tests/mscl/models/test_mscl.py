"""The MSCL module: which parts exist, what a step does to queues and key networks, MoCo as a configuration."""

import math

import pytest
import torch
from torch import Tensor

from mscl.losses import Embeddings
from mscl.models.config import LossConfig, ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.mscl import MSCL, FlowStream, ema_
from mscl.models.queue import KeyQueues
from mscl.views import View

TINY = ModelConfig(rgb_width=0.0625, flow_width=0.25, embed_dim=8, neck_channels=6)


def made(**loss: object) -> MSCL:
    return MSCL(TINY, LossConfig.model_validate({"queue_size": 16, **loss}), seed=0)


def flow_streams(model: MSCL) -> tuple[FlowStream, FlowStream]:
    """Query and key stream."""
    assert model.query_flow is not None and model.key_flow is not None
    return model.query_flow, model.key_flow


def view(batch: int = 4, seed: int = 0, px: int = 40) -> View:
    generator = torch.Generator().manual_seed(seed)

    def clip(times: int) -> Tensor:
        return torch.rand(batch, 3, times, px, px, generator=generator)

    return View(clip(8), clip(4), clip(4))


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ({}, 8),
        ({"flow": False}, ["rgb"]),
        ({"rotation": False}, ["rgb", "flow", "rgb_to_flow", "flow_to_rgb", "local_motion"]),
        ({"local_motion": False}, 7),
        ({"rotation_role": "both"}, 8),
        ({"rotation_role": "negatives"}, ["rgb", "flow", "rgb_to_flow", "flow_to_rgb", "local_motion"]),
        ({"rotation_role": "hard"}, ["rgb", "flow", "rgb_to_flow", "flow_to_rgb", "local_motion"]),
        ({"rotation_role": "hard", "local_motion": False}, ["rgb", "flow", "rgb_to_flow", "flow_to_rgb"]),
    ],
)
def test_configuration_decides_the_losses(loss: dict[str, object], names: int | list[str]) -> None:
    model = made(**loss)
    keys = model.encode_keys(view(seed=1))
    terms = model(view(), keys)
    assert len(terms.value) == names if isinstance(names, int) else list(terms.value) == names
    terms.total.backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == [], "distributed training would wait for these gradients"


@pytest.mark.parametrize(
    ("loss", "query", "key"),
    [
        ({"rotation_role": "both"}, True, True),
        ({"rotation_role": "negatives"}, True, False),
        ({"rotation_role": "hard"}, True, True),
        ({"rotation_role": "negatives", "local_motion": False}, False, False),
        ({"rotation_role": "hard", "local_motion": False}, False, True),
        ({"rotation_role": "hard", "rotation": False}, False, False),
        ({"flow": False}, False, False),
    ],
)
def test_d26_rotated_flow_is_encoded_where_a_loss_reads_it(loss: dict[str, object], query: bool, key: bool) -> None:
    model, whole = made(**loss), view()
    assert (model.loss_config.encodes_rotated_query, model.loss_config.encodes_rotated_key) == (query, key)
    without = View(whole.rgb_B3THW, whole.flow_B3FHW)
    keys = model.encode_keys(whole if key else without)
    assert (keys.rotated is not None) == key
    terms = model(whole if query else without, keys)
    assert torch.isfinite(terms.total)
    for needed, read in ((query, lambda: model(without, keys)), (key, lambda: model.encode_keys(without))):
        if needed:
            with pytest.raises(ValueError, match="need rotated flow"):
                read()


def test_d26_chance_counts_the_answers_that_a_loss_has() -> None:
    chance = {
        role: {
            term: round(math.exp(LossConfig(queue_size=16, rotation_role=role).chance(term, times=4)))
            for term in ("rgb", "flow", "rgb_to_flow", "flow_to_rgb", "local_motion")
        }
        for role in ("both", "negatives", "hard")
    }
    assert chance["both"] == chance["negatives"]
    assert list(chance["both"].values()) == [17, 17, 17, 17, 8]
    assert list(chance["hard"].values()) == [17, 18, 18, 17, 8]
    assert round(math.exp(LossConfig(rotation=False).chance("local_motion", times=4))) == 4


def test_moco_builds_no_flow_and_no_neck() -> None:
    names = made(flow=False).state_dict()
    assert not [name for name in names if "flow" in name or "neck" in name]
    assert not [name for name in made(local_motion=False).state_dict() if "neck" in name]


def test_d20_key_networks_have_no_neck() -> None:
    model = made()
    assert not [name for name in model.key_rgb.state_dict() if "neck" in name]
    assert any("neck" in name for name in model.query_rgb.state_dict())


def test_keys_carry_no_gradient_and_key_networks_start_as_copies() -> None:
    model = made()
    keys = model.encode_keys(view())
    assert not keys.rgb.requires_grad and keys.rotated is not None
    assert all(not p.requires_grad for p in [*model.key_rgb.parameters(), *flow_streams(model)[1].parameters()])
    for name, p in model.key_rgb.named_parameters():
        assert torch.equal(p, dict(model.query_rgb.named_parameters())[name])


def test_local_features_of_both_streams_have_the_same_times() -> None:
    model = made()
    for px in (40, 56):
        _, rgb = model.query_rgb(view(px=px).rgb_B3THW)
        _, flow = flow_streams(model)[0](view(px=px).flow_B3FHW)
        assert rgb.shape == flow.shape == (4, 6, 4)
        torch.testing.assert_close(rgb.norm(dim=1), torch.ones(4, 4))


def test_rgb_encoder_starts_as_the_untrained_encoder() -> None:
    untrained = untrained_encoder(TINY, seed=5).state_dict()
    trained = MSCL(TINY, LossConfig(queue_size=16), seed=5).query_rgb.encoder.state_dict()
    assert list(untrained) == list(trained)
    assert all(torch.equal(untrained[name], trained[name]) for name in untrained)


def test_ema_is_the_formula_and_leaves_batch_statistics() -> None:
    model = made(flow=False)
    with torch.no_grad():
        model.query_rgb.encoder.stem[0].weight.add_(1.0)
    model.query_rgb.encoder.stem[1].running_mean.add_(1.0)
    expected = {
        name: 0.9 * key + 0.1 * dict(model.query_rgb.named_parameters())[name]
        for name, key in model.key_rgb.named_parameters()
    }
    ema_(model.key_rgb, model.query_rgb, 0.9)
    for name, key in model.key_rgb.named_parameters():
        torch.testing.assert_close(key, expected[name])
    assert model.key_rgb.encoder.stem[1].running_mean.abs().sum() == 0


def test_d7_released_updates_move_the_flow_keys_twice() -> None:
    once, twice = made(), made()
    for model, late in ((once, ()), (twice, (0.8,))):
        with torch.no_grad():
            flow_streams(model)[0].encoder.stem[0].weight.add_(1.0)
        model.update_keys(0.9, 0.9)
        model.encode_keys(view(), late_flow_momenta=late)
    stems = [[stream.encoder.stem[0].weight for stream in flow_streams(m)] for m in (once, twice)]
    weights = [key - query for query, key in stems]
    torch.testing.assert_close(weights[0], torch.full_like(weights[0], -0.9))
    torch.testing.assert_close(weights[1], torch.full_like(weights[1], -0.72))


def test_d7_flow_is_encoded_between_the_updates_and_rotated_flow_after_both() -> None:
    model, step_by_step = made(), made()
    clips = view(seed=1)
    for each in (model, step_by_step):
        with torch.no_grad():
            for parameter in flow_streams(each)[0].parameters():
                parameter.mul_(1.5)
        each.update_keys(0.9, 0.9)
    keys = model.encode_keys(clips, late_flow_momenta=(0.1,))
    between = step_by_step.encode_keys(clips)
    step_by_step.update_flow_keys([0.1])
    after = step_by_step.encode_keys(clips)
    assert keys.flow is not None and between.flow is not None and after.flow is not None
    assert torch.equal(keys.flow, between.flow) and not torch.equal(keys.flow, after.flow)
    assert keys.rotated is not None and between.rotated is not None and after.rotated is not None
    assert torch.equal(keys.rotated, after.rotated) and not torch.equal(keys.rotated, between.rotated)


def test_bn_splits_give_each_group_its_own_statistics() -> None:
    model = made(flow=False)
    model.bn_splits = 2
    clips = view()
    halves = [View(clips.rgb_B3THW[:2]), View(clips.rgb_B3THW[2:])]
    together = model.encode_keys(clips).rgb
    model.bn_splits = 1
    torch.testing.assert_close(together, torch.cat([model.encode_keys(half).rgb for half in halves]))
    assert not torch.allclose(together, model.encode_keys(clips).rgb)


def unit(count: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_queue_is_a_ring_with_ages() -> None:
    queues = KeyQueues(8, 12, flow=True)
    batches = [Embeddings(unit(4, s), unit(4, s + 10), unit(4, s + 20)) for s in range(4)]
    for keys in batches:
        queues.enqueue(keys)
    torch.testing.assert_close(queues.rgb_DK, torch.cat([batches[i].rgb for i in (3, 1, 2)]).T)
    assert queues.flow_DK is not None
    torch.testing.assert_close(queues.flow_DK, torch.cat([unit(4, i + 10) for i in (3, 1, 2)]).T)
    assert queues.age_K.tolist() == [1] * 4 + [3] * 4 + [2] * 4
    assert queues.pointer.item() == 4


def test_queue_starts_with_normalised_keys_of_age_0() -> None:
    queues = KeyQueues(8, 12, flow=False)
    torch.testing.assert_close(queues.rgb_DK.norm(dim=0), torch.ones(12))
    assert queues.age_K.sum() == 0 and queues.flow_DK is None


def test_queue_refuses_a_batch_that_does_not_divide_it() -> None:
    with pytest.raises(ValueError, match="12 keys cannot take 5"):
        KeyQueues(8, 12, flow=False).enqueue(Embeddings(unit(5, 0)))


def test_d10_negatives_decay_with_age() -> None:
    queues = KeyQueues(8, 8, flow=True, decay=0.5)
    queues.enqueue(Embeddings(unit(4, 0), unit(4, 1)))
    torch.testing.assert_close(queues.negatives().rgb[:, :4], 0.5 * unit(4, 0).T)
    after = queues.negatives_after(Embeddings(unit(4, 2), unit(4, 3)))
    queues.enqueue(Embeddings(unit(4, 2), unit(4, 3)))
    torch.testing.assert_close(after.rgb, queues.negatives().rgb)
    torch.testing.assert_close(after.flow, queues.negatives().flow)


def test_d9_evaluation_changes_no_training_state() -> None:
    model = made()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encoder = model.query_rgb.encoder.eval()
    with torch.no_grad():
        encoder(view().rgb_B3THW)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_missing_flow_is_said() -> None:
    model = made()
    with pytest.raises(ValueError, match="need flow"):
        model.encode_keys(View(view().rgb_B3THW))
