"""The parts of the motion suite: which motions are their classes, and what else is said of the same videos."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mscl.demo.pictures import STANDARD, Background
from mscl.demo.poses import Motion, move, turn, zoom
from mscl.errors import DataError

FPS = 25
DIRECTION = "direction"


@dataclass(frozen=True)
class Part:
    """One set of videos."""

    name: str
    classes: Mapping[str, tuple[Motion, ...]]
    """Class -> its motions, one after the other; in label order."""
    opposites: tuple[tuple[str, str], ...]
    """Classes that are each other played backwards: frames without their order cannot tell them apart."""
    question: str
    """What the part asks of an encoder."""
    num_frames: int = 32
    moving_frames: tuple[int, int] = (14, 18)
    """Fewest and most frames of each motion."""
    least_still: int = 3
    speed: float = 1.0
    """Factor of what a motion adds in a frame."""
    background: Background = STANDARD
    clips: int = 2
    """Clips of a video that evaluation needs to meet the motion."""
    times_as_many: int = 1
    """Videos of a class, compared with a part of eight classes."""
    ceiling: float | None = None
    """Share of the test videos that the demo's encoder calls right when trained on the labels, on clips from where
    the video moves (`benchmarks/motion_suite.py`, 256 videos, one seed)."""
    kind_ceiling: float | None = None
    """The same by kind."""
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Coarser labels of the same videos: kind -> its classes; empty: none."""

    def kind_of(self, class_name: str) -> str:
        """The kind of a class."""
        return next(kind for kind, classes in self.kinds.items() if class_name in classes)


_EIGHT: Mapping[str, tuple[Motion, ...]] = {
    "MoveRight": (move(0),), "MoveDown": (move(np.pi / 2),), "MoveLeft": (move(np.pi),), "MoveUp": (move(-np.pi / 2),),
    "TurnClockwise": (turn(1),), "TurnCounterclockwise": (turn(-1),), "ZoomIn": (zoom(1),), "ZoomOut": (zoom(-1),),
}  # fmt: skip
"""Directions are those of the picture: x to the right, y down."""
_EITHER_WAY = (
    ("MoveRight", "MoveLeft"), ("MoveDown", "MoveUp"), ("TurnClockwise", "TurnCounterclockwise"), ("ZoomIn", "ZoomOut"),
)  # fmt: skip

PARTS = {
    part.name: part
    for part in (
        Part(
            name=DIRECTION, classes=_EIGHT, opposites=_EITHER_WAY,
            question="which way something moves, turns or grows; as `kind`, which of the three", ceiling=0.918,
            kind_ceiling=0.992,
            kinds={
                "move": ("MoveRight", "MoveDown", "MoveLeft", "MoveUp"),
                "turn": ("TurnClockwise", "TurnCounterclockwise"),
                "zoom": ("ZoomIn", "ZoomOut"),
            },
        ),
        Part(
            name="order", classes={"MoveThenTurn": (move(), turn()), "TurnThenMove": (turn(), move())},
            opposites=(("MoveThenTurn", "TurnThenMove"),), question="which of two motions came first",
            num_frames=20, moving_frames=(6, 7), least_still=1, speed=1.5, times_as_many=4, ceiling=0.926,
        ),
        Part(
            name="stills", classes=_EIGHT, opposites=_EITHER_WAY,
            question="the eight motions in videos that mostly stand still: is the motion found?",
            num_frames=80, clips=10, ceiling=0.883,
        ),
        Part(
            name="shortcut", classes=_EIGHT, opposites=_EITHER_WAY,
            question="the eight motions before a background that identifies the video: is more learnt than that?",
            background=Background(brightness=0.6, saturation=(0.6, 1.0)), ceiling=0.852,
        ),
    )
}  # fmt: skip


def part_named(name: str) -> Part:
    """The part of that name; DataError lists what there is."""
    if name not in PARTS:
        raise DataError(f"unknown part {name!r} of the motion suite; parts: {', '.join(PARTS)}")
    return PARTS[name]
