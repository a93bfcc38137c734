"""The demo set on disk: H.264 videos in class folders with UCF101-style lists, the same bytes for the same seed."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from mscl.demo.motion import CLASSES, FPS, NUM_FRAMES, SIDE_PX, draw_motion, render
from mscl.devices import cores
from mscl.errors import DataError
from mscl.progress import Progress, Silent

_VERSION = 1
_CLIPS_PER_GROUP = 4
_CRF = 18
_X264_PARAMS = "no-asm=1"
"""x264's assembly (of its macroblock tree, it seems) reads memory that nobody wrote where a picture is small: about one
file in twelve had other bytes after other memory (`MALLOC_PERTURB_`), none of 160 without assembly."""


@dataclass(frozen=True)
class DemoDataset:
    """Where the demo set lies, and whether this call wrote it."""

    folder: Path
    videos: Path
    lists: Path
    num_train: int
    num_test: int
    written: bool


@dataclass(frozen=True)
class _Settings:
    version: int
    seed: int
    train_per_class: int
    test_per_class: int
    side_px: int = SIDE_PX
    num_frames: int = NUM_FRAMES
    fps: int = FPS
    crf: int = _CRF
    x264_params: str = _X264_PARAMS
    classes: tuple[str, ...] = CLASSES


def write_demo_dataset(
    folder: Path | str,
    *,
    seed: int = 0,
    train_per_class: int = 128,
    test_per_class: int = 32,
    progress: Progress | None = None,
    workers: int = 0,
) -> DemoDataset:
    """Write the demo set of `seed` into `folder`, or find it there complete and leave it.

    Layout: `videos/<class>/v_<class>_gNN_cNN.mp4`, `ucfTrainTestlist/{classInd,trainlist01,testlist01}.txt` and,
    last, `dataset.json`. A call that was interrupted is continued by the same call.

    Args:
        workers: threads that render and encode; 0: one per core. The bytes do not depend on it.

    Raises:
        DataError: `folder` holds something else, or the demo set with other settings.
    """
    folder = Path(folder)
    progress = progress or Silent()
    for name, value in (("train_per_class", train_per_class), ("test_per_class", test_per_class)):
        if value < 1:
            raise DataError(f"{name} is {value}; the demo set needs at least 1 video per class and split")
    settings = _Settings(_VERSION, seed, train_per_class, test_per_class)
    videos = [*_names("train", settings), *_names("test", settings)]
    complete = _check_folder(folder, settings, videos)
    result = DemoDataset(
        folder, folder / "videos", folder / "ucfTrainTestlist",
        train_per_class * len(CLASSES), test_per_class * len(CLASSES), written=not complete,
    )  # fmt: skip
    if complete:
        progress.say(f"{folder} already holds the demo set of seed {seed}: nothing written")
        return result

    for name in CLASSES:
        (result.videos / name).mkdir(parents=True, exist_ok=True)
    _replace(folder / "dataset.json.partial", _as_json(settings))
    progress.start("demo videos", len(videos), "videos")
    with ThreadPoolExecutor(workers or cores()) as pool:
        for _ in pool.map(lambda video: _write_video(result.videos, video, seed), videos):
            progress.advance()
    _write_lists(result.lists, settings)
    _replace(folder / "dataset.json", _as_json(settings))
    (folder / "dataset.json.partial").unlink()
    progress.done()
    return result


def encode_h264(path: Path, frames: Iterator[NDArray[np.uint8]], *, fps: int, height: int, width: int) -> None:
    """Write RGB frames as an H.264 mp4 whose bytes depend on nothing but the frames."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        options = {
            "crf": str(_CRF), "preset": "veryfast", "threads": "1", "x264-params": _X264_PARAMS, "flags": "+bitexact"
        }  # fmt: skip
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p", threads=1)
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class _Video:
    label: int
    split: str
    number: int
    """Counts from 0 inside class and split."""
    path: str


def _names(split: str, settings: _Settings) -> list[_Video]:
    """Videos of a split, classes interleaved; groups of the test split follow those of the train split."""
    number = settings.train_per_class if split == "train" else settings.test_per_class
    groups_before = 0 if split == "train" else -(-settings.train_per_class // _CLIPS_PER_GROUP)
    found = []
    for i in range(number):
        group, clip = groups_before + i // _CLIPS_PER_GROUP + 1, i % _CLIPS_PER_GROUP + 1
        for label, name in enumerate(CLASSES):
            found.append(_Video(label, split, i, f"{name}/v_{name}_g{group:02d}_c{clip:02d}.mp4"))
    return found


def _write_video(root: Path, video: _Video, seed: int) -> None:
    path = root / video.path
    if path.exists():
        return
    rng = np.random.default_rng([seed, _VERSION, video.split == "test", video.label, video.number])
    motion = draw_motion(video.label, rng)
    staged = path.with_suffix(".partial")
    encode_h264(staged, render(motion, rng), fps=FPS, height=SIDE_PX, width=SIDE_PX)
    os.replace(staged, path)


def _write_lists(folder: Path, settings: _Settings) -> None:
    """UCF101's form: 1-based labels, and no label in the test list."""
    folder.mkdir(exist_ok=True)
    _replace(folder / "classInd.txt", "".join(f"{i} {name}\n" for i, name in enumerate(CLASSES, 1)))
    train, test = (sorted(_names(split, settings), key=lambda v: v.path) for split in ("train", "test"))
    _replace(folder / "trainlist01.txt", "".join(f"{v.path} {v.label + 1}\n" for v in train))
    _replace(folder / "testlist01.txt", "".join(f"{v.path}\n" for v in test))


def _check_folder(folder: Path, settings: _Settings, videos: list[_Video]) -> bool:
    """Whether the same set is there and complete; an error where something else is in the way."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give a folder for the demo set")
    for name in ("dataset.json", "dataset.json.partial"):
        if (folder / name).is_file():
            found = (folder / name).read_text()
            if found != _as_json(settings):
                raise DataError(
                    f"{folder} holds a demo set with other settings ({_difference(found, settings)}); "
                    "give another folder, or remove this one"
                )
            return name == "dataset.json" and all((folder / "videos" / v.path).is_file() for v in videos)
    if any(folder.iterdir()):
        raise DataError(f"{folder} is not empty and holds no demo set; give a new or empty folder")
    return False


def _as_json(settings: _Settings) -> str:
    return json.dumps(asdict(settings), indent=1) + "\n"


def _difference(found: str, settings: _Settings) -> str:
    try:
        there = json.loads(found)
    except json.JSONDecodeError:
        there = None
    if not isinstance(there, dict):
        return "its dataset.json cannot be read"
    wanted = json.loads(_as_json(settings))
    return ", ".join(f"{k}: {there.get(k)} there, {v} wanted" for k, v in wanted.items() if there.get(k) != v)


def _replace(path: Path, text: str) -> None:
    staged = path.with_name(path.name + ".tmp")
    staged.write_text(text)
    os.replace(staged, path)
