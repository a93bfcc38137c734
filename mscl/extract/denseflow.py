"""Reading flow that others have stored as JPEG pictures, one a component, the way denseflow does.

A folder a video holds `flow_x_00000.jpg`, `flow_y_00000.jpg`, ... (`flow_x_p8_00000.jpg` where denseflow ran with
`-s=8`; also `x_`, `y_`, or folders `flow_x`, `flow_y` or `u`, `v`, as other tools write them). A grey value g stands
for 2 * bound * g / 255 - bound px: larger motion was clipped, JPEG noise is in it, zero motion falls between two
values.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError, StorageError

_FLAT = re.compile(r"^(?:flow_)?([xyuv])_?(?:([pm])(\d+)_)?(\d+)\.(?:jpe?g|png)$", re.IGNORECASE)
_NUMBER = re.compile(r"^(?:frame|img)?_?(\d+)\.(?:jpe?g|png)$", re.IGNORECASE)
_AXES = {"x": "x", "y": "y", "u": "x", "v": "y"}
Field = npt.NDArray[np.float32]


class FlowPictures:
    """The flow pictures of one video; they are read when asked for.

    Args:
        folder: where they lie.
        bound_px: the `-b` that denseflow was run with.

    Raises:
        StorageError: no such folder, no flow pictures, backward flow, or a bound that is not positive.
        DamagedError: a component or a number is missing.
    """

    def __init__(self, folder: Path, *, bound_px: float = 20.0) -> None:
        if bound_px <= 0:
            raise StorageError(f"bound_px is {bound_px}, must be positive")
        if not folder.is_dir():
            raise StorageError(f"{folder} is not a folder of flow pictures")
        self.folder = folder
        self.bound_px = bound_px
        self.step_frames: int | None = None
        """Frames that each picture spans, where their names tell it."""
        x, y = self._find()
        if not x and not y:
            raise StorageError(f"{folder} holds no flow pictures such as flow_x_00001.jpg and flow_y_00001.jpg")
        numbers = sorted(x.keys() | y.keys())
        missing = [n for n in range(numbers[0], numbers[-1] + 1) if n not in x or n not in y]
        if missing:
            raise DamagedError(f"{folder}: pictures of field {missing[0]} are missing ({len(missing)} fields in all)")
        self.first_number = numbers[0]
        """Of the first picture: 0 or 1, where none is missing, with the tools that are known."""
        self._pairs = [(x[number], y[number]) for number in numbers]

    def __len__(self) -> int:
        return len(self._pairs)

    def field(self, index: int) -> Field:
        """Field `index`, from 0, whatever the number of the first picture: (H, W, 2) float32 px of the pictures' grid.

        Raises:
            DamagedError: a picture that cannot be read, or components of two sizes.
        """
        x_HW, y_HW = (_read_grey(path) for path in self._pairs[index])
        if x_HW.shape != y_HW.shape:
            names = " and ".join(path.name for path in self._pairs[index])
            raise DamagedError(f"{self.folder}: {names} have {x_HW.shape} px and {y_HW.shape} px")
        field_HW2 = np.empty((*x_HW.shape, 2), np.float32)
        field_HW2[..., 0], field_HW2[..., 1] = x_HW, y_HW
        field_HW2 *= 2 * self.bound_px / 255
        field_HW2 -= self.bound_px
        return field_HW2

    def _find(self) -> tuple[dict[int, Path], dict[int, Path]]:
        """Paths of x and of y by number."""
        found: dict[str, dict[int, Path]] = {"x": {}, "y": {}}
        steps: set[int | None] = set()
        for path in sorted(self.folder.iterdir()):
            name = path.name.lower()
            match = _FLAT.match(name)
            if match is not None:
                if match[2] == "m":
                    raise StorageError(f"{path} is backward flow (negative step); forward flow is needed")
                steps.add(int(match[3]) if match[3] else None)
                found[_AXES[match[1]]][int(match[4])] = path
            elif name.removeprefix("flow_") in _AXES and path.is_dir():
                for picture in sorted(path.iterdir()):
                    if number := _NUMBER.match(picture.name) or _FLAT.match(picture.name):
                        found[_AXES[name.removeprefix("flow_")]][int(number[number.lastindex or 1])] = picture
        if len(steps) > 1:
            raise StorageError(f"{self.folder} holds flow of several steps ({steps}); keep that of one")
        self.step_frames = next(iter(steps), None)
        return found["x"], found["y"]


def is_flow_picture(name: str) -> bool:
    """Whether a file is called as a component of flow: `flow_x_00001.jpg`."""
    return _FLAT.match(name) is not None


def find_flow_pictures(root: Path, video: str, *, bound_px: float = 20.0) -> FlowPictures:
    """Flow pictures of the video at the relative path `video`, below `root`.

    Looked for in `root/<class>/<video>/`, `root/<video>/`, with and without the video's file type, and in
    `root/u/<video>/` beside `root/v/<video>/`.

    Raises:
        StorageError: there are none, with the places; or as FlowPictures raises it.
        DamagedError: as FlowPictures raises it.
    """
    folder, name = _place(root, video)
    return (
        FlowPictures(folder, bound_px=bound_px)
        if folder == root / name
        else _SplitFolders(root, name, bound_px=bound_px)
    )


def refuse_shared_pictures(root: Path, videos: Iterable[str]) -> None:
    """Videos of one name in several classes would have the same pictures where these lie in no class folders.

    Raises:
        StorageError: two videos with one folder, or a video with none.
    """
    taken: dict[Path, str] = {}
    for video in videos:
        folder, _ = _place(root, video)
        if (other := taken.setdefault(folder, video)) != video:
            raise StorageError(
                f"{folder} would hold the flow pictures of {other} and of {video}; put those of each into "
                "<class>/<video>/ below flow.pictures, or leave one out of the lists"
            )


def _place(root: Path, video: str) -> tuple[Path, Path]:
    """Folder of a video's pictures, the one of u where they are in two, and its name below `root`, `u` and `v`."""
    relative = Path(video)
    # The whole name first: what follows the last point of a name without a file type is no type.
    names = dict.fromkeys((relative, relative.with_suffix(""), Path(relative.name), Path(relative.stem)))
    for name in names:
        for folder in (root / name, root / "u" / name):
            if folder.is_dir():
                return folder, name
    raise StorageError(
        f"no flow pictures of {video} in {root}: looked for the folders {', '.join(map(str, names))}; "
        "check flow.pictures, or leave the video out of the lists"
    )


class _SplitFolders(FlowPictures):
    """`u/<video>/frame000001.jpg` and `v/<video>/frame000001.jpg`."""

    def __init__(self, root: Path, name: Path, *, bound_px: float) -> None:
        self._components = root / "u" / name, root / "v" / name
        super().__init__(root / "u" / name, bound_px=bound_px)

    def _find(self) -> tuple[dict[int, Path], dict[int, Path]]:
        x, y = (
            {int(match[1]): path for path in sorted(folder.iterdir()) if (match := _NUMBER.match(path.name))}
            if folder.is_dir()
            else {}
            for folder in self._components
        )
        return x, y


def _read_grey(path: Path) -> npt.NDArray[np.uint8]:
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise DamagedError(f"{path} is not a picture that can be read")
    return np.asarray(grey, np.uint8)
