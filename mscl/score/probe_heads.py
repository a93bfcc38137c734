"""The classifiers of `probe.head`, each on what it reads: a feature a video, or all its tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mscl.array_types import Floats, Ints
from mscl.errors import DataError
from mscl.score.config import ProbeConfig
from mscl.score.groups import Grouping
from mscl.score.probe import Probe, knn_probe, linear_probe
from mscl.score.videos import Videos


class Classify(Protocol):
    """Trains a classifier on some videos and tests it on others."""

    def __call__(
        self, videos: Videos, train: Ints, test: Ints, *, num_classes: int, config: ProbeConfig, grouping: Grouping
    ) -> Probe:
        """`train`, `test`: rows of `videos`."""
        ...


def classifier_of(
    config: ProbeConfig, features_SD: Floats, *, tokens: Path, ids: Sequence[str], device: str
) -> Classify:
    """What `probe.head` asks for, on the features of one variant or on its tokens.

    Args:
        config: says which.
        features_SD: of every segment.
        tokens: folder of the tokens of the same segments; need not be there where they are not asked for.
        ids: of the segments.
        device: of `attentive`: cpu or cuda.

    Raises:
        DataError: tokens are asked for and not there.
        DamagedError: they cannot be read.
    """
    if config.head == "attentive":
        return _attentive(tokens, ids, device=device)
    fit = linear_probe if config.head == "linear" else knn_probe

    def classify(
        videos: Videos, train: Ints, test: Ints, *, num_classes: int, config: ProbeConfig, grouping: Grouping
    ) -> Probe:
        features_VD = videos.mean(features_SD)
        return fit(
            features_VD[train], videos.labels_V[train], features_VD[test], videos.labels_V[test],
            num_classes=num_classes, config=config,
            train_groups=grouping.numbers([videos.names[row] for row in train.tolist()], may_lack=True),
            test_groups=grouping.numbers([videos.names[row] for row in test.tolist()]),
        )  # fmt: skip

    return classify


def _attentive(tokens_folder: Path, ids: Sequence[str], *, device: str) -> Classify:
    import torch

    from mscl.score.attentive import VideoTokens, attentive_probe
    from storage.features import read_tokens

    if not tokens_folder.is_dir():
        raise DataError(
            f"{tokens_folder.parent} has no tokens for probe.head=attentive; embed again with embed.tokens=true"
        )
    tokens_SND = read_tokens(tokens_folder, ids=ids)

    def classify(
        videos: Videos, train: Ints, test: Ints, *, num_classes: int, config: ProbeConfig, grouping: Grouping
    ) -> Probe:
        return attentive_probe(
            VideoTokens.of(tokens_SND, videos, train), videos.labels_V[train],
            VideoTokens.of(tokens_SND, videos, test), videos.labels_V[test],
            num_classes=num_classes, config=config, device=torch.device(device),
            test_groups=grouping.numbers([videos.names[row] for row in test.tolist()]),
        )  # fmt: skip

    return classify
