"""Credentials with which scheduler, workers and client know and encrypt each other."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import InputError, how_to_install
from ...structure.arguments import show_value

if TYPE_CHECKING:
    from distributed.security import Security

__all__ = ["TEMPORARY", "credentials", "security_of"]

TEMPORARY = "temporary"
"""Value of the option for credentials that are made when the cluster starts, and exist only in memory."""

FILES = ("ca", "cert", "key")
"""Names of the three files of credentials: the authority, the certificate, its key."""


def credentials(name: str, value: Any) -> str | tuple[str, str, str]:
    """Read credentials: ``"temporary"``, or three files, as a mapping or as the text ``CA,CERT,KEY``.

    Raises
    ------
    InputError
        If the value is neither, or a file is not there.
    """
    if isinstance(value, str) and value == TEMPORARY:
        return TEMPORARY
    files = _files(value)
    if files is None:
        raise InputError(
            f"{name}={show_value(value)} names no credentials; use temporary, or the files CA,CERT,KEY of the "
            "authority, the certificate and its key, in PEM"
        )
    for part, file in zip(FILES, files, strict=True):
        if "\0" in file or not os.path.isfile(file):
            raise InputError(f"{name}: there is no file {file!r}, which should hold the {part}")
    return files


def _files(value: Any) -> tuple[str, str, str] | None:
    """Names of the three files; None of any other value."""
    if isinstance(value, Mapping):
        value = [value.get(part) for part in FILES] if set(value) == set(FILES) else None
    elif isinstance(value, str):
        value = value.split(",")
    match value:
        case [str(ca), str(cert), str(key)] if ca and cert and key:
            return ca, cert, key
    return None


def security_of(tls: str | tuple[str, str, str] | None) -> Security | None:
    """Credentials for all parts of a cluster; None for none.

    Raises
    ------
    InputError
        If the files hold no credentials that fit each other, or temporary ones cannot be made.
    """
    if tls is None:
        return None
    from distributed.security import Security

    if tls == TEMPORARY:
        try:
            return Security.temporary()
        except ImportError:
            raise InputError(
                f'tls="temporary" makes keys with the package cryptography; install it with: {how_to_install("tls")}'
            ) from None
    assert isinstance(tls, tuple)
    ca, cert, key = tls
    roles = {f"tls_{role}_{part}": file for role in ("client", "scheduler", "worker") for part, file in
             (("cert", cert), ("key", key))}  # fmt: skip
    security = Security(tls_ca_file=ca, **roles, require_encryption=True)
    try:
        security.get_connection_args("client")
    except (ssl.SSLError, OSError) as error:
        raise InputError(f"tls={','.join(tls)!r} holds no credentials that fit each other: {error}") from error
    return security
