"""Values of the public interface from the texts of the command line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..execution.clusters import Kind, choose, opened
from ..execution.clusters.options import parse_options
from ..planning.sizes import parse_memory
from ..sources.base import MatrixSource
from ..sources.packing import find_packing
from ..sources.stacks.base import StackSource
from ..storage.arrays import open_array, read_array
from ..storage.destinations import Place
from ..storage.files import FileKind, check_file, write_whole
from ..storage.local_paths import is_url, local_path
from ..structure.arguments import show_value
from ..structure.chain import Chain
from ..structure.chain_names import chain_for, is_chain_name
from ..structure.orderings import AUTO
from ..structure.point_orderings import check_unordered
from ..structure.points import Points
from ..structure.weights import Weights

__all__ = [
    "absolute_place",
    "check_array_file",
    "choose_cluster",
    "load_array",
    "load_weights",
    "open_cluster",
    "parse_bandwidth",
    "parse_chain",
    "parse_job",
    "parse_levels",
    "parse_orderings",
    "parse_pair",
    "parse_period",
    "parse_points",
    "parse_tree",
    "save_array",
]

NPY = FileKind("a .npy file", lambda head: head.startswith(b"\x93NUMPY"))


def absolute_place(place: str) -> str:
    """Absolute path, which names the same place to workers and to later calls from other directories. URLs stay."""
    return place if is_url(place) else local_path(place)


def parse_chain(text: str | None, shape: tuple[int, int]) -> Chain | None:
    """Chain from a name, a list of patterns or JSON; None for the default chain.

    Raises
    ------
    InputError
        If ``text`` is none of these. Its subclass ChainError if the chain does not exist.
    """
    if text is None or text == "chainable":
        return None
    if is_chain_name(text):
        return chain_for(text, shape)
    name, _, divisors = text.partition(":")
    if name == "monarch":
        return Chain.monarch(shape, *parse_pair(divisors, "chain monarch:"))
    try:
        patterns = json.loads(text) if text.startswith("[") else [_parse_integers(part) for part in text.split(";")]
    except (ValueError, RecursionError):
        raise InputError(
            f"--chain {show_value(text)} is unknown; use dyadic, monarch, monarch:p,q, chainable, patterns such as "
            "1,2,2,4;2,2,2,2;4,2,2,1, or a JSON list of such fours"
        ) from None
    return Chain(patterns)


def parse_tree(text: str) -> Any:
    """Name of a tree, or nested pairs from JSON."""
    if not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"--tree {show_value(text)} is no JSON: {error}; write nested pairs such as [[0,1],[2,3]]"
        ) from None


def parse_orderings(text: str | None) -> Any:
    """Pair of orderings, or auto: each None, a name, or the index array of a ``.npy`` file."""
    if text is None or text == AUTO:
        return text
    sides = ["identify"] * 2 if text == "identify" else text.split(",")
    if len(sides) != 2:
        raise InputError(
            f"--orderings {show_value(text)} is not ROWS,COLS; each is none, bitreversal, identify or a .npy file of "
            "indices"
        )
    rows, cols = (_parse_side(side.strip()) for side in sides)
    return rows, cols


def parse_levels(text: str) -> list[int]:
    """Integers from a text such as ``4,5,6``."""
    try:
        return list(_parse_integers(text))
    except ValueError:
        raise InputError(f"--levels {show_value(text)} is no list of integers separated by commas") from None


def parse_pair(text: str, option: str) -> tuple[int, int]:
    """Two integers from a text such as ``64,1024``."""
    try:
        first, second = _parse_integers(text)
    except ValueError:
        raise InputError(f"--{option} {show_value(text)} is not two integers separated by a comma") from None
    return first, second


def parse_bandwidth(text: str) -> float:
    """Bytes per second from a text such as ``500MB/s``."""
    try:
        count = parse_memory(text.removesuffix("/s"))
    except InputError:
        count = None
    if count is None:
        raise InputError(f"--read-bandwidth {show_value(text)} is no number of bytes per second; write it like 500MB/s")
    return float(count)


def parse_job(
    source: MatrixSource,
    chain: str | None,
    tree: str,
    rank: int | None,
    tol: float | None,
    passes: int,
    orderings: str | None,
    points: tuple[str | None, str | None, str | None],
) -> dict[str, Any]:
    """Arguments that ``plan`` and ``factorize`` of the public interface share."""
    shape = source.shapes[0] if isinstance(source, StackSource) else source.shape
    job = {
        "chain": parse_chain(chain, shape),
        "tree": parse_tree(tree),
        "rank": 1 if rank is None else rank,
        "tol": tol,
        "passes": passes,
        "orderings": parse_orderings(orderings),
        "points": parse_points(*points),
    }
    check_unordered(job["points"], job["orderings"])
    return job


def parse_points(rows: str | None, cols: str | None, period: str | None) -> Points | None:
    """Points whose coordinates lie at these places, and wrap after a period; None where none are given.

    Raises
    ------
    InputError
        If a place holds no coordinates, or there is a period of none.
    """
    wraps = parse_period(period)
    if rows is None and cols is None:
        if period is not None:
            raise InputError(
                f"--period {show_value(period)} is that of points; give their coordinates with --row-points, "
                "--col-points, or both"
            )
        return None
    row_points, col_points = (None if place is None else load_array(place) for place in (rows, cols))
    return Points(row_points, col_points, wraps)


def parse_period(text: str | None) -> float | list[float | None] | None:
    """Period of all coordinates from a text such as ``360``, or one for each from ``none,360``.

    Raises
    ------
    InputError
        If it is none of these.
    """
    try:
        each = [None if part.strip() == "none" else float(part) for part in ([] if text is None else text.split(","))]
    except ValueError:
        raise InputError(
            f"--period {show_value(text)} is no length; give one for all coordinates, such as 360, or one for each, "
            "none where it does not wrap, such as none,360"
        ) from None
    return each if len(each) > 1 else next(iter(each), None)


def load_weights(rows: str | None, cols: str | None) -> Weights | None:
    """Weights that lie at these places; None where none are given.

    Raises
    ------
    InputError
        If a place holds no weights.
    """
    if rows is None and cols is None:
        return None
    return Weights(*(None if place is None else load_array(place) for place in (rows, cols)))


def load_array(place: str, *, decode: bool = True) -> NDArray[Any]:
    """Numbers of a ``.npy`` file, memory-mapped, or of a Zarr array, decoded by its attributes.

    Raises
    ------
    InputError
        If nothing is there, or the file holds no numbers. StoreError if it is no Zarr array.
    """
    path = None if is_url(place) else Path(local_path(place))
    if path is not None and not path.exists():
        raise InputError(f"{place!r} does not exist; give a .npy file or a Zarr array")
    if path is None or not path.is_file():
        packing = find_packing(open_array(place), f"Zarr array {place}") if decode else None
        numbers = read_array(place)
        return numbers if packing is None else packing.decode(numbers)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{place!r} is no readable .npy file of numbers: {error}") from error
    return array


def check_array_file(place: str, sources: Iterable[Place], *, overwrite: bool) -> str:
    """Absolute path of a ``.npy`` file that may be written; refuse a place where none can be, before any work is done.

    Raises
    ------
    InputError
        If it is one of the sources, lies in or around one, or holds something that may not be replaced.
    """
    return check_file(place, NPY, argument="file", sources=sources, overwrite=overwrite)


def save_array(place: str, array: NDArray[Any], sources: Iterable[Place] = (), *, overwrite: bool = False) -> None:
    """Write a ``.npy`` file under exactly this name, complete or not at all.

    Raises
    ------
    InputError
        If it cannot be written, or :func:`check_array_file` refuses it.
    """
    path = check_array_file(place, sources, overwrite=overwrite)
    try:
        write_whole(path, lambda file: np.save(file, array, allow_pickle=False))
    except OSError as error:
        raise InputError(f"{place!r} cannot be written: {error}") from error


def choose_cluster(where: str | None, pairs: list[str] | None, tls: str | None, workers: int | None) -> Kind:
    """Kind of cluster that the command line asks for. ``--workers`` and ``--tls`` override ``--cluster-option``.

    Raises
    ------
    InputError
        If there is no such kind or option.
    """
    named = {name: value for name, value in (("tls", tls), ("workers", workers)) if value is not None}
    return choose(where, **{**parse_options(pairs or []), **named})


def open_cluster(
    where: str | None, pairs: list[str] | None, tls: str | None, workers: int | None
) -> contextlib.AbstractContextManager[Any]:
    """Cluster that the command line asks for: started when there is work, closed with the block.

    Raises
    ------
    InputError
        If it cannot be had.
    """
    return opened(choose_cluster(where, pairs, tls, workers))


def _parse_integers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _parse_side(text: str) -> Any:
    if text in ("none", ""):
        return None
    return load_array(text) if text.endswith(".npy") else text
