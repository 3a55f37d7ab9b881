"""The commands by name, each of which is imported when it is called: the program starts with none of them."""

from __future__ import annotations

import importlib
import signal
import threading
from typing import Any

import typer
from typer.core import TyperGroup

from ..execution.early_interrupts import end_program
from .examples import epilog

__all__ = ["COMMANDS", "CommandsOnDemand", "load_command", "new_program", "stand_in"]

COMMANDS = {
    "demo": "Show it all on a noisy Fourier matrix.",
    "generate": "Write a known matrix into a new Zarr array.",
    "advise": "Say which orderings and rank fit a matrix, if any.",
    "plan": "Predict what a factorization will cost.",
    "factorize": "Factorize a matrix, or a stack of matrices, into a store.",
    "identify": "Find orderings in which a matrix is butterfly.",
    "apply": "Multiply a vector or a matrix by a factorization.",
    "verify": "Measure the error of a factorization.",
    "prove": "Prove how near a factorization is to the best one.",
    "info": "Show factors, certificate and record of a run or stack.",
    "cluster": "Show what a cluster would be, without starting it.",
    "compile": "Compile the kernels beforehand.",
    "doctor": "Show what is installed and found on this machine.",
    "report": "Save a page that shows a run.",
}
"""Every command with the first sentence of its help, in the order of the help of the program."""


class CommandsOnDemand(TyperGroup):
    """The commands, of which names and first sentences are known, and the one that is called is imported."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that arguments begin with; see typer for the rest."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(str(name)), rest


def new_program(**options: Any) -> typer.Typer:
    """Make a program without commands, whose errors and help are plain text."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, **options)


def stand_in() -> None:
    """Stand for a command until it is called."""


def load_command(name: str) -> Any:
    """Import a command, during which Ctrl-C ends the program at once."""
    module = importlib.import_module(f".commands.{name}", __package__)
    if threading.current_thread() is threading.main_thread():
        _treat_sigterm_as_ctrl_c()
    program = new_program(add_completion=False)
    program.command(name, epilog=epilog(name))(getattr(module, name))
    return typer.main.get_command(program)


def _treat_sigterm_as_ctrl_c() -> None:
    """Let SIGTERM, by which batch systems and containers end a program, do what Ctrl-C does.

    A shell script starts its background programs with SIGINT ignored. The handler of Python is put back then, since a
    raised SIGINT would be ignored too; and in place of that which ends the program while it is imported.
    """
    if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, end_program):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
