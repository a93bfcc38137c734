"""What embed has to show: sizes and rates."""

from mscl.display.blocks import Block, Note, Table
from mscl.embedding.variants import VARIANT_NAMES, variant_names
from mscl.stage.view import Stages


def embed_blocks(stages: Stages) -> list[Block]:
    """Sizes and rates."""
    metrics = stages["embed"].metrics
    called = variant_names(stages)
    rates = tuple(
        (called[name], f"{metrics[f'{name}_videos_per_second']:.1f}")
        for name in VARIANT_NAMES
        if f"{name}_videos_per_second" in metrics
    )
    note = Note(f"{metrics['videos']:,} segments, {metrics['feature_dim']} features each.")
    return [note, Table(("encoder", "segments per second"), rates, caption="Embedding")] if rates else [note]
