"""The arithmetic of fields and sizes."""

import pytest

from mscl.config import FlowConfig
from mscl.extract.shard import num_fields
from mscl.video.stored_size import stored_size


@pytest.mark.parametrize(
    ("frames", "gap", "span", "fields"), [(300, 2, 8, 146), (9, 2, 8, 1), (10, 2, 8, 1), (11, 2, 8, 2), (32, 1, 1, 31)]
)
def test_fields_of_a_segment(frames: int, gap: int, span: int, fields: int) -> None:
    assert num_fields(frames, FlowConfig(gap_frames=gap, span_frames=span)) == fields
    # The last field's second frame exists, and there is no room for one more field.
    assert gap * (fields - 1) + span <= frames - 1 < gap * fields + span


def test_aspect_is_kept_and_nothing_is_enlarged() -> None:
    assert stored_size(240, 320, 128) == (128, 171)
    assert stored_size(720, 405, 128) == (228, 128)
    assert stored_size(64, 64, 128) == (64, 64)
