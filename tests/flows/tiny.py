"""A pipeline of seconds: twelve small videos of two classes, four steps of training, one thread."""

from pathlib import Path

TINY = """\
base: demo
data: {{root: {root}, classes: [MoveRight, MoveLeft]}}
flow: {{method: dis, segments_per_shard: 2}}
pretrain:
  model: {{rgb_width: 0.0625, flow_width: 0.25, embed_dim: 16, neck_channels: 8}}
  loss: {{queue_size: 16}}
  augment: {{crop_px: 24}}
  optim: {{warmup_epochs: 0}}
  epochs: 2
  min_steps: 4
  batch_size: 4
  checkpoint_minutes: 0.0001
embed: {{clips: 1, crop_px: 24}}
finetune: {{enabled: false}}
runtime: {{device: cpu, workers: 1, loader_workers: 0, processes: 1, threads: 1}}
"""


def write_tiny(folder: Path) -> Path:
    """Write the videos and the configuration file over them; returns the file."""
    from mscl.demo.dataset import write_demo_dataset

    made = write_demo_dataset(folder / "data", train_per_class=4, test_per_class=2)
    path = folder / "tiny.yaml"
    path.write_text(TINY.format(root=made.videos))
    return path
