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
    """The device that `--device` means on this machine.

    Raises:
        InputError: if this machine has no such device.
    """
    from LandmarkDetectionLib.detection import devices

    try:
        return devices.resolve_device(check_device_name(name))
    except InputError as error:
        raise InputError(f"--device {error}") from error


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
        metavar="N",
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
