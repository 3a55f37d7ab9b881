"""What runs of a matrix and of a stack do alike with the store that one was found in, or is begun in."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import CheckpointError, StoreError, StoreMismatchError
from ..sources.base import MatrixSource
from ..storage.manifest import Manifest
from ..storage.run_store import RunStore
from .identity import Identity, Recognition

__all__ = ["check_chunks", "continue_identity", "create_or_open", "identity_of", "load_result"]

_log = logging.getLogger("dbutterfly")

Result = TypeVar("Result")


def create_or_open(store: Any, manifest: Manifest) -> tuple[RunStore, bool]:
    """Create a run, or open that of another call which has begun it at the same moment; whether it was created."""
    try:
        return RunStore.create(store, manifest), True
    except StoreError:
        stored = RunStore.open(store, mode="r+")
        if stored is None:
            raise
        return stored, False


def load_result(stored: RunStore, load: Callable[[RunStore], Result]) -> Result | None:
    """Load the result of a complete run; None if it is damaged, as an earlier call has told, and is to be made anew.

    Nothing is deleted when it is told: it may still be restored from a backup.
    """
    try:
        return load(stored)
    except CheckpointError as error:
        if stored.manifest.damaged is not None:
            _log.warning("%s: everything is computed again", str(error).partition(";")[0])
            return None
        with contextlib.suppress(StoreError):  # a store that cannot be written stays as it is
            stored.update(damaged=error.name)
        raise


def check_chunks(source: MatrixSource, stored: RunStore) -> None:
    """Refuse to go on with a matrix, or a stack, that has lost or gained chunks since the run began."""
    assert stored.manifest.plan is not None
    before = stored.manifest.plan["chunks"]["missing"]
    if before != source.missing_chunks:
        raise StoreMismatchError(
            f"{source.name} had {before} missing chunks when the run in store={stored.group.store_path} began, and has "
            f"{source.missing_chunks} now; put it back as it was, or begin anew with resume=False"
        )


def identity_of(source: MatrixSource, stored: RunStore, found: Recognition) -> Identity:
    """Identity of a matrix, or a stack, recognised as that of a run; what was not read yet may have changed."""
    if found.is_untouched or found.stamps is None:
        return Identity.open(stored, found.stamps)
    return Identity.of(source, found.stamps)


def continue_identity(source: MatrixSource, stored: RunStore, found: Recognition) -> Identity:
    """Identity with which a run goes on, kept in its store where it is not that of its beginning."""
    identity = identity_of(source, stored, found)
    if identity.to_json() != stored.manifest.identity:
        stored.update(identity=identity.to_json())
        identity.keep(stored)
    return identity
