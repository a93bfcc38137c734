"""CPU (or GPU) time of one pre-training step against a plain translation of METHOD 1.7 without its savings.

    python -m benchmarks.step [--crop 112 --batch 4 --rgb-width 1 --flow-width 1 --queue 4096 --steps 3 --device cpu]
                              [--bf16] [--compile]

A step goes from loaded clips to updated weights: augmentation, keys, losses, backward, update. Plain: the library's
convolutions in the default memory format, all eight fields of a clip coloured and read by a stem of stride 2, the key
neck and every neck level computed, losses one by one with their own product, concatenation and `.item()`, queues
copied before they are written, EMA, clipping and SGD parameter by parameter. Both start from the same weights and see
the same clips in float32; all eight losses of the first step must agree, and the sum of the second. Steps alternate
and the smallest times count; on CPU they are one thread's CPU seconds, which a busy machine disturbs less than the
clock. `--bf16` times our step under bfloat16 autocast besides (on a CPU it pays with AVX512-BF16 or AMX),
`--compile` our float32 step with `pretrain.compile`.

Also printed: the floating-point operations of a step if every convolution is done directly, those that were carried
out here (multiplications with padding left out), both as shares of one core's measured FMA peak; and what an H100
could do with the step, as arithmetic: 989 TFLOP/s of dense bf16, and 3.35 TB/s if every operation read its inputs and
wrote its outputs once (half of the float32 bytes). Fusion raises the lower figure, and nothing reaches the upper one.
"""

import argparse
import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain_step import PlainStep
from benchmarks.step_costs import ByteCounter, without_padding
from mscl.models.config import LossConfig, ModelConfig
from mscl.models.mscl import MSCL
from mscl.pretrain.augment import Augment
from mscl.pretrain.config import AugmentConfig, PretrainConfig
from mscl.pretrain.draws import num_draws
from mscl.pretrain.fit_mscl import build_model, whole_step
from mscl.pretrain.step import KeyMomenta
from mscl.training.config import OptimConfig
from mscl.training.distributed import KeyExchange, World
from mscl.training.updater import Updater
from mscl.views import RawBatch, TwoViews

H100_FLOPS, H100_BYTES_PER_S = 989e12, 3.35e12
MOMENTUM = 0.994

FMA_PEAK_CPP = """
#include <immintrin.h>
#ifdef __AVX512F__
#define LANES 16
typedef __m512 lanes;
#define SET _mm512_set1_ps
#define FMA _mm512_fmadd_ps
#define STORE _mm512_storeu_ps
#else
#define LANES 8
typedef __m256 lanes;
#define SET _mm256_set1_ps
#define FMA _mm256_fmadd_ps
#define STORE _mm256_storeu_ps
#endif
extern "C" int fma_lanes() { return LANES; }
extern "C" float fma_peak(long rounds) {
    lanes a[12], b = SET(0.999f), c = SET(0.001f);
    for (int i = 0; i < 12; ++i) a[i] = SET(i);
    for (long r = 0; r < rounds; ++r)
        for (int i = 0; i < 12; ++i) a[i] = FMA(a[i], b, c);
    float out[LANES], sum = 0;
    for (int i = 0; i < 12; ++i) { STORE(out, a[i]); sum += out[0]; }
    return sum;
}
"""


class OurStep:
    """What training runs."""

    def __init__(self, config: PretrainConfig, model: MSCL, world: World) -> None:
        self.model = model
        self.updater = Updater(model, config.optim)
        self.optimiser = self.updater.optimiser
        self.work = whole_step(config, model, self.updater, KeyExchange(world, shuffle=True, seed=0))

    def update(self, views: TwoViews) -> dict[str, Tensor]:
        """The step; losses stay on the device."""
        return self.work(views, KeyMomenta(MOMENTUM, (MOMENTUM,))).terms[0].value

    def __call__(self, views: TwoViews) -> dict[str, float]:
        values = self.update(views)
        return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def synthetic_batch(batch: int, crop_px: int, device: torch.device) -> dict[int, RawBatch]:
    """Noise with 8 fields, and the same with the 4 of them that are read (METHOD D19), on the device."""
    generator = torch.Generator().manual_seed(0)
    clip = (batch, 8, crop_px, crop_px)
    rgb = [torch.randint(0, 256, (*clip, 3), dtype=torch.uint8, generator=generator) for _ in "qk"]
    flow = [torch.rand((*clip, 2), generator=generator) - 0.5 for _ in "qk"]
    draws = torch.rand(batch, num_draws(8), generator=generator)
    return {
        8 // step: RawBatch(
            rgb[0],
            rgb[1],
            flow[0][:, ::step].contiguous(),
            flow[1][:, ::step].contiguous(),
            draws,
            torch.arange(batch),
        ).to(device)
        for step in (1, 2)
    }


def fma_peak_gflops() -> float | None:
    """Measured FMA peak of one core with its widest vectors; None without g++ or AVX2."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "peak.cpp", Path(folder) / "peak.so"
        source.write_text(FMA_PEAK_CPP)
        command = ["g++", "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        loaded = ctypes.CDLL(str(library))
        loaded.fma_peak.argtypes, loaded.fma_peak.restype = [ctypes.c_long], ctypes.c_float
        rounds, best = 20_000_000, float("inf")
        for _ in range(5):
            began = time.process_time()
            loaded.fma_peak(rounds)
            best = min(best, time.process_time() - began)
        lanes: int = loaded.fma_lanes()
        return rounds * 12 * lanes * 2 / best / 1e9


def direct_costs(step: OurStep, views: TwoViews) -> tuple[int, int]:
    """Operations and bytes of a step whose convolutions are direct, as on a GPU."""
    made: Callable[[], Any] = ByteCounter
    byte_counter = made()
    with FlopCounterMode(display=False) as counter, byte_counter:
        step.update(views)
    moved: int = byte_counter.total
    return counter.get_total_flops(), moved


def check_equal(plain: dict[str, float], ours: dict[str, float], *, relative: float) -> None:
    """Refuse to compare two steps that do not compute the same."""
    for name in plain.keys() | ours.keys():
        if abs(plain[name] - ours[name]) > relative * abs(plain[name]):
            raise SystemExit(f"the two steps differ in loss {name}: plain {plain[name]}, ours {ours[name]}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crop", type=int, default=112)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rgb-width", type=float, default=1.0)
    parser.add_argument("--flow-width", type=float, default=1.0)
    parser.add_argument("--queue", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    device = torch.device(given.device)
    world = World(0, 1, device)
    torch.set_num_threads(1)
    config = PretrainConfig(
        model=ModelConfig(
            rgb_width=given.rgb_width,
            flow_width=given.flow_width,
            neck_channels=round(128 * given.flow_width),  # as many as the flow encoder has, as in the paper
        ),
        loss=LossConfig(queue_size=given.queue),
        augment=AugmentConfig(crop_px=given.crop),
        optim=OptimConfig(lr=0.002),
        batch_size=given.batch,
        precision="fp32",
    )
    variants = {"ours": config}
    if given.bf16:
        variants["ours, bf16"] = config.model_copy(update={"precision": "bf16"})
    if given.compile:
        variants["ours, compiled"] = config.model_copy(update={"compile": True})
    raw = synthetic_batch(given.batch, given.crop, device)
    augment = Augment(config.augment)
    plain = PlainStep(build_model(config, world), config, key_momentum=MOMENTUM)
    ours = {name: OurStep(changed, build_model(changed, world), world) for name, changed in variants.items()}

    losses: dict[str, list[dict[str, float]]] = {"plain": [], **{name: [] for name in ours}}
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    clock = time.process_time if device.type == "cpu" else time.perf_counter  # a step ends with a synchronisation
    for _ in range(2 + given.steps):  # two that are checked, and not timed
        for name in losses:
            began = clock()
            views = augment(raw[8 if name == "plain" else 4])
            losses[name].append(plain(views) if name == "plain" else ours[name](views))
            seconds[name].append(clock() - began)
    for name in ours:
        first, second = losses["plain"][0], losses[name][0]
        if name == "ours, bf16":
            off = max(abs(second[term] - value) / abs(value) for term, value in first.items())
            print(f"losses of the first step in bfloat16: up to {off:.1%} off")
            continue
        check_equal(first, second, relative=1e-3)
        totals = [{"total": sum(losses[n][1].values())} for n in ("plain", name)]
        check_equal(*totals, relative=1e-2)

    best = {name: min(times[2:]) for name, times in seconds.items()}
    print(f"crop {given.crop} px, batch {given.batch}, widths {given.rgb_width} / {given.flow_width}, {device}")
    for name in ours:
        print(f"plain {best['plain']:.3f} s   {name} {best[name]:.3f} s   ratio {best['plain'] / best[name]:.2f}")
    flops, bytes_moved = direct_costs(ours["ours"], augment(raw[4]))
    print(f"{flops / given.batch / 1e9:.1f} GFLOP a clip pair, {flops / best['ours'] / 1e9:.1f} GFLOP/s")
    compute, memory = flops / H100_FLOPS, bytes_moved / 2 / H100_BYTES_PER_S
    print(
        f"H100, arithmetic: {compute * 1e3:.2f} ms of tensor cores, {bytes_moved / 2e9:.2f} GB in "
        f"{memory * 1e3:.2f} ms unfused: {given.batch / (compute + memory):.0f} to {given.batch / compute:.0f} "
        "clip pairs a second"
    )
    peak = fma_peak_gflops() if device.type == "cpu" else None
    if peak is not None:
        with FlopCounterMode(display=False, custom_mapping=without_padding()) as counter:
            ours["ours"].update(augment(raw[4]))
        done = counter.get_total_flops()
        print(
            f"FMA peak of a core {peak:.1f} GFLOP/s: the step runs at {flops / best['ours'] / 1e9 / peak:.0%} of it "
            f"in direct convolutions, at {done / best['ours'] / 1e9 / peak:.0%} in the {done / given.batch / 1e9:.1f} "
            "GFLOP a clip pair carried out"
        )


if __name__ == "__main__":
    main()
