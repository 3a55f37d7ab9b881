"""The page of a stack: a verdict, a mark and a row for each matrix, and more of the worst."""

import re

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import FailedMatricesWarning
from dbutterfly.factorization.results.report import stack_page
from tests.support.comparisons import random_matrix
from tests.support.html_pages import assert_needs_nothing_else
from tests.support.stacked_runs import make_stack


@pytest.fixture(scope="module")
def found():
    return dbf.factorize(make_stack(14))


def test_it_shows_every_matrix_and_more_of_the_worst(found, tmp_path):
    found.report(tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert_needs_nothing_else(text)
    assert "Stack of butterfly factorizations, 14 matrices of 32 x 32" in text
    assert "The worst of 14 is matrix " in text
    assert found.record["plan_text"].splitlines()[0] in text
    rows = [int(number) for number in re.findall(r'<tr id="matrix-(\d+)"', text)]
    bounds = [found.certificates[number].error_bound for number in rows]
    assert bounds == sorted(bounds, reverse=True)
    assert sorted(rows) == sorted(map(int, re.findall(r'<a href="#matrix-(\d+)">', text))) == list(range(14))
    detailed = [int(number) for number in re.findall(r'<div id="details-(\d+)">', text)]
    assert detailed == rows[: stack_page.MOST_DETAILED]
    assert str(found.certificates[rows[0]]) in text
    assert 'class="alarm"' not in text
    assert "</span>matrices</td><td>" in text, "the stage"


def test_what_is_useless_or_without_factors_comes_first(tmp_path):
    stack = make_stack(3)
    stack[0], stack[1] = np.nan, random_matrix((32, 32), "complex64")
    with pytest.warns(FailedMatricesWarning):
        found = dbf.factorize(stack)
    text = stack_page.stack_page(found)
    assert 'class="verdict useless">1 of 3 are useless; matrix 1: Useless' in text
    assert re.findall(r'<tr id="matrix-(\d+)" class="alarm"', text) == ["0", "1"]
    assert "no factors: matrix 0 of array holds a NaN" in text
    found.save(tmp_path / "saved.zarr")
    assert stack_page.stack_page(dbf.open(tmp_path / "saved.zarr")) == text


def test_of_many_matrices_some_are_shown(found, monkeypatch):
    monkeypatch.setattr(stack_page, "MOST_ROWS", 5)
    monkeypatch.setattr(stack_page, "MOST_MARKS", 7)
    text = stack_page.stack_page(found)
    assert "9 more have smaller bounds" in text
    assert len(re.findall(r'<tr id="matrix-', text)) == 5
    assert len(re.findall(r"<title>matrix \d+: ", text)) == 7
