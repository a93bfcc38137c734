"""The queue of keys that serve as negatives (METHOD 1.6, 1.7; He et al., "Momentum contrast", CVPR 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscl.losses import Embeddings, Negatives, decayed


class KeyQueues(nn.Module):
    """K keys of the RGB stream and, beside them, K of the flow stream, with their age in steps.

    Both are written together, so they share age and pointer. Nothing here is trained; everything is in the
    state of the module. Starts with normalised Gaussian keys of age 0.

    Args:
        embed_dim: D.
        size: K.
        flow: keep a queue of flow keys too.
        decay: D10, negatives are scaled by decay ** age; None: off.
    """

    rgb_DK: Tensor
    flow_DK: Tensor | None
    age_K: Tensor
    pointer: Tensor

    def __init__(self, embed_dim: int, size: int, *, flow: bool, decay: float | None = None) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("rgb_DK", F.normalize(torch.randn(embed_dim, size), dim=0))
        self.register_buffer("flow_DK", F.normalize(torch.randn(embed_dim, size), dim=0) if flow else None)
        self.register_buffer("age_K", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def negatives(self) -> Negatives:
        """The queues as they stand, not copied: read them before `enqueue`, use them until then."""
        flow_DK = self.flow_DK
        return Negatives(
            decayed(self.rgb_DK, self.age_K, decay=self.decay),
            None if flow_DK is None else decayed(flow_DK, self.age_K, decay=self.decay),
        )

    def negatives_after(self, keys: Embeddings) -> Negatives:
        """Copies of the queues as `enqueue(keys)` would leave them (released order of the step, D6)."""
        slots_B, age_K = self._slots(keys.rgb), self._older(self._slots(keys.rgb))
        rgb_DK = self.rgb_DK.index_copy(1, slots_B, keys.rgb.T)
        flow_DK = self.flow_DK
        if flow_DK is not None and keys.flow is not None:
            flow_DK = decayed(flow_DK.index_copy(1, slots_B, keys.flow.T), age_K, decay=self.decay)
        return Negatives(decayed(rgb_DK, age_K, decay=self.decay), flow_DK)

    @torch.no_grad()
    def enqueue(self, keys: Embeddings) -> None:
        """The oldest keys make room for those of one step, of all ranks; rotated keys never enter.

        Raises:
            ValueError: the number of keys does not divide K.
        """
        size, count = self.age_K.shape[0], keys.rgb.shape[0]
        if size % count:
            raise ValueError(
                f"a queue of {size} keys cannot take {count} a step; choose K divisible by the global batch"
            )
        slots_B = self._slots(keys.rgb)
        self.rgb_DK.index_copy_(1, slots_B, keys.rgb.T)
        if self.flow_DK is not None and keys.flow is not None:
            self.flow_DK.index_copy_(1, slots_B, keys.flow.T)
        self.age_K.copy_(self._older(slots_B))
        self.pointer.add_(count).remainder_(size)

    def _slots(self, keys_BD: Tensor) -> Tensor:
        # On the device: reading the pointer on the host would wait for the device at every step.
        places_B = torch.arange(keys_BD.shape[0], device=self.pointer.device)
        return (self.pointer + places_B) % self.age_K.shape[0]

    def _older(self, slots_B: Tensor) -> Tensor:
        return (self.age_K + 1).index_fill(0, slots_B, 1)
