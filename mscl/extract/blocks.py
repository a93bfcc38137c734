"""What extract has to show: frames with their flow in colour underneath."""

from mscl.display.blocks import Block, Note, Photo
from mscl.display.pictures import flow_legend, flow_strip
from mscl.extract.config import FlowConfig
from mscl.extract.segment_pictures import SegmentPictures
from mscl.stage.view import Stages

_SEGMENTS_SHOWN = 4


def extract_blocks(stages: Stages) -> list[Block]:
    """Frames with their flow in colour underneath."""
    flow = FlowConfig.model_validate(stages["extract"].config["flow"])
    pictures = SegmentPictures.of(stages)
    what = f"{flow.method} over {flow.span_frames} frame{'' if flow.span_frames == 1 else 's'}"
    blocks: list[Block] = [
        Photo(
            flow_legend(),
            "Colours of flow: the direction away from the middle, stronger where it is faster",
            is_legend=True,
        )
    ]
    if clipped := stages["extract"].metrics.get("clipped"):
        blocks.append(Note(flow.clipped_note(int(clipped))))
    for segment in pictures.sample(_SEGMENTS_SHOWN):
        indices = pictures.strip_indices(segment)
        numbers = ", ".join(str(index * flow.gap_frames) for index in indices)
        caption = f"{pictures.class_name(segment)} · {pictures.name(segment)} · {what} · from frames {numbers}"
        blocks.append(Photo(flow_strip(*pictures.strip(segment, indices)), caption))
    return blocks
