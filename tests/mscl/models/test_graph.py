"""The exported graph: any batch, torch alone."""

import subprocess
import sys
from pathlib import Path

import torch

from mscl.models.config import ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.graph import save_graph


def test_a_graph_runs_without_this_package(tmp_path: Path) -> None:
    encoder = untrained_encoder(ModelConfig(rgb_width=0.0625), seed=0)
    path = save_graph(encoder, tmp_path / "out" / "encoder.pt2", crop_px=16)
    clips = torch.rand(3, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.save(clips, tmp_path / "clips.pt")
    code = (
        "import sys, torch\n"
        f"clips = torch.load({str(tmp_path / 'clips.pt')!r})\n"
        f"features = torch.export.load({str(path)!r}).module()(clips)\n"
        "assert not any(name.split('.')[0] in ('mscl', 'torchvision') for name in sys.modules)\n"
        f"torch.save(features.detach(), {str(tmp_path / 'features.pt')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "features.pt"), encoder(clips))
    assert [p.name for p in path.parent.iterdir()] == ["encoder.pt2"], "nothing staged is left"
