"""Alignment of per-sample gradients: against one backward pass a sample and neuron, and against what papers found."""

import itertools

import numpy as np
import pytest
import torch
from test_bad_input import assert_one_line
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


class Doubled(nn.Module):
    """Changes the input of its layer in place, once that has been called, and then the output."""

    def __init__(self, in_place):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.middle, self.last = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)
        self.in_place = in_place

    def forward(self, x):
        h = self.first(x)
        z = self.middle(h)
        if self.in_place:
            h.zero_()
            z.mul_(2.0).relu_()
        else:
            z = (2.0 * z).relu()
        return self.last(z)


@pytest.mark.parametrize("layer", ["middle", "last"])
def test_operations_in_place_change_nothing(layer):
    x, y = torch.randn(7, 6, dtype=torch.float64), torch.randint(0, 3, (7,))
    plain, changed = (gradient_alignment(Doubled(p).double(), cross_entropy, x, y, layer) for p in (False, True))
    exact, zero = by_loops(Doubled(False).double(), layer, x, y)
    assert changed.zero == plain.zero == zero
    np.testing.assert_allclose(plain.values, exact, rtol=EXACT)
    np.testing.assert_allclose(changed.values, exact, rtol=EXACT)


def test_the_last_layer_is_the_last_that_is_called():
    """An attention that is declared last has a linear layer of its own, which it does not call."""

    class Attentive(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)
            self.body = nn.Linear(6, 4)
            self.attention = nn.MultiheadAttention(4, 1)

        def forward(self, x):
            h = self.body(x)
            return self.head(input=h + self.attention(h, h, h)[0])

    torch.manual_seed(0)
    model = Attentive().double()
    x, y = torch.randn(7, 6, dtype=torch.float64), torch.randint(0, 3, (7,))
    found, named = (gradient_alignment(model, cross_entropy, x, y, layer) for layer in (None, "head"))
    exact, zero = by_loops(model, "head", x, y)
    assert found.zero == named.zero == zero
    np.testing.assert_allclose(found.values, exact, rtol=EXACT)
    np.testing.assert_allclose(named.values, exact, rtol=EXACT)


def test_a_gradient_that_is_no_number_is_not_zero():
    x = torch.randn(4, 6, dtype=torch.float64)
    x[1, 0] = torch.nan
    found = gradient_alignment(network(False), cross_entropy, x, torch.zeros(4).long())
    assert found.zero == 0
    assert len(found.values) == 3 * 6
    assert np.isnan(found.values).all()
    assert np.isnan(found.mean)


def test_a_loss_without_reduction_is_taken():
    model, x, y = network(False), torch.randn(5, 6, dtype=torch.float64), torch.zeros(5).long()
    plain = gradient_alignment(model, cross_entropy, x, y)
    each = gradient_alignment(model, lambda *pair: cross_entropy(*pair, reduction="none"), x, y)
    np.testing.assert_array_equal(each.values, plain.values)


@pytest.mark.parametrize(("samples", "targets", "loss", "word"), [
    (0, 0, cross_entropy, "x = (0, 6)"), (4, 3, cross_entropy, "x = (4, 6)"),
    (4, 4, lambda output, y: output, "loss = "),
])  # fmt: skip
def test_what_cannot_be_compared_takes_one_line(samples, targets, loss, word):
    with pytest.raises(ArgumentError) as error:
        gradient_alignment(network(False), loss, torch.randn(samples, 6).double(), torch.zeros(targets).long())
    assert_one_line(error, word)
