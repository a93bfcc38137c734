"""CPU (or GPU) time of one pre-training step against a plain translation of METHOD 1.7 without its savings.

    python -m benchmarks.step [--crop 112 --batch 4 --rgb-width 1 --flow-width 1 --queue 4096 --steps 3 --device cpu]

Plain: clips in the default memory format, all eight fields of a clip read by a stem of stride 2, the key neck
and every neck level computed, losses one by one with their own product, concatenation and `.item()`, queues
copied before they are written, EMA parameter by parameter. Both steps start from the same weights and see the same
clips; the first losses must agree. Steps of the two alternate and the smallest times count; on CPU they are one
thread's CPU seconds, which a busy machine disturbs less than the clock.

Also printed: floating-point operations of a step and, on CPU, their rate as a share of one core's measured FMA peak;
and what an H100 could do with the step, as arithmetic: 989 TFLOP/s of dense bf16, and 3.35 TB/s if every operation
read its inputs and wrote its outputs once (half of the float32 bytes counted here). Fusion lowers the second.
"""

import argparse
import copy
import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mscl.config.model import ModelConfig
from mscl.config.pretrain import LossConfig, PretrainConfig
from mscl.data.views import TwoViews, View
from mscl.models.heads import global_average, local_average, normalised
from mscl.models.mscl import MSCL, FlowStream, RGBStream
from mscl.training.distributed import KeyExchange, World
from mscl.training.loop import build_model
from mscl.training.step import KeyMomenta, train_step

H100_FLOPS, H100_BYTES_PER_S = 989e12, 3.35e12
MOMENTUM, TEMPERATURE, CLIP_NORM = 0.994, 0.07, 40.0

FMA_PEAK_CPP = """
#include <immintrin.h>
extern "C" float fma_peak(long rounds) {
    __m256 a[12], b = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(0.001f);
    for (int i = 0; i < 12; ++i) a[i] = _mm256_set1_ps(i);
    for (long r = 0; r < rounds; ++r)
        for (int i = 0; i < 12; ++i) a[i] = _mm256_fmadd_ps(a[i], b, c);
    float out[8], sum = 0;
    for (int i = 0; i < 12; ++i) { _mm256_storeu_ps(out, a[i]); sum += out[0]; }
    return sum;
}
"""


class ByteCounter(TorchDispatchMode):
    """Bytes of all tensors that operations read and write, as if nothing were fused or cached."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.total += sum(t.numel() * t.element_size() for t in tensors)
        return result


class PlainStep:
    """METHOD 1.7 as one would write it down first."""

    def __init__(self, model: MSCL, optimiser: torch.optim.Optimizer) -> None:
        self.model = model
        self.optimiser = optimiser
        self.key_neck = copy.deepcopy(model.query_rgb.neck)
        assert model.query_flow is not None and model.key_flow is not None
        self.query_flow: FlowStream = model.query_flow
        self.key_flow: FlowStream = model.key_flow
        for stream in (self.query_flow, self.key_flow):
            stream.encoder.stem[0].stride = (2, 2, 2)

    def rgb(self, stream: RGBStream, neck: nn.Module | None, clip: Tensor) -> tuple[Tensor, Tensor]:
        pyramid = self.pyramid(stream.encoder, clip)
        assert neck is not None
        return stream.mlp(global_average(pyramid[-1])), normalised(local_average(neck(pyramid)[0]))

    def flow(self, stream: FlowStream, fields: Tensor) -> tuple[Tensor, Tensor]:
        l4 = self.pyramid(stream.encoder, fields)[-1]
        return stream.mlp(global_average(l4)), normalised(local_average(l4))

    @staticmethod
    def pyramid(encoder: nn.Module, clip: Tensor) -> list[Tensor]:
        maps = [clip]
        for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
            maps.append(getattr(encoder, name)(maps[-1]))
        return maps[3:]

    def nce(self, q_BD: Tensor, k_BD: Tensor, queue_DK: Tensor) -> Tensor:
        logits = torch.cat([(q_BD * k_BD).sum(1, keepdim=True), q_BD @ queue_DK], dim=1) / TEMPERATURE
        loss = F.cross_entropy(logits, torch.zeros(len(q_BD), dtype=torch.int64, device=q_BD.device))
        (logits.argmax(1) == 0).float().mean().item()
        loss.item()
        return loss

    def __call__(self, views: TwoViews) -> float:
        model, q, k = self.model, views.q, views.k
        assert q.flow_B3FHW is not None and q.rotated_B3FHW is not None
        assert k.flow_B3FHW is not None and k.rotated_B3FHW is not None
        with torch.no_grad():
            for key, query in ((model.key_rgb, model.query_rgb), (self.key_flow, self.query_flow)):
                sources = dict(query.named_parameters())
                for name, parameter in key.named_parameters():
                    parameter.copy_(MOMENTUM * parameter + (1 - MOMENTUM) * sources[name])
            k_r, _ = self.rgb(model.key_rgb, self.key_neck, k.rgb_B3THW)
            k_f, _ = self.flow(self.key_flow, k.flow_B3FHW)
            k_t, _ = self.flow(self.key_flow, k.rotated_B3FHW)
        q_r, r = self.rgb(model.query_rgb, model.query_rgb.neck, q.rgb_B3THW)
        q_f, f = self.flow(self.query_flow, q.flow_B3FHW)
        q_t, t = self.flow(self.query_flow, q.rotated_B3FHW)
        assert model.queues.flow_DK is not None
        n_r, n_f = model.queues.rgb_DK.clone(), model.queues.flow_DK.clone()
        scores = torch.einsum("bdt,bds->bts", r, torch.cat([f, t], 2)).flatten(0, 1) / TEMPERATURE
        targets = torch.arange(r.shape[2], device=r.device).repeat(len(r))
        losses = [
            self.nce(q_r, k_r, n_r), self.nce(q_f, k_f, n_f), self.nce(q_t, k_t, n_f), self.nce(q_r, k_f, n_f),
            self.nce(q_f, k_r, n_r), self.nce(q_r, k_t, n_f), self.nce(q_t, k_r, n_r),
            F.cross_entropy(scores, targets),
        ]  # fmt: skip
        start = int(model.queues.pointer.item())
        model.queues.rgb_DK[:, start : start + len(k_r)] = k_r.T
        model.queues.flow_DK[:, start : start + len(k_f)] = k_f.T
        model.queues.pointer.fill_((start + len(k_r)) % n_r.shape[1])
        total = torch.stack(losses).sum()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM, foreach=False)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return total.item()


class OurStep:
    """What training runs."""

    def __init__(self, model: MSCL, optimiser: torch.optim.Optimizer, device: torch.device) -> None:
        self.model = model
        self.optimiser = optimiser
        self.exchange = KeyExchange(World(0, 1, device), shuffle=True, seed=0)

    def __call__(self, views: TwoViews) -> float:
        result = train_step(
            self.model,
            self.model,
            self.optimiser,
            [views],
            step=0,
            accumulate=1,
            momenta=KeyMomenta(MOMENTUM, (MOMENTUM,)),
            exchange=self.exchange,
            clip_norm=CLIP_NORM,
        )
        return result.terms[0].total.item()


def synthetic_views(batch: int, crop_px: int, device: torch.device, *, fields: int) -> TwoViews:
    """Noise; with 4 fields, those that 8 would have at 0, 2, 4, 6."""
    generator = torch.Generator().manual_seed(0)

    def clip() -> Tensor:
        return torch.rand(batch, 3, 8, crop_px, crop_px, generator=generator)

    def view() -> View:
        rgb, flow, rotated = clip(), clip()[:, :, :: 8 // fields], clip()[:, :, :: 8 // fields]
        return View(rgb.to(device), flow.contiguous().to(device), rotated.contiguous().to(device))

    return TwoViews(view(), view())


def fma_peak_gflops() -> float | None:
    """Measured FMA peak of one core; None without g++ or AVX2."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "peak.cpp", Path(folder) / "peak.so"
        source.write_text(FMA_PEAK_CPP)
        command = ["g++", "-O3", "-mavx2", "-mfma", "-shared", "-fPIC", str(source), "-o", str(library)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        peak = ctypes.CDLL(str(library)).fma_peak
        peak.argtypes, peak.restype = [ctypes.c_long], ctypes.c_float
        rounds, best = 20_000_000, float("inf")
        for _ in range(5):
            began = time.process_time()
            peak(rounds)
            best = min(best, time.process_time() - began)
        return rounds * 12 * 8 * 2 / best / 1e9


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
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.set_num_threads(1)
    networks = ModelConfig(
        rgb_width=given.rgb_width,
        flow_width=given.flow_width,
        neck_channels=round(128 * given.flow_width),  # as many as the flow encoder has, as in the paper
    )
    config = PretrainConfig(
        model=networks, loss=LossConfig(queue_size=given.queue), batch_size=given.batch, precision="fp32"
    )
    models = [build_model(config, World(0, 1, device)) for _ in range(2)]
    models[0].to(memory_format=torch.contiguous_format)
    optimisers = [
        torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=0.02, momentum=0.9, weight_decay=1e-4)
        for m in models
    ]
    plain, ours = PlainStep(models[0], optimisers[0]), OurStep(models[1], optimisers[1], device)
    views = {fields: synthetic_views(given.batch, given.crop, device, fields=fields) for fields in (8, 4)}
    byte_counter: Callable[[], Any] = ByteCounter
    with FlopCounterMode(display=False) as counter, byte_counter() as traffic:
        first_ours = ours(views[4])
    flops = counter.get_total_flops()
    first_plain = plain(views[8])
    if abs(first_plain - first_ours) > 1e-2 * abs(first_plain):
        raise SystemExit(f"the two steps differ: plain loss {first_plain}, ours {first_ours}")
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    clock = time.process_time if device.type == "cpu" else time.perf_counter  # a step ends with a synchronisation
    for _ in range(given.steps):
        for name, step, fields in (("plain", plain, 8), ("ours", ours, 4)):
            began = clock()
            step(views[fields])
            seconds[name].append(clock() - began)
    best = {name: min(times) for name, times in seconds.items()}
    print(f"crop {given.crop} px, batch {given.batch}, widths {given.rgb_width} / {given.flow_width}, {device}")
    print(f"plain {best['plain']:.3f} s   ours {best['ours']:.3f} s   ratio {best['plain'] / best['ours']:.2f}")
    print(f"{flops / given.batch / 1e9:.1f} GFLOP a clip pair, {flops / best['ours'] / 1e9:.1f} GFLOP/s")
    compute, memory = flops / H100_FLOPS, traffic.total / 2 / H100_BYTES_PER_S
    print(
        f"H100, arithmetic: {compute * 1e3:.2f} ms of tensor cores, {memory * 1e3:.2f} ms of memory unfused: "
        f"{given.batch / (compute + memory):.0f} to {given.batch / compute:.0f} clip pairs a second"
    )
    peak = fma_peak_gflops() if device.type == "cpu" else None
    if peak is not None:
        print(f"FMA peak of a core {peak:.1f} GFLOP/s: the step runs at {flops / best['ours'] / 1e9 / peak:.0%} of it")


if __name__ == "__main__":
    main()
