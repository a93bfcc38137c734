"""Commands beside the pipeline: demo-data, presets, doctor, flow-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

console = Console()


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (demo_data, presets, doctor, flow_eval):
        app.command()(command)


def presets() -> None:
    """The presets that ship, with what they are for."""
    from importlib.resources import files

    from mscl.config import preset_names

    for name in preset_names():
        text = (files("mscl.config") / "presets" / f"{name}.yaml").read_text()
        first = text.splitlines()[0].removeprefix("#").strip()
        console.print(f"{name:<18} {first}", highlight=False, soft_wrap=True)


def demo_data(
    folder: Annotated[Path, typer.Argument(help="Where to write the set; made if absent.")],
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    train_per_class: Annotated[int, typer.Option(min=2)] = 144,
    test_per_class: Annotated[int, typer.Option(min=1)] = 32,
) -> None:
    """Write a small set of real videos in eight classes that only motion tells apart, with UCF101-style lists."""
    from flows.progress import ConsoleProgress
    from mscl.sources.demo import write_demo_dataset

    made = write_demo_dataset(
        folder, seed=seed, train_per_class=train_per_class, test_per_class=test_per_class,
        progress=ConsoleProgress(console),
    )  # fmt: skip
    what = "wrote" if made.written else "found"
    console.print(
        f"{what} {made.num_train} train and {made.num_test} test videos in {made.videos}", highlight=False, soft_wrap=True
    )


def doctor() -> None:
    """What this machine has: packages, TV-L1 backends, GPU, codecs, Prefect server."""
    import os
    from importlib.metadata import version

    import av
    import torch

    from flows.server import api_url, is_healthy
    from kernels.tvl1 import backends

    table = Table("what", "", "", box=None)
    for package in ("torch", "torchvision", "opencv-contrib-python", "av", "zarr", "prefect", "fastapi"):
        table.add_row(package, version(package), "")
    table.add_row("cores", str(len(os.sched_getaffinity(0))), "")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    table.add_row("GPU", ", ".join(gpus) or "none", "" if gpus else "everything runs on the CPU, training slowly")
    for backend in backends():
        table.add_row(f"TV-L1 {backend.name}", "yes" if backend.available else "no", backend.reason)
    h264 = "libx264" in av.codecs_available
    table.add_row("H.264 encoder", "yes" if h264 else "no", "" if h264 else "`mscl demo-data` needs it")
    answers = is_healthy(api_url())
    table.add_row("Prefect server", "answers" if answers else "none", api_url() if answers else "`mscl up` starts one")
    console.print(table)


def flow_eval(
    folder: Annotated[Path, typer.Argument(help="Folders of frame1.png, frame2.png, flow.flo.")],
    method: Annotated[list[str] | None, typer.Option(help="tvl1, dis, farneback, raft_small, raft_large.")] = None,
    raft_weights: Annotated[str, typer.Option(help="Local RAFT weights.")] = "",
) -> None:
    """End-point error and time of flow methods on pairs with ground truth."""
    raise NotImplementedError
