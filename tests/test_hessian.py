"""Largest eigenvalues of Hessians against dense ones, which finite differences check; a model that is left alone."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, multi_margin_loss, one_hot

import pyrank
from pyrank import networks
from pyrank.optimization import hessian_eigenvalues
from pyrank.support.ambient import one_thread
from pyrank.support.errors import ArgumentError

SAME = 1e-8
"""Error of eigenvalues, relative to the largest one: what is promised."""


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def batch(samples=30, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 5, dtype=torch.float64, generator=generator)
    return x.to(dtype), torch.randint(0, 3, (samples,), generator=generator)


def perceptron(law="batch", depth=2, width=5, activation="tanh"):
    return networks.mlp(depth, width, 5, 3, law, activation, seed=3).double()


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 1, 5)), nn.Conv2d(1, 4, (1, 3), bias=False), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(),
        nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3),
    ).double()  # fmt: skip


def flat_loss(model, loss, x, y):
    """The loss as a function of all parameters in one vector, and the vector."""
    parameters = dict(model.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def function(vector):
        parts = torch.split(vector, [p.numel() for p in parameters.values()])
        named = {name: part.view_as(p) for (name, p), part in zip(parameters.items(), parts, strict=True)}
        return loss(torch.func.functional_call(model, {**buffers, **named}, (x,)), y)

    return function, torch.cat([p.detach().flatten() for p in parameters.values()])


def dense(model, loss, x, y):
    """The Hessian by torch's double backward, column by column."""
    return torch.autograd.functional.hessian(*flat_loss(model, loss, x, y)).numpy()


MODELS = {
    **{f"order {order} {'recentred' if recentre else 'as it is'}":
       lambda order=order, recentre=recentre: perceptron(pyrank.Normalization(recentre=recentre, order=order))
       for order in (1, 2, 3, math.inf) for recentre in (True, False)},
    "torch": convolutional,
    "none": lambda: perceptron("none"),
    "ReLU": lambda: perceptron("batch", depth=3, activation="relu"),
}  # fmt: skip


def squares(output, y):
    return mse_loss(output, one_hot(y, 3).double())


@pytest.mark.parametrize(("name", "loss"), [*((name, cross_entropy) for name in MODELS), ("torch", squares)])
def test_eigenvalues_are_those_of_the_dense_hessian(name, loss):
    model, (x, y) = MODELS[name](), batch()
    H = dense(model, loss, x, y)
    assert len(H) < 500
    exact = np.linalg.eigvalsh(H)[::-1]
    found = hessian_eigenvalues(model, loss, (x, y), k=6)
    np.testing.assert_allclose(found.values, exact[:6], rtol=0, atol=SAME * exact[0])
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=0), 1, rtol=1e-12)
    honest = np.linalg.norm(H @ found.vectors - found.vectors * found.values, axis=0)
    np.testing.assert_allclose(found.residuals, honest, rtol=0.01, atol=1e-13 * exact[0])
    assert np.all(found.residuals < 1e-6 * exact[0])


@pytest.mark.parametrize("name", ["order 2 recentred", "order 3 as it is", "torch"])
def test_the_dense_hessian_is_what_finite_differences_give(name):
    """Of second order in the step h, h^2 = 1e-10, with rounding of 1e-16 / h."""
    model, (x, y) = MODELS[name](), batch()
    H = dense(model, cross_entropy, x, y)
    function, at = flat_loss(model, cross_entropy, x, y)

    def gradient(vector):
        vector = vector.requires_grad_()
        return torch.autograd.grad(function(vector), vector)[0].numpy()

    for column in range(0, len(at), 7):
        h = torch.zeros_like(at)
        h[column] = 1e-5
        difference = (gradient(at + h) - gradient(at - h)) / 2e-5
        np.testing.assert_allclose(H[:, column], difference, rtol=0, atol=1e-7 * np.abs(H).max())


def test_all_eigenvalues():
    """K = P goes without Lanczos; the negative ones come last."""
    model, (x, y) = perceptron(depth=1, width=2), batch()
    exact = np.linalg.eigvalsh(dense(model, cross_entropy, x, y))[::-1]
    found = hessian_eigenvalues(model, cross_entropy, (x, y), k=len(exact))
    np.testing.assert_allclose(found.values, exact, rtol=0, atol=SAME * exact[0])
    assert exact[-1] < -1e-4
    assert found.vectors.shape == (len(exact), len(exact))


def test_known_spectrum():
    """Linear regression: the eigenvalues of 2 x^T x / n."""
    x, _ = batch()
    model = nn.Linear(5, 1, bias=False).double()
    found = hessian_eigenvalues(model, mse_loss, (x, x[:, :1]), k=2)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh((2 * x.T @ x / 30).numpy())[:-3:-1], rtol=1e-12)


def test_eval_mode_is_the_hessian_with_running_statistics():
    model, (x, y) = convolutional(), batch()
    model(x)
    train = hessian_eigenvalues(model, cross_entropy, (x, y), k=3)
    model.eval()
    exact = np.linalg.eigvalsh(dense(model, cross_entropy, x, y))[::-1]
    found = hessian_eigenvalues(model, cross_entropy, (x, y), k=3)
    np.testing.assert_allclose(found.values, exact[:3], rtol=0, atol=SAME * exact[0])
    assert abs(found.values[0] - train.values[0]) > 0.01 * exact[0]


def test_frozen_and_unused_parameters():
    """Constants have no part in the Hessian, and what the loss does not reach has eigenvalues of zero."""
    model, (x, y) = perceptron(), batch()
    model[0].weight.requires_grad_(False)
    exact = dense(model, cross_entropy, x, y)[25:, 25:]
    model.unused = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    model.forward = nn.Sequential(*model).forward
    found = hessian_eigenvalues(model, cross_entropy, (x, y), k=4)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(exact)[:-5:-1], rtol=0, atol=SAME * found.values[0])
    assert len(found.vectors) == len(exact) + 2


@pytest.mark.parametrize("width", [3, 40])
def test_a_loss_without_curvature(width):
    model, (x, y) = nn.Linear(5, width).double(), batch()
    found = hessian_eigenvalues(model, lambda output, y: output.mean(), (x, y), k=2)
    assert found.values.tolist() == found.residuals.tolist() == [0, 0]


@pytest.mark.parametrize("options", [{"recompute": True}, {"recompute": False}])
def test_the_model_is_left_alone(options):
    model, (x, y) = convolutional(), batch()
    cross_entropy(model(x), y).backward()
    model[2].eval()
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    grads = [p.grad for p in model.parameters()]
    before, random, elsewhere = [g.clone() for g in grads], torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    hessian_eigenvalues(model, cross_entropy, (x, y), k=2, **options)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert all(map(torch.equal, before, grads))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(np.array_equal(a, b) for a, b in zip(elsewhere, np.random.get_state(), strict=True))  # noqa: NPY002


def test_single_precision():
    """Eigenvalues lose what a product does, and the residuals show it."""
    model, (x, y) = convolutional(), batch()
    exact = hessian_eigenvalues(model, cross_entropy, (x, y), k=4)
    found = hessian_eigenvalues(model.float(), cross_entropy, (x.float(), y), k=4)
    np.testing.assert_allclose(found.values, exact.values, rtol=0, atol=1e-5 * exact.values[0])
    assert found.residuals.max() > exact.residuals.max()
    assert np.all(np.abs(found.values - exact.values) <= found.residuals + 1e-6 * exact.values[0])


def test_forming_the_graph_anew_changes_nothing():
    model, (x, y) = convolutional(), batch()
    kept = hessian_eigenvalues(model, cross_entropy, (x, y), k=3)
    again = hessian_eigenvalues(model, cross_entropy, (x, y), k=3, recompute=True)
    assert np.array_equal(kept.values, again.values)
    assert kept.products == again.products


@pytest.mark.parametrize("chunk", [7, 30, 100])
def test_chunks_of_samples_that_do_not_see_each_other(chunk):
    model, (x, y) = perceptron("none"), batch()
    whole = hessian_eigenvalues(model, cross_entropy, (x, y), k=3)
    parts = hessian_eigenvalues(model, cross_entropy, (x, y), k=3, chunk=chunk)
    np.testing.assert_allclose(parts.values, whole.values, rtol=SAME)


def test_a_start_near_by_saves_products():
    model, (x, y) = perceptron(width=12), batch()
    first = hessian_eigenvalues(model, cross_entropy, (x, y), k=1)
    with torch.no_grad():
        model[0].weight.mul_(1.001)
    cold = hessian_eigenvalues(model, cross_entropy, (x, y), k=1)
    warm = hessian_eigenvalues(model, cross_entropy, (x, y), k=1, start=first)
    np.testing.assert_allclose(warm.values, cold.values, rtol=SAME)
    assert warm.products < cold.products


@pytest.mark.parametrize("setting", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")])
def test_settings_elsewhere_change_nothing(setting):
    model, (x, y) = perceptron(), batch()
    expected = hessian_eigenvalues(model, cross_entropy, (x, y), k=2)
    with setting():
        found = hessian_eigenvalues(model, cross_entropy, (x, y), k=2)
    assert np.array_equal(found.values, expected.values)


# --- bad input -------------------------------------------------------------------------------------------------------

X, Y = batch()


class Noisy(nn.Linear):
    """Random, by torch's generator or by none that torch knows."""

    def __init__(self, known):
        super().__init__(5, 3, dtype=torch.float64)
        self.known, self.generator = known, np.random.default_rng(0)

    def forward(self, x):
        factor = torch.rand(1, dtype=torch.float64) if self.known else float(self.generator.random())
        return factor * super().forward(x)


class Once(torch.autograd.Function):
    """An operation with a first derivative alone."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient


class OnceLinear(nn.Linear):
    def forward(self, x):
        return Once.apply(super().forward(x))


def without_gradients():
    return perceptron().requires_grad_(False)


@pytest.mark.parametrize(("changes", "name", "words"), [
    ({"model": nn.Sequential(perceptron(), nn.Dropout(0.1))}, "model", "Dropout"),
    ({"model": Noisy(True)}, "model", "drew random numbers"),
    ({"model": Noisy(False)}, "loss", "twice"),
    ({"model": without_gradients()}, "model", "requires a gradient"),
    ({"model": nn.ReLU()}, "model", "requires a gradient"),
    ({"model": "mlp"}, "model", "Module"),
    ({"model": OnceLinear(5, 3, dtype=torch.float64)}, "loss", "differentiated twice"),
    ({"loss": multi_margin_loss}, "loss", "differentiated twice"),
    ({"k": 0}, "k", "88 eigenvalues"),
    ({"k": 89}, "k", "from 1 to 88"),
    ({"k": 2.5}, "k", "integer"),
    ({"data": (X, Y.double())}, "data", "y float64 (30,)"),
    ({"data": (X, Y.int())}, "data", "int64"),
    ({"data": (X, Y + 1)}, "data", "out of bounds"),
    ({"data": (X.float(), Y)}, "data", "dtype"),
    ({"data": (X[:, :4], Y)}, "data", "x float64 (30, 4)"),
    ({"data": (X, Y[:-1])}, "data", "as many labels"),
    ({"data": (X[:0], Y[:0])}, "data", "as many labels"),
    ({"data": X}, "data", "pair"),
    ({"data": (X, Y.numpy())}, "data", "pair"),
    ({"loss": nn.CrossEntropyLoss(reduction="none")}, "loss", "(30,)"),
    ({"loss": lambda output, y: 1.0}, "loss", "one floating point number"),
    ({"loss": lambda output, y: (output.argmax(1) == y).sum()}, "loss", "one floating point number"),
    ({"loss": lambda output, y: output.detach().sum()}, "loss", "depends on a parameter"),
    ({"loss": lambda output, y: output.sum() * math.inf}, "loss", "finite"),
    ({"loss": "cross_entropy"}, "loss", "function"),
    ({"chunk": 0}, "chunk", "integer"),
    ({"chunk": 10}, "chunk", "do not see each other"),
    ({"chunk": 10, "model": perceptron("none"), "loss": nn.CrossEntropyLoss(reduction="sum")}, "chunk", "a mean"),
    ({"tolerance": 0.0}, "tolerance", "number"),
    ({"start": hessian_eigenvalues(nn.Linear(5, 3).double(), cross_entropy, (X, Y), 1)}, "start", "18"),
])  # fmt: skip
def test_bad_input(changes, name, words):
    arguments = {"model": perceptron(), "loss": cross_entropy, "data": (X, Y), "k": 2, **changes}
    random = torch.get_rng_state()
    with pytest.raises(ArgumentError, match=rf"^{name} = .*: expected .*; .*") as error:
        hessian_eigenvalues(**arguments)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert torch.equal(torch.get_rng_state(), random)


def test_derivatives_that_do_not_exist():
    model = nn.Linear(5, 1, bias=False).double()
    with torch.no_grad():
        model.weight.zero_()
    with pytest.raises(FloatingPointError, match="not finite"):
        hessian_eigenvalues(model, lambda output, y: output.square().sum().pow(0.75), (X, Y), 1)
