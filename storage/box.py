"""A crop of a picture or a field."""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from storage.errors import StorageError


class Box(NamedTuple):
    """Crop in whole pixels of one grid."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """This part of an image (H, W, ...), as a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]

    def on_grid(self, own: tuple[int, int], other: tuple[int, int]) -> "Box":
        """The same relative box on another grid; grids are (height, width). Never empty, never outside."""
        if own == other:
            return self
        top, height = _scale(self.top, self.height, other[0] / own[0], other[0])
        left, width = _scale(self.left, self.width, other[1] / own[1], other[1])
        return Box(top, left, height, width)

    def inside(self, height: int, width: int, *, where: str) -> "Box":
        """Itself, where it lies on the grid; StorageError, with the place `where`, where it leaves it."""
        down, right = self.top + self.height, self.left + self.width
        if self.top < 0 or self.left < 0 or self.height < 1 or self.width < 1 or down > height or right > width:
            raise StorageError(f"box {tuple(self)} leaves the {height}x{width} px of {where}")
        return self


def _scale(start: int, extent: int, factor: float, limit: int) -> tuple[int, int]:
    low = min(round(start * factor), limit - 1)
    return low, max(min(round((start + extent) * factor), limit) - low, 1)
