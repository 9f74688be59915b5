"""Networks without normalisation: the same function on a batch, other gradients, and a model that is left alone."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import pyrank
from pyrank import networks, theory
from pyrank.networks import folding
from pyrank.optimization import equivalent_network
from pyrank.support.ambient import one_thread
from pyrank.support.errors import ArgumentError

from tolerances import LOSS_FACTOR


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


LAWS = [pyrank.Normalization(recentre=recentre, rescale=True, order=order)
        for recentre in (True, False) for order in (1, 2, 3, math.inf)]  # fmt: skip
LIMITS = {torch.float32: 1e-5, torch.float64: 1e-12}  # what is promised


def scattered(model, seed=0):
    """The model with parameters and running statistics that are nowhere what they start at."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator) * parameter.std(correction=0))
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2, generator=generator)
    return model


def perceptron(law="batch"):
    return scattered(networks.mlp(depth=4, width=12, inputs=6, outputs=3, normalization=law, seed=1))


def torchs():
    """Linear and convolutional layers of every kind with torch's own normalisation, with and without biases."""
    return scattered(nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8, affine=False), nn.Tanh(), nn.Flatten(2),
        nn.Conv1d(8, 5, 2, dilation=2), nn.BatchNorm1d(5, track_running_stats=False), nn.Unflatten(2, (2, 1, 1)),
        nn.Conv3d(5, 4, 1), nn.BatchNorm3d(4), nn.Flatten(),
        nn.Linear(8, 7), nn.BatchNorm1d(7, eps=0.1), nn.Linear(7, 3),
    ))  # fmt: skip


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5


CASES = {
    **{f"mlp {law.order} {'recentred' if law.recentre else 'as it is'}": (lambda law=law: perceptron(law), (50, 6))
       for law in LAWS},
    "recentred alone": (lambda: perceptron("recentre"), (50, 6)),
    "torch": (torchs, (20, 2, 7, 8)),
    "vgg19": (lambda: networks.vgg19(1, 10, width_factor=0.05, seed=0), (16, 1, 28, 28)),
    "chain": (lambda: networks.from_chain(pyrank.Chain(8, activation="relu", normalization="batch"), 5), (30, 8)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("case", CASES)
def test_the_same_function_on_the_batch(case, dtype):
    build, shape = CASES[case]
    model, x = build().to(dtype), images(*shape).to(dtype)
    plain = equivalent_network(model, x)
    assert not any(isinstance(m, (nn.modules.batchnorm._BatchNorm, networks.Normalize)) for m in plain.modules())
    assert [*plain.state_dict()] != [*model.state_dict()]
    expected = model.train()(x)
    assert (plain(x) - expected).norm() <= LIMITS[dtype] * expected.norm()
    assert (plain(x + 1) - model(x + 1)).norm() > 1e-3 * expected.norm()  # on this batch alone


def test_depth_multiplies_rounding_in_both():
    """At 30 layers the two are as far apart as either is from the same network in float64."""
    model, x = networks.mlp(30, 32, 6, 3, seed=0), images(100, 6)
    exact = copy.deepcopy(model).double()(x.double())
    loss = (model(x) - exact).norm()
    assert (equivalent_network(model, x)(x) - model(x)).norm() <= LOSS_FACTOR * loss
    assert loss > 1e-5 * exact.norm()


def test_residual_networks():
    model, x = networks.resnet50(1, 4, width_factor=0.03, seed=0).double(), images(4, 1, 8, 8).double()
    plain, expected = equivalent_network(model, x), model(x)
    assert (plain(x) - expected).norm() <= 1e-11 * expected.norm()  # of 53 layers


def test_gradients_are_those_of_the_formulas():
    """One layer: the gradients of the note with and without what passes through the statistics."""
    model = nn.Sequential(nn.Linear(6, 4), networks.Normalize(4, "batch")).double()
    scattered(model)
    x = images(9, 6).double().requires_grad_()
    G = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plain = equivalent_network(model, x)
    W, gamma = (p.detach().numpy() for p in (model[0].weight, model[1].weight))
    Y, upstream = x.detach().numpy().T, G.numpy().T
    sigma = (W @ Y).std(axis=1)
    for network, expected in (
        (model, theory.normalized_gradients(W, Y, upstream, scale=gamma)),
        (plain, theory.linear_gradients(W * (gamma / sigma)[:, None], Y, upstream)),
    ):
        by_weight, by_input = torch.autograd.grad((network(x) * G).sum(), (network[0].weight, x))
        np.testing.assert_allclose(by_weight, expected.weights, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(by_input.T, expected.inputs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_alone(training):
    model, x = torchs(), images(20, 2, 7, 8)
    model.train(training)
    model[3].eval()
    model[0].weight.requires_grad_(False)
    model(x).sum().backward()
    state = copy.deepcopy(model.state_dict())
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    random = torch.get_rng_state()
    plain = equivalent_network(model, x)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert all(
        a is b or torch.equal(a, b.grad) for a, b in zip(grads, model.parameters(), strict=True) if a is not None
    )
    assert [m.training for m in model.modules()] == modes == [m.training for m in plain.modules()]
    assert torch.equal(torch.get_rng_state(), random)
    assert not plain[0].weight.requires_grad
    assert plain[3].bias.requires_grad
    assert torch.is_grad_enabled()


def test_features_that_do_not_vary():
    """A size of zero divides nothing: such a feature is its shift, in both."""
    model = networks.mlp(2, 8, 6, 3, seed=0)
    with torch.no_grad():
        model[0].weight[2] = 0
        model[1].bias[2] = 0.7
    x = images(20, 6)
    torch.testing.assert_close(equivalent_network(model, x)(x), model(x))


class Twice(nn.Module):
    """Uses what goes into the normalisation, or a layer, twice."""

    def __init__(self, what):
        super().__init__()
        self.what, self.linear, self.norm = what, nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        y = self.linear(x)
        if self.what == "input":
            return y + self.norm(y)
        if self.what == "layer":
            return self.linear(self.norm(y))
        if self.what == "norm":
            return self.norm(self.linear(self.norm(y)))
        if self.what == "in place":
            return self.norm(y.mul_(2))
        return self.norm(y) + torch.nn.functional.dropout(x)


@pytest.mark.parametrize(("model", "words"), [
    (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), "right before it"),
    (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4)), "right before it"),
    (Twice("in place"), "right before it"),
    (Twice("input"), "output off by"),
    (Twice("layer"), "output off by"),
    (Twice("norm"), "called once"),
    (Twice("dropout"), "drew random numbers"),
    (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.1)), "deterministic"),
    (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "over the batch"),
    (nn.Sequential(nn.Linear(4, 4), networks.Normalize(4, "layer")), "over the batch"),
    (lambda x: x, "torch.nn.Module"),
])  # fmt: skip
def test_what_cannot_be_folded(model, words):
    random = torch.get_rng_state()
    with pytest.raises(ArgumentError, match=r"^model = .*: expected .*; .*") as error:
        equivalent_network(model, images(8, 4))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    "x", [torch.ones(8, 5), torch.ones(8, 4, dtype=torch.int64), np.ones((8, 4)), torch.ones(1, 4)]
)
def test_batches_that_the_model_does_not_take(x):
    with pytest.raises(ArgumentError, match=r"^x = .*: expected .*; .*") as error:
        equivalent_network(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), x)
    assert "\n" not in str(error.value)


def test_dropout_that_is_off_is_no_chance():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).eval()
    x = images(8, 4)
    plain = equivalent_network(model, x)
    model[1].train()
    torch.testing.assert_close(plain(x), model(x))


# --- the same in place: a start ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["mlp 3.0 recentred", "torch", "vgg19"])
def test_a_start_is_the_equivalent_network_in_place(case):
    build, shape = CASES[case]
    model, x = build(), images(*shape)
    expected, layer = equivalent_network(model, x), next(m for m in model.modules() if isinstance(m, folding.Layer))
    weight = layer.weight
    assert networks.initialize(model, "equivalent", x) is model
    assert layer.weight is weight  # an optimiser goes on with it
    assert [type(m) for m in model.modules()] == [type(m) for m in expected.modules()]
    assert model.state_dict().keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert all(p.requires_grad for p in model.parameters())


def test_a_start_has_the_ranks_of_normalised_layers():
    """The join of the two papers: without normalisation, and with the rank that it keeps, on this batch."""
    x = images(60, 6).double()
    ranks = {}
    for start in ("batch", "none", "equivalent"):
        law = "none" if start == "none" else "batch"
        model = networks.mlp(20, 16, 6, 3, normalization=law, weights="he", seed=3).double()
        if start == "equivalent":
            networks.initialize(model, start, x)
        ranks[start] = pyrank.participation_ratio(model[:-1](x).T).item()
    assert ranks["equivalent"] == pytest.approx(ranks["batch"], rel=1e-9)
    assert ranks["batch"] > 3 > 1.2 > ranks["none"]


@pytest.mark.parametrize(("given", "name", "words"), [
    ((networks.mlp(1, 4, 4, 2, seed=0), "equivalent"), "x", "the batch on which"),
    ((networks.mlp(1, 4, 4, 2, seed=0), "equivalent", images(8, 5)), "x", "a batch that the model takes"),
    ((networks.mlp(1, 4, 4, 2, "none", seed=0), "equivalent", images(8, 4)), "model", "normalization='batch'"),
    ((lambda x: x, "equivalent", images(8, 4)), "model", "a network with normalisation"),
    ((nn.Sequential(nn.Identity(), nn.BatchNorm1d(4)), "equivalent", images(8, 4)), "model", "right before it"),
    ((networks.mlp(1, 4, 4, 2, seed=0), "he", images(8, 4)), "x", "'equivalent' alone"),
    ((networks.mlp(1, 4, 4, 2, seed=0), "he", 3), "x", "seed="),
])  # fmt: skip
def test_starts_that_are_refused(given, name, words):
    state = copy.deepcopy(given[0].state_dict()) if isinstance(given[0], nn.Module) else {}
    with pytest.raises(ArgumentError, match=rf"^{name} = .*: expected .*; .*") as error:
        networks.initialize(*given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, given[0].state_dict()[key]) for key, tensor in state.items())


def test_an_equivalent_start_draws_nothing():
    model, x = networks.mlp(1, 4, 4, 2, seed=0), images(8, 4)
    with pytest.raises(ArgumentError, match=r"^seed = 3: expected none; "):
        networks.initialize(model, "equivalent", x, seed=3)
    random = torch.get_rng_state()
    networks.initialize(model, "equivalent", x)
    assert torch.equal(torch.get_rng_state(), random)
