"""The eight losses: golden vectors, then closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mscl.losses import (
    Embeddings,
    LocalFeatures,
    Negatives,
    decayed,
    info_nce,
    local_motion,
    local_motion_scores,
    mscl_losses,
)

GOLDEN_NAMES = {
    "rgb": "rgb_nce",
    "flow": "flow_nce",
    "rotated": "rot_nce",
    "rgb_to_flow": "cross_rgb_to_flow",
    "flow_to_rgb": "cross_flow_to_rgb",
    "rgb_to_rotated": "cross_rgb_to_rot",
    "rotated_to_rgb": "cross_rot_to_rgb",
    "local_motion": "lmcl",
}


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=1)


def pooled(features: Tensor) -> Tensor:
    return F.normalize(features.mean(dim=(3, 4)), dim=1)


def test_all_eight_losses_golden(shared_dir: Path) -> None:
    golden = {k: torch.from_numpy(v) for k, v in np.load(shared_dir / "golden" / "losses.npz").items()}
    age_K = golden["in_queue_age"]
    negatives = Negatives(
        decayed(golden["in_queue"], age_K, decay=0.99999),
        decayed(golden["in_queue_flow"], age_K, decay=0.99999),
    )
    local = LocalFeatures(*(pooled(golden[f"in_{name}_local"]) for name in ("rgb", "flow", "rot")))
    terms = mscl_losses(
        Embeddings(golden["in_q"], golden["in_q_flow"], golden["in_q_rot"]),
        Embeddings(golden["in_k"], golden["in_k_flow"], golden["in_k_rot"]),
        negatives,
        temperature=0.07,
        local=local,
    )
    assert list(terms.value) == list(GOLDEN_NAMES)
    for name, key in GOLDEN_NAMES.items():
        torch.testing.assert_close(terms.value[name], golden[key], rtol=1e-10, atol=1e-10, msg=name)
    assert terms.total.item() == pytest.approx(sum(golden[key].item() for key in GOLDEN_NAMES.values()))
    assert terms.top1["local_motion"] == golden["lmcl_top1"]
    scores = local_motion_scores(local.rgb, local.flow, local.rotated, temperature=0.07)
    torch.testing.assert_close(scores.flatten(0, 1), golden["lmcl_scores"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("queue_size", [1, 7, 4096])
def test_info_nce_when_positive_equals_every_negative(queue_size: int) -> None:
    q_BD = unit(1, 16).expand(3, 16)
    loss = info_nce(q_BD, q_BD, q_BD[0][:, None].expand(16, queue_size), temperature=0.07)
    assert loss.item() == pytest.approx(-math.log(1 / (queue_size + 1)))


def test_info_nce_orthogonal_negatives() -> None:
    basis = torch.eye(8, dtype=torch.float64)
    loss = info_nce(basis[:2], basis[:2], basis[2:].T, temperature=0.5)
    assert loss.item() == pytest.approx(math.log1p(6 * math.exp(-2)))


def test_info_nce_equals_the_plain_cross_entropy_and_its_gradient() -> None:
    q_BD, k_BD, negatives_DK = (
        unit(5, 16).requires_grad_(),
        unit(5, 16, seed=1),
        unit(16, 40, seed=2),
    )
    logits = torch.cat([(q_BD * k_BD).sum(1, keepdim=True), q_BD @ negatives_DK], dim=1) / 0.07
    plain = F.cross_entropy(logits, torch.zeros(5, dtype=torch.int64))
    ours = info_nce(q_BD, k_BD, negatives_DK, temperature=0.07)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(*(torch.autograd.grad(loss, q_BD)[0] for loss in (ours, plain)))


def test_local_motion_chance_is_ln_8() -> None:
    same = unit(2, 16)[:, :, None].expand(2, 16, 4)
    assert local_motion(same, same, same, temperature=0.07).item() == pytest.approx(math.log(8))
    assert local_motion(same, same, None, temperature=0.07).item() == pytest.approx(math.log(4))


def test_local_motion_knows_time_and_rotation() -> None:
    times_BDT = torch.eye(8, dtype=torch.float64)[None, :, :4]
    others_BDT = torch.eye(8, dtype=torch.float64)[None, :, 4:]
    perfect = local_motion(times_BDT, times_BDT, others_BDT, temperature=0.07)
    assert perfect.item() == pytest.approx(math.log1p(7 * math.exp(-1 / 0.07)))
    # Flow that equals its own rotation leaves exactly one wrong column as good as the right one.
    assert local_motion(times_BDT, times_BDT, times_BDT, temperature=0.001).item() == pytest.approx(math.log(2))


def test_local_motion_gradients_reach_both_streams() -> None:
    leaves = [unit(2, 16, 4, seed=seed).requires_grad_() for seed in range(3)]
    local_motion(*leaves, temperature=0.07).backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_local_motion_refuses_streams_of_different_length() -> None:
    with pytest.raises(ValueError, match=r"4 local features.*flow has 3"):
        local_motion(unit(2, 16, 4), unit(2, 16, 3), unit(2, 16, 3), temperature=0.07)


def test_streams_decide_the_terms() -> None:
    q, k = (
        Embeddings(unit(3, 8), unit(3, 8, seed=1)),
        Embeddings(unit(3, 8, seed=2), unit(3, 8, seed=3)),
    )
    negatives = Negatives(unit(8, 12, seed=4), unit(8, 12, seed=5))
    moco = mscl_losses(Embeddings(q.rgb), Embeddings(k.rgb), Negatives(negatives.rgb), temperature=0.1)
    assert list(moco.value) == ["rgb"]
    no_fra = mscl_losses(q, k, negatives, temperature=0.1)
    assert list(no_fra.value) == ["rgb", "flow", "rgb_to_flow", "flow_to_rgb"]


def test_d6_released_order_puts_the_positive_among_the_negatives() -> None:
    """Losses 3, 4 and 6 cannot fall below ln 2; those that read the RGB queue, and loss 2, can."""
    q, k = unit(1, 8), unit(1, 8)
    before = Negatives(torch.zeros(8, 4, dtype=torch.float64), torch.zeros(8, 4, dtype=torch.float64))
    own_key_DK = torch.cat([k.T, torch.zeros(8, 3, dtype=torch.float64)], dim=1)
    ours, released = (
        mscl_losses(Embeddings(q, q, q), Embeddings(k, k, k), before, temperature=0.01, late_flow_DK=late_DK).value
        for late_DK in (None, own_key_DK)
    )
    assert all(value < 1e-6 for value in ours.values())
    late = {"rotated", "rgb_to_flow", "rgb_to_rotated"}
    for name, value in released.items():
        assert value.item() == pytest.approx(math.log(2) if name in late else 0.0, abs=1e-6), name


def test_d26_a_hard_negative_is_one_more_wrong_answer_of_losses_2_and_4() -> None:
    """Anchor and positive agree, K = 6 negatives of the queue are orthogonal to them, the clip's own rotated key has
    cosine c: ln(1 + (6 + e^(c / T)) / e^(1 / T))."""
    basis, temperature, cosine = torch.eye(8, dtype=torch.float64), 0.5, 0.6
    same_BD, queue_DK = basis[:1], basis[2:].T
    own_BD = cosine * basis[:1] + math.sqrt(1 - cosine**2) * basis[1:2]
    k = Embeddings(same_BD, same_BD, own_BD)
    plain, hard = (
        mscl_losses(
            Embeddings(same_BD, same_BD), k, Negatives(queue_DK, queue_DK), temperature=temperature,
            hard_negatives_BD=given_BD,
        )
        for given_BD in (None, own_BD)
    )  # fmt: skip
    assert list(plain.value) == list(hard.value) == ["rgb", "flow", "rgb_to_flow", "flow_to_rgb"]
    one_more = math.exp(cosine / temperature)
    for name in plain.value:
        others = 6 + (one_more if name in ("flow", "rgb_to_flow") else 0)
        assert plain.value[name].item() == pytest.approx(math.log1p(6 * math.exp(-1 / temperature)))
        assert hard.value[name].item() == pytest.approx(math.log1p(others * math.exp(-1 / temperature))), name
    beaten = mscl_losses(
        Embeddings(same_BD, own_BD), k, Negatives(queue_DK, queue_DK), temperature=temperature, hard_negatives_BD=own_BD
    )
    assert (beaten.top1["flow"], beaten.top1["rgb_to_flow"]) == (0, 1), "the rotated key is nearer to its own flow"


def test_d26_hard_equals_the_plain_cross_entropy_and_its_gradient() -> None:
    q_r, q_f = unit(5, 16).requires_grad_(), unit(5, 16, seed=1).requires_grad_()
    k = Embeddings(unit(5, 16, seed=2), unit(5, 16, seed=3), unit(5, 16, seed=4))
    negatives = Negatives(unit(16, 12, seed=5), unit(16, 12, seed=6))
    assert k.flow is not None and k.rotated is not None and negatives.flow is not None

    def plain(anchor: Tensor, positive: Tensor, queue: Tensor, own: Tensor | None) -> Tensor:
        columns = [(anchor * other).sum(1, keepdim=True) for other in (positive, own) if other is not None]
        logits = torch.cat([*columns, anchor @ queue], dim=1) / 0.07
        return F.cross_entropy(logits, torch.zeros(5, dtype=torch.int64))

    expected = {
        "rgb": plain(q_r, k.rgb, negatives.rgb, None),
        "flow": plain(q_f, k.flow, negatives.flow, k.rotated),
        "rgb_to_flow": plain(q_r, k.flow, negatives.flow, k.rotated),
        "flow_to_rgb": plain(q_f, k.rgb, negatives.rgb, None),
    }
    terms = mscl_losses(Embeddings(q_r, q_f), k, negatives, temperature=0.07, hard_negatives_BD=k.rotated)
    for name, value in expected.items():
        torch.testing.assert_close(terms.value[name], value, msg=name)
    ours = torch.autograd.grad(terms.total, [q_r, q_f])
    for got, right in zip(ours, torch.autograd.grad(sum(expected.values()), [q_r, q_f]), strict=True):
        torch.testing.assert_close(got, right)


def test_d10_decay_is_an_option() -> None:
    queue_DK, age_K = unit(8, 3).requires_grad_(), torch.tensor([0, 1, 5])
    torch.testing.assert_close(decayed(queue_DK, age_K, decay=None), queue_DK.detach())
    scaled = decayed(queue_DK, age_K, decay=0.5)
    torch.testing.assert_close(scaled, queue_DK.detach() * torch.tensor([1, 0.5, 0.5**5], dtype=torch.float64))
    assert not scaled.requires_grad


def test_top1_counts_positives_that_beat_all_negatives() -> None:
    basis = torch.eye(4, dtype=torch.float64)
    q = Embeddings(basis[:2])
    k = Embeddings(torch.stack([basis[0], basis[2]]))
    terms = mscl_losses(q, k, Negatives((0.5 * basis).T), temperature=0.1)
    assert terms.top1["rgb"].item() == 0.5
