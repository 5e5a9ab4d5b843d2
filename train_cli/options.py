"""The flags that every command has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from LandmarkDetectionLib.data.errors import InputError

if TYPE_CHECKING:
    import torch

_PANEL = "Standard flags"
LARGEST_SEED = 2**32 - 1


def check_device_name(name: str) -> str:
    """The name itself if it is auto, cpu, cuda or cuda:i; whether there is such a device is not looked at.

    Raises:
        InputError: if it is anything else.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise InputError(f"--device {name}: there is no such device; use auto, cpu, cuda or cuda:0.")
    return name


def resolve_device(name: str) -> torch.device:
    """The device that `--device` means on this machine; auto is the first GPU, or the CPU without one.

    Raises:
        InputError: if this machine has no such device.
    """
    import torch

    check_device_name(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise InputError(
                f"--device {name}: PyTorch finds no NVIDIA GPU on this machine; use --device cpu."
            )
        if device.index is not None and device.index >= count:
            raise InputError(f"--device {name}: this machine has {count} GPU; the last is cuda:{count - 1}.")
    return device


Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:i]",
        callback=check_device_name,
        help="Where to compute. Commands that only handle files run on the CPU whatever it says.",
        rich_help_panel=_PANEL,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        max=LARGEST_SEED,
        help="The same seed gives the same result.",
        rich_help_panel=_PANEL,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", help="Show only errors, warnings and a --json result.", rich_help_panel=_PANEL),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on standard output and nothing else there.",
        rich_help_panel=_PANEL,
    ),
]
