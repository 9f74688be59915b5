"""Alignment of per-sample gradients: against one backward pass a sample and neuron, and against what papers found."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pyrank.networks import gradient_alignment
from pyrank.support.errors import ArgumentError

from tolerances import EXACT


def network(norm):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 5), *[nn.BatchNorm1d(5)] * norm, nn.ReLU(),
        nn.Linear(5, 4), *[nn.BatchNorm1d(4)] * norm, nn.Tanh(), nn.Linear(4, 3),
    )  # fmt: skip
    return model.double()


def by_loops(model, layer, x, y):
    """Gradients of each sample's loss in turn, each from a forward pass of the whole batch."""
    cosines, zero = [], 0
    gradients = []
    for i in range(len(x)):
        model.zero_grad()
        cross_entropy(model(x)[i : i + 1], y[i : i + 1]).backward()
        gradients.append(model.get_submodule(layer).weight.grad.clone())
    for rows in torch.stack(gradients, dim=1):
        zero += sum(not row.any() for row in rows)
        cosines += [
            abs(torch.dot(a, b) / a.norm() / b.norm()).item()
            for a, b in itertools.combinations(rows, 2) if a.any() and b.any()
        ]  # fmt: skip
    return cosines, zero


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("index", [-1, 0])
def test_equals_one_backward_pass_a_sample(norm, index):
    model = network(norm)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    x, y = torch.randn(7, 6, dtype=torch.float64), torch.randint(0, 3, (7,))
    found = gradient_alignment(model, cross_entropy, x, y, None if index == -1 else linears[index])
    exact, zero = by_loops(model, linears[index], x, y)
    assert found.zero == zero
    np.testing.assert_allclose(found.values, exact, rtol=EXACT)
    assert found.mean == pytest.approx(np.mean(exact))


def test_samples_without_gradient_are_counted():
    model = nn.Sequential(nn.ReLU(), nn.Linear(3, 2)).double()
    x = torch.tensor([[1.0, 2.0, 0.0], [-1.0, -1.0, -2.0], [2.0, 4.0, 0.0]], dtype=torch.float64)
    found = gradient_alignment(model, cross_entropy, x, torch.tensor([0, 1, 1]))
    assert found.zero == 2  # the second sample, for both neurons
    np.testing.assert_allclose(found.values, [1, 1], rtol=EXACT)


def test_network_comes_back_as_it_was():
    model = network(True)
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    gradient_alignment(model, cross_entropy, torch.randn(7, 6, dtype=torch.float64), torch.zeros(7, dtype=torch.long))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()][:3] == [False, False, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("layer", "message"), [("1", "the name of a torch.nn.Linear"), ("9", "fits one of")])
def test_bad_layers_are_told(layer, message):
    with pytest.raises(ArgumentError, match=message):
        gradient_alignment(network(False), cross_entropy, torch.randn(7, 6), torch.zeros(7, dtype=torch.long), layer)


def test_a_layer_called_twice_is_refused():
    layer = nn.Linear(3, 3)
    with pytest.raises(ArgumentError, match=r"one call with \(4, features\)"):
        gradient_alignment(nn.Sequential(layer, layer), cross_entropy, torch.randn(4, 3), torch.zeros(4).long())
