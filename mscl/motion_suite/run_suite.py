"""Encoders through the suite: videos written or found, every encoder scored on every part."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mscl.demo.dataset import DemoDataset, write_demo_dataset, write_suite
from mscl.demo.parts import PARTS, Part, part_named
from mscl.motion_suite.named_encoders import NamedEncoder
from mscl.motion_suite.part_features import fitted_input, part_features
from mscl.motion_suite.suite_scores import PartScores, labellings, part_names, part_scores
from mscl.progress import Progress
from mscl.video.frame_recipe import EncoderInput


def videos_folder(
    suite: Path, *, seed: int, train_per_class: int, test_per_class: int, side_px: int, slower: int
) -> Path:
    """Where the videos of these settings lie in `suite`; those of others lie elsewhere, and both are kept."""
    slow = f"-{slower}x" if slower > 1 else ""
    return suite / f"{side_px}px{slow}-seed{seed}-{train_per_class}+{test_per_class}"


def score_encoders(
    encoders: Sequence[NamedEncoder],
    folder: Path,
    *,
    parts: Sequence[str] = (),
    seed: int,
    train_per_class: int,
    test_per_class: int,
    side_px: int,
    slower: int,
    device: torch.device,
    progress: Progress,
) -> dict[str, list[PartScores]]:
    """Encoder -> its scores on the labellings asked for (parts and `kind`), on all for none.

    Raises:
        UserError: an encoder that the videos do not fit, before any is written; an unknown part; a folder in the way.
    """
    names = part_names(parts)
    inputs: dict[tuple[str, str], EncoderInput] = {
        (named.name, name): fitted_input(named, part_named(name), side_px=side_px, slower=slower)
        for named in encoders
        for name in names
    }
    write = partial(
        write_demo_dataset, seed=seed, train_per_class=train_per_class, test_per_class=test_per_class, side_px=side_px,
        slower=slower, progress=progress,
    )  # fmt: skip
    made = write_suite(folder, write, parts=names)
    found: dict[str, list[PartScores]] = {}
    for named in encoders:
        rows = found.setdefault(named.name, [])
        for name, dataset in made.items():
            part = PARTS[name]
            videos, labels_N, is_test_N = listed(dataset, part)
            features = part_features(
                named, videos, inputs[named.name, name], device=device, progress=progress,
                title=f"{named.name} on {name}",
            )  # fmt: skip
            progress.start(f"Classifiers on {name}", None, "")
            wanted = [one for one in labellings(part) if not parts or one.name in parts]
            rows += [part_scores(one, features, labels_N, is_test_N) for one in wanted]
    progress.done()
    return found


def listed(
    dataset: DemoDataset, part: Part
) -> tuple[list[Path], "np.ndarray[tuple[int], np.dtype[np.int64]]", "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Videos of a part by its lists, their classes, and which are of the test split."""
    classes = list(part.classes)
    videos: list[Path] = []
    is_test: list[bool] = []
    for split in ("train", "test"):
        lines = (dataset.lists / f"{split}list01.txt").read_text().splitlines()
        videos += [dataset.videos / line.partition(" ")[0] for line in lines]
        is_test += [split == "test"] * len(lines)
    return videos, np.array([classes.index(video.parent.name) for video in videos]), np.array(is_test)
