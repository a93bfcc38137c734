"""The parts of the motion suite on disk: H.264 videos in class folders with UCF101-style lists, the same bytes for the
same seed."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from mscl.demo.parts import DIRECTION, FPS, PARTS, Part, part_named
from mscl.demo.pictures import render
from mscl.demo.poses import draw_poses
from mscl.devices import cores
from mscl.errors import DataError
from mscl.progress import Progress, Silent
from storage.locks import alone

SIDE_PX = 64
_SIDES_PX = (32, 1024)
_LOCK_NAME = ".writing-demo"
_VERSION = 2
"""2: no single frame tells the class; 1 had one set, whose first and last frames did."""
_CLIPS_PER_GROUP = 4
_CRF = 18
_QP = 20
"""Of videos whose frames are all coded on their own."""
_X264_PARAMS = "no-asm=1"
"""x264's assembly (of its macroblock tree, it seems) reads memory that nobody wrote where a picture is small: about one
file in twelve had other bytes after other memory (`MALLOC_PERTURB_`), none of 160 without assembly."""


@dataclass(frozen=True)
class DemoDataset:
    """Where a part of the suite lies, and whether this call wrote it."""

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
    part: str
    train_per_class: int
    test_per_class: int
    side_px: int
    slower: int
    fps: int = FPS
    qp: int = _QP
    x264_params: str = _X264_PARAMS
    classes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, part: Part, *, seed: int, train: int, test: int, side_px: int, slower: int) -> "_Settings":
        return cls(
            _VERSION, seed, part.name, part.times_as_many * train, part.times_as_many * test, side_px, slower,
            classes=tuple(part.classes),
        )  # fmt: skip


def write_suite(
    folder: Path, write: Callable[..., "DemoDataset"], *, parts: Sequence[str] = tuple(PARTS)
) -> dict[str, DemoDataset]:
    """Write parts of the suite, each into a folder of its name; part -> where it lies.

    `folder/kind` has lists that label the videos of `direction` by kind (`data.annotations=folder/kind`).

    Args:
        write: `write_demo_dataset` with its other arguments.
    """
    made = {name: write(folder / name, part=name) for name in parts}
    if DIRECTION in made:
        (folder / "kind").mkdir(exist_ok=True)
        for split in ("train", "test"):
            listed = (made[DIRECTION].lists / f"{split}list01.txt").read_text().splitlines()
            paths = [line.partition(" ")[0] for line in listed]
            rows = [f"{path},{PARTS[DIRECTION].kind_of(path.partition('/')[0])}\n" for path in paths]
            _replace(folder / "kind" / f"{split}.csv", "path,label\n" + "".join(rows))
    return made


def write_demo_dataset(
    folder: Path | str,
    *,
    part: str = DIRECTION,
    seed: int = 0,
    train_per_class: int = 128,
    test_per_class: int = 32,
    side_px: int = SIDE_PX,
    slower: int = 1,
    progress: Progress | None = None,
    workers: int = 0,
) -> DemoDataset:
    """Write one part of the suite into `folder`, or find it there complete and leave it.

    Layout: `videos/<class>/v_<class>_gNN_cNN.mp4`, `ucfTrainTestlist/{classInd,trainlist01,testlist01}.txt` and,
    last, `dataset.json`. A call that was interrupted is continued by the same call.

    Args:
        train_per_class: of a part of eight classes; `order`, of two, has four times as many.
        test_per_class: as `train_per_class`.
        side_px: of the pictures; an encoder that looks at more pixels needs larger ones.
        slower: so many times as many frames, for encoders whose clips span more than the videos have.
        workers: threads that render and encode; 0: one per core. The bytes do not depend on it.

    Raises:
        DataError: an unknown part, a size that cannot be encoded; `folder` holds something else, or a set with other
            settings.
    """
    folder = Path(folder)
    progress = progress or Silent()
    for name, value in (("train_per_class", train_per_class), ("test_per_class", test_per_class)):
        if value < 1:
            raise DataError(f"{name} is {value}; the demo set needs at least 1 video per class and split")
    if slower < 1:
        raise DataError(f"slower is {slower}; give 1 or more: how many times as many frames show the same")
    _check_side(side_px)
    chosen = part_named(part)
    settings = _Settings.of(
        chosen, seed=seed, train=train_per_class, test=test_per_class, side_px=side_px, slower=slower
    )
    videos = [*_names("train", settings), *_names("test", settings)]
    num_train = len(chosen.classes) * settings.train_per_class
    result = DemoDataset(
        folder, folder / "videos", folder / "ucfTrainTestlist", num_train, len(videos) - num_train, written=True
    )
    if not _check_folder(folder, settings, videos):
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / _LOCK_NAME, on_wait=lambda: progress.say(f"another process writes {folder}; waiting")):
            if not _check_folder(folder, settings, videos):
                _write(result, settings, videos, progress, workers)
                return result
    progress.say(f"{folder} already holds {part} of seed {seed}: nothing written")
    return replace(result, written=False)


def _write(
    result: DemoDataset, settings: _Settings, videos: Sequence["_Video"], progress: Progress, workers: int
) -> None:
    """The videos that are not there yet, and the lists."""
    folder = result.folder
    for name in settings.classes:
        (result.videos / name).mkdir(parents=True, exist_ok=True)
    _replace(folder / "dataset.json.partial", _as_json(settings))
    progress.start(f"videos of {settings.part}", len(videos), "videos")
    with ThreadPoolExecutor(workers or cores()) as pool:
        for _ in pool.map(lambda video: _write_video(result.videos, video, settings), videos):
            progress.advance()
    _write_lists(result.lists, settings)
    _replace(folder / "dataset.json", _as_json(settings))
    (folder / "dataset.json.partial").unlink()
    progress.done()


def _check_side(side_px: int) -> None:
    least, most = _SIDES_PX
    if side_px % 2 or not least <= side_px <= most:
        nearest = min(max(side_px + side_px % 2, least), most)
        raise DataError(
            f"the side of the pictures is {side_px} px, and H.264 takes even sides here from {least} to {most} px "
            f"(its colours have half the resolution); give {nearest}"
        )


def encode_h264(
    path: Path,
    frames: Iterator[NDArray[np.uint8]],
    *,
    fps: int,
    height: int,
    width: int,
    each_alone: bool = False,
) -> None:
    """Write RGB frames as an H.264 mp4 whose bytes depend on nothing but the frames.

    Args:
        each_alone: every frame is a key frame of constant quality, so that what comes out of it depends on that frame
            alone: prediction would leave traces of the motion in single frames.

    Raises:
        DataError: an odd height or width.
    """
    if height % 2 or width % 2:
        raise DataError(
            f"{path}: {width}x{height} px cannot be encoded, H.264's 4:2:0 colour takes even sides; give "
            f"{width + width % 2}x{height + height % 2}"
        )
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        quality = {"qp": str(_QP), "g": "1"} if each_alone else {"crf": str(_CRF)}
        options = {**quality, "preset": "veryfast", "threads": "1", "x264-params": _X264_PARAMS, "flags": "+bitexact"}
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
    class_name: str
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
        for label, name in enumerate(settings.classes):
            found.append(_Video(label, name, split, i, f"{name}/v_{name}_g{group:02d}_c{clip:02d}.mp4"))
    return found


def _write_video(root: Path, video: _Video, settings: _Settings) -> None:
    path, part = root / video.path, PARTS[settings.part]
    if path.exists():
        return
    place = list(PARTS).index(part.name)
    rng = np.random.default_rng([settings.seed, _VERSION, place, video.split == "test", video.label, video.number])
    poses = draw_poses(
        part.classes[video.class_name], rng, num_frames=part.num_frames, moving_frames=part.moving_frames,
        least_still=part.least_still, speed=part.speed, slower=settings.slower,
    )  # fmt: skip
    side_px, staged = settings.side_px, path.with_suffix(".partial")
    frames = render(poses, rng, side_px=side_px, background=part.background)
    encode_h264(staged, frames, fps=FPS, height=side_px, width=side_px, each_alone=True)
    os.replace(staged, path)


def _write_lists(folder: Path, settings: _Settings) -> None:
    """UCF101's form: 1-based labels, and no label in the test list."""
    folder.mkdir(exist_ok=True)
    _replace(folder / "classInd.txt", "".join(f"{i} {name}\n" for i, name in enumerate(settings.classes, 1)))
    train, test = (sorted(_names(split, settings), key=lambda v: v.path) for split in ("train", "test"))
    _replace(folder / "trainlist01.txt", "".join(f"{v.path} {v.label + 1}\n" for v in train))
    _replace(folder / "testlist01.txt", "".join(f"{v.path}\n" for v in test))


def _check_folder(folder: Path, settings: _Settings, videos: list[_Video]) -> bool:
    """Whether the same set is there and complete; an error where something else is in the way."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give a folder for the videos")
    for name in ("dataset.json", "dataset.json.partial"):
        if (folder / name).is_file():
            found = (folder / name).read_text()
            if found != _as_json(settings):
                raise DataError(
                    f"{folder} holds generated videos with other settings ({_difference(found, settings)}); "
                    "give another folder, or remove this one"
                )
            return name == "dataset.json" and all((folder / "videos" / v.path).is_file() for v in videos)
    if any(folder.iterdir()) and not (folder / _LOCK_NAME).exists():  # else a set has just been begun
        raise DataError(f"{folder} is not empty and holds no generated videos; give a new or empty folder")
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
