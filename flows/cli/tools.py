"""Commands beside the pipeline: demo-data, doctor, flow-eval."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import HEAVY_HEAD
from rich.console import Console

from flows.cli.options import at_home, int_option
from flows.printing import print_line, print_table
from mscl import name_clash
from mscl.devices import cores, num_gpus
from mscl.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

console = Console()


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (demo_data, doctor, flow_eval):
        app.command()(command)


def demo_data(
    folder: Annotated[Path, typer.Argument(help="Where to write the videos; made if absent.", callback=at_home)],
    suite: Annotated[bool, typer.Option("--suite", help="All parts, each in a folder of its name.")] = False,
    part: Annotated[str, typer.Option(help="direction, order, stills or shortcut.")] = "direction",
    seed: Annotated[int, int_option(help="Same seed, same bytes.")] = 0,
    train_per_class: Annotated[int, int_option(least=2)] = 144,
    test_per_class: Annotated[int, int_option(least=1)] = 32,
    side: Annotated[int, int_option(help="Height and width in px.")] = 64,
    slower: Annotated[int, int_option(help="So many times as many frames.")] = 1,
) -> None:
    """Write real videos in classes that only motion tells apart, with UCF101-style lists; see docs/motion-suite.md."""
    from flows.progress import ConsoleProgress
    from mscl.demo.dataset import write_demo_dataset, write_suite
    from mscl.demo.parts import part_named

    part_named(part)
    write = partial(
        write_demo_dataset, seed=seed, train_per_class=train_per_class, test_per_class=test_per_class, side_px=side,
        slower=slower, progress=ConsoleProgress(console),
    )  # fmt: skip
    parts = write_suite(folder, write) if suite else {part: write(folder, part=part)}
    for name, made in parts.items():
        what = "wrote" if made.written else "found"
        print_line(console, f"{name}: {what} {made.num_train} train and {made.num_test} test videos in {made.videos}")


def doctor() -> None:
    """What this machine has: packages, TV-L1 backends, GPU, codecs, Prefect server."""
    from importlib.metadata import version
    from importlib.util import find_spec

    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    progress.start("Looking at this machine", None, "")
    import av
    import torch

    from flows.server.found import find
    from kernels.tvl1 import backends
    from mscl.video.object_storage import MODULES

    rows = []
    for package in ("torch", "torchvision", "opencv-contrib-python", "av", "zarr", "prefect", "fastapi"):
        rows.append((package, version(package), ""))
    if clashing := name_clash.others():
        rows.append(("kernels", f"also of {', '.join(clashing)}", name_clash.ADVICE))
    rows.append(("cores", str(cores()), ""))
    gpus = [torch.cuda.get_device_name(i) for i in range(num_gpus())]
    rows.append(("GPU", ", ".join(gpus) or "none", "" if gpus else "everything runs on the CPU, training slowly"))
    for backend in backends():
        rows.append((f"TV-L1 {backend.name}", "yes" if backend.available else "no", backend.reason))
    h264 = "libx264" in av.codecs_available
    rows.append(("H.264 encoder", "yes" if h264 else "no", "" if h264 else "`mscl demo-data` needs it"))
    there = [scheme for scheme, module in MODULES.items() if find_spec(module) is not None]
    do = "each is an extra: pip install 'mscl-pipeline[s3]'"
    rows.append(("videos in storage", ", ".join(there) or "none", "" if len(there) == len(MODULES) else do))
    try:
        found = find()
        rows.append(("Prefect server", str(found), "" if found.is_wanted else found.advice))
    except UserError as error:
        rows.append(("Prefect server", "no", str(error)))
    progress.done()
    print_table(console, ("what", "", ""), rows)


def flow_eval(
    folder: Annotated[
        Path, typer.Argument(help="Holds a folder per pair: frame1.png, frame2.png, flow.flo.", callback=at_home)
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(help="tvl1, dis, farneback, raft_small, raft_large, ptlflow:NAME, module:function."),
    ] = None,
    preset: Annotated[str, typer.Option(help="Schedule of tvl1: opencv, accurate, balanced, fast.")] = "balanced",
    raft_weights: Annotated[str, typer.Option(help="Local RAFT weights file.")] = "",
    weights: Annotated[str, typer.Option(help="Local weights file of a ptlflow network, or for a function.")] = "",
    pictures: Annotated[
        Path | None, typer.Option(help="Write frame, truth and estimate of each pair here.", callback=at_home)
    ] = None,
) -> None:
    """End-point error and time of flow methods on pairs with ground truth (one thread, the whole pair)."""
    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    progress.start("Loading what computes flow", None, "")
    from kernels.evaluate import evaluate_folder, mean_score
    from kernels.flow import compute_flow

    for name in method or ["tvl1", "dis", "farneback"]:
        label = f"{name} {preset}" if name == "tvl1" else name
        rows = []
        scores = []
        flow = partial(
            compute_flow, method=name, preset=preset, raft_weights=raft_weights or None, weights=weights or None
        )
        progress.start(label, None, "pairs")
        for result in evaluate_folder(folder, flow):
            progress.advance()
            score = result.score
            scores.append(score)
            rows.append((
                score.name, f"{score.width}x{score.height}", f"{score.epe_mean_px:.3f}", f"{score.epe_p99_px:.2f}",
                f"{score.zero_epe_px:.2f}", f"{1000 * score.seconds:.0f}",
            ))  # fmt: skip
            if pictures is not None:
                _write_png(pictures / f"{score.name}-{name.replace(':', '-')}.png", result.picture())
        if len(scores) > 1:
            rows.append(("mean", "", f"{mean_score(scores).epe_mean_px:.3f}", "", "", ""))
        progress.done()
        print_line(console, label)
        head = ("pair", "size", "mean px", "99 % px", "zero flow px", "ms")
        print_table(console, head, rows, box=HEAVY_HEAD)


def _write_png(path: Path, picture_HW3: NDArray[np.uint8]) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture_HW3[..., ::-1]):
        raise UserError(f"{path} could not be written; check the folder and the disk")
