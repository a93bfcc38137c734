"""Which rows of a dataset train, which test, and whether a score can be had at all."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from storage.manifest import Manifest

Ints = npt.NDArray[np.int64]


def train_and_test(split: Sequence[str], labels_N: Ints) -> tuple[Ints, Ints]:
    """Labelled rows to learn from and to score on.

    Test is the split `test`; where that has no labels (SSv2, Kinetics keep them) it is `val`. Training is
    `train` alone, so that a score never depends on which of the two was there.
    """
    names = np.asarray(split)
    labelled = np.asarray(labels_N) >= 0
    train = np.flatnonzero(labelled & (names == "train"))
    test = np.flatnonzero(labelled & (names == "test"))
    if len(test) == 0:
        test = np.flatnonzero(labelled & (names == "val"))
    return train, test


def unfit(split: Sequence[str], labels_N: Ints) -> str:
    """Why this dataset cannot score an encoder, as one line; empty when it can."""
    labels = np.asarray(labels_N)
    if not (labels >= 0).any():
        return "no video has a label"
    train, test = train_and_test(split, labels)
    if len(train) == 0:
        return "no labelled video is in the train split"
    if len(test) == 0:
        return "no labelled video is in the test split"
    classes = set(labels[train].tolist())
    if len(classes) < 2:
        return "the train split has one class; scores need at least two"
    if not classes & set(labels[test].tolist()):
        return "train and test split have no class in common"
    return ""


def evaluable(manifest: "Manifest") -> str:
    """`unfit` of a manifest's rows."""
    return unfit(list(manifest.column("split")), np.asarray(manifest.column("label"), dtype=np.int64))
