"""Which videos of a dataset train, which test, and whether a score can be had at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mscl.array_types import Ints
from mscl.score.videos import Videos

if TYPE_CHECKING:
    from storage.manifest import Manifest


_NAMED = 5


def manifests_of_splits(ingest_folder: Path, splits: Sequence[int], *, chosen: int) -> dict[int, "Manifest"]:
    """Split -> usable rows with that split's train and test, of the splits to average over.

    `splits` empty: `chosen` alone. A dataset with one split is scored on that, whatever is asked for.

    Raises:
        StorageError: the dataset has several splits, and one asked for is not among them.
    """
    from storage.splits import read_split, split_numbers

    numbers = (tuple(splits) or (chosen,)) if split_numbers(ingest_folder) else (1,)
    return {number: read_split(ingest_folder, number).ok() for number in numbers}


def train_and_test(split: Sequence[str] | npt.NDArray[np.str_], labels_N: Ints) -> tuple[Ints, Ints]:
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


def scored_videos(manifest: "Manifest") -> tuple[list[str], list[str]]:
    """Videos that a score learns from, and those that an encoder is scored on."""
    videos = Videos.of(manifest)
    train, test = train_and_test(videos.split_V, videos.labels_V)
    return [videos.names[row] for row in train.tolist()], [videos.names[row] for row in test.tolist()]


def unfit(split: Sequence[str] | npt.NDArray[np.str_], labels_N: Ints | Sequence[int]) -> str:
    """Why this dataset cannot score an encoder, as one line; empty when it can."""
    names, labels = np.asarray(split), np.asarray(labels_N)
    if not (labels >= 0).any():
        return "no video has a label"
    train, test = train_and_test(names, labels)
    if len(train) == 0:
        return f"no labelled video is in the train split ({_counts(names)})"
    if len(test) == 0:
        unlabelled = int((names == "test").sum())
        if unlabelled:
            return (
                f"none of the {unlabelled} videos of the test split has a label, and no labelled video is in val; "
                "give lists with labels for one of the two"
            )
        return f"no labelled video is in the test split ({_counts(names)})"
    classes = set(labels[train].tolist())
    if len(classes) < 2:
        return "the train split has one class; scores need at least two"
    if not classes & set(labels[test].tolist()):
        return "train and test split have no class in common"
    return ""


def evaluable(manifest: "Manifest") -> str:
    """`unfit` of a manifest's rows."""
    return unfit(manifest.column("split").astype(str), np.asarray(manifest.column("label"), dtype=np.int64))


def evaluable_splits(manifests: Mapping[int, "Manifest"]) -> str:
    """The first reason of `evaluable` among these splits, with the split's number where there are several."""
    for number, manifest in manifests.items():
        if reason := evaluable(manifest):
            return f"split {number}: {reason}" if len(manifests) > 1 else reason
    return ""


def notes_on(manifests: Mapping[int, "Manifest"], *, pretrained: "Manifest | None" = None) -> list[str]:
    """What a reader of the scores must know of these splits, a line each.

    Classes that only one side has, test videos without labels, `val` in the place of `test`; and with `pretrained`,
    the manifest whose train split the encoder learnt from, be it of another dataset, test videos that it has seen.
    """
    seen = _learnt_contents(pretrained) if pretrained is not None else set()
    notes = []
    for number, manifest in manifests.items():
        found = _notes(Videos.of(manifest), manifest.classes, _contents(manifest), seen)
        notes += [f"split {number}: {note}" for note in found] if len(manifests) > 1 else found
    return notes


def left_out_notes(all_rows: Mapping[int, "Manifest"], *, missing: int = 0) -> list[str]:
    """Which of the listed test videos are in no score, a line a split: the others are not the dataset's test split.

    Args:
        all_rows: split -> its rows, also those that cannot be used.
        missing: videos of the lists that were not found.
    """
    notes = [f"{missing:,} listed videos were not found and are in no score"] if missing else []
    for number, manifest in all_rows.items():
        videos, usable = Videos.of(manifest), set(manifest.ok().column("video").tolist())
        _, test = train_and_test(videos.split_V, videos.labels_V)
        lost = sum(videos.names[row] not in usable for row in test.tolist())
        if lost:
            note = f"{lost:,} of the {len(test):,} test videos cannot be used and are in no score; ingest says why"
            notes.append(f"split {number}: {note}" if len(all_rows) > 1 else note)
    return notes


def _notes(videos: Videos, classes: Sequence[str], contents: Sequence[str], seen: set[str]) -> list[str]:
    train, test = train_and_test(videos.split_V, videos.labels_V)
    learnt, tested = (np.unique(videos.labels_V[rows]) for rows in (train, test))
    notes = []
    if len(unlearnt := np.setdiff1d(tested, learnt)):
        count = int(np.isin(videos.labels_V[test], unlearnt).sum())
        notes.append(
            f"{_named(unlearnt, classes)} in the test split and not in the train split: "
            f"{count} test video{'s count' if count > 1 else ' counts'} as wrong"
        )
    if len(untested := np.setdiff1d(learnt, tested)):
        notes.append(f"{_named(untested, classes)} in the train split and not in the test split: never tested")
    if len(absent := np.setdiff1d(np.arange(len(classes)), np.union1d(learnt, tested))):
        notes.append(
            f"{_named(absent, classes)} without a usable video in the train and test split, and counted in what a "
            f"guess among {len(classes)} classes would score"
        )
    in_test = videos.split_V == "test"
    if in_test.any() and not (videos.labels_V[in_test] >= 0).any():
        notes.append(f"the {int(in_test.sum())} videos of the test split have no labels: scored on the val split")
    elif unlabelled := int((in_test & (videos.labels_V < 0)).sum()):
        notes.append(f"{unlabelled} of {int(in_test.sum())} videos of the test split have no label: left out")
    elif not in_test.any():
        notes.append("there is no test split: scored on the val split")
    if known := sum(contents[row] in seen for row in videos.first_V[test].tolist()):
        notes.append(f"pre-training saw {known} of the {len(test)} test videos, without their labels")
    return notes


def _learnt_contents(manifest: "Manifest") -> set[str]:
    used = np.isin(manifest.column("split").astype(str), ("train", "unlabelled"))
    return {content for content, learnt in zip(_contents(manifest), used.tolist(), strict=True) if learnt}


def _contents(manifest: "Manifest") -> list[str]:
    """What tells the video of each row from others wherever it lies: its bytes, or its path if none are noted."""
    columns = (manifest.column(name).astype(str).tolist() for name in ("digest", "video"))
    return [digest or video for digest, video in zip(*columns, strict=True)]


def _named(labels: Ints, classes: Sequence[str]) -> str:
    names = [classes[label] for label in labels[:_NAMED].tolist()]
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    word, verb = ("class", "is") if len(labels) == 1 else ("classes", "are")
    return f"{len(labels)} {word} ({', '.join(names)}{more}) {verb}"


def _counts(names: npt.NDArray[np.str_]) -> str:
    kinds, counts = np.unique(names, return_counts=True)
    return ", ".join(f"{kind} {count}" for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True))
