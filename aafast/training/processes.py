"""Training by several processes at once, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn

from ..checks import check_device
from ..errors import InputError, describe


@dataclass(frozen=True)
class Processes:
    """This process among those of a run; alone by default."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        if self.world == 1:
            return module
        # Every process computes the same spectral norms from the same weights: buffers need no broadcast.
        devices = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        if self.world == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared)
        return shared.tolist()

    def wait(self) -> None:
        """Go on only when every process is here."""
        if self.world > 1:
            self.sum([0.0])

    def share(self, batch: int) -> None:
        """Raise InputError unless a batch can be shared out evenly."""
        if batch % self.world:
            raise InputError(
                describe("batch of the training plan", batch, f"a multiple of the {self.world} processes", "Change it")
            )


@contextmanager
def joined(device: str | torch.device) -> Iterator[Processes]:
    """The processes of this run on this kind of device; with `torchrun`, each takes the GPU of its local rank."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(device=check_device(device))
        return
    name = torch.device(device)
    if name.type == "cuda" and name.index is None:
        name = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    name = check_device(name)
    own = not distributed.is_initialized()
    if own:
        if name.type == "cuda":
            torch.cuda.set_device(name)
        distributed.init_process_group("nccl" if name.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), name)
    finally:
        if own:
            distributed.destroy_process_group()
