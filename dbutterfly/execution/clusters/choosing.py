"""The choice of a kind of cluster, with all of its options, from the arguments of a call and the configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...errors import InputError
from ...structure.arguments import show_value
from .address import Address
from .configuration import read_configuration
from .cuda import Cuda
from .kind import Kind
from .kubernetes import Kubernetes
from .local import Local
from .options import read_options
from .queues import Lsf, Pbs, Sge
from .slurm import Slurm
from .threads import Threads

__all__ = ["KINDS", "choose"]

KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (Threads, Local, Address, Slurm, Pbs, Sge, Lsf, Kubernetes, Cuda)
}
"""All kinds by name."""

OPTIONS_OF_ALL_KINDS = ("tls", "dashboard", "wait", "profile")
"""Options that are configured once for all kinds."""


def choose(where: Any = None, **options: Any) -> Kind:
    """Choose a kind of cluster, with options in place of those that are configured.

    Parameters
    ----------
    where : str or Kind, optional
        Name of a kind, the address of a scheduler, or a kind that is chosen already. By default the configured kind,
        which is threads where nothing is configured.
    **options
        See ``dbutterfly/execution/clusters/dbutterfly.yaml``. ``workers=None`` stands for what is configured.

    Returns
    -------
    Kind
        The kind, with all its options; nothing is started.

    Raises
    ------
    InputError
        If there is no such kind or option.

    Examples
    --------
    >>> from dbutterfly import clusters
    >>> clusters.choose("slurm", workers=16, partition="long").walltime
    '01:00:00'
    """
    if options.get("workers", ...) is None:
        del options["workers"]
    if isinstance(where, Kind):
        if options:
            raise InputError(f"cluster={where.name!r} has its options already; leave out {', '.join(options)}")
        return where
    name = read_configuration("cluster") if where is None else where
    if not isinstance(name, str):
        raise InputError(
            f"cluster={show_value(name)} is a {type(name).__name__}; {_remedy()}. To a cluster that runs already, pass "
            "client=distributed.Client(...)"
        )
    if "://" in name:
        options, name = {**options, "address": name}, Address.name
        options.pop("workers", None)  # of a cluster that runs, the number of workers is given
    elif name not in KINDS or name == Address.name:
        raise InputError(f"cluster={show_value(name)} is unknown; {_remedy()}")
    kind = KINDS[name]
    known = {field.name for field in dataclasses.fields(kind)}
    common = {key: read_configuration(key) for key in OPTIONS_OF_ALL_KINDS if key in known}
    own = read_configuration(name)
    if not isinstance(own, Mapping):
        raise InputError(f"dbutterfly.{name}={own!r} in Dask's configuration is no mapping")
    return kind(**read_options(kind, name, _unite(common, own, options)))


def _unite(*mappings: Mapping[str, Any]) -> dict[str, Any]:
    """Options of several mappings, of which a later one takes precedence; hyphens in names are underscores."""
    return {key.replace("-", "_"): value for mapping in mappings for key, value in mapping.items()}


def _remedy() -> str:
    names = ", ".join(name for name in KINDS if name != Address.name)
    return f"use one of {names}, or the address of a Dask scheduler such as tcp://10.0.0.1:8786"
