"""Video files that are in no store: clips cut straight out of them, as the stores would have given them."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import numpy as np
import numpy.typing as npt
import simplejpeg

from mscl.array_types import AnyInts, Ints
from mscl.devices import cores
from mscl.errors import AssumptionWarning
from mscl.video.clip_indices import Shown, clip_indices, even_starts, part_indices, shown_indices
from mscl.video.config import DecodeLimits
from mscl.video.cuts import CutFinder
from mscl.video.decoding import Decoding, decode
from mscl.video.frame_recipe import EncoderInput, FrameRecipe
from mscl.video.geometry import crops_into
from mscl.video.opening import VideoError
from mscl.video.segments import shot_segments
from mscl.video.stored_size import shrunk, stored_size
from storage.frame_store import encode_jpeg

Clips = npt.NDArray[np.uint8]
T = TypeVar("T")

_LEAST_FRAMES = 2
_AHEAD = 2
"""Files that are decoded while the caller works on another."""
_KEPT_FRAMES = 2000
"""A video with more frames at every `gap_frames` is decoded once more, segment by segment as they are asked for."""


def file_clips(
    path: Path,
    encoder_input: EncoderInput,
    *,
    later: int = 0,
    shown: Sequence[Shown] = ("moving",),
    limits: DecodeLimits | None = None,
) -> Iterator[Clips]:
    """Clips (K, T, H, H, 3) uint8 of each segment of a video file in turn, as the stores give them; K = clips * crops.

    Frames go through the JPEG of the stores, too: features of a stored video and of its file, whose frames have all the
    detail, would else differ by a hundredth.

    Args:
        later: show the frames that many indices after those of the clips; a segment's last frame stands for what lies
            beyond.
        shown: what is shown of the clips, one after the other: with controls K is more, or less (`shown_counts`).
        limits: of the decoder.

    Warns:
        AssumptionWarning: frames are lost, or segments are shorter than a clip, whose frames are then repeated.

    Raises:
        VideoError: not one frame of the file decodes, or a single one; with the verdict. At once, not when the first
            clip is asked for.
    """
    limits, gap_frames = limits or DecodeLimits(), encoder_input.recipe.gap_frames
    kept: dict[int, Clips] = {}
    decoding = _decoded(path, encoder_input.recipe, limits)
    cuts = CutFinder() if encoder_input.max_segment_seconds and encoder_input.cuts == "split" else None
    for number, frame in enumerate(decoding.pictures(cuts.add if cuts else None)):
        if number % gap_frames == 0 and len(kept) < _KEPT_FRAMES:
            kept[number] = _as_stored(frame, decoding, encoder_input.recipe)
    if decoding.num_frames == 0:
        raise VideoError(decoding.verdict, decoding.reason)
    if decoding.num_frames < _LEAST_FRAMES:
        raise VideoError("too_short", f"{decoding.num_frames} frame, in which nothing moves")
    bounds = _segments(decoding, decoding.cuts(cuts) if cuts else [], encoder_input)
    short = encoder_input.too_short([count for _, count in bounds])
    for doubt in (decoding.reason if decoding.verdict != "ok" else "", short):
        if doubt:
            warnings.warn(f"{path} is used as far as it goes: {doubt}", AssumptionWarning, stacklevel=2)
    segments = _frame_numbers(bounds, encoder_input, later=later, shown=shown, name=Path(path).name)
    if kept.keys() >= {number for numbers_KT in segments for number in numbers_KT.ravel().tolist()}:
        return iter([_cut(numbers_KT, kept, encoder_input) for numbers_KT in segments])
    # A long video, or segments that begin between two kept frames.
    return _decoded_again(path, segments, encoder_input, limits)


def middle_clip(path: Path, encoder_input: EncoderInput, *, later: int = 0) -> Clips:
    """The middle clip (T, H, H, 3) of a video file, its centre crop; for pictures.

    Raises:
        VideoError: as `file_clips`.
    """
    whole = encoder_input.model_copy(update={"max_segment_seconds": None, "crops": 1})
    (clips_KTHW3,) = file_clips(path, whole, later=later)
    middle: Clips = clips_KTHW3[len(clips_KTHW3) // 2]
    return middle


def _decoded_again(
    path: Path, segments: list[AnyInts], encoder_input: EncoderInput, limits: DecodeLimits
) -> Iterator[Clips]:
    decoding = _decoded(path, encoder_input.recipe, limits)
    frames = enumerate(decoding)
    for numbers_KT in segments:
        needed, last, kept = set(numbers_KT.ravel().tolist()), int(numbers_KT.max()), {}
        for number, frame in frames:
            if number in needed:
                kept[number] = _as_stored(frame, decoding, encoder_input.recipe)
            if number == last:
                break
        if not needed <= kept.keys():
            raise VideoError(decoding.verdict, decoding.reason or "it gave more frames when it was read before")
        yield _cut(numbers_KT, kept, encoder_input)


def _cut(numbers_KT: AnyInts, frames: Mapping[int, Clips], encoder_input: EncoderInput) -> Clips:
    """Crops of the clips of one segment, from its frames at the size of the stores."""
    crop_px, quality = encoder_input.crop_px, encoder_input.recipe.jpeg_quality
    out = np.empty((len(numbers_KT), encoder_input.crops, numbers_KT.shape[1], crop_px, crop_px, 3), np.uint8)
    stored = {number: _stored(frames[number], quality) for number in np.unique(numbers_KT).tolist()}
    for numbers_T, out_VTHW3 in zip(numbers_KT.tolist(), out, strict=True):
        crops_into([stored[number] for number in numbers_T], out_VTHW3, short_side_px=encoder_input.resized_px)
    return out.reshape(-1, *out.shape[2:])


def _decoded(path: Path, recipe: FrameRecipe, limits: DecodeLimits) -> Decoding:
    return decode(path, limits=limits, short_side=max(recipe.stored_px, recipe.computed_px))


def _as_stored(frame_HW3: Clips, decoding: Decoding, recipe: FrameRecipe) -> Clips:
    """The frame at the size of the stores; the video's own aspect counts, not that of the decoded frame."""
    return shrunk(frame_HW3, *stored_size(decoding.source_height, decoding.source_width, recipe.stored_px))


def _stored(frame_HW3: Clips, quality: int) -> Clips:
    """The frame as the frame store gives it back."""
    return np.asarray(simplejpeg.decode_jpeg(encode_jpeg(frame_HW3, quality=quality), colorspace="RGB"), np.uint8)


def readable(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Files with clips, and why the others have none: each is decoded once in a child process that may die of it."""
    from mscl.video.decode_pool import inspect_many

    found = inspect_many(paths, limits=DecodeLimits(), workers=min(cores(), len(paths)), min_frames=_LEAST_FRAMES)
    failed = {path: info.reason for path, info in zip(paths, found, strict=True) if info.num_frames < _LEAST_FRAMES}
    return [path for path in paths if path not in failed], failed


def each_file(paths: Sequence[Path], read: Callable[[Path], T]) -> Iterator[tuple[Path, T | Exception]]:
    """`read` of every path, in order, the next ones while the caller works on the one before.

    A file that cannot be used comes as the error it raised, and the others go on.
    """
    with ThreadPoolExecutor(max_workers=_AHEAD) as pool:
        waiting: list[tuple[Path, Future[T]]] = []
        rest = iter(paths)
        try:
            waiting += [(path, pool.submit(read, path)) for path in islice(rest, _AHEAD)]
            while waiting:
                path, future = waiting.pop(0)
                error = future.exception()
                yield path, error if isinstance(error, ValueError | OSError) else future.result()
                waiting += [(path, pool.submit(read, path)) for path in islice(rest, 1)]
        finally:
            for _, future in waiting:
                future.cancel()


def shown_counts(encoder_input: EncoderInput, shown: Sequence[Shown]) -> list[int]:
    """How many of the clips and crops that `file_clips` gives belong to each of `shown`."""
    views = {"moving": encoder_input.clips, "shuffled": encoder_input.clips}
    return [views.get(each, 1) * encoder_input.crops for each in shown]


def _segments(decoding: Decoding, cuts: Sequence[int], encoder_input: EncoderInput) -> list[tuple[int, int]]:
    """First frame of each segment, and how many it has; shots too short for one are left out, unless all are."""
    if (seconds := encoder_input.max_segment_seconds) is None:
        return [(0, decoding.num_frames)]
    least = encoder_input.least_frames
    parts = shot_segments(decoding.num_frames, cuts, fps=decoding.fps, max_seconds=seconds, min_frames=least)
    return [part for part in parts if part[1] >= least] or [(0, decoding.num_frames)]


def _frame_numbers(
    bounds: Sequence[tuple[int, int]], encoder_input: EncoderInput, *, later: int, shown: Sequence[Shown], name: str
) -> list[AnyInts]:
    """(clips, T) source frames of each segment's clips."""
    recipe, found = encoder_input.recipe, []
    for first, count in bounds:
        indices = _shown_indices(recipe.num_indices(count), encoder_input, shown, name) + later
        found.append(first + recipe.gap_frames * np.minimum(indices, (count - 1) // recipe.gap_frames))
    return found


def _shown_indices(total: int, encoder_input: EncoderInput, shown: Sequence[Shown], name: str) -> AnyInts:
    """Indices (sum of `shown_counts` / crops, T) of all that is shown; the file's name decides on a random order."""
    indices_KT, rng = (
        _indices(total, encoder_input),
        np.random.default_rng(crc32(name.encode("utf-8", "surrogateescape"))),
    )
    return np.concatenate([shown_indices(indices_KT, each, num_indices=total, rng=rng) for each in shown])


def _indices(total: int, encoder_input: EncoderInput) -> Ints:
    """(clips, T) indices of the clips of a segment."""
    clips, length, stride = encoder_input.clips, encoder_input.clip.length, encoder_input.clip.stride
    if encoder_input.sampling == "segments":
        offsets = (np.arange(clips) + 0.5) / clips
        return np.stack([part_indices(total, parts=length, offsets=np.array(offset)) for offset in offsets])
    starts = even_starts(total, clips=clips, length=length, stride=stride).tolist()
    return np.stack([clip_indices(start, length=length, stride=stride, num_indices=total) for start in starts])
