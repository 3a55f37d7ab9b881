"""The program: its commands, its exit code, and the messages of its errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import dbutterfly as dbf

from ..errors import DButterflyError, InputError, MemoryBudgetError, StoreError
from .examples import epilog
from .exit_codes import BAD_INPUT, FAILED, INTERRUPTED
from .messages import Interrupted, show_error
from .on_demand import COMMANDS, CommandsOnDemand, new_program, stand_in
from .streams import UnwrittenResultsError, discard_results, flush_results, open_closed_streams, show

__all__ = ["app", "main"]

OPTIONS = {"overwrite=True": "--overwrite", "resume=False": "--no-resume"}
"""What messages call arguments of the library, and the options by which the program takes them."""

app = new_program(cls=CommandsOnDemand, epilog=epilog("demo", "generate", "plan", "factorize"))


for _name, _summary in COMMANDS.items():
    app.command(_name, help=_summary)(stand_in)


def show_version(wanted: bool) -> None:
    """Print the version and end the program, if that is wanted."""
    if wanted:
        show(f"dbutterfly {dbf.__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Certified butterfly factorization of matrices too big for one machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit code. With the environment variable ``DBUTTERFLY_DEBUG`` set, errors show their traceback too.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    open_closed_streams()
    try:
        code = app(given or ["--help"], prog_name="dbutterfly", standalone_mode=False)
        if code == INTERRUPTED:
            raise typer.Abort
        flush_results()
    except BrokenPipeError:  # the reader of the results has closed the pipe
        discard_results()
        return FAILED
    except Exception as error:
        if os.environ.get("DBUTTERFLY_DEBUG"):
            traceback.print_exc()
        show_error(_message(error), "--log-json" in given)
        discard_results()
        return _exit_code(error)
    return int(code or 0)


def _is_wrong_use(error: Exception) -> bool:
    """Whether typer refused the arguments. The module of the class of its error differs between versions of typer."""
    return hasattr(error, "format_message")


def _message(error: Exception) -> str:
    """One line about an error. The class is named where the error was not raised on purpose."""
    if _is_wrong_use(error):
        return f"{error.format_message()} (see --help)"  # type: ignore[attr-defined]
    if isinstance(error, typer.Abort):
        return "interrupted"
    expected = isinstance(error, (DButterflyError, Interrupted, UnwrittenResultsError))
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    for argument, option in OPTIONS.items():
        text = text.replace(argument, option)
    return " ".join(text.split())


def _exit_code(error: Exception) -> int:
    """Exit code of an error: wrong use and bad input, or a failure."""
    bad_input = _is_wrong_use(error) or isinstance(error, (InputError, StoreError, MemoryBudgetError))
    return BAD_INPUT if bad_input else FAILED
