"""Versions of what a scheduler and its workers have installed, beside those of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["different_versions"]


def different_versions(client: Client, packages: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compare versions on all processes of a cluster.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    packages : sequence of str
        Packages that are compared beside those on which Dask itself depends; Python always is.

    Returns
    -------
    dict
        For each package of which not all have the same version: the version of each process, by ``"client"``,
        ``"scheduler"`` and the addresses of workers; None where it is not installed.
    """
    told = client.get_versions(packages=list(packages))
    processes = {"client": told["client"], "scheduler": told["scheduler"], **told["workers"]}
    found = {name: (told or {}).get("packages", {}) for name, told in processes.items()}
    names = {package for versions in found.values() for package in versions}
    by_package = {name: {process: versions.get(name) for process, versions in found.items()} for name in sorted(names)}
    return {name: versions for name, versions in by_package.items() if len(set(versions.values())) > 1}
