"""The numbers of a run's samples."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """The numbers of an epoch's samples: never the same twice in a run, shared out among processes.

    Lightning calls `set_epoch` before every epoch.
    """

    def __init__(self, samples: int, *, rank: int = 0, processes: int = 1) -> None:
        self.samples = samples
        self.rank = rank
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose numbers are drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.samples * self.processes
        return iter(range(first + self.rank, first + self.samples * self.processes, self.processes))
