"""Dashboards of Dask clusters: whether there is one that can be opened, and where; each is named once.

Dask gives a link whether or not anything answers there: a scheduler without a dashboard has the address all the same,
one without bokeh has a page that asks for it, and one that listens on loopback has a link to another address.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import dask.config

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["announce_dashboard", "find_dashboard"]

_log = logging.getLogger("dbutterfly")

SECONDS = 1.0
"""Time within which a dashboard answers. Not tuned: one that is there takes some hundredths of a second."""

LINK = "distributed.dashboard.link"
"""Key of Dask's configuration: the form of links, which a site with a proxy sets."""

FORM = "{scheme}://{host}:{port}/status"
"""Form of links where nobody has set another one."""

_ANNOUNCED: weakref.WeakSet[Client] = weakref.WeakSet()
"""Clients whose dashboard was named, or has none."""


def announce_dashboard(client: Client, show: Callable[[str], None] | None) -> None:
    """Say once where the dashboard of a cluster is, if there is one: in the log, or by ``show`` where nobody sees that.

    Parameters
    ----------
    client : Client
        Client of the cluster.
    show : callable, optional
        Shows a line; None where the caller wants to see nothing.
    """
    is_logged = _log.isEnabledFor(logging.INFO)
    if client in _ANNOUNCED or not (is_logged or show):
        return
    _ANNOUNCED.add(client)
    link = find_dashboard(client)
    if link is None:
        return
    if is_logged:
        _log.info("dashboard: %s", link, extra={"fields": {"event": "dashboard", "link": link}})
    elif show is not None:
        show(f"dashboard: {link}")


def find_dashboard(client: Client) -> str | None:
    """Link of the dashboard of a cluster; None where there is none, or none that can be opened from here.

    The form of links that somebody has configured is trusted: it leads through a proxy, which may ask for a password. A
    scheduler of this process is looked for on loopback too.
    """
    try:
        link = client.dashboard_link
    except Exception:  # of a scheduler that tells no port, or is gone
        return None
    if not link or dask.config.get(LINK, FORM) != FORM:
        return link or None
    links = [link]
    if hasattr(getattr(client.cluster, "scheduler", None), "http_server"):
        links.append(urlunsplit(urlsplit(link)._replace(netloc=f"127.0.0.1:{urlsplit(link).port}")))
    return next(filter(_is_dashboard, links), None)


def _is_dashboard(link: str) -> bool:
    """Whether a page of a dashboard answers: a whole one, and not a line that asks for bokeh."""
    # Only whether something answers is of interest, and loopback needs no proxy.
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl._create_unverified_context())]
    try:
        with urllib.request.build_opener(*handlers).open(link, timeout=SECONDS) as answer:
            return b"<html" in answer.read(1 << 12).lower()
    except (OSError, http.client.HTTPException, ValueError):
        return False
