"""The motion suite's claims on real files: what single frames, frames without order, and labels tell.

    python benchmarks/motion_suite.py [--parts direction order] [--train-per-class N] [--epochs N]

For every part: writes it, decodes it, and trains the demo preset's encoder with a classifier from random weights (the
supervised ceiling, `Part.ceiling`), on clips from where the video moves: a label says nothing about the rest, which is
most of `stills`. The same on clips that repeat one frame and on clips in random order says what those tell a network
that is trained for it: guessing, and no opposites. About 540 steps of 32 clips a line.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mscl.config import load_config
from mscl.demo.dataset import write_demo_dataset
from mscl.demo.parts import PARTS, Part
from mscl.models.encoders import build_rgb_encoder
from mscl.motion_suite.run_suite import listed
from mscl.progress import Silent
from mscl.video.clip_indices import Shown, clip_indices, shown_indices
from mscl.video.config import DecodeLimits
from mscl.video.decoding import decode
from mscl.video.geometry import resize_into
from mscl.video.normalise import normalise_rgb

LENGTH, STRIDE, CROP_PX, SHORT_PX, BATCH, LR = 8, 2, 40, 46, 32, 3e-3


def read(videos: list[Path]) -> NDArray[np.uint8]:
    """Frames (N, T, 46, 46, 3) of videos of one length; all but the last frame, as the stores have them."""
    first = list(decode(videos[0], limits=DecodeLimits(), short_side=None))
    out = np.empty((len(videos), len(first) - 1, SHORT_PX, SHORT_PX, 3), np.uint8)
    for place, video in enumerate(videos):
        frames = list(decode(video, limits=DecodeLimits(), short_side=None))
        resize_into(frames[:-1], out[place])
    return out


def starts_of_motion(frames_T: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Starts of the clips that hold about as much of the motion as any: of equal frames the video stands still."""
    moves_T = (frames_T[1:] != frames_T[:-1]).any(axis=(1, 2, 3))
    seen_S = np.lib.stride_tricks.sliding_window_view(moves_T, (LENGTH - 1) * STRIDE).sum(axis=1)
    return np.flatnonzero(seen_S >= 0.8 * seen_S.max())


def clips_of(
    frames_NT: NDArray[np.uint8], starts: NDArray[np.int64], shown: Shown, draws: np.random.Generator
) -> torch.Tensor:
    """A clip (N, 3, 8, 40, 40) of each video, the centre of its frames."""
    total = frames_NT.shape[1]
    clips = []
    for frames, start in zip(frames_NT, starts.tolist(), strict=True):
        indices = clip_indices(start, length=LENGTH, stride=STRIDE, num_indices=total)
        clips.append(frames[shown_indices(indices[None], shown, num_indices=total, rng=draws)[0]])
    edge = (SHORT_PX - CROP_PX) // 2
    shown_N = np.stack(clips)[:, :, edge : edge + CROP_PX, edge : edge + CROP_PX]
    return normalise_rgb(torch.from_numpy(shown_N)).contiguous(memory_format=torch.channels_last_3d)


def trained_top1(
    part: Part,
    frames: NDArray[np.uint8],
    labels: NDArray[np.int64],
    is_test: NDArray[np.bool_],
    *,
    shown: Shown,
    epochs: int,
) -> tuple[float, NDArray[np.int64]]:
    """Top-1 of a network trained on the labels of the train videos, and its confusion matrix."""
    torch.manual_seed(0)
    draws = np.random.default_rng(0)
    encoder = build_rgb_encoder(load_config("demo", []).pretrain.model)
    network = nn.Sequential(encoder, nn.Linear(encoder.feature_dim, len(part.classes)))
    network = network.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), LR, weight_decay=1e-4)
    train = np.flatnonzero(~is_test)
    steps_per_epoch = len(train) // BATCH
    starts_N = [starts_of_motion(video) for video in frames]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=epochs * steps_per_epoch, pct_start=0.1)
    for _ in range(epochs):
        order = draws.permutation(train)[: steps_per_epoch * BATCH].reshape(-1, BATCH)
        for rows in order:
            starts = np.array([draws.choice(starts_N[row]) for row in rows])
            logits = network(clips_of(frames[rows], starts, shown, draws))
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels[rows]))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
            optimiser.step()
            schedule.step()
    network.eval()
    test = np.flatnonzero(is_test)
    called = []
    with torch.inference_mode():
        for rows in np.array_split(test, -(-len(test) // 64)):
            views = [
                clips_of(
                    frames[rows],
                    np.array([np.quantile(starts_N[row], at, method="nearest") for row in rows]),
                    shown,
                    draws,
                )
                for at in (0.25, 0.75)
            ]
            called.append(torch.stack([network(view).softmax(1) for view in views]).mean(0).argmax(1).numpy())
    predicted = np.concatenate(called)
    confusion = np.zeros((len(part.classes),) * 2, np.int64)
    np.add.at(confusion, (labels[test], predicted), 1)
    return float((predicted == labels[test]).mean()), confusion


def by_kind(part: Part, confusion: NDArray[np.int64]) -> str:
    """Share of the videos whose kind is called right, where the part has kinds."""
    if not part.kinds:
        return ""
    kinds = np.array([list(part.kinds).index(part.kind_of(name)) for name in part.classes])
    return f" ({100 * confusion[kinds[:, None] == kinds].sum() / confusion.sum():.1f} by kind)"


def main() -> None:
    """Print a line per part and control."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    parser.add_argument("--shown", nargs="+", default=["moving", "first", "middle", "last", "shuffled"])
    parser.add_argument("--train-per-class", type=int, default=144)
    parser.add_argument("--test-per-class", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        write = partial(
            write_demo_dataset, train_per_class=options.train_per_class, test_per_class=options.test_per_class,
            progress=Silent(),
        )  # fmt: skip
        for name in options.parts:
            part = PARTS[name]
            videos, labels, is_test = listed(write(Path(folder) / name, part=name), part)
            frames = read(videos)
            for shown in options.shown:
                began = time.monotonic()
                top1, confusion = trained_top1(part, frames, labels, is_test, shown=shown, epochs=options.epochs)
                classes = list(part.classes)
                told = [
                    confusion[classes.index(a), classes.index(a)] + confusion[classes.index(b), classes.index(b)]
                    for a, b in part.opposites
                ]
                swapped = [
                    confusion[classes.index(a), classes.index(b)] + confusion[classes.index(b), classes.index(a)]
                    for a, b in part.opposites
                ]
                both = sum(told) + sum(swapped)
                print(
                    f"{name} {shown}: {100 * top1:.1f}{by_kind(part, confusion)} of {is_test.sum()} test videos "
                    f"(chance {100 / len(classes):.1f}); "
                    f"of {both} called one of a pair of opposites {100 * sum(told) / max(both, 1):.1f} the right one; "
                    f"{time.monotonic() - began:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
