"""Reading videos: frames in decode order, upright, within limits; how a decoding ended is a verdict, not an accident.

Frames are indexed by the order in which the decoder gives them: presentation times are not monotonic in many
real AVIs, and frame counts of containers are often too high. Nothing here guards against a decoder that crashes:
`mscl.video.decode_pool` runs these functions in child processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from mscl.video.awake_clock import AwakeClock
from mscl.video.config import DecodeLimits
from mscl.video.cuts import CutFinder
from mscl.video.opening import (
    Verdict,
    VideoError,
    can_be_rate,
    check_pixels,
    frame_rate,
    open_video,
    picture_stream,
    pixel_aspect,
    plain_message,
)
from mscl.video.orientation import is_mirrored, quarter_turns
from mscl.video.packet_count import PacketCount
from mscl.video.stored_size import stored_size
from mscl.video.time_holes import TimeHoles, in_words

_SAME_RATE = 0.1
"""Frame rates that differ by less are one: of few frames the first or last is late."""
_FROM_ZERO = {"matroska", "nut", "asf"}
"""Containers whose durations count from 0, however late the first frame comes."""


class Decoding:
    """One pass over a video: iterate to get its frames, then ask how it ended.

    Yields uint8 RGB (H, W, 3), all of the size of the first frame (a stream that changes its size is resized to
    it), upright, C-contiguous. Iterating never raises for what is wrong with the file: it stops, and `verdict` and
    `reason` say why. `verdict` is `ok` or `truncated`, or `unreadable`, `too_large`, `timeout`: the limit is on the
    time spent in here, not on what the caller does between two frames.
    """

    def __init__(self, path: Path, *, limits: DecodeLimits, short_side: int | None) -> None:
        self.limits = limits
        self.short_side = short_side
        self.rotation = 0
        self.height = self.width = 0
        self.source_height = self.source_width = 0
        """Upright size of the first frame as it is displayed, before any resizing."""
        self.num_frames = 0
        self.verdict: Verdict = "ok"
        self.reason = ""
        self._clock = AwakeClock()
        self._resumed_s = 0.0
        self._path = path
        self._end_s = 0.0
        self._cut_short = ""
        """Why the rest of the file cannot be read."""
        self._num_damaged = 0
        self._is_interlaced = False
        self._is_mirrored = False
        # One for all frames: a converter is made anew for every frame otherwise, and with threads of its own, which
        # takes longer than converting a small picture.
        self._reformatter = VideoReformatter()
        self._container = open_video(path, limits)
        try:
            self._stream = picture_stream(self._container)
            self._container_fps = frame_rate(self._stream)
            self._pixel_aspect = pixel_aspect(self._stream)
            self._tick = self._stream.time_base or Fraction(1)
            self._begin_s, self._promised_s = self._begin_and_duration()
            context: VideoCodecContext | None = self._stream.codec_context
            if context is None:
                raise VideoError("unreadable", "no decoder is known for its codec")
            check_pixels(context.width, context.height, limits)
            self._packets = PacketCount(context.name)
            self._times = TimeHoles(self._container.format.name)
            # One thread: the frames that come before an error do not depend on the machine, and workers are many.
            context.thread_count = 1
            # FFmpeg refuses pictures that grow beyond the limit in mid-stream before it allocates them.
            context.options = {"max_pixels": str(limits.max_pixels)}
            self._left_s = limits.timeout_seconds - self._clock.seconds()
        except BaseException:
            self._container.close()
            raise

    def _begin_and_duration(self) -> tuple[float, float]:
        """Where the video begins and how long the container says it is, in seconds: of the stream, else of all."""
        stream = self._stream
        if stream.frames and stream.duration and stream.time_base:
            return float((stream.start_time or 0) * stream.time_base), float(stream.duration * stream.time_base)
        begin = 0 if _FROM_ZERO & set(self._container.format.name.split(",")) else self._container.start_time or 0
        return begin / av.time_base, (self._container.duration or 0) / av.time_base

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return self.pictures()

    def pictures(self, watch: Callable[[VideoFrame], None] | None = None) -> Iterator[NDArray[np.uint8]]:
        """As iterating; `watch` sees every frame beside its picture, as the decoder gives it."""
        for picture in self._run(every_picture=True, watch=watch):
            if picture is not None:
                yield picture

    def count(self, watch: Callable[[VideoFrame], None] | None = None) -> int:
        """Decode to the end, making a picture of the first frame only; the number of frames.

        `watch` sees every frame that counts, as the decoder gives it.
        """
        for _ in self._run(every_picture=False, watch=watch):
            pass
        return self.num_frames

    def _run(
        self, *, every_picture: bool, watch: Callable[[VideoFrame], None] | None = None
    ) -> Iterator[NDArray[np.uint8] | None]:
        with self._container:
            try:
                self._resumed_s = self._clock.seconds()
                for frame in self._decode():
                    if self.num_frames >= self.limits.max_frames:
                        return self._stop("too_large", f"more than {self.limits.max_frames} frames")
                    check_pixels(frame.width, frame.height, self.limits)
                    picture = self._upright(frame) if every_picture or self.num_frames == 0 else None
                    if watch is not None:
                        watch(frame)
                    self.num_frames += 1
                    # Not `frame.time`: frames that a decoder holds to the end have none.
                    self._times.add(None if frame.pts is None else float(frame.pts * self._tick))
                    self._num_damaged += frame.is_corrupt
                    self._is_interlaced |= frame.interlaced_frame
                    self._left_s -= self._clock.seconds() - self._resumed_s
                    yield picture
                    self._resumed_s = self._clock.seconds()
            except VideoError as error:
                return self._stop(error.verdict, error.reason)
            except MemoryError as error:
                return self._stop("too_large", f"not enough memory to decode it: {plain_message(error, self._path)}")
            except (av.FFmpegError, ValueError, OverflowError) as error:
                return self._stop("unreadable", plain_message(error, self._path))
        if self.num_frames == 0:
            self._stop("unreadable", self._cut_short or self._packets.first_refusal or "no frame decodes")
        elif self._cut_short:
            self._stop("unreadable", self._cut_short)
        else:
            lost = self._packets.lost(self.num_frames, interlaced=self._is_interlaced)
            missing = in_words(self.holes, self.num_frames)
            if losses := [loss for loss in (lost, missing, self._shortfall()) if loss]:
                self._stop("truncated", "; ".join(losses))
            elif self._num_damaged:
                self.reason = f"{self._num_damaged} of {self.num_frames} frames decode with errors"
        return None

    @property
    def fps(self) -> float:
        """Frames per second as the container says, or as the times of the frames so far say where these differ much.

        A container may count frames that a recorder skipped, or say twice as many as there are.
        """
        measured = self._times.mean_rate()
        if measured is None or not can_be_rate(measured) or abs(measured / self._container_fps - 1) < _SAME_RATE:
            return self._container_fps
        return measured

    @property
    def holes(self) -> list[tuple[int, float]]:
        """(number of the first frame after it, seconds) of every stretch of time without frames, so far."""
        return self._times.found()

    def cuts(self, found: CutFinder) -> list[int]:
        """Frames with which another shot begins, or which follow a stretch without frames; `found` saw all of them."""
        return sorted({*found.cuts(), *(first for first, _ in self.holes)})

    def _shortfall(self) -> str:
        """What the container promises and does not hold; "" for a little, which is the habit of many muxers.

        A count alone says nothing: an AVI counts the frames that a screen recorder skipped, too.
        """
        if self._end_s >= 0.9 * self._promised_s - 3 / self._container_fps:
            return ""
        if promised := self._stream.frames:
            few = self._packets.seen < 0.9 * promised - 3
            return f"the container promises {promised} frames and holds {self._packets.seen}" if few else ""
        return f"the container promises {self._promised_s:.2f} s and holds {self._end_s:.2f} s"

    def _decode(self) -> Iterator[VideoFrame]:
        """Frames as the decoder gives them; what it refuses is counted, and it goes on after it."""
        for packet in self._demux():
            if self._clock.seconds() - self._resumed_s > self._left_s:
                raise VideoError("timeout", f"not decoded within {self.limits.timeout_seconds:g} s")
            try:
                frames = self._stream.decode(packet)
            except MemoryError:
                raise
            except av.FFmpegError as error:
                if packet is not None:
                    self._packets.refuse(plain_message(error, self._path))
                continue
            if packet is not None:
                self._packets.add(packet, len(frames))
            yield from frames

    def _demux(self) -> Iterator[Packet[Any] | None]:
        """Packets of the stream, then None, for the decoder to give what it still holds, also where the file breaks."""
        # Without a count of frames the end of every stream says whether the file is whole: sound may last longer.
        streams = [self._stream] if self._stream.frames else self._container.streams.get()
        try:
            for packet in self._container.demux(*streams):
                if packet.pts is not None and packet.time_base:
                    end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base) - self._begin_s
                    self._end_s = max(self._end_s, end_s)
                # Not by `stream_index`: the empty packet that ends a stream has 0 there, whichever stream it ends.
                if packet.stream.index == self._stream.index and packet.size:
                    yield packet
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self._cut_short = plain_message(error, self._path)
        yield None

    def _stop(self, verdict: Verdict, reason: str) -> None:
        """End here; a file that gave frames before it broke is truncated, not unreadable."""
        partly = verdict == "unreadable" and self.num_frames > 0
        self.verdict = "truncated" if partly else verdict
        self.reason = f"stops after {self.num_frames} frames: {reason}" if partly else reason

    def _upright(self, frame: VideoFrame) -> NDArray[np.uint8]:
        as_rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        picture = np.asarray(as_rgb.to_ndarray(), dtype=np.uint8)
        if self.num_frames == 0:
            self.rotation = quarter_turns(frame.rotation) * 90
            self._is_mirrored = is_mirrored(frame)
            height, width = picture.shape[0], max(1, round(picture.shape[1] * self._pixel_aspect))
            check_pixels(width, height, self.limits)
            self.source_height, self.source_width = (width, height) if self.rotation in (90, 270) else (height, width)
            self.height, self.width = self.source_height, self.source_width
            if self.short_side is not None:
                self.height, self.width = stored_size(self.height, self.width, self.short_side)
        coded = (self.height, self.width) if self.rotation in (0, 180) else (self.width, self.height)
        if picture.shape[:2] != coded:
            # Shrink before turning: fewer pixels to turn. Area averaging does not alias.
            shrinks = picture.shape[0] >= coded[0] and picture.shape[1] >= coded[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            picture = np.asarray(cv2.resize(picture, (coded[1], coded[0]), interpolation=how), dtype=np.uint8)
        if self._is_mirrored:  # the matrix of any mirroring is that of its turn after an upside-down one
            picture = picture[::-1]
        return np.ascontiguousarray(np.rot90(picture, self.rotation // 90))


def decode(path: Path | str, *, limits: DecodeLimits, short_side: int | None = None) -> Decoding:
    """Open a video for one pass over its frames, shrunk to `short_side` (aspect kept, never enlarged).

    Raises:
        VideoError: the file is missing, too large, no video, or cannot be opened; with the verdict.
    """
    return Decoding(Path(path), limits=limits, short_side=short_side)
