"""The command ``doctor``."""

from __future__ import annotations

import contextlib
import textwrap
import warnings
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ...errors import InputError
from ...execution.clusters import Address, OnDemand
from ...execution.clusters.versions import different_versions
from ...planning.sizes import format_bytes
from ..diagnosis import PACKAGES, diagnose
from ..exit_codes import ABOVE_TOLERANCE
from ..options import AsJson, ClusterOptions, TlsText
from ..printing import print_json, print_lines
from ..values import choose_cluster

__all__ = ["doctor"]

SECONDS_FOR_WORKERS = "30 s"
"""How long a scheduler may be without a worker, unless the option ``wait`` says. Not tuned: it should run already."""


WIDTH = 100
"""Letters of a line of packages. Not tuned."""


def doctor(
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="Address of a Dask scheduler, such as tcp://10.0.0.1:8786, to compare with."),
    ] = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    as_json: AsJson = False,
) -> None:
    """Show what is installed and found on this machine.

    Versions, cores, memory, libraries, compiled kernels, GPU, resource managers and extras. With --cluster, also which
    packages have other versions on scheduler and workers; exit with code 3 if any have.
    """
    found = diagnose()
    if cluster is not None:
        found["cluster"] = {"address": cluster, "different": _compare(cluster, cluster_option, tls)}
    if as_json:
        print_json(found)
    else:
        print_lines(diagnosis_lines(found))
    if found.get("cluster", {}).get("different"):
        raise typer.Exit(ABOVE_TOLERANCE)


def _compare(address: str, pairs: list[str] | None, tls: str | None) -> dict[str, dict[str, Any]]:
    """Packages of which the processes of a running cluster have different versions."""
    kind = choose_cluster(address, [f"wait={SECONDS_FOR_WORKERS}", *(pairs or [])], tls, None)
    if not isinstance(kind, Address):
        raise InputError(f"--cluster {address!r} is no cluster that runs; give the address of its scheduler")
    with OnDemand(kind) as cluster, _without_warnings():
        return different_versions(cluster.client(), ("dbutterfly", *PACKAGES))


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Block in which Dask does not warn of what is shown afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def diagnosis_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and texts of a diagnosis."""
    yield "dbutterfly", _package_text(found["dbutterfly"])
    yield "python", f"{found['python']['version']}, {found['python']['executable']}"
    yield "system", found["system"]
    yield from _packages_lines(found["packages"])
    usable, machine = found["cores"]["usable"], found["cores"]["machine"]
    yield "cores", f"{usable} of {machine} that this process may use" if usable != machine else f"{usable}"
    memory = {name: format_bytes(size) for name, size in found["memory"].items()}
    yield (
        "memory",
        f"{memory['free']} free of {memory['machine']}, of which this process may have {memory['limit']}; each of "
        f"{usable} threads would be given {memory['of_a_thread']}",
    )
    for blas in found["blas"]:
        yield "blas", "{internal_api} {version}, {num_threads} threads (one while tasks run), {filepath}".format(**blas)
    yield "kernels", _kernels_text(found["kernels"])
    yield "gpu", found["gpu"]["device"] or f"none: {found['gpu']['reason']}"
    for name, commands in found["schedulers"].items():
        yield name, _commands_text(commands)
    for name, extra in found["extras"].items():
        yield f"[{name}]", _extra_text(extra)
    if "cluster" in found:
        yield from _cluster_lines(found["cluster"])


def _package_text(package: dict[str, Any]) -> str:
    installed = package["installed"]
    other = "" if installed == package["version"] else f"; installed is {installed or 'none'}"
    return f"{package['version']}, {package['place']}{other}"


def _kernels_text(kernels: dict[str, Any]) -> str:
    if not kernels["compiled"]:
        return f"plain: {kernels['reason']}"
    if kernels["cache"] is None:
        return f"compiled in every process anew: {kernels['reason']}"
    if not kernels["dtypes"]:
        return f"none is compiled yet (dbutterfly compile); they will be kept in {kernels['cache']}"
    return f"compiled for {', '.join(kernels['dtypes'])}, kept in {kernels['cache']}"


def _packages_lines(packages: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    """As many packages a line as there is room for; then those that are not installed."""
    there = ", ".join(f"{name} {version}" for name, version in packages.items() if version is not None)
    name = "packages"
    for line in textwrap.wrap(there, WIDTH):
        yield name, line
        name = ""
    absent = [name for name, version in packages.items() if version is None]
    if absent:
        yield "", f"not installed: {', '.join(absent)}"


def _commands_text(commands: dict[str, dict[str, Any]]) -> str:
    """Commands that say the same thing of themselves are named together."""
    by_text: dict[str, list[str]] = {}
    for name, told in commands.items():
        by_text.setdefault(told["version"] or told["reason"], []).append(name)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in by_text.items())


def _extra_text(extra: dict[str, Any]) -> str:
    if extra["installed"]:
        return f"installed: {extra['gives']}"
    return f"lacks {', '.join(extra['missing'])}: {extra['gives']}; {extra['install']}"


def _cluster_lines(cluster: dict[str, Any]) -> Iterator[tuple[str, str]]:
    different = cluster["different"]
    count = f"{len(different)} packages have different versions" if different else "all versions are the same"
    yield "cluster", f"{cluster['address']}: {count}"
    for name, versions in different.items():
        yield f"  {name}", ", ".join(f"{where} {version or 'none'}" for where, version in versions.items())
