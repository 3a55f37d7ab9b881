"""The page of a run: what it says, that it needs nothing else, and how a browser shows it."""

import dataclasses
import os
import platform
import re

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.factorization.results.factorization import Factorization
from dbutterfly.factorization.results.report.page import page
from dbutterfly.factorization.results.trace import root_groups
from dbutterfly.factorization.results.verdict import verdict_on
from dbutterfly.planning.sizes import format_bytes
from dbutterfly.structure.drawings import ALARM
from dbutterfly.structure.tree import tree_leaves
from tests.support.browsers import chromium
from tests.support.comparisons import noisy_butterfly
from tests.support.html_pages import assert_needs_nothing_else


@pytest.fixture(scope="module")
def fact(tmp_path_factory):
    directory = tmp_path_factory.mktemp("report")
    dbf.matrices.write(noisy_butterfly(512), directory / "z.zarr", chunks=(64, 64))
    return dbf.factorize(directory / "z.zarr", store=directory / "run", workers=2, memory="20MiB")


@pytest.fixture(scope="module")
def others(fact):
    """Factorizations of which there is less to show, or something else."""
    kernel = dbf.matrices.helmholtz(256)
    sampled = dbf.entries(kernel.f, kernel.shape, kernel.dtype, sampled=True)
    return {
        "saved without a run": Factorization(
            fact.ks_values, fact.chain, fact.tree, fact.orderings, fact.certificate
        ),
        "one factor": dbf.factorize(noisy_butterfly(16), chain=[(1, 16, 16, 1)]),
        "zero": dbf.factorize(np.zeros((32, 32))),
        "exact": dbf.factorize(dbf.matrices.dft(64), orderings=(None, "bitreversal"), passes=2),
        "estimated": dbf.factorize(sampled, rank=3, orderings=("bitreversal", None)),
        "odd name": Factorization(
            fact.ks_values, fact.chain, fact.tree, fact.orderings, fact.certificate,
            fact.record | {"matrix": "<script>alert('&')</script>"}, fact.trace,
        ),
    }  # fmt: skip


def test_it_shows_plan_certificate_stages_and_map(fact):
    text = page(fact)
    assert f"{fact.certificate.error_bound:.4g}" in text
    assert str(fact.certificate) in text
    assert fact.record["plan_text"].splitlines()[4] in text
    for stage, done in fact.record["stages"].items():
        assert re.search(rf"</span>{stage}</td><td>{done['tasks']}</td>", text)
    height, width = fact.trace.residuals.shape
    cells = re.findall(r'fill-opacity="([\d.]+)"><title>([^:<]+)</title>', text)
    assert [value for _, value in cells] == [f"{value:.3g}" for value in fact.trace.residuals.ravel()]
    assert float(cells[0][0]) == pytest.approx(1 + np.log10(fact.trace.residuals[0, 0]) / 4, abs=0.01)
    assert (height, width) == root_groups(fact.chain, fact.tree)
    assert all(f">{group}</text>" in text for group in (0, height, width)), "numbers on the axes"
    assert "worker 2" in text


BAR = re.compile(
    r'<span>factors (\d+), (\d+)</span><div><div class="bar( root)?" style="width:([\d.]+)%"></div></div><b>(.*?)</b>'
)


def test_it_shows_the_error_of_every_cut(fact):
    bars, errors = BAR.findall(page(fact)), fact.record["errors_by_cut"]
    assert [(int(left), int(right)) for left, right, *_ in bars] == [(j, j + 1) for j in range(1, len(fact.chain))]
    assert [int(left) for left, _, root, *_ in bars if root] == [len(tree_leaves(fact.tree[0]))]
    assert [(width, error) for *_, width, error in bars] == [
        (f"{100 * error / 0.1:.2f}", f"{error:.3g}") for error in errors
    ]
    ticks = re.findall(r'<i style="left:([\d.]+)%">([\d.]+)</i>', page(fact))
    assert ticks == [("0.00", "0"), ("50.00", "0.05"), ("100.00", "0.1")]


def test_it_begins_with_a_verdict_which_is_red_where_a_run_is_useless(fact, others):
    verdict = re.compile(r'</header>\s*<section id="verdict" class="(.*?)">(.*?)</section>', re.DOTALL)
    kind, words = verdict.search(page(fact)).groups()
    assert (kind, words) == ("verdict", verdict_on(fact.certificate).text)
    assert ALARM not in page(fact)
    useless = dataclasses.replace(fact, certificate=dbf.Certificate(0.9, 0.8, False, 1.0))
    kind, words = verdict.search(page(useless)).groups()
    assert kind == "verdict useless"
    assert words.startswith("Useless: ")
    assert page(useless).count(f'fill="{ALARM}"') > fact.trace.residuals.size, "the map, its scale and the bounds"
    assert "The matrix is zero" in page(others["zero"])


def test_it_compares_what_was_predicted_with_what_was_measured(fact, others):
    rows = dict(re.findall(r"<tr><td>([a-z ]+)</td><td>(.*?</td><td>.*?)</td></tr>", page(fact)))
    assert rows["bytes read"] == "2.00 MiB</td><td>2.00 MiB"
    planned, held = fact.record["plan"]["peak_bytes"], rows["memory of a worker at its peak"].split("</td><td>")
    assert held[0] == format_bytes(planned)
    assert " s if 1 GB/s are read</td><td>" in rows["time of all stages"]
    assert set(fact.record["predicted"]["stage_seconds"]) == set(fact.record["stages"])
    earlier = {name: value for name, value in fact.record.items() if name not in ("predicted", "provenance")}
    assert "<td>time of all stages</td><td>–</td>" in page(dataclasses.replace(fact, record=earlier))
    assert "Predicted and measured" not in page(others["saved without a run"])


def test_it_says_where_the_result_comes_from(fact, others):
    text = page(fact)
    rows = dict(re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', text))
    assert rows["matrix Z"] == fact.record["matrix"]
    assert rows["call"] == "factorize(Z, memory=20971520)"
    assert (
        f"dbutterfly {dbf.__version__}, python {platform.python_version()}, numpy {np.__version__}" in rows["versions"]
    )
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", rows["first task"])
    assert "passes=2, orderings=" in page(others["exact"])
    assert "Provenance" not in page(others["saved without a run"])


def test_it_says_what_the_squares_of_these_errors_are(fact, others):
    assert "but for a term of the root cut that the certificate bounds." in page(fact)
    assert "the squares add up to that of the error.</p>" in page(others["exact"])
    assert "what the root cut loses is estimated." in page(others["estimated"])
    swept = dbf.factorize(noisy_butterfly(64), sweeps=2)
    assert "Before the sweeps over the factors.</p>" in page(swept)


def test_what_was_saved_before_cuts_had_errors_shows_none(fact):
    record = {name: value for name, value in fact.record.items() if name != "errors_by_cut"}
    text = page(dataclasses.replace(fact, record=record))
    assert BAR.findall(text) == []
    assert "Errors by level" not in text
    assert "Errors by level" in page(fact)


@pytest.mark.parametrize("kind", ["run", "saved without a run", "one factor", "zero", "exact", "estimated", "odd name"])
def test_it_refers_to_nothing_outside(fact, others, kind):
    text = page(fact if kind == "run" else others[kind])
    assert_needs_nothing_else(text)


def test_an_estimate_says_so(others):
    assert "error, estimated" in page(others["estimated"])
    assert "no product is below" not in page(others["estimated"])


def test_it_is_written_whole_or_not_at_all(fact, tmp_path):
    fact.report(tmp_path / "run.html")
    assert (tmp_path / "run.html").read_text() == page(fact)
    fact.report(tmp_path / "run.html")
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]
    with pytest.raises(InputError, match=r"report '.*nowhere/run\.html' cannot be written: .*; name a file"):
        fact.report(tmp_path / "nowhere" / "run.html")


@pytest.fixture(scope="module")
def browser():
    yield from chromium()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme", "ground"), [(1200, "light", 246), (420, "dark", 20)])
def test_a_browser_shows_it_without_a_network(fact, browser, tmp_path, width, scheme, ground):
    fact.report(tmp_path / "run.html")
    viewport = {"width": width, "height": 800}
    with browser.new_context(offline=True, viewport=viewport, color_scheme=scheme) as context:
        shown, requests, said = context.new_page(), [], []
        shown.on("request", lambda request: requests.append(request.url))
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.goto(f"file://{tmp_path}/run.html")
        assert requests == [f"file://{tmp_path}/run.html"]
        assert said == []
        boxes = {name: shown.locator(f"#{name}").bounding_box() for name in ("timeline", "residuals", "levels", "plan")}
        assert min(box["height"] for box in boxes.values()) > 50
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        drawn = shown.locator("#residuals svg").first.bounding_box()
        assert drawn["width"] == pytest.approx(drawn["height"], rel=0.05)
        assert drawn["width"] > 200
        assert f", {ground}, " in shown.evaluate("getComputedStyle(document.body).backgroundColor")


def test_it_replaces_reports_and_nothing_else(fact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.html").touch()
    fact.report("empty.html")
    np.save("z.npy", np.eye(3))
    (tmp_path / "notes.html").write_text("<title>notes</title>")
    (tmp_path / "folder").mkdir()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for place in ("z.npy", "notes.html", "folder", ".", "/dev/null", "s3://bucket/run.html"):
        with pytest.raises(InputError, match="report"):
            fact.report(place)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    os.symlink("empty.html", "link.html")
    fact.report("link.html")
    assert os.path.islink("link.html")
