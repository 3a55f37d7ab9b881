"""The program: its commands, and what becomes of their errors."""

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
from .messages import say_error
from .values import Interrupted

__all__ = ["app", "main"]

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
        print(f"dbutterfly {dbf.__version__}")
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
    if threading.current_thread() is threading.main_thread():
        _end_in_order_when_terminated()
    try:
        code = app(given or ["--help"], prog_name="dbutterfly", standalone_mode=False)
        if code == INTERRUPTED:
            raise typer.Abort
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the results has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if os.environ.get("DBUTTERFLY_DEBUG"):
            traceback.print_exc()
        say_error(_message(error), "--log-json" in given)
        return _exit_code(error)
    return int(code or 0)


def _end_in_order_when_terminated() -> None:
    """Take SIGTERM, by which batch systems and containers end a program, for a Ctrl-C.

    A program in the background of a script is born deaf to Ctrl-C; it must hear it to be ended so.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))


def _is_usage(error: Exception) -> bool:
    """Whether typer refused the arguments; the class of its error has another home in every version."""
    return hasattr(error, "format_message")


def _message(error: Exception) -> str:
    if _is_usage(error):
        return f"{error.format_message()} (see --help)"  # type: ignore[attr-defined]
    if isinstance(error, typer.Abort):
        return "interrupted"
    expected = isinstance(error, (dbf.errors.DButterflyError, Interrupted))
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _exit_code(error: Exception) -> int:
    bad_input = _is_usage(error) or isinstance(error, (InputError, StoreError, MemoryBudgetError))
    return BAD_INPUT if bad_input else FAILED
