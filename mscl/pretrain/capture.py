"""The optimiser step replayed as one CUDA graph: what launching its 3,000 kernels costs goes away (docs/gpu.md).

A graph repeats work on the same memory, so whatever changes from step to step comes in through tensors that are
filled before each replay: both views, the learning rate, the key momenta. The queues' pointer and ages, batch counts
and the optimiser's state are on the device anyway.
"""

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from mscl.losses import LossTerms
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.step import KeyMomenta, StepResult
from mscl.training.distributed import World
from mscl.views import TwoViews, View

WARM_UP_STEPS = 3
"""Steps that run eagerly first: libraries choose their algorithms and the optimiser makes its state."""

Work = Callable[[TwoViews, KeyMomenta], StepResult]


def why_not(config: PretrainConfig, world: World) -> str | None:
    """What keeps a run from replaying its step; None: nothing does."""
    if world.device.type != "cuda":
        return f"it runs on {world.device.type}"
    if world.size > 1:
        return f"{world.size} processes exchange gradients"
    if config.accumulate > 1:
        return f"pretrain.accumulate is {config.accumulate}"
    return None


class TensorStep:
    """A step whose numbers all come in as tensors: the same function for eager steps, capture and replay.

    Views are copied into buffers of its own, the learning rates of `optimiser` and the momenta into scalars.
    """

    def __init__(self, work: Work, optimiser: torch.optim.Optimizer, device: torch.device) -> None:
        self._work = work
        self._optimiser = optimiser
        self._device = device
        self._rates = [torch.zeros((), device=device) for _ in optimiser.param_groups]
        self._momenta: KeyMomenta | None = None
        self._views: TwoViews | None = None
        self.names: tuple[list[str], list[str]] = ([], [])

    def fits(self, views: TwoViews) -> bool:
        """Whether the views have the shapes of those that came first."""
        return self._views is None or [t.shape for t in _tensors(self._views)] == [t.shape for t in _tensors(views)]

    def fill(self, views: TwoViews, momenta: KeyMomenta) -> None:
        """What the next run reads."""
        if self._views is None or self._momenta is None:
            self._views = TwoViews(_copy_of(views.q), _copy_of(views.k))
            zero = torch.zeros((), device=self._device)
            self._momenta = KeyMomenta(zero.clone(), tuple(zero.clone() for _ in momenta.flow))
        for buffer, value in zip(_tensors(self._views), _tensors(views), strict=True):
            buffer.copy_(value)
        for tensor, number in zip((self._momenta.rgb, *self._momenta.flow), (momenta.rgb, *momenta.flow), strict=True):
            assert isinstance(tensor, Tensor)
            tensor.fill_(number)
        for rate, group in zip(self._rates, self._optimiser.param_groups, strict=True):
            rate.fill_(group["lr"])

    def run(self) -> Tensor:
        """One step on what was filled in; every loss term, every top-1 and the gradient's norm, as one vector."""
        assert self._views is not None and self._momenta is not None
        numbers = [group["lr"] for group in self._optimiser.param_groups]
        try:
            for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
                group["lr"] = rate
            result = self._work(self._views, self._momenta)
        finally:  # a checkpoint holds numbers
            for group, number in zip(self._optimiser.param_groups, numbers, strict=True):
                group["lr"] = number
        (term,) = result.terms
        self.names = list(term.value), list(term.top1)
        scalars = [*term.value.values(), *term.top1.values(), result.grad_norm]
        return torch.stack([scalar.detach().float() for scalar in scalars])

    def result(self, vector: Tensor) -> StepResult:
        """What `run` gave, by name; the vector is copied."""
        scalars = vector.clone().unbind()
        value, top1 = self.names
        terms = LossTerms(dict(zip(value, scalars, strict=False)), dict(zip(top1, scalars[len(value) :], strict=False)))
        return StepResult([terms], scalars[-1])


class CapturedStep:
    """Runs the first steps eagerly, records one as a CUDA graph, and replays it from then on.

    Views of another shape, or a recording that fails (for want of memory, say), fall back to eager steps with one
    line; no step is lost or made twice.

    Args:
        say: takes that line.
    """

    def __init__(
        self, work: Work, optimiser: torch.optim.Optimizer, device: torch.device, say: Callable[[str], None] = print
    ) -> None:
        self._step = TensorStep(work, optimiser, device)
        self._optimiser = optimiser
        self._eager = work
        self._say = say
        self._done = 0
        self._side = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._vector: Tensor | None = None
        self._given_up = False

    @property
    def replays(self) -> bool:
        """Whether a graph was recorded."""
        return self._graph is not None

    def __call__(self, views: TwoViews, momenta: KeyMomenta) -> StepResult:
        if self._given_up or not self._step.fits(views):
            return self._eager(views, momenta)
        self._step.fill(views, momenta)
        if self._graph is None and self._done >= WARM_UP_STEPS:
            self._record()
            if self._graph is None:
                return self._eager(views, momenta)
        self._done += 1
        if self._graph is not None and self._vector is not None:
            self._graph.replay()
            return self._step.result(self._vector)
        here = torch.cuda.current_stream()
        self._side.wait_stream(here)
        with torch.cuda.stream(self._side):  # where a graph is recorded must be no default stream
            vector = self._step.run()
        here.wait_stream(self._side)
        return self._step.result(vector)

    def _record(self) -> None:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._side, capture_error_mode="thread_local"):
                self._vector = self._step.run()
        except (RuntimeError, AssertionError) as error:
            self._given_up, self._vector = True, None
            self._optimiser.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            reason = str(error).strip().split("\n")[0][:200]
            self._say(f"the step could not be recorded as a CUDA graph and runs eagerly: {reason}")
            return
        self._graph = graph


def _tensors(views: TwoViews) -> list[Tensor]:
    each = [getattr(view, field.name) for view in (views.q, views.k) for field in fields(View)]
    return [tensor for tensor in each if tensor is not None]


def _copy_of(view: View) -> View:
    def copied(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.clone()

    return View(view.rgb_B3THW.clone(), copied(view.flow_B3FHW), copied(view.rotated_B3FHW))
