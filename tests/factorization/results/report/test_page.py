"""The page of a run: what it says, that it needs nothing else, and how a browser shows it."""

import dataclasses
import os
import re
import shutil

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.factorization.results.factorization import Factorization
from dbutterfly.factorization.results.report.page import page
from dbutterfly.structure.tree import tree_leaves
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
    assert text.count('width="1" height="1"') == height * width
    assert f"<title>{fact.trace.residuals[0, 0]:.3g}</title>" in text
    assert "worker 4" in text


BAR = re.compile(
    r'<span>factors (\d+), (\d+)</span><div><div class="bar( root)?" style="width:([\d.]+)%"></div></div><b>(.*?)</b>'
)


def test_it_shows_the_error_of_every_cut(fact):
    bars, errors = BAR.findall(page(fact)), fact.record["errors_by_cut"]
    assert [(int(left), int(right)) for left, right, *_ in bars] == [(j, j + 1) for j in range(1, len(fact.chain))]
    assert [int(left) for left, _, root, *_ in bars if root] == [len(tree_leaves(fact.tree[0]))]
    assert [(width, error) for *_, width, error in bars] == [
        (f"{100 * error / max(errors):.2f}", f"{error:.3g}") for error in errors
    ]


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
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1200, 420])
def test_a_browser_shows_it_without_a_network(fact, browser, tmp_path, width):
    fact.report(tmp_path / "run.html")
    with browser.new_context(offline=True, viewport={"width": width, "height": 800}) as context:
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
        drawn = shown.locator("#residuals svg").bounding_box()
        assert drawn["width"] == pytest.approx(drawn["height"], rel=0.01)
        assert drawn["width"] > 200


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
