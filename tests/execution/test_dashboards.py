"""Where a dashboard is said to be: once for a client, and only one that answers."""

import http.server
import logging
import threading
from types import SimpleNamespace

import dask.config
import pytest

import dbutterfly as dbf
from dbutterfly.execution import dashboards
from tests.support.comparisons import noisy_butterfly

PAGES = {
    "/status": b"<!DOCTYPE html>\n<html lang='en'>a dashboard",
    "/without-bokeh": b"<p>Dask needs bokeh>=3.1.0 for the dashboard.</p>",
}


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in PAGES else 404)
        self.end_headers()
        self.wfile.write(PAGES.get(self.path, b"<html>nothing here"))

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def port():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class NamedClient(SimpleNamespace):
    """What is asked of a client, with the identity that a weak reference needs."""

    __hash__ = object.__hash__


def client_of(link, *, in_this_process=False):
    scheduler = SimpleNamespace(http_server=None) if in_this_process else None
    return NamedClient(dashboard_link=link, cluster=SimpleNamespace(scheduler=scheduler))


def test_only_what_answers_with_a_dashboard_is_one(port):
    assert dashboards.find_dashboard(client_of(link := f"http://127.0.0.1:{port}/status")) == link
    for nothing in ("/without-bokeh", "/missing"):
        assert dashboards.find_dashboard(client_of(f"http://127.0.0.1:{port}{nothing}")) is None
    assert dashboards.find_dashboard(client_of("http://127.0.0.1:1/status")) is None
    assert dashboards.find_dashboard(client_of("")) is None
    assert dashboards.find_dashboard(SimpleNamespace()) is None


def test_a_scheduler_of_this_process_is_found_on_loopback(port):
    elsewhere = f"http://127.0.0.2:{port}/status"
    assert dashboards.find_dashboard(client_of(elsewhere)) is None
    assert dashboards.find_dashboard(client_of(elsewhere, in_this_process=True)) == f"http://127.0.0.1:{port}/status"


def test_a_form_that_somebody_has_set_is_trusted():
    with dask.config.set({dashboards.LINK: "/user/me/proxy/{port}/status"}):
        assert dashboards.find_dashboard(client_of("/user/me/proxy/1/status")) == "/user/me/proxy/1/status"


@pytest.mark.slow
def test_it_is_named_once_for_a_client_in_the_log_or_above_the_bars(client, port, caplog, monkeypatch, capsys):
    link = f"http://127.0.0.1:{port}/status"
    monkeypatch.setattr(type(client), "dashboard_link", link)
    monkeypatch.setattr(dashboards, "_ANNOUNCED", type(dashboards._ANNOUNCED)())
    matrix = noisy_butterfly(64)
    dbf.factorize(matrix, client=client)
    assert "dashboard" not in capsys.readouterr().err, "nobody has asked for anything"
    found = dbf.factorize(matrix, client=client, progress=True)
    dbf.verify(found, matrix, client=client, progress=True)
    assert capsys.readouterr().err.count(f"dashboard: {link}") == 1
    monkeypatch.setattr(dashboards, "_ANNOUNCED", type(dashboards._ANNOUNCED)())
    with caplog.at_level(logging.INFO, "dbutterfly"):
        dbf.factorize(matrix, client=client, progress=True)
    assert [record.fields["link"] for record in caplog.records if record.fields["event"] == "dashboard"] == [link]
    assert "dashboard" not in capsys.readouterr().err
