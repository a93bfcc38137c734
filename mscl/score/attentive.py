"""Attentive probe: what a classifier reads from all places and times of an encoder that stays as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mscl.array_types import Ints
from mscl.score.classification import classification
from mscl.score.classifier_scores import Details
from mscl.score.config import ProbeConfig
from mscl.score.probe import Probe, check_split
from mscl.score.videos import Videos

_HEADS = 8
_MLP = 4


@dataclass(frozen=True, eq=False)
class VideoTokens:
    """Tokens of V videos: those of all clips of all their segments, however many these are."""

    tokens_SND: npt.NDArray[np.float16]
    segments: Sequence[Ints]
    """Rows of each video."""

    @classmethod
    def of(cls, tokens_SND: npt.NDArray[np.float16], videos: Videos, rows: Ints) -> "VideoTokens":
        """Of the videos `rows`, those segments that count."""
        segments = videos.segments_of_each()
        return cls(tokens_SND, [segments[row] for row in rows.tolist()])

    def __len__(self) -> int:
        return len(self.segments)

    def batch(self, rows: Ints, device: torch.device) -> tuple[Tensor, Tensor]:
        """Tokens (B, M, D) of some videos, M of the longest, and (B, M): which of them are none."""
        per_segment, width = self.tokens_SND.shape[1:]
        longest = max(len(self.segments[row]) for row in rows.tolist())
        tokens_BMD = np.zeros((len(rows), longest * per_segment, width), np.float32)
        absent_BM = np.ones(tokens_BMD.shape[:2], np.bool_)
        for place, row in enumerate(rows.tolist()):
            own = self.tokens_SND[self.segments[row]].reshape(-1, width)
            tokens_BMD[place, : len(own)], absent_BM[place, : len(own)] = own, False
        return torch.from_numpy(tokens_BMD).to(device), torch.from_numpy(absent_BM).to(device)


class AttentiveClassifier(nn.Module):
    """Tokens (B, M, D) -> class scores (B, classes).

    One learnt question attends to all tokens, passes an MLP with a residual, and is classified (V-JEPA, Bardes et al.
    2024). Heads: the largest common divisor of 8 and D.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.question = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.question, std=0.02)
        self.norm_tokens = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, gcd(width, _HEADS), batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, _MLP * width), nn.GELU(), nn.Linear(_MLP * width, width))
        self.classify = nn.Linear(width, num_classes)

    def forward(self, tokens_BMD: Tensor, absent_BM: Tensor) -> Tensor:
        """Class scores; the tokens in `absent_BM` are none."""
        question = self.question.expand(len(tokens_BMD), -1, -1)
        tokens = self.norm_tokens(tokens_BMD)
        found, _ = self.attention(question, tokens, tokens, key_padding_mask=absent_BM, need_weights=False)
        found = question + found
        found = found + self.mlp(self.norm(found))
        scores: Tensor = self.classify(found[:, 0])
        return scores


def attentive_probe(
    train: VideoTokens,
    train_labels: Ints,
    test: VideoTokens,
    test_labels: Ints,
    *,
    num_classes: int,
    config: ProbeConfig,
    device: torch.device,
    test_groups: Ints | None = None,
) -> Probe:
    """Train on the train split for a fixed number of epochs, score on test, which takes no part in any choice.

    The same seed gives the same scores on one device and number of threads; the global random state stays as it is.

    Raises:
        DataError: as `linear_probe`.
    """
    check_split(train_labels, num_test=len(test))
    order = np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = AttentiveClassifier(train.tokens_SND.shape[2], num_classes).to(device)
    labels = torch.from_numpy(train_labels).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(train) // config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    loss_of_epoch = hits = 0.0
    for _ in range(config.epochs):
        loss_of_epoch = hits = 0.0
        for rows in _batches(order.permutation(len(train)), config.batch_size):
            scores_BC = model(*train.batch(rows, device))
            wanted_B = labels[torch.from_numpy(rows).to(device)]
            loss = nn.functional.cross_entropy(scores_BC, wanted_B)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_of_epoch += loss.item() * len(rows) / len(train)
            hits += float((scores_BC.argmax(1) == wanted_B).sum())
    model.eval()
    with torch.inference_mode():
        found = [
            model(*test.batch(rows, device)).softmax(1).cpu().numpy()
            for rows in _batches(np.arange(len(test)), config.batch_size)
        ]
    details = Details(epochs=config.epochs, train_loss=loss_of_epoch, train_accuracy=hits / len(train))
    return Probe(classification(np.concatenate(found), test_labels, groups_N=test_groups), details)


def _batches(rows: Ints, size: int) -> Iterator[Ints]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
