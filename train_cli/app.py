"""The commands put together, and what happens when one fails.

Exit codes: 0 done; 2 the input is wrong, and one sentence says what, where and what to do; 3 `detect` found
not one landmark in any scan; 1 our fault, with a traceback; 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from LandmarkDetectionLib import __version__
from LandmarkDetectionLib.data.errors import InputError
from train_cli import (
    bundle,
    cases,
    check,
    demo,
    detect,
    evaluate,
    landmarks,
    masks,
    phantom,
    plan,
    split,
    train,
)
from train_cli.console import allow_any_text, print_error

DONE, OUR_FAULT, WRONG_INPUT = 0, 1, 2

app = typer.Typer(
    name="train_cli",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.run)
app.command("phantom", epilog=phantom.EXAMPLES)(phantom.run)
app.command("cases", epilog=cases.EXAMPLES)(cases.run)
app.command("masks", epilog=masks.EXAMPLES)(masks.run)
app.command("split", epilog=split.EXAMPLES)(split.run)
app.command("check", epilog=check.EXAMPLES)(check.run)
app.command("plan", epilog=plan.EXAMPLES)(plan.run)
app.command("train", epilog=train.EXAMPLES)(train.run)
app.command("detect", cls=detect.Command, epilog=detect.EXAMPLES)(detect.run)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.run)
app.command("landmarks", epilog=landmarks.EXAMPLES)(landmarks.run)
app.add_typer(bundle.app, name="bundle")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Args:
        arguments: the words after the program's name; those of this process if None.
    """
    allow_any_text()
    command = typer.main.get_command(app)
    try:
        command.main(args=arguments, prog_name="train_cli")
    except SystemExit as finished:
        return finished.code if isinstance(finished.code, int) else DONE
    except InputError as error:
        print_error(str(error))
        return WRONG_INPUT
    except Exception:  # the border of the program: whatever else fails is a fault of ours
        traceback.print_exc()
        print_error("This is a fault of train_cli, not of your data: please report it with the lines above.")
        return OUR_FAULT
    return DONE


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"train_cli {__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and stop."),
    ] = False,
) -> None:
    """Train on annotated 3D scans and find their landmarks in new ones.

    In this order: list the [bold]cases[/bold], [bold]check[/bold] them, draw their [bold]masks[/bold],
    [bold]split[/bold] them, [bold]plan[/bold], [bold]train[/bold], [bold]detect[/bold],
    [bold]evaluate[/bold]. [bold]phantom[/bold] makes synthetic cases to try all of it, [bold]demo[/bold]
    does all of it on them.

    Exit codes: 0 done; 2 the input is wrong, and one sentence says what to do;
    3 detect found nothing in any scan; 1 a fault of the program; 130 stopped.
    """
