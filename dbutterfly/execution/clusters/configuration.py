"""The defaults of clusters, as part of Dask's configuration under the key ``dbutterfly``."""

from __future__ import annotations

from importlib import resources
from typing import Any

import dask.config
import yaml

from ...errors import InputError

__all__ = ["KEY", "default_text", "read_configuration", "user_setting"]

KEY = "dbutterfly"
"""Key of Dask's configuration under which that of clusters is."""


def default_text() -> str:
    """Text of the defaults, with comments, as YAML."""
    return resources.files(__package__).joinpath(f"{KEY}.yaml").read_text(encoding="utf-8")


def read_configuration(name: str) -> Any:
    """Value of ``dbutterfly.<name>`` in Dask's configuration.

    Raises
    ------
    InputError
        If the configuration holds something else than a mapping under ``dbutterfly``.
    """
    try:
        return dask.config.get(f"{KEY}.{name}")
    except (KeyError, TypeError) as error:
        raise InputError(f"Dask's configuration has no {KEY}.{name}: {error}") from error


def user_setting(key: str, otherwise: Any) -> Any:
    """Value of a key in the files and the environment of Dask's configuration; Dask's own defaults do not count."""
    return dask.config.get(key, otherwise, config=dask.config.collect())


dask.config.update_defaults(yaml.safe_load(default_text()))
