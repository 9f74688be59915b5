"""What all closed forms have in common: names, shapes, and errors that name the argument."""

import inspect
import math

import numpy as np
import pytest

import pyrank.theory as theory
from pyrank.support.errors import ArgumentError

BAD = {
    "ginibre_lyapunov_exponents": [(0,), (2.5,), ("six",), (4, 0.0), (4, math.nan), ([3, 4],)],
    "ginibre_lyapunov_variances": [(0,), (math.inf,)],
    "ginibre_numerical_rank": [(0, 3, 0.1), (4, -1.0, 0.1), (4, 3, 0.0), (4, 3, 1.1), (4, math.nan, 0.1)],
    "residual_top_exponent": [(0, 1.0), (4, 0.0), (4, 1e-5), (4, math.inf), (4, [1.0, -1.0])],
    "residual_top_variance": [(4, 0.0), (-1, 1.0)],
    "residual_gap": [(1, 1.0), (2.5, 1.0), (4, 1e-5), (4, [1.0, math.nan])],
    "residual_lyapunov_spectrum": [(4, 0.0), (4, math.inf), (4, 1.0, 1), (4, 1.0, 10, -1)],
    "weak_residual_exponents": [(4, 0.6), (4, -0.1), (0, 0.1)],
    "soft_rank_bound": [(0.5, 0.5), (2.0, 1.1), (2.0, -0.1), (9.0, 0.5, 8), (2.0, 0.5, 0), (math.nan, 0.5)],
    "orthogonality_gap": [(0.9, 4), (4.1, 4), (2.0, 0), (2.0, 2.5)],
    "ratio_from_gap": [(-0.1, 4), (0.9, 4), (0.1, 0)],
    "full_rank_batch": [(0,), (2.5,), (4, -0.1), (4, 1.1), (4, math.nan)],
    "batch_spectrum_edge": [(0, 4), (2.5, 4), (4, 0.5), (4, [2, math.inf])],
    "batch_spectrum_ratio": [(0, 4), (4, 0.5), (4, "x")],
    "step_kernel": [(1.1,), (math.nan,)],
    "relu_kernel": [(-1.1,), ("x",)],
    "leaky_relu_kernel": [(60.0, 0.1), (0.5, math.inf)],
    "relu_gram": [(np.ones(3),), (np.ones((2, 3)),), ([[1.0, 2.0], [2.0, 1.0]],), ([[1.0, 0.5], [0.0, 1.0]],)],
    "recentred_relu_gram": [(-np.eye(3),), (np.full((2, 2), math.nan),), (np.zeros((0, 0)),), ([[1.0, 2.0], [3.0]],)],
    "recentred_relu_cosine": [(1,), (2.5,), (-math.inf,)],
    "recentred_relu_multipliers": [(2, True), (8, 0.5), (8, None)],
    "outlier_gram": [(1,), (2.5,), (math.inf,)],
    "cluster_multiplier": [(2,), (3.5,)],
    "escaped_gram": [(6,), (7.5,), (math.inf,)],
    "escaped_shape": [(6,), (7.5,)],
    "escaped_mixture": [(6, 0.5), (8, 1.1), (8, math.nan)],
    "critical_mixture": [(6,), (7.5,)],
    "escaped_multiplier": [(6,), (7.5,), (math.inf,)],
    "rescaled_relu_map": [(-0.5, 8), (1.1, 8), (0.5, 1), (-0.1, math.inf)],
    "rescaled_cosine": [(-0.5, 8), (0.5, 2.5)],
    "rescaled_relu_cosine": [(1,), (math.nan,)],
    "settled_angles": [(1, True), (2.5, False), (8, 1), (8, None)],
    "angle_degrees": [(1.01,), (math.nan,)],
    "pseudo_condition_number": [
        ([[1.0, 2.0], [2.0, 1.0]], [1.0, 1.0]),
        ([[1.0, 0.5], [0.0, 1.0]], [1.0, 1.0]),
        ([[2.0]], [1.0]),
        (np.eye(2), [0.0, 0.0]),
        (np.eye(2), [1.0]),
        (np.eye(2), [1.0, math.nan]),
        (np.ones(3), [1.0]),
    ],
    "normalized_curvatures": [(np.zeros((2, 2)), [1.0, 1.0]), (np.eye(2), np.ones((2, 2)))],
    "descent_rate": [(-np.eye(2), 1.0), (np.eye(2), -1.0), (np.eye(2), math.inf)],
    "normalized_descent_rate": [
        (np.eye(2), [1.0, 0.0], -1.0, 1.0),
        (np.eye(2), [1.0, 0.0], 1.0, 0.0),
        (np.eye(2), [1.0, 0.0], 1.0, 1.0, -2.0),
    ],
    "best_descent_rate": [(0.9,), (math.nan,)],
    "linear_gradients": [([1.0], np.eye(1), np.eye(1)), (np.eye(2), np.ones((3, 4)), np.ones((2, 4)))],
    "normalized_gradients": [
        (np.eye(2), np.ones((2, 4)), np.ones((2, 3))),
        (np.eye(2), np.eye(2), np.eye(2), [1.0, 2.0, 3.0]),
        (np.eye(2), np.eye(2), np.eye(2), 1.0, True, 4),
    ],
    "ginibre_product_edge": [(0,), (1.5,)],
    "ginibre_product_density": [(math.nan, 2), (1.0, 0)],
    "ginibre_product_cdf": [(math.inf, 2), (1.0, 0)],
    "ginibre_product_moment": [(-1, 2), (2, 0), (1.5, 1)],
    "ginibre_product_second_moments": [(0, 2), (3, -1), (2.5, 1)],
}


@pytest.mark.parametrize(("name", "arguments"), [(name, case) for name, cases in BAD.items() for case in cases])
def test_bad_arguments_are_named(name, arguments):
    function = getattr(theory, name)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    with pytest.raises(ArgumentError, match=f"^({'|'.join(names)}) = .*: expected .*; "):
        function(*arguments)


def test_every_public_name_is_listed_and_checked():
    assert set(BAD) == {name for name in theory.__all__ if inspect.isfunction(getattr(theory, name))}
    for name in theory.__all__:
        assert f"`{name}`" in theory.__doc__


def test_shapes_follow_the_arguments():
    assert isinstance(theory.relu_kernel(0.5), float)
    assert isinstance(theory.rescaled_relu_cosine(8), float)
    assert all(isinstance(angle, float) for recentre in (True, False) for angle in theory.settled_angles(8, recentre))
    assert isinstance(theory.ginibre_product_density(1.0, 2), float)
    assert isinstance(theory.residual_top_exponent(4, 1.0), float)
    assert isinstance(theory.residual_gap(4, 1.0), float)
    assert isinstance(theory.orthogonality_gap(2.0, 4), float)
    assert isinstance(theory.full_rank_batch(4), float)
    assert isinstance(theory.batch_spectrum_edge(4, 2), float)
    assert isinstance(theory.batch_spectrum_ratio(4, 2), float)
    assert isinstance(theory.soft_rank_bound(2.0, 0.5, width=4), float)
    assert theory.residual_top_exponent(4, np.ones((2, 3))).shape == (2, 3)
    assert theory.rescaled_relu_map(np.full((3, 1), 0.5), np.array([4, math.inf])).shape == (3, 2)
    assert theory.recentred_relu_gram(np.stack([np.eye(3)] * 5)).shape == (5, 3, 3)
    assert theory.relu_gram(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_what_rounding_leaves_is_taken():
    """Cosines of tensors in double precision, and ratios measured in single, miss the ends of their ranges."""
    assert theory.angle_degrees(1.0 + 1e-15) == 0.0
    assert theory.rescaled_relu_map(1.0 + 1e-15, 8) == 1.0
    assert theory.soft_rank_bound(1.0 - 1e-7, 0.5) == pytest.approx(0.25)
    assert theory.orthogonality_gap(4.0 + 1e-6, 4) == 0.0
