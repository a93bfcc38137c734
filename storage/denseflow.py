"""Reading flow that others have stored as JPEG pictures, one a component, the way denseflow does.

A folder holds `flow_x_00001.jpg`, `flow_y_00001.jpg`, ... (also `flow_x/00001.jpg`). A grey value g stands for
2 * bound * g / 255 - bound px: larger motion was clipped, JPEG noise is in it, zero motion falls between two values.
"""

import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError, StorageError

_FLAT = re.compile(r"^(?:flow_)?([xyuv])_?(\d+)\.(?:jpe?g|png)$", re.IGNORECASE)
_NUMBER = re.compile(r"^(?:frame)?_?(\d+)\.(?:jpe?g|png)$", re.IGNORECASE)


def read_denseflow(folder: Path, *, bound: float = 20.0) -> npt.NDArray[np.float32]:
    """Flow fields of one video.

    Args:
        folder: with `flow_x_NNNNN.jpg` and `flow_y_NNNNN.jpg` (or x_, y_; or folders `flow_x`, `flow_y` or `u`, `v`).
        bound: the `-b` that denseflow was run with, px.

    Returns:
        (M, H, W, 2) float32 px of the pictures' grid, by number.

    Raises:
        StorageError: no such folder, no flow pictures, or a bound that is not positive.
        DamagedError: a component or a number is missing, a picture is damaged, sizes differ.
    """
    if bound <= 0:
        raise StorageError(f"bound is {bound} px, must be positive")
    if not folder.is_dir():
        raise StorageError(f"{folder} is not a folder of flow pictures")
    pictures = _pictures(folder)
    x, y = pictures["x"], pictures["y"]
    if not x and not y:
        raise StorageError(f"{folder} holds no flow pictures such as flow_x_00001.jpg and flow_y_00001.jpg")
    numbers = sorted(x.keys() | y.keys())
    missing = [n for n in range(numbers[0], numbers[-1] + 1) if n not in x or n not in y]
    if missing:
        raise DamagedError(f"{folder}: pictures of field {missing[0]} are missing ({len(missing)} fields in all)")
    first = _read_grey(x[numbers[0]])
    fields_MHW2 = np.empty((len(numbers), *first.shape, 2), np.float32)
    for position, number in enumerate(numbers):
        for component, path in enumerate((x[number], y[number])):
            grey = _read_grey(path)
            if grey.shape != first.shape:
                raise DamagedError(f"{path} has {grey.shape} px, {x[numbers[0]].name} has {first.shape}")
            fields_MHW2[position, :, :, component] = grey
    fields_MHW2 *= 2 * bound / 255
    fields_MHW2 -= bound
    return fields_MHW2


def _pictures(folder: Path) -> dict[str, dict[int, Path]]:
    """Paths by component x, y and number."""
    found: dict[str, dict[int, Path]] = {"x": {}, "y": {}}
    axis = {"x": "x", "y": "y", "u": "x", "v": "y"}
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        match = _FLAT.match(name)
        if match is not None:
            found[axis[match[1]]][int(match[2])] = path
        elif path.is_dir() and name.removeprefix("flow_") in axis:
            component = axis[name.removeprefix("flow_")]
            for picture in sorted(path.iterdir()):
                number = _NUMBER.match(picture.name) or _FLAT.match(picture.name)
                if number is not None:
                    found[component][int(number[number.lastindex or 1])] = picture
    return found


def _read_grey(path: Path) -> npt.NDArray[np.uint8]:
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise DamagedError(f"{path} is not a picture that can be read")
    return np.asarray(grey, np.uint8)
