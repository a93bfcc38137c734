"""Where another shot begins, found from frames that are decoded anyway.

Every frame is shrunk to 32 x 24 px of luma and colour. Two frames lie apart by the mean difference of their pixels and
that of their sorted grey levels; a moving camera changes the first, light the second. Two tests follow:

A cut: none of the six frames from here on looks like any of the six before. A flash, a passer-by or a dropped frame
leaves such a pair. The difference is judged by what changes from frame to frame nearby, the two largest changes left
out: they may be a flash, or the next cut.

A fade (dissolve, or through black): the frames between two others are mixtures of them, ever less of the first, and the
two do not show the same picture. A moving camera makes no mixture, a change of light leaves the picture the same.

The thresholds come from real clips without a cut; `benchmarks/cuts.py` has precision, recall and costs.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

_HEIGHT, _WIDTH = 24, 32
_PIXELS = _HEIGHT * _WIDTH
_PLANAR = ("yuv420p", "yuvj420p")
_BINS = 32
_ALIKE_FRAMES = 6
"""Frames before and after a cut of which none may look like one of the other side."""
_NEAR_FRAMES = 8
"""Changes so near are what a cut is compared with."""
_LARGEST_LEFT_OUT = 2
_LEAST_APART = 12.0
"""Grey levels, summed over three channels, that two shots differ by at least."""
_USUAL_APART = 6.0
"""Added to the changes nearby: in a still shot noise alone would make a large ratio."""
_LEAST_RATIO = 2.1
_FADE_FRAMES = (4, 8, 16)
"""Halves of the stretches that are looked at for a fade."""
_FADE_APART = 20.0
_FADE_LIKENESS = 0.65
"""Correlation of the pictures before and after a fade that shows another picture; more is a change of light."""
_FADE_RESIDUAL = 0.28
"""Of the difference between the two ends: what of a frame between them is no mixture of them."""
_FADE_STEP = 0.6
"""Largest part of a fade that one quarter of half of the stretch may bring: more is a cut."""
_REACH = max(_FADE_FRAMES)
_BLOCK = 1024
Thumbs = NDArray[np.uint8]


class CutFinder:
    """Give it every frame in decode order, then ask for the cuts. Holds about a thousand small pictures."""

    def __init__(self) -> None:
        self._thumbs: list[Thumbs] = []
        self._scored = 0
        """Of the thumbs held, those that are scored already and only stand before others."""
        self._scores: list[NDArray[np.float32]] = []

    def add(self, frame: VideoFrame) -> None:
        """The next frame, as the decoder gives it."""
        self._thumbs.append(_thumb(frame))
        if len(self._thumbs) == _BLOCK + 2 * _REACH:
            self._score(len(self._thumbs) - _REACH)

    def _score(self, end: int) -> None:
        self._scores.append(_scores(np.stack(self._thumbs))[:, self._scored : end])
        kept = max(0, end - _REACH)
        self._thumbs = self._thumbs[kept:]
        self._scored = end - kept

    def cuts(self) -> list[int]:
        """Numbers of the frames with which another shot begins, ascending; of a fade the frame in its middle."""
        if len(self._thumbs) > self._scored:
            self._score(len(self._thumbs))
        return _picked(np.concatenate(self._scores, axis=1)) if self._scores else []


def _thumb(frame: VideoFrame) -> Thumbs:
    if frame.format.name not in _PLANAR:
        frame = frame.reformat(format="yuv420p", threads=1)
    thumb_3HW = np.empty((3, _HEIGHT, _WIDTH), np.uint8)
    for plane, small_HW in zip(frame.planes, thumb_3HW, strict=True):
        rows_HW = np.frombuffer(cast("memoryview[int]", plane), np.uint8).reshape(plane.height, plane.line_size)[
            :, : plane.width
        ]
        # Area averaging of a whole frame costs four times as much and finds the same cuts.
        sampled_HW = cv2.resize(rows_HW, (2 * _WIDTH, 2 * _HEIGHT), interpolation=cv2.INTER_LINEAR)
        cv2.resize(sampled_HW, (_WIDTH, _HEIGHT), dst=small_HW, interpolation=cv2.INTER_AREA)
    return thumb_3HW


def _scores(thumbs_N3HW: Thumbs) -> NDArray[np.float32]:
    """(2, N): how much of a cut, and of a fade, each frame is; 0 where it is none."""
    count = len(thumbs_N3HW)
    pixels_NP = thumbs_N3HW.reshape(count, -1)
    place = np.arange(3 * count)[:, None] * _BINS + (thumbs_N3HW.reshape(3 * count, -1) // (256 // _BINS))
    counts = np.bincount(place.ravel(), minlength=3 * count * _BINS).reshape(count, 3, _BINS)
    levels_NC = np.cumsum(counts * (256 / _BINS / _PIXELS), axis=2, dtype=np.float32).reshape(count, -1)

    def apart(first: slice | NDArray[np.int64], second: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        of_pixels = cv2.reduce(cv2.absdiff(pixels_NP[second], pixels_NP[first]), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
        # The distance between the sorted grey levels of two pictures is that of their cumulative histograms.
        of_levels = np.abs(levels_NC[second] - levels_NC[first]).sum(axis=1)
        return np.asarray(of_pixels[:, 0] / _PIXELS + of_levels, np.float32)

    cut_N = np.full(count, np.inf, np.float32)
    change_N = np.zeros(count, np.float32)
    for lag in range(1, min(2 * _ALIKE_FRAMES, count)):
        apart_M = apart(slice(0, count - lag), slice(lag, count))
        if lag == 1:
            change_N[1:] = apart_M
        for before in range(max(0, lag - _ALIKE_FRAMES), min(lag, _ALIKE_FRAMES)):
            here = cut_N[before + 1 : before + 1 + len(apart_M)]  # a pair before it has `before` frames between
            np.minimum(here, apart_M[: len(here)], out=here)
    padded = np.pad(change_N, _NEAR_FRAMES)
    near = [padded[place : place + count] for place in range(2 * _NEAR_FRAMES + 1) if place != _NEAR_FRAMES]
    usual_N = np.sort(np.stack(near), axis=0)[-1 - _LARGEST_LEFT_OUT]
    ratio_N = cut_N / (_USUAL_APART + usual_N)
    is_cut_N = np.isfinite(cut_N) & (cut_N >= _LEAST_APART) & (ratio_N >= _LEAST_RATIO)
    scores = np.zeros((2, count), np.float32)
    scores[0, is_cut_N] = ratio_N[is_cut_N]
    small_NP = thumbs_N3HW.reshape(count, 3, _HEIGHT // 2, 2, _WIDTH // 2, 2).mean(axis=(3, 5), dtype=np.float32)
    for half in (half for half in _FADE_FRAMES if 2 * half < count):
        middle_M = np.arange(half, count - half)
        middle_M = middle_M[apart(middle_M - half, middle_M + half) >= _FADE_APART]
        if len(middle_M):
            scores[1, middle_M] = np.maximum(scores[1, middle_M], _fades(small_NP, middle_M, half))
    return scores


def _fades(small_N3HW: NDArray[np.float32], middle_M: NDArray[np.int64], half: int) -> NDArray[np.float32]:
    """1 where the frames around `middle_M` are a mixture of those `half` frames before and after it, else 0."""
    luma_NP = small_N3HW[:, 0].reshape(len(small_N3HW), -1)
    luma_NP = luma_NP - luma_NP.mean(axis=1, keepdims=True)
    contrast_N = np.sqrt((luma_NP**2).sum(axis=1)) + luma_NP.shape[1] ** 0.5  # an even picture is like no other
    first_M, last_M = middle_M - half, middle_M + half
    likeness_M = (luma_NP[first_M] * luma_NP[last_M]).sum(axis=1) / (contrast_N[first_M] * contrast_N[last_M])
    flat_NP = small_N3HW.reshape(len(small_N3HW), -1)
    begin_MP = flat_NP[first_M]
    whole_MP = flat_NP[last_M] - begin_MP
    square_M = (whole_MP**2).sum(axis=1) + 1e-9
    is_fade_M = likeness_M < _FADE_LIKENESS
    earlier_M = np.zeros(len(middle_M), np.float32)
    for offset in range(half // 4 - half, half, half // 4):
        here_MP = flat_NP[middle_M + offset] - begin_MP
        share_M = (here_MP * whole_MP).sum(axis=1) / square_M
        residual_M = np.sqrt(((here_MP - share_M[:, None] * whole_MP) ** 2).sum(axis=1) / square_M)
        step_M = share_M - earlier_M
        is_fade_M &= (residual_M < _FADE_RESIDUAL) & (step_M > -0.05) & (step_M < _FADE_STEP)
        if offset == 0:
            is_fade_M &= (share_M > 0.2) & (share_M < 0.8)
        earlier_M = share_M
    is_fade_M &= 1 - earlier_M < _FADE_STEP
    return np.asarray(is_fade_M, np.float32)


def _picked(scores_2N: NDArray[np.float32]) -> list[int]:
    """One frame a cut: the highest score among neighbours; one a fade: the middle of the stretch that tells it."""
    cut_N, fade_N = scores_2N
    cuts: list[int] = []
    for place in np.flatnonzero(cut_N).tolist():
        low = max(0, place - _ALIKE_FRAMES)
        if place == low + int(np.argmax(cut_N[low : place + _ALIKE_FRAMES + 1])):
            cuts.append(place)
    found = np.flatnonzero(fade_N)
    for run in np.split(found, np.flatnonzero(np.diff(found) > _NEAR_FRAMES) + 1):
        middle = round((int(run[0]) + int(run[-1])) / 2) if len(run) > 1 else None
        if middle is not None and all(abs(middle - cut) > _REACH for cut in cuts):
            cuts.append(middle)
    return sorted(cut for cut in cuts if 2 <= cut <= len(cut_N) - 2)
