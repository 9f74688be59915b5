"""The note's formulas for gradients through a layer, against autograd."""

import math

import numpy as np
import pytest
import torch

from pyrank import theory

from tolerances import EXACT


@pytest.fixture
def layer():
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, 6)), rng.standard_normal((6, 9)), rng.standard_normal((4, 9))


def by_autograd(function, W, Y, G):
    """Gradients of G . function(W Y + b) with respect to W and Y."""
    W, Y = torch.from_numpy(W).requires_grad_(), torch.from_numpy(Y).requires_grad_()
    return torch.autograd.grad((torch.from_numpy(G) * function(W @ Y)).sum(), (W, Y))


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=EXACT, atol=1e-12)


def test_linear_gradients(layer):
    assert_equal(theory.linear_gradients(*layer), by_autograd(lambda z: z + 0.3, *layer))


@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
@pytest.mark.parametrize("recentre", [True, False])
def test_normalized_gradients(layer, order, recentre):
    gamma = np.array([1.0, -2.0, 0.5, 0.0])

    def normalize(z):
        z = z - z.mean(1, keepdim=True) if recentre else z
        sizes = z.abs().amax(1) if math.isinf(order) else (z.abs() ** order).mean(1) ** (1 / order)
        return torch.from_numpy(gamma)[:, None] * z / sizes[:, None] + 0.7

    found = theory.normalized_gradients(*layer, scale=gamma, recentre=recentre, order=order)
    assert_equal(found, by_autograd(normalize, *layer))


def test_the_formula_of_batch_normalisation(layer):
    """As the note has it but for one n, and against torch's own layer."""
    W, Y, G = layer
    n = Y.shape[1]
    C = W @ Y - (W @ Y).mean(1, keepdims=True)
    sigma = C.std(axis=1)
    for row in range(4):
        z = C[row] / sigma[row]
        back = (np.eye(n) - np.ones((n, n)) / n - np.outer(z, z) / n) @ G[row] / sigma[row]
        np.testing.assert_allclose(theory.normalized_gradients(*layer).weights[row], back @ Y.T, rtol=EXACT)
    torchs = by_autograd(lambda z: torch.nn.functional.batch_norm(z.T, None, None, training=True, eps=1e-30).T, *layer)
    assert_equal(theory.normalized_gradients(*layer), torchs)


def test_what_grows_with_the_weights(layer):
    """The explanation of section 3.1: through W the gradient grows with W, through its normalisation it does not."""
    W, Y, G = layer
    plain, larger = theory.linear_gradients(W, Y, G), theory.linear_gradients(10 * W, Y, G)
    np.testing.assert_allclose(larger.inputs, 10 * plain.inputs)
    plain, larger = theory.normalized_gradients(W, Y, G), theory.normalized_gradients(10 * W, Y, G)
    np.testing.assert_allclose(larger.inputs, plain.inputs)
    np.testing.assert_allclose(larger.weights, plain.weights / 10)
    np.testing.assert_allclose((plain.weights * W).sum(1), 0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
def test_rows_of_zeros_pass_nothing(layer, order):
    W, Y, G = layer
    W[1] = 0
    found = theory.normalized_gradients(W, Y, G, order=order)
    assert not found.weights[1].any()
    assert np.isfinite(found.inputs).all()
    assert found.weights[0].any()
