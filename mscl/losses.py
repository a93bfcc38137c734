"""The eight cross-entropies of MSCL (METHOD 1.6; paper section 3), as pure functions.

Shape letters: B batch, D embedding, K queue, C channels of local features, T times of local features.
Embeddings and local features come L2-normalised; queues hold one key a column and carry no gradient.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Embeddings:
    """Clip embeddings of one view, each (B, D) and L2-normalised. `None`: the stream is not trained."""

    rgb: Tensor
    flow: Tensor | None = None
    rotated: Tensor | None = None

    def __post_init__(self) -> None:
        for name, other in (("flow", self.flow), ("rotated", self.rotated)):
            if other is not None and other.shape != self.rgb.shape:
                raise ValueError(f"{name} embeddings are {tuple(other.shape)}, rgb embeddings {tuple(self.rgb.shape)}")


@dataclass(frozen=True)
class LocalFeatures:
    """Features over time of the query view, each (B, C, T) and L2-normalised over C (METHOD 1.5)."""

    rgb: Tensor
    flow: Tensor
    rotated: Tensor | None = None


@dataclass(frozen=True)
class Negatives:
    """Queues as the losses read them, each (D, K): decayed and detached."""

    rgb: Tensor
    flow: Tensor | None = None


@dataclass(frozen=True)
class LossTerms:
    """Value and top-1 accuracy of every term, as scalars on the device of the embeddings."""

    value: dict[str, Tensor]
    top1: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """The sum that is minimised: every term has weight 1."""
        return torch.stack(list(self.value.values())).sum()


def decayed(queue_DK: Tensor, age_K: Tensor, *, decay: float | None) -> Tensor:
    """Negatives of a queue: Q * decay ** age, detached (D10). `None` is no decay."""
    queue_DK = queue_DK.detach()
    return queue_DK if decay is None else queue_DK * torch.as_tensor(decay, dtype=queue_DK.dtype) ** age_K


def info_nce(q_BD: Tensor, k_BD: Tensor, negatives_DK: Tensor, *, temperature: float) -> Tensor:
    """CE([q.k, q.N] / temperature, label 0), the mean over the batch, as a scalar.

    All inputs are L2-normalised; gradients reach `q_BD`, and `k_BD` if it carries any.
    """
    return _contrast(q_BD, k_BD, _rivals(q_BD, negatives_DK, temperature), temperature)[0]


def local_motion_scores(rgb_BDT: Tensor, flow_BDT: Tensor, rotated_BDT: Tensor | None, *, temperature: float) -> Tensor:
    """r^T [f | f~] / temperature: (B, T, 2T), rows RGB times; columns T..2T-1 are the rotated flow.

    Without rotated flow the scores are (B, T, T).
    """
    columns = flow_BDT if rotated_BDT is None else torch.cat([flow_BDT, rotated_BDT], dim=2)
    if rgb_BDT.shape[2] != flow_BDT.shape[2]:
        raise ValueError(
            f"RGB has {rgb_BDT.shape[2]} local features a clip and flow has {flow_BDT.shape[2]}; "
            "both streams must halve the clip length in time"
        )
    return torch.einsum("bdt,bds->bts", rgb_BDT, columns) / temperature


def local_motion(rgb_BDT: Tensor, flow_BDT: Tensor, rotated_BDT: Tensor | None, *, temperature: float) -> Tensor:
    """Local motion contrastive learning (loss 8): CE over the last axis of the scores, targets 0..T-1.

    Gradients reach both streams. Chance is ln(2T), or ln(T) without rotated flow.
    """
    return _local(local_motion_scores(rgb_BDT, flow_BDT, rotated_BDT, temperature=temperature))[0]


def mscl_losses(
    q: Embeddings,
    k: Embeddings,
    negatives: Negatives,
    *,
    temperature: float,
    local: LocalFeatures | None = None,
    hard_negatives_BD: Tensor | None = None,
    late_flow_DK: Tensor | None = None,
) -> LossTerms:
    """Every term that the given streams allow, by name, in the order 1..8 of METHOD 1.6.

    1 rgb, 2 flow, 3 rotated, 4 rgb_to_flow, 5 flow_to_rgb, 6 rgb_to_rotated, 7 rotated_to_rgb,
    8 local_motion. Without flow only 1 (the MoCo baseline); without rotated embeddings no 3, 6, 7, in which rotated
    flow is a positive of its clip (D26).

    Args:
        hard_negatives_BD: keys of each clip's own rotated flow; one more negative in losses 2 and 4 (D26, `hard`).
        late_flow_DK: flow negatives that losses 3, 4 and 6 read instead of the queue as it stood before the step;
            the released code reads them after the keys of the batch went in (D6).
    """
    # name, anchor, positive, negatives of the queue, negatives of the clip itself
    terms: list[tuple[str, Tensor, Tensor, Tensor, Tensor | None]] = [("rgb", q.rgb, k.rgb, negatives.rgb, None)]
    if q.flow is not None and k.flow is not None and negatives.flow is not None:
        late_DK = negatives.flow if late_flow_DK is None else late_flow_DK
        terms.append(("flow", q.flow, k.flow, negatives.flow, hard_negatives_BD))
        if q.rotated is not None and k.rotated is not None:
            terms.append(("rotated", q.rotated, k.rotated, late_DK, None))
        terms.append(("rgb_to_flow", q.rgb, k.flow, late_DK, hard_negatives_BD))
        terms.append(("flow_to_rgb", q.flow, k.rgb, negatives.rgb, None))
        if q.rotated is not None and k.rotated is not None:
            terms.append(("rgb_to_rotated", q.rgb, k.rotated, late_DK, None))
            terms.append(("rotated_to_rgb", q.rotated, k.rgb, negatives.rgb, None))

    value: dict[str, Tensor] = {}
    top1: dict[str, Tensor] = {}
    # Losses 4 and 6 put the same anchor against the same queue: one product serves both.
    against: dict[tuple[int, int], _Rivals] = {}
    for name, anchor_BD, positive_BD, negatives_DK, own_BD in terms:
        pair = (id(anchor_BD), id(negatives_DK))
        if pair not in against:
            against[pair] = _rivals(anchor_BD, negatives_DK, temperature)
        rivals = against[pair] if own_BD is None else against[pair].and_one(anchor_BD, own_BD, temperature)
        value[name], top1[name] = _contrast(anchor_BD, positive_BD, rivals, temperature)
    if local is not None:
        scores_BTS = local_motion_scores(local.rgb, local.flow, local.rotated, temperature=temperature)
        value["local_motion"], top1["local_motion"] = _local(scores_BTS)
    return LossTerms(value, top1)


@dataclass(frozen=True)
class _Rivals:
    """What a cross-entropy needs of the logits against a queue, without a (B, 1 + K) copy of them."""

    logsumexp_B: Tensor
    largest_B: Tensor

    def and_one(self, anchor_BD: Tensor, negative_BD: Tensor, temperature: float) -> "_Rivals":
        """These and one more negative for each anchor."""
        logit_B = (anchor_BD * negative_BD).sum(dim=1) / temperature
        return _Rivals(torch.logaddexp(self.logsumexp_B, logit_B), torch.maximum(self.largest_B, logit_B.detach()))


def _rivals(anchor_BD: Tensor, negatives_DK: Tensor, temperature: float) -> _Rivals:
    logits_BK = anchor_BD @ negatives_DK / temperature
    return _Rivals(logits_BK.logsumexp(dim=1), logits_BK.detach().amax(dim=1))


def _contrast(anchor_BD: Tensor, positive_BD: Tensor, rivals: _Rivals, temperature: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy with the positive as label 0, and how often the positive beats every negative."""
    positive_B = (anchor_BD * positive_BD).sum(dim=1) / temperature
    loss = (torch.logaddexp(positive_B, rivals.logsumexp_B) - positive_B).mean()
    return loss, (positive_B.detach() >= rivals.largest_B).float().mean()


def _local(scores_BTS: Tensor) -> tuple[Tensor, Tensor]:
    batch, times, _ = scores_BTS.shape
    targets_N = torch.arange(times, device=scores_BTS.device).repeat(batch)
    scores_NS = scores_BTS.flatten(0, 1)
    return F.cross_entropy(scores_NS, targets_N), (scores_NS.detach().argmax(dim=1) == targets_N).float().mean()
