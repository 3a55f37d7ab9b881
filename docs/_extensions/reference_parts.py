"""Reference of the command line, from the program, of the configuration, from its YAML, and pages of the repository."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import typer

from dbutterfly.cli import exit_codes
from dbutterfly.cli.app import app
from dbutterfly.cli.examples import EXAMPLES
from dbutterfly.cli.on_demand import COMMANDS, load_command
from dbutterfly.execution.clusters.configuration import default_text

ROOT = Path(__file__).parents[2]

ENTRY = re.compile(r"^(?P<indent> +)(?P<key>[\w-]+):(?: (?P<value>.*?))??(?:\s+# (?P<words>.*))?$")
"""A line of the configuration: key, value, comment."""


def program() -> str:
    """Every command with its arguments, options and examples."""
    group: Any = typer.main.get_command(app)
    return "\n".join(line for name in COMMANDS for line in describe(load_command(name), f"dbutterfly {name}", group))


def describe(command: Any, path: str, group: Any) -> Iterator[str]:
    """Lines about one command."""
    context = group.context_class(command, info_name=path)
    yield f"## {path}\n"
    yield f"{inspect.cleandoc(command.help)}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{path} {usage}\n```\n"
    for parameter in command.get_params(context):
        if (record := parameter.get_help_record(context)) is not None:
            names, words = record
            yield f"`{names}`\n: {words.strip() or '(no words)'}\n"
    examples = EXAMPLES[path.split()[-1]]
    yield "\n".join(["```console", *(f"$ {line}" for line in examples), "```", ""])


def codes() -> str:
    """Exit codes with their docstrings."""
    tree, lines = ast.parse(inspect.getsource(exit_codes)).body, ["`0`\n: The program ended well.\n"]
    for node, words in itertools.pairwise(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(words, ast.Expr):
            value, said = ast.literal_eval(node.value or node), ast.literal_eval(words.value)
            if value != exit_codes.INTERRUPTED:  # of typer, and no code of the program
                lines.append(f"`{value}`\n: {' '.join(said.split()).replace('``', '`')}\n")
    return "\n".join(lines)


def configuration() -> str:
    """Every key of the configuration with its default and its comment, section by section."""
    lines = ["## Of every run\n"]
    for indent, key, value, words in entries():
        if indent == 2 and value is None:
            lines.append(f"## {key}\n")
            if words:
                lines.append(f"{words[0].upper()}{words[1:]}.\n")
        else:
            lines.append(f"`{key}: {value}`\n: {words or '(no words)'}\n")
    return "\n".join(lines)


def entries() -> Iterator[tuple[int, str, str | None, str]]:
    """Depth, key, value and comment of every key below the first, comments of several lines put together."""
    _, _, body = default_text().partition("\ndbutterfly:\n")
    found: list[list[Any]] = []
    for line in body.splitlines():
        if line.lstrip().startswith("#"):
            found[-1][3] += f" {line.lstrip(' #')}"
        elif match := ENTRY.match(line):
            found.append([len(match["indent"]), match["key"], match["value"], match["words"] or ""])
    yield from ((depth, key, value, words) for depth, key, value, words in found)


def page(name: str) -> str:
    """Text of a page at the root of the repository, without its title; nothing where there is none.

    Its links to files are for readers of the repository, and shown as the names of these files.
    """
    path = ROOT / name
    if not path.exists():
        return ""
    text = re.sub(r"\A# .*\n", "", path.read_text())
    return re.sub(
        r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)",
        lambda link: link[1] if "`" in link[1] else f"{link[1]} (`{link[2]}`)",
        text,
    )


def set_up(number: int) -> str:
    """One of the two commands of the README."""
    return re.findall(r"^```sh\n.*?^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[number]


PARTS: dict[str, Callable[[], str]] = {
    **{f"page {name}": partial(page, f"{name}.md") for name in ("CHANGELOG", "CONTRIBUTING")},
    "command to run the demo": partial(set_up, 0),
    "command to pass the tests": partial(set_up, 1),
    "program": program,
    "exit codes": codes,
    "configuration": configuration,
}
"""Parts of pages, by name."""
