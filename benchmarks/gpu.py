# mypy: disable-error-code="no-untyped-call"
"""What one GPU does: the training step, augmentation, convolutions and TV-L1, beside another version of this program.

    python benchmarks/gpu.py [PART ...] [--baseline DIR] [--tiny] [--out DIR]

PART: step, profile, convs, tvl1; all without one. `--baseline DIR` runs `step` and `tvl1` in that
checkout too, on the same card, and prints ratios. Every part is a process with a time limit of its own and prints its
lines as it has them, so a part that fails or hangs loses nothing but its rest. `--tiny` runs all on whatever is here
in a minute, to try the script. Inputs are noise; the steps of both versions start from equal weights, and their first
losses are compared.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMITS_S = {"step": 75, "profile": 40, "convs": 60, "tvl1": 60}
IN_BASELINE = ("step", "tvl1")
JOBS = [("r18", 112, 128), ("r18", 112, 32), ("r50", 224, 32)]
TINY_JOBS = [("r18", 40, 2)]


def say(name: str, **values: float | str) -> None:
    """One result, as a line that the parent reads."""
    print("RESULT " + json.dumps({"name": name, **values}), flush=True)


class Timer:
    """Medians with the device's work included."""

    def __init__(self) -> None:
        import torch

        self.cuda = torch.cuda.is_available()
        self.device = torch.device("cuda" if self.cuda else "cpu")
        self.torch = torch

    def synchronise(self) -> None:
        if self.cuda:
            self.torch.cuda.synchronize()

    def __call__(self, work: Callable[[], Any], *, times: int = 8, warm: int = 3) -> float:
        for _ in range(warm):
            work()
        self.synchronise()
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            work()
            self.synchronise()
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)


def _made(backbone: str, crop_px: int, batch: int, timer: Timer, *, tiny: bool, **changes: Any) -> tuple[Any, Any, Any]:
    """A step, the augmentation and a raw batch, of whichever version is first on the path."""
    from benchmarks.step import OurStep, synthetic_batch
    from mscl.pretrain.augment import Augment
    from mscl.pretrain.config import PretrainConfig
    from mscl.pretrain.fit_mscl import build_model
    from mscl.training.distributed import World

    width = {"rgb_width": 0.125, "flow_width": 0.5, "neck_channels": 8} if tiny else {}
    config = PretrainConfig.model_validate(
        {
            "model": {"backbone": backbone, **width},
            "loss": {"queue_size": 64 if tiny else 65536},
            "augment": {"crop_px": crop_px},
            "optim": {"lr": 0.002},
            "batch_size": batch,
            "precision": "bf16" if timer.cuda else "fp32",
            **changes,
        }
    )
    world = World(0, 1, timer.device)
    raw = synthetic_batch(batch, crop_px, timer.device)[4]
    return OurStep(config, build_model(config, world), world), Augment(config.augment), raw


def _replayed(update: Any, timer: Timer) -> Callable[[Any], Any] | None:
    """The product's captured step around a step's model and optimiser; None where there is no such thing."""
    try:
        from mscl.pretrain.capture import CapturedStep
    except ImportError:
        return None
    if not timer.cuda:
        return None
    from mscl.pretrain.step import KeyMomenta

    momenta = KeyMomenta(0.994, (0.994,))
    captured = CapturedStep(update.work, update.optimiser, timer.device)
    return lambda views: captured(views, momenta)


def _choose_convolutions(timer: Timer) -> None:
    """As a long training of this version does."""
    from mscl.training import precision

    timer.torch.backends.cudnn.benchmark = timer.cuda and hasattr(precision, "fastest_convolutions")


def step(*, tiny: bool, **_: Any) -> None:
    """Steps as the product makes them (replayed, where this version can), eager ones, augmentation, peak memory."""
    timer = Timer()
    _choose_convolutions(timer)
    times = {"times": 1, "warm": 1} if tiny else {}
    for backbone, crop_px, batch in TINY_JOBS if tiny else JOBS:
        name = f"{backbone} {crop_px} px, batch {batch}"
        if timer.cuda:
            timer.torch.cuda.empty_cache()
            timer.torch.cuda.reset_peak_memory_stats()
        update, augment, raw = _made(backbone, crop_px, batch, timer, tiny=tiny)
        views = augment(raw)
        say(f"first losses, {name}", **update(views))
        augment_s = timer(functools.partial(augment, raw), **times)
        eager_s = timer(functools.partial(update.update, views), **times)
        made = _replayed(update, timer) or update.update
        step_s = timer(functools.partial(made, views), **({"warm": 6} if timer.cuda else {}), **times)
        both_s = timer(lambda made=made, augment=augment, raw=raw: made(augment(raw)), **times)  # type: ignore[misc]
        peak = timer.torch.cuda.max_memory_allocated() / 2**30 if timer.cuda else 0.0
        say(f"augmentation, {name}", ms=augment_s * 1e3)
        say(f"eager step, {name}", ms=eager_s * 1e3)
        say(f"step, {name}", ms=step_s * 1e3)
        say(f"both, {name}", ms=both_s * 1e3, pairs_per_s=batch / both_s, peak_gib=peak)
        del update, augment, raw, views, made


# name, (channels in, out), kernel, stride, (T, H, W) of the input; r3d_18 at 112 px and the neck
CONVS = [
    ("stem", (3, 64), (3, 7, 7), (1, 2, 2), (8, 112, 112)),
    ("layer1", (64, 64), (3, 3, 3), (1, 1, 1), (8, 56, 56)),
    ("layer2 first", (64, 128), (3, 3, 3), (2, 2, 2), (8, 56, 56)),
    ("layer2", (128, 128), (3, 3, 3), (1, 1, 1), (4, 28, 28)),
    ("layer3", (256, 256), (3, 3, 3), (1, 1, 1), (2, 14, 14)),
    ("layer4", (512, 512), (3, 3, 3), (1, 1, 1), (1, 7, 7)),
    ("flow stem", (3, 16), (1, 7, 7), (1, 2, 2), (4, 112, 112)),
    ("flow layer1", (16, 16), (1, 3, 3), (1, 1, 1), (4, 56, 56)),
    ("flow layer4", (128, 128), (1, 3, 3), (1, 1, 1), (4, 7, 7)),
]


def _both_ways(work: Callable[[], Any], leaves: list[Any], dy: Any) -> None:
    import torch

    torch.autograd.grad(work(), leaves, dy)


def convs(*, tiny: bool, **_: Any) -> None:
    """Convolutions of the R18 networks, forward and backward: the library's in 3D, and over pictures of k frames."""
    import torch
    import torch.nn.functional as F

    timer = Timer()
    batch, dtype = (2, torch.float32) if tiny else (128, torch.bfloat16)
    for name, (wide, out), kernel, stride, size in CONVS:
        clip_size = tuple(max(1, s // 4) if tiny and i else s for i, s in enumerate(size))
        x = torch.randn(batch, wide, *clip_size, device=timer.device, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_(wide > 3)
        w = torch.randn(out, wide, *kernel, device=timer.device, dtype=dtype)
        w = w.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
        pad = tuple(k // 2 for k in kernel)
        leaves = [t for t in (x, w) if t.requires_grad]

        def whole(x=x, w=w, stride=stride, pad=pad) -> Any:  # type: ignore[no-untyped-def]
            return F.conv3d(x, w, stride=stride, padding=pad)

        def unfolded(x=x, w=w, stride=stride, pad=pad, kernel=kernel) -> Any:  # type: ignore[no-untyped-def]
            times = x.shape[2]
            taps, starts = kernel[0], range(0, times, stride[0])
            x_BTHWC = x.permute(0, 2, 3, 4, 1)
            if times == 1:
                frames, chosen = [x_BTHWC], [taps // 2]
            else:
                padded = F.pad(x_BTHWC, (0, 0, 0, 0, 0, 0, pad[0], pad[0]))
                frames = [padded[:, tap : tap + times : stride[0]] for tap in range(taps)]
                chosen = list(range(taps))
            pictures = torch.cat(frames, dim=-1).flatten(0, 1).permute(0, 3, 1, 2)
            kernel_2d = torch.cat([w[:, :, tap] for tap in chosen], dim=1)
            y = F.conv2d(pictures, kernel_2d, stride=stride[1:], padding=pad[1:])
            return y.unflatten(0, (-1, len(starts))).transpose(1, 2)

        flops = 2.0 * wide * out * batch
        for side in kernel:
            flops *= side
        for length, by in zip(clip_size, stride, strict=True):
            flops *= -(-length // by)
        for way, work in (("3D", whole), ("pictures", unfolded)):
            try:
                y = work()
                dy = torch.randn_like(y)
                forward_s = timer(work, times=5, warm=2)
                both_s = timer(functools.partial(_both_ways, work, leaves, dy), times=5, warm=2)
                say(
                    f"{name}, {way}",
                    forward_ms=forward_s * 1e3,
                    backward_ms=(both_s - forward_s) * 1e3,
                    forward_tflops=flops / forward_s / 1e12,
                )
            except RuntimeError as error:
                print(f"{name}, {way} failed: {str(error)[:200]}", flush=True)


def profile(*, tiny: bool, out: Path, **_: Any) -> None:
    """Where a step's time goes on the device, by kernel."""
    timer = Timer()
    _choose_convolutions(timer)
    update, augment, raw = _made(*(TINY_JOBS if tiny else JOBS)[0], timer, tiny=tiny)
    views = augment(raw)
    works: dict[str, Callable[[], Any]] = {"step": lambda: update.update(views), "augmentation": lambda: augment(raw)}
    for name, work in works.items():
        for _round in range(3):
            work()
        seen = _profiled(work, timer)
        order = "self_device_time_total" if timer.cuda else "self_cpu_time_total"
        table = seen.table(sort_by=order, row_limit=60, max_name_column_width=90)
        (out / f"profile-{name}.txt").write_text(table)
        for kernel, ms, calls in _by_kernel(seen)[:25]:
            say(f"{name}: {kernel[:80]}", ms=ms, calls=calls)


def _profiled(work: Callable[[], Any], timer: Timer) -> Any:
    """What PyTorch's profiler has seen of it, by name."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    timer.synchronise()
    with profiled(activities=[ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if timer.cuda else [])) as seen:
        work()
        timer.synchronise()
    return seen.key_averages()


def _by_kernel(seen: Any) -> list[tuple[str, float, int]]:
    """Name, milliseconds and launches of a device's kernels, those that take longest first."""
    rows = [(e.key, e.self_device_time_total / 1e3, e.count) for e in seen if e.device_type.name == "CUDA"]
    return sorted(rows, key=lambda row: -row[1])


def tvl1(*, tiny: bool, **_: Any) -> None:
    """TV-L1 `balanced` at 340x256 by batch: launch by launch, recorded as extraction does it, and by kernel."""
    import torch

    from kernels.tvl1 import PRESETS, gpu, tvl1_flow

    timer = Timer()
    height, width = (32, 48) if tiny else (256, 340)
    for batch in (2,) if tiny else (8, 64):
        first = torch.rand(batch, height // 8, width // 8 + 1, device=timer.device)[:, None] * 255
        first = torch.nn.functional.interpolate(first, size=(height, width), mode="bicubic")[:, 0].clamp(0, 255)
        second = first.roll((1, 2), (1, 2))
        pair_s = timer(functools.partial(tvl1_flow, first, second, params=PRESETS["balanced"]), times=5) / batch
        say(f"TV-L1 balanced, batch {batch}", ms_a_pair=pair_s * 1e3, pairs_per_s=1 / pair_s)
        if not timer.cuda:
            continue
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            gpu.flow(first, second, PRESETS["balanced"])
        pair_s = timer(graph.replay) / batch
        say(f"TV-L1 balanced, batch {batch}, recorded", ms_a_pair=pair_s * 1e3, pairs_per_s=1 / pair_s)
        rows = _by_kernel(_profiled(functools.partial(gpu.flow, first, second, PRESETS["balanced"]), timer))
        every = ("all kernels", sum(ms for _, ms, _ in rows), sum(calls for _, _, calls in rows))
        for kernel, ms, calls in [every, *rows[:12]]:
            say(f"TV-L1 batch {batch}: {kernel[:70]}", us_a_pair=ms * 1e3 / batch, calls=calls)


MEASUREMENTS: dict[str, Callable[..., None]] = {"step": step, "profile": profile, "convs": convs, "tvl1": tvl1}


def run_part(part: str, tree: Path, *, limit_s: float, tiny: bool, out: Path) -> list[dict[str, Any]]:
    """Results of one part in a process whose program is that of `tree`."""
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p).resolve() != HERE]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), *others])}
    command = [sys.executable, str(Path(__file__).resolve()), "--child", part, "--out", str(out)]
    if tiny:
        command.append("--tiny")
    child = subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watch = threading.Timer(limit_s, child.kill)
    watch.start()
    results = []
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("RESULT "):
            results.append(json.loads(line.removeprefix("RESULT ")))
            shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in results[-1].items()}
            print(f"  {shown.pop('name')}: {shown}", flush=True)
        else:
            print("  | " + line.rstrip()[:300], flush=True)
    code = child.wait()
    watch.cancel()
    if code:
        print(f"  {part} ended with {code}" + (f": over its {limit_s:.0f} s" if code == -9 else ""), flush=True)
    return results


HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(MEASUREMENTS))
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        MEASUREMENTS[given.parts[0]](tiny=given.tiny, out=given.out)
        return
    unknown = [part for part in given.parts if part not in MEASUREMENTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(MEASUREMENTS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    ratios: list[str] = []
    everything: dict[str, Any] = {}
    for part in given.parts or MEASUREMENTS:
        found: dict[str, dict[str, dict[str, Any]]] = {}
        trees = {"baseline": given.baseline.resolve()} if given.baseline and part in IN_BASELINE else {}
        for label, tree in (trees | {"this": HERE}).items():
            print(f"== {part}, {label}", flush=True)
            began = time.monotonic()
            rows = run_part(part, tree, limit_s=LIMITS_S[part], tiny=given.tiny, out=given.out.resolve())
            print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
            found[label] = {row["name"]: row for row in rows}
        everything[part] = found
        (given.out / "gpu.json").write_text(json.dumps(everything, indent=1))
        for name, row in found["this"].items():
            before = found.get("baseline", {}).get(name)
            if before is not None:
                for key in ("ms", "ms_a_pair"):
                    if key in row:
                        ratios.append(
                            f"{name}: {before[key]:.3f} -> {row[key]:.3f} {key}, {before[key] / row[key]:.2f}x"
                        )
                if name.startswith("first losses"):
                    off = max(abs(row[k] - before[k]) / abs(before[k]) for k in row if k != "name")
                    ratios.append(f"{name}: up to {off:.2%} apart")
    print("\n".join(["== baseline -> this", *ratios]))


if __name__ == "__main__":
    main()
