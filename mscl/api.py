"""The public surface of `mscl` as a library: `import mscl; mscl.embed(videos, mscl.load_encoder(path))`."""

from mscl.clips.open_clips import open_clips
from mscl.embedding.encoder_input import load_encoder
from mscl.embedding.index import Index, open_index
from mscl.embedding.neighbours import Neighbour, search
from mscl.embedding.video_features import Embedded, embed
from mscl.models.clip_contract import Contract
from mscl.video.frame_recipe import FrameRecipe
from storage.workspace import Workspace

__all__ = [
    "Contract", "Embedded", "FrameRecipe", "Index", "Neighbour", "Workspace", "embed", "load_encoder",
    "open_clips", "open_index", "search",
]  # fmt: skip
