"""The bound on the soft rank and the orthogonality gap, against spectra of every kind; batches against small chains."""

import math

import numpy as np
import pytest
from scipy import integrate

import pyrank.theory as theory

from oracles import QUAD, agrees
from tolerances import EXACT, SIGMAS


def spectra(rng):
    """Random spectra of mean 1, from flat to very uneven."""
    for _ in range(300):
        eigenvalues = rng.gamma(10.0 ** rng.uniform(-1.5, 1.5), size=rng.integers(1, 30))
        yield eigenvalues * len(eigenvalues) / eigenvalues.sum()


def test_soft_rank_bound_holds_for_any_spectrum():
    for eigenvalues in spectra(np.random.default_rng(7)):
        d, r = len(eigenvalues), eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
        for tau in (0.0, 0.2, 0.5, 0.9, 1.0):
            lemma, sharp = theory.soft_rank_bound(r, tau), theory.soft_rank_bound(r, tau, width=d)
            assert lemma == pytest.approx((1 - tau) ** 2 * d**2 / (eigenvalues**2).sum())
            assert lemma <= sharp * (1 + EXACT)
            assert sharp <= (eigenvalues >= tau).sum() + 1e-6


@pytest.mark.parametrize(("above", "width", "tau"), [(1, 8, 0.5), (3, 10, 0.2), (9, 10, 0.9)])
def test_sharper_soft_rank_bound_is_attained(above, width, tau):
    """Two-valued spectra: all eigenvalues that are not counted lie at the threshold, or just below."""
    high = (width - tau * (width - above)) / above
    squared = above * high**2 + (width - above) * tau**2
    assert theory.soft_rank_bound(width**2 / squared, tau, width=width) == pytest.approx(above, rel=EXACT)


def test_soft_rank_bound_on_a_normalised_chain():
    """Every layer of 300 chains obeys both bounds; the mean is above them by more than five standard errors."""
    rng, d, chains = np.random.default_rng(8), 8, 300
    H = rng.standard_normal((chains, d, d))
    for _ in range(40):
        H = rng.standard_normal((chains, d, d)) @ H
        H /= np.sqrt((H**2).mean(axis=2, keepdims=True))
    eigenvalues = np.linalg.eigvalsh(H @ H.swapaxes(1, 2) / d)
    ranks, r = (eigenvalues >= 0.5).sum(axis=1), d**2 / (eigenvalues**2).sum(axis=1)
    lemma, sharp = theory.soft_rank_bound(r, 0.5), theory.soft_rank_bound(r, 0.5, width=d)
    assert np.all(lemma <= sharp)
    assert np.all(sharp <= ranks + 1e-9)
    assert ranks.mean() - sharp.mean() > SIGMAS * (ranks - sharp).std() / math.sqrt(chains)
    assert theory.soft_rank_bound(r.mean(), 0.5, width=d) <= sharp.mean()  # convex
    agrees(r, 2.248)  # known mean at this width


def test_orthogonality_gap_is_its_definition():
    rng = np.random.default_rng(9)
    for d, n in ((3, 7), (7, 3), (5, 5), (4, 1)):
        H = rng.standard_normal((d, n)) * rng.gamma(0.5, size=n)
        G = H.T @ H
        gap = np.linalg.norm(G / np.trace(G) - np.eye(n) / n)
        r = np.trace(G) ** 2 / np.linalg.norm(G) ** 2
        assert theory.orthogonality_gap(r, n) == pytest.approx(gap, rel=EXACT, abs=1e-7)
        assert theory.ratio_from_gap(gap, n) == pytest.approx(r, rel=EXACT)
    np.testing.assert_allclose(theory.orthogonality_gap([1.0, 4.0], 4), [math.sqrt(0.75), 0.0])


# --- batches smaller than the width ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [6, 16, 25, 32])
def test_batch_spectrum_is_the_balance_of_normalisation_and_noise(batch):
    """The density between its edges has mass and mean 1, and moments in which drift and noise cancel."""
    width = 256
    a = batch**2 / (4 * width)
    low, high = theory.batch_spectrum_edge(width, batch), (1 + math.sqrt(a)) ** 2

    def moment(k):
        def integrand(angle):  # q = middle - half cos(angle)
            half = (high - low) / 2
            q = (high + low) / 2 - half * math.cos(angle)
            return q ** (k - 1) * (half * math.sin(angle)) ** 2 / (2 * math.pi * a)

        return integrate.quad(integrand, 0, math.pi, **QUAD)[0]

    p = [moment(k) for k in range(5)]
    assert p[:2] == pytest.approx([1, 1], rel=EXACT)
    assert batch / p[2] == pytest.approx(theory.batch_spectrum_ratio(width, batch), rel=EXACT)
    for k in (2, 3):
        drawn = a * sum(p[i] * p[k - i] for i in range(1, k))
        assert p[k + 1] == pytest.approx(p[2] * p[k] + drawn, rel=EXACT)


def test_full_rank_ends_where_the_lower_edge_meets_the_threshold():
    width = np.array([4, 16, 64, 1000])
    assert theory.full_rank_batch(width).tolist() == (2 * np.sqrt(width)).tolist()
    for tau in (1e-3, 0.5, 1.0):
        batch = theory.full_rank_batch(width, tau)
        np.testing.assert_allclose(theory.batch_spectrum_edge(width, batch), tau * batch / width, rtol=EXACT)
        assert np.all(batch < 2 * np.sqrt(width))


def test_beyond_full_rank_nothing_depends_on_the_batch():
    assert theory.batch_spectrum_edge(64, [16, 17, 64]).tolist() == [0, 0, 0]
    assert theory.batch_spectrum_ratio(64, [16, 17, 64]).tolist() == [8, 8, 8]
    most = theory.full_rank_batch(64)
    assert 2 / theory.batch_spectrum_ratio(64, most) == most / 64  # there another direction neither grows nor shrinks


@pytest.mark.parametrize("batch", [4, 8, 12, 24])
def test_batches_of_simulated_chains(batch):
    """Leading order: what is left out is of relative order 1 / sqrt(d)."""
    rng, d, chains = np.random.default_rng(batch), 64, 40
    H = rng.standard_normal((chains, d, batch))
    r, smallest = [], []
    for layer in range(6 * d):
        H = rng.standard_normal((chains, d, d)) @ H
        H /= np.sqrt((H**2).mean(axis=2, keepdims=True))
        if layer > 2 * d and layer % 16 == 0:
            q = np.linalg.eigvalsh(H.swapaxes(1, 2) @ H / d)
            r.append((q.sum(axis=1) ** 2 / (q**2).sum(axis=1)).mean())
            smallest.append(np.median(q[:, 0]))
    assert np.mean(r) == pytest.approx(theory.batch_spectrum_ratio(d, batch), rel=1 / math.sqrt(d))
    assert np.mean(smallest) == pytest.approx(theory.batch_spectrum_edge(d, batch), abs=1 / math.sqrt(d))
