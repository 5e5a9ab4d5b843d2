"""The processes that train one model together."""

from __future__ import annotations

import os

from LandmarkDetectionLib.data.errors import InputError


def started_processes() -> tuple[int, int]:
    """Processes on each machine, and machines, as torchrun or Slurm have started them; otherwise one.

    Raises:
        InputError: if Slurm does not say how many there are on each machine.
    """
    started = os.environ
    if "LOCAL_WORLD_SIZE" in started:
        here = int(started["LOCAL_WORLD_SIZE"])
        return here, int(started["WORLD_SIZE"]) // here
    tasks, machines = (int(started.get(f"SLURM_STEP_NUM_{what}", 1)) for what in ("TASKS", "NODES"))
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in started:
        raise InputError(
            f"Slurm started {tasks} tasks by --ntasks: say --ntasks-per-node, a task for each GPU of a node."
        )
    return tasks // machines, machines
