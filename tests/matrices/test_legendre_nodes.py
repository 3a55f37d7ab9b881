import numpy as np
import pytest

from dbutterfly.matrices.legendre_nodes import gauss_nodes, legendre_values


def recurrence(angle, last):
    """Degrees 0 .. last in extended precision, from differences of neighbours."""
    angle = angle.astype(np.longdouble)
    versine = 2 * np.sin(angle / 2) ** 2
    values, step = [np.ones_like(angle)], np.zeros_like(angle)
    for k in range(last):
        step = (k * step - (2 * k + 1) * versine * values[k]) / (k + 1)
        values.append(values[k] + step)
    return np.stack(values, 1)


def test_values_against_the_recurrence():
    angle = np.concatenate([np.geomspace(1e-6, 0.1, 60), np.linspace(0.1, np.pi / 2, 60)])
    wanted = recurrence(angle, 2000)
    found = legendre_values(angle, np.arange(2001))
    assert np.abs(found - wanted)[:, :64].max() < 5e-15
    assert np.abs(found - wanted).max() < 3e-14


def test_values_of_any_choice_of_degrees():
    angle = np.linspace(0.01, 1.5, 7)
    degrees = np.array([700, 3, 31, 32, 3, 0])
    every = legendre_values(angle, np.arange(701))
    np.testing.assert_allclose(legendre_values(angle, degrees), every[:, degrees], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(legendre_values(angle, np.array([], np.int64)), np.empty((7, 0)))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 31, 32, 33, 64, 150])
def test_nodes_and_weights(n):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    found = gauss_nodes(n)
    sign = np.where(np.arange(n) < n // 2, -1, 1)
    np.testing.assert_allclose(sign * np.cos(found.angle), nodes, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.root_weight**2, weights, rtol=1e-9)  # of leggauss


@pytest.mark.parametrize("n", [1, 7, 64, 999, 4096])
def test_weights_integrate_exactly(n):
    angle, root_weight = gauss_nodes(n)
    weights, nodes = root_weight**2, np.where(np.arange(n) < n // 2, -1, 1) * np.cos(angle)
    assert weights.sum() == pytest.approx(2, rel=1e-13)
    assert (weights * nodes).sum() == pytest.approx(0, abs=1e-13)
    if n > 3:
        assert (weights * nodes**6).sum() == pytest.approx(2 / 7, rel=1e-12)


def test_nodes_are_made_once_and_read_only():
    assert gauss_nodes(20) is gauss_nodes(20)
    assert not any(table.flags.writeable for table in gauss_nodes(20))
