"""The bound from all cuts, against extended precision."""

import math

import numpy as np
import pytest

from dbutterfly.factorization.proof.bound import EPS, SINGULAR_UNITS, CutSums, bound_from_cuts
from dbutterfly.factorization.proof.shares import equal_shares, most_uneven, move_shares, times
from dbutterfly.factorization.proof.subject import cuts_of
from dbutterfly.kernels.low_rank.spectra import trailing_energies
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import noisy_butterfly, random_matrix

needs_extended = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > EPS / 100, reason="long double is no longer than double on this machine"
)


def exact_singular_values(block):
    """Singular values of a real block in extended precision, by one-sided Jacobi rotations."""
    a = np.array(block if block.shape[0] >= block.shape[1] else block.T, np.longdouble)
    for _ in range(12):
        for i in range(a.shape[1]):
            for j in range(i):
                x, y = a[:, i].copy(), a[:, j].copy()
                overlap = x @ y
                if overlap != 0:
                    zeta = (y @ y - x @ x) / (2 * overlap)
                    t = (1 if zeta >= 0 else -1) / (abs(zeta) + np.sqrt(1 + zeta**2))
                    c = 1 / np.sqrt(1 + t**2)
                    a[:, i], a[:, j] = c * (x - t * y), c * (t * x + y)
    return np.sort(np.sqrt((a**2).sum(axis=0)))[::-1]


def stacks():
    rng = np.random.default_rng(0)
    for shape in ((2, 2), (2, 32), (12, 12), (16, 5)):
        normal = rng.standard_normal((3, *shape))
        yield "normal", normal
        u, s, vh = np.linalg.svd(normal, full_matrices=False)
        yield "graded", (u * 10.0 ** -np.arange(s.shape[1])) @ vh
        yield "nearly exact", normal[:, :, :1] * normal[:, :1, :] + 1e-12 * rng.standard_normal((3, *shape))


@needs_extended
def test_distances_to_a_rank_are_off_by_far_less_than_is_taken_off():
    worst = 0.0
    for _, blocks in stacks():
        exact = sum((exact_singular_values(block)[1:] ** 2).sum() for block in blocks)
        found = math.fsum(trailing_energies(blocks, 1))
        worst = max(worst, abs(float(np.sqrt(exact)) - math.sqrt(found)) / (EPS * np.linalg.norm(blocks)))
    assert worst < SINGULAR_UNITS / 8


@needs_extended
@pytest.mark.parametrize("eps", [1e-10, 0.1])
def test_the_bound_holds_in_extended_precision(eps):
    """The sum (1) itself, of targets and shares as they are stored: their means are not quite one and the matrix."""
    chain, rng = Chain.square_dyadic(16), np.random.default_rng(0)
    matrix, cuts = noisy_butterfly(chain, eps=eps), cuts_of(chain)
    shares = move_shares(equal_shares(cuts), [rng.random((cut.u, cut.q)) for cut in cuts], cuts)
    targets = [matrix + eps * 0.1 * random_matrix(matrix.shape, seed=seed) for seed in range(3)]
    shift = matrix - sum(times(target, share, cut) for target, share, cut in zip(targets, shares, cuts, strict=True))
    targets = [target + shift for target in targets]
    sums, exact, gap, total = [], np.longdouble(0), np.zeros((16, 16), np.longdouble), np.zeros((16, 16), np.longdouble)
    for target, share, cut in zip(targets, shares, cuts, strict=True):
        blocks, rest = (_blocks(each, cut) for each in (target, target.astype(np.longdouble) - matrix))
        flat = share.ravel()
        trailing = math.fsum(flat * trailing_energies(blocks, 1))
        spread = math.fsum(flat * (_blocks(target - matrix, cut) ** 2).sum(axis=(1, 2)))
        sums.append(CutSums(trailing, spread, math.fsum(flat * (blocks**2).sum(axis=(1, 2)))))
        exact += sum(w * (exact_singular_values(block)[1:] ** 2).sum() for w, block in zip(flat, blocks, strict=True))
        exact -= (flat * (rest**2).sum(axis=(1, 2))).sum()
        gap += times(target.astype(np.longdouble) - matrix, share, cut)
        total += times(np.ones((16, 16), np.longdouble), share, cut)
    delta, nu = np.sqrt((gap**2).sum()), np.abs(total - 1).max()
    holds = (np.sqrt(max(exact, 0) * (1 + nu) + delta**2) - delta) / (1 + nu)
    mean = sum(times(target, share, cut) for target, share, cut in zip(targets, shares, cuts, strict=True))
    norm = float(np.linalg.norm(matrix))
    bound, slack = bound_from_cuts(sums, float(np.linalg.norm(mean - matrix)), norm, most_uneven(shares, cuts))
    assert 0 < bound < holds
    assert 0 < slack <= 2 * SINGULAR_UNITS * EPS * norm


def _blocks(matrix, cut):
    return matrix.reshape(cut.p, cut.u, cut.q, cut.v).transpose(1, 2, 0, 3).reshape(-1, cut.p, cut.v)


def test_shares_that_miss_one_are_taken_off_the_bound():
    bound, slack = bound_from_cuts([CutSums(0.5, 0.125, 1.0)] * 2, 0.0, 1.0, 0.1)
    # 1.1 ||Z - X||^2 + 2 * 0.1 * ||Z - X|| >= .75, for the shares count in the sum of targets too
    assert 1.1 * bound**2 + 0.2 * bound == pytest.approx(0.75, rel=1e-12)
    assert slack == pytest.approx(math.sqrt(0.75) - bound)


def test_what_is_off_the_mean_is_taken_off_the_bound():
    cuts = [CutSums(0.5, 0.125, 1.0)] * 2
    bound, _ = bound_from_cuts(cuts, 0.0, 1.0)
    assert bound == pytest.approx(math.sqrt(0.75), rel=1e-12)
    # ||Z - X||^2 + 2 delta ||Z - X|| >= .75
    worse, slack = bound_from_cuts(cuts, 0.1, 1.0)
    assert worse**2 + 0.2 * worse == pytest.approx(0.75, rel=1e-12)
    assert slack == pytest.approx(math.sqrt(0.75) - worse)


def test_targets_that_are_too_far_away_prove_nothing():
    assert bound_from_cuts([CutSums(1.0, 2.0, 3.0)], 0.0, 1.0) == (0.0, 0.0)
