"""The defaults of clusters, as part of Dask's configuration under the key ``dbutterfly``."""

from __future__ import annotations

from importlib import resources
from typing import Any

import dask.config
import yaml

from ...errors import InputError

__all__ = ["KEY", "default_text", "read_configuration", "user_setting"]

KEY = "dbutterfly"


def default_text() -> str:
    """The commented defaults."""
    return resources.files(__package__).joinpath(f"{KEY}.yaml").read_text(encoding="utf-8")


def read_configuration(name: str) -> Any:
    """What Dask's configuration says of ``dbutterfly.<name>``.

    Raises
    ------
    InputError
        If somebody has configured something else than a mapping under ``dbutterfly``.
    """
    try:
        return dask.config.get(f"{KEY}.{name}")
    except (KeyError, TypeError) as error:
        raise InputError(f"Dask's configuration has no {KEY}.{name}: {error}") from error


def user_setting(key: str, otherwise: Any) -> Any:
    """What the files and the environment of Dask's configuration say of a key; its own defaults do not count."""
    return dask.config.get(key, otherwise, config=dask.config.collect())


dask.config.update_defaults(yaml.safe_load(default_text()))
