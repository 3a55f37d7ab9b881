"""The program: its commands, its exit code, and the messages of its errors."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import dbutterfly as dbf

from ..errors import InputError, MemoryBudgetError, StoreError
from ..execution.early_interrupts import end_program
from .commands.apply import apply
from .commands.cluster import cluster
from .commands.demo import demo
from .commands.factorize import factorize
from .commands.generate import generate
from .commands.identify import identify
from .commands.info import info
from .commands.plan import plan
from .commands.report import report
from .commands.verify import verify
from .examples import epilog
from .exit_codes import BAD_INPUT, FAILED, INTERRUPTED
from .messages import show_error
from .streams import UnwrittenResultsError, discard_results, flush_results, open_closed_streams, show
from .values import Interrupted

__all__ = ["app", "main"]

OPTIONS = {"overwrite=True": "--overwrite", "resume=False": "--no-resume"}
"""What messages call arguments of the library, and the options by which the program takes them."""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=epilog("demo", "generate", "plan", "factorize"),
)
for command in (demo, generate, plan, factorize, identify, apply, verify, info, cluster, report):
    app.command(epilog=epilog(command.__name__))(command)


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
    if threading.current_thread() is threading.main_thread():
        _treat_sigterm_as_ctrl_c()
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


def _treat_sigterm_as_ctrl_c() -> None:
    """Let SIGTERM, by which batch systems and containers end a program, do what Ctrl-C does.

    A shell script starts its background programs with SIGINT ignored. The handler of Python is put back then, since a
    raised SIGINT would be ignored too; and in place of that which ends the program while it is imported.
    """
    if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, end_program):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))


def _is_wrong_use(error: Exception) -> bool:
    """Whether typer refused the arguments. The module of the class of its error differs between versions of typer."""
    return hasattr(error, "format_message")


def _message(error: Exception) -> str:
    """One line about an error. The class is named where the error was not raised on purpose."""
    if _is_wrong_use(error):
        return f"{error.format_message()} (see --help)"  # type: ignore[attr-defined]
    if isinstance(error, typer.Abort):
        return "interrupted"
    expected = isinstance(error, (dbf.errors.DButterflyError, Interrupted, UnwrittenResultsError))
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    for argument, option in OPTIONS.items():
        text = text.replace(argument, option)
    return " ".join(text.split())


def _exit_code(error: Exception) -> int:
    """Exit code of an error: wrong use and bad input, or a failure."""
    bad_input = _is_wrong_use(error) or isinstance(error, (InputError, StoreError, MemoryBudgetError))
    return BAD_INPUT if bad_input else FAILED
