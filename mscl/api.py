"""The public surface of `mscl` as a library: `import mscl; mscl.embed(videos, mscl.load_encoder(path))`."""

from mscl.embedding.index import Index, open_index
from mscl.embedding.neighbours import Found, search
from mscl.embedding.video_features import Embedded, embed
from mscl.models.files import load_encoder
from storage.workspace import Workspace

__all__ = ["Embedded", "Found", "Index", "Workspace", "embed", "load_encoder", "open_index", "search"]
