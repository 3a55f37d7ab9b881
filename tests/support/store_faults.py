"""Single faults in the files of a run's store, drawn at random, and what must come of each of them."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dbutterfly as dbf
from dbutterfly.errors import DButterflyError


def flip(path: Path, rng: random.Random, _: Path) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random, _: Path) -> None:
    """Cut the file off."""
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def zero(path: Path, *_: Any) -> None:
    """Replace all bytes by zeros, as a file system may after a loss of power."""
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path, *_: Any) -> None:
    """Delete the file."""
    path.unlink()


def directory(path: Path, *_: Any) -> None:
    """Put a directory in its place."""
    path.unlink()
    (path / "inside").mkdir(parents=True)


def pipe(path: Path, *_: Any) -> None:
    """Put a pipe in its place, to which nobody writes."""
    path.unlink()
    os.mkfifo(path)


def dangling_link(path: Path, *_: Any) -> None:
    """Put a link to nothing in its place."""
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


def looping_link(path: Path, *_: Any) -> None:
    """Put a link to itself in its place."""
    path.unlink()
    path.symlink_to(path)


def file_for_directory(path: Path, *_: Any) -> None:
    """Put a file in the place of the directory that it is in."""
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")


def link_to_parent(path: Path, *_: Any) -> None:
    """Put a link to the parent directory in the place of the directory that it is in."""
    shutil.rmtree(path.parent)
    path.parent.symlink_to(path.parent.parent)


def swap(path: Path, _: Any, twin: Path) -> None:
    """Take the file of the same name of another run."""
    shutil.copy(twin, path)


ANYWHERE: list[Callable[..., None]] = [
    flip, truncate, zero, delete, directory, pipe, dangling_link, looping_link, swap,
]  # fmt: skip
INSIDE: list[Callable[..., None]] = [file_for_directory, link_to_parent]
"""Faults that spare the run's own directory."""


@dataclass
class Outcome:
    """What came of a fault: the calls that it took to the right result, or the sentence with which it ended."""

    fault: str
    file: str
    calls: int
    sentence: str = ""
    problem: str = ""


def outcomes(
    run: Path, twin: Path, source: Any, arguments: dict[str, Any], expected: dbf.Factorization, *, seed: int, count: int
) -> Iterator[Outcome]:
    """Draw faults, and call ``open`` once and ``factorize`` up to three times after each.

    Parameters
    ----------
    run, twin : Path
        Stores of two runs that differ in their matrices only; they are left as they are.
    source, arguments
        How the run was called.
    expected : Factorization
        What it must give.
    seed, count : int
        Of the draw, and number of faults.
    """
    rng, place = random.Random(seed), run.with_name("place")
    files = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())
    for _ in range(count):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(run, place)
        file = rng.choice(files)
        inside = file.parent != Path(".")
        fault = rng.choice(ANYWHERE + INSIDE if inside else ANYWHERE)
        other = _of_twin(twin, run, file)
        fault(place / file, rng, other)
        yield _try(place, source, arguments, expected, Outcome(fault.__name__, str(file), 0))


def _of_twin(twin: Path, run: Path, file: Path) -> Path:
    """Same file of the other run, whose epoch has another name."""
    epochs = [next(iter(path.name for path in (one / "work").glob("*") if path.is_dir()), "") for one in (run, twin)]
    return twin / str(file).replace(*epochs) if epochs[0] else twin / file


def _try(place: Path, source: Any, arguments: dict[str, Any], expected: Any, outcome: Outcome) -> Outcome:
    calls: list[Callable[[], Any]] = [lambda: dbf.open(place)]
    calls += [lambda: dbf.factorize(source, store=place, **arguments)] * 3
    for call in calls:
        try:
            found = call()
        except DButterflyError as error:
            outcome.sentence = str(error)
        except BaseException as error:
            outcome.problem = f"{type(error).__name__}: {error}"
            return outcome
        else:
            outcome.sentence = ""
            if not same(found, expected):
                outcome.problem = "wrong result"
                return outcome
        if call is not calls[0]:
            outcome.calls += 1
            if not outcome.sentence:
                break
    return outcome


def same(one: dbf.Factorization, other: dbf.Factorization) -> bool:
    """Whether two results are equal to the bit."""
    pairs = zip(one.ks_values, other.ks_values, strict=True)
    return all((a == b).all() for a, b in pairs) and one.certificate == other.certificate
