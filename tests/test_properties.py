"""What is provable about the measures of any matrix, tried on those that hypothesis thinks of."""

import itertools

import numpy as np
import pytest
import torch

from pyrank.reference import participation_ratio
from pyrank.reference.geometry import orthogonality_gap
from pyrank.reference.spectral import effective_rank, isometry_gap, numerical_rank, stable_rank

from harness import TENSOR_MEASURES
from tolerances import gram_tolerance

pytest.importorskip("hypothesis")
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# Let p_i = sigma_i^2 / sum sigma^2 be the shares of variance, n of them positive, and N the number of samples.
#   stable_rank = 1 / max p, participation_ratio r = 1 / sum p^2 and effective_rank(power=2) = exp(-sum p log p) are
#   the exponentials of the Renyi entropies of p of order inf, 2 and 1, which falls with the order:
#       max p >= sum p * p (an average of p) and log sum p * p >= sum p log p (Jensen), and exp(entropy) <= n.
#   effective_rank(power=1) is that of p^(1/2) / sum p^(1/2). The entropy of q(t) = p^t / sum p^t has the derivative
#   -t Var_q(log p) <= 0 in t, so it is larger at t = 1/2 than at t = 1.
#       1 <= stable_rank <= r <= effective_rank(power=2) <= effective_rank(power=1) <= rank <= min(d, N)
#   From above, too: sum p^2 >= (max p)^2, so r <= stable_rank^2.
# The gaps: V^2 = sum (p - 1/N)^2 = sum p^2 - 2/N + 1/N = 1/r - 1/N. With u = 1/N the isometry gap is the relative
#   entropy KL(u | p) = -mean log(N p) >= |p - u|_1^2 / 2 (Pinsker) >= V^2 / 2.

matrices = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.integers(-3, 3).map(float) | st.floats(-1e3, 1e3).map(lambda x: round(x, 2)),
).map(torch.tensor)


@given(matrices)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_inequalities(H):
    assume(H.abs().max() > 0)
    n = H.shape[-1]
    r = participation_ratio(H)
    values = (stable_rank(H), r, effective_rank(H, power=2), effective_rank(H), numerical_rank(H, rtol=1e-14))
    ranks = [1.0, *(value.item() for value in values), min(H.shape)]
    tolerance = gram_tolerance(np.float64, 7)
    for smaller, larger in itertools.pairwise(ranks):
        assert smaller <= larger * (1.0 + tolerance), ranks
    assert r <= stable_rank(H) ** 2 * (1.0 + tolerance)
    V, gap = orthogonality_gap(H), isometry_gap(H)
    assert abs(V**2 - (1.0 / r - 1.0 / n)) <= tolerance
    assert gap >= V**2 / 2.0 - tolerance
    assert torch.isinf(gap) == (numerical_rank(H) < n)


@given(matrices, st.integers(-100, 127))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_scale_does_not_matter(H, exponent):
    """To the bit for powers of two; the squares would overflow or vanish in float32."""
    H = H.float() / 1024.0
    scaled = torch.ldexp(H, torch.tensor(exponent))
    for name, measure in TENSOR_MEASURES.items():
        if name.startswith("outlier") and H.shape[-1] == 1:
            continue
        expected = measure(H)
        if name == "singular_values":
            expected = torch.ldexp(expected, torch.tensor(exponent))
        actual = measure(scaled)
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=bool((H == 0).all(dim=0).any()))
