"""Every tolerance of the tests, with its reason."""

import numpy as np

LOSS_FACTOR = 4.0
"""A kernel may lose this many times what plain torch loses in the same precision: it sums in another order, and has
its own exponential and logarithm, of one or two units in the last place."""

FLOOR_ULPS = 4.0
"""Where torch happens to lose nothing, a few roundings of the largest number involved are allowed: for a recentred row
that is its largest entry before recentring, as many times larger as the row shrank; for F(x) it is max(F, x F'),
because a rounding of x moves F by that much."""

SMALLEST_NORMALS = 2.0
"""Absolute error allowed in F(x), in smallest normal numbers times max(1, |x|): an exponential that would be denormal
is clamped."""

GAUSSIAN_ULPS = 8.0
"""Units in the last place of the largest weight: Box-Muller in two implementations, each with a logarithm, a root, a
sine and two products, all rounded once or twice."""

SIGMAS = 5.0
"""Statistical tests compare at five standard errors: one false alarm in two million."""

EXACT = 1e-9
"""Relative agreement asked of two exact routes to a number: quadrature is asked for 1e-11 (oracles.py)."""

COUNT_MARGIN = 1e-3
"""Distance from tau, relative to max(1, lambda_max), within which an eigenvalue may be counted either way."""

FACTS_SHARE = 0.01
"""Published and derived mean ranks are given to three or four digits: agreement within one per cent."""


def layer_tolerance(exact, single, dtype, largest=0.0):
    """Bound on the error of a kernel that computes in ``dtype``.

    Measured by what plain torch in float32 (``single``) loses against float64 (``exact``) on the same problem. In
    float64 that loss shrinks by the ratio of the roundoffs, and the reference itself may be off by as much.
    """
    eps, eps32 = np.finfo(dtype).eps, np.finfo(np.float32).eps
    loss = (single.double() - exact).abs().max().item() * eps / eps32
    parties = 1 if eps == eps32 else 2
    return parties * (LOSS_FACTOR * loss + FLOOR_ULPS * eps * max(exact.abs().max().item(), largest))


def gram_tolerance(dtype, inner):
    """Relative error of a measure made of sums over ``inner`` products: u sqrt(inner) typically, with room of ten."""
    return 10.0 * np.finfo(dtype).eps * np.sqrt(inner + 1.0)


REFLECTION_ROUNDINGS = 4.0
"""Units of rounding, times d, that an entry may lose when d reflections are applied one after the other: the backward
error of each is a small multiple of one rounding (Higham, Accuracy and Stability of Numerical Algorithms, ch. 19).
"""

GRAM_ROUNDINGS = 4.0
"""Units of rounding, times d, of a factor R of a well-conditioned F^T F: a sum of d products and one factorisation."""


def whitening_tolerance(exact, plain, kappa, dtype):
    """Bound on the error of a whitened state in ``dtype``.

    A few roundings in float64, the kernel's precision, which turn the smallest direction of a state by ``kappa`` times
    as much; what whitening by eigenvalues loses in float64 (``plain``), with the usual factor, because both start from
    a Gram matrix, whose rounding moves the eigenvectors of small eigenvalues; and the rounding of the result.
    """
    size = np.sqrt(exact.shape[-1])
    inside = FLOOR_ULPS * np.finfo(np.float64).eps * size * kappa + LOSS_FACTOR * (plain - exact).abs().max().item()
    return FLOOR_ULPS * np.finfo(dtype).eps * exact.abs().max().item() + inside


CANCELLED = 0.5
"""Share of what the rule for zero lines (`pyrank.reference.layer.clear_cancelled`) allows that is there for the sums
themselves, the other half being for the state; within it of the limit, rounding decides whether a line is zero."""
