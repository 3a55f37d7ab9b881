"""The check for chunks that the storage of a matrix does not hold: a warning, or an error."""

from __future__ import annotations

from ..errors import MissingChunksError, MissingChunksWarning, warn_caller
from .base import MatrixSource

__all__ = ["check_missing"]


def check_missing(source: MatrixSource, missing: str) -> None:
    """Warn of chunks of a matrix that are not in its storage, or refuse them.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    missing : {"fill", "error"}
        Whether missing chunks are taken for their fill value, with a warning, or refused.

    Warns
    -----
    MissingChunksWarning
        If chunks are missing and are taken for their fill value, or if the storage does not tell which chunks it holds.
        The reported file and line are those of the code that called this package.

    Raises
    ------
    MissingChunksError
        If chunks are missing and refused, or if the storage does not tell which chunks it holds and they must be known.
    InputError
        If ``missing`` is neither of the two.
    """
    if source.lists_chunks and not source.missing_chunks:
        return
    warning, refusal = _missing_texts(source)
    if missing == "error":
        raise MissingChunksError(f"{source.name}: {refusal}")
    warn_caller(f"{source.name}: {warning}", MissingChunksWarning)


def _missing_texts(source: MatrixSource) -> tuple[str, str]:
    """Texts of the warning and of the error."""
    fill = "zeros, since no fill value is set" if source.fill_value is None else f"the fill value {source.fill_value}"
    if not source.lists_chunks:
        text = f"its store cannot be listed, so that missing chunks, read as {fill}, go unnoticed"
        return text, f"{text}; pass missing='fill' to accept that, or name a store that can be listed"
    count = f"{source.missing_chunks} of {source.chunk_count} chunks are not stored"
    keys = source.missing_keys(5)
    listed = ", ".join(keys) + (", ..." if source.missing_chunks > len(keys) else "")
    return (
        f"{count} and are taken for {fill}, the first being {keys[0]}; this is right if they were never written, and "
        "wrong if they were lost: pass missing='error' to refuse them",
        f"{count}: {listed}; restore them, or pass missing='fill' to take them for {fill} (Zarr need not store chunks "
        "that hold nothing else)",
    )
