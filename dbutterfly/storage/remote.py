"""Zarr store of a URL of object storage, through obstore.

The endpoint and the credentials are those that the process which opens the store finds in its environment; what
travels to other processes is the URL alone.
"""

from __future__ import annotations

import importlib.util
import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from zarr.storage import ObjectStore

from ..errors import InputError
from .retries import TIMEOUT_VARIABLE, storage_timeout

__all__ = ["RemoteStore"]

SETTINGS = ("AWS_", "AZURE_", "GOOGLE_", TIMEOUT_VARIABLE)
"""Beginnings of the names of the environment variables on which a connection depends."""


class RemoteStore(ObjectStore[Any]):
    """Zarr store of all that is below a URL; it is pickled, compared and shown as that URL.

    A pickled copy connects anew, with the environment of the process that loads it: no credentials are in the pickle.

    Parameters
    ----------
    url : str
        As :func:`dbutterfly.storage.places.as_store` makes it.
    read_only : bool
        Whether to refuse writing.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        settings = sorted(item for item in os.environ.items() if item[0].startswith(SETTINGS))
        super().__init__(_connect(url, tuple(settings)), read_only=read_only)
        self.url = url

    def with_read_only(self, read_only: bool = False) -> RemoteStore:
        """Make a store of the same URL that refuses writing, or does not."""
        return RemoteStore(self.url, read_only=read_only)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_remote, (self.url, self.read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"RemoteStore({self.url!r})"


def _open_remote(url: str, read_only: bool) -> RemoteStore:
    return RemoteStore(url, read_only=read_only)


@lru_cache(maxsize=256)
def _connect(url: str, settings: tuple[tuple[str, str], ...]) -> Any:
    """Store of obstore: one per URL and environment in a process, so that its connections are used again."""
    from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

    scheme, rest = url.split("://", 1)
    root, _, path = rest.partition("/")
    options: dict[str, Any] = {"retry_config": _retry_config(), "client_options": _client_options()}
    if scheme == "s3":
        found = _aws_options(dict(settings))
        options["client_options"] |= found.pop("client_options", {})
        return S3Store(root, prefix=path or None, **options, **found)
    if scheme == "gs":
        return GCSStore(root, prefix=path or None, **options)
    if scheme == "az":
        return AzureStore(root, prefix=path or None, **options)
    if scheme == "abfs":
        return AzureStore.from_url(url, **options)
    if scheme == "http":
        options["client_options"]["allow_http"] = True
    return HTTPStore.from_url(url, **options)


def _retry_config() -> dict[str, Any]:
    """Try again, ever more slowly, until the time is over; the number of times says little."""
    seconds = storage_timeout()
    backoff = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=min(5.0, seconds)), "base": 2}
    return {"max_retries": 1000, "retry_timeout": timedelta(seconds=seconds), "backoff": backoff}


def _client_options() -> dict[str, Any]:
    """Bound how long a server may be silent, and hardly how long much data may take on a slow line."""
    seconds = storage_timeout()
    return {
        "connect_timeout": timedelta(seconds=min(5.0, seconds)),
        "read_timeout": timedelta(seconds=seconds / 2),
        "timeout": timedelta(seconds=20 * seconds),
    }


def _aws_options(settings: dict[str, str]) -> dict[str, Any]:
    """What obstore does not find in the environment: the profiles of ``~/.aws``, and that an endpoint is plain HTTP."""
    found: dict[str, Any] = _profile(settings) if _wants_profile(settings) else {}
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoints = [settings[name] for name in names if settings.get(name)]
    if endpoints:
        found.pop("endpoint", None)
    if [*endpoints, found.get("endpoint", "")][0].startswith("http://"):
        found["client_options"] = {"allow_http": True}
    return found


def _wants_profile(settings: dict[str, str]) -> bool:
    if settings.get("AWS_ACCESS_KEY_ID") or settings.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true"):
        return False
    if importlib.util.find_spec("boto3") is None:
        if settings.get("AWS_PROFILE"):
            raise InputError(
                f"AWS_PROFILE={settings['AWS_PROFILE']!r} in the environment needs the package boto3; install it, or "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return False
    files = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
    return bool(settings.get("AWS_PROFILE")) or any(
        Path(settings.get(name, usual)).expanduser().is_file() for name, usual in files
    )


def _profile(settings: dict[str, str]) -> dict[str, Any]:
    """Credentials, region and endpoint of the profile in use, through boto3."""
    import boto3
    import botocore.session
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3.Session()
    found: dict[str, Any] = {}
    endpoint = botocore.session.Session().get_scoped_config().get("endpoint_url")
    if endpoint:
        found["endpoint"] = endpoint
    if session.region_name and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & settings.keys():
        found["region"] = session.region_name
    if session.get_credentials() is not None:
        found["credential_provider"] = Boto3CredentialProvider(session)
    return found
