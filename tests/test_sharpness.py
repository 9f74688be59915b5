"""Sharpness along training: eigenvalues against dense Hessians at each look, and a training that notices nothing."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from test_hessian import batch, dense, perceptron
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from pyrank import networks
from pyrank.optimization import SharpnessMonitor, hessian_eigenvalues
from pyrank.support.ambient import one_thread
from pyrank.support.errors import ArgumentError

SAME = 1e-8
"""Error of eigenvalues, relative to the largest one, at a residual of 1e-10: it is of second order."""


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def trained(model, data, monitor=None, **changes):
    options = {"epochs": 3, "batch": 10, "learning_rate": 0.5, "seed": 1, "monitor": monitor, **changes}
    return networks.train(model, data, **options)


@pytest.mark.parametrize(("law", "k"), [("batch", 2), ("none", 1)])
def test_looks_are_the_dense_hessian_on_the_way(law, k):
    """The same training is stopped before each look, and its dense Hessian taken there."""
    data = batch()
    model = perceptron(law, width=4)
    way = [copy.deepcopy(model)]

    class Copies:
        every, batches, scalars = 1, 0, dict

        def start(self):
            self.handle = twin.register_forward_pre_hook(lambda *_: way.append(copy.deepcopy(twin)))

        def stop(self):
            self.handle.remove()

    twin = copy.deepcopy(model)
    trained(twin, data, Copies())
    monitor = SharpnessMonitor(model, data, every=4, k=k, tolerance=1e-10)
    history = trained(model, data, monitor)
    found = history.measures["hessian/eigenvalue_1"]
    assert np.flatnonzero(np.isfinite(found)).tolist() == [0, 4, 8]
    table = monitor.table()
    assert table["step"].tolist() == [0, 4, 8]
    assert table["eigenvalue_1"].tolist() == found[[0, 4, 8]].tolist()
    for row, step in enumerate((0, 4, 8)):
        exact = np.linalg.eigvalsh(dense(way[1 + step], cross_entropy, *data))[::-1]
        values = [table[f"eigenvalue_{i + 1}"][row] for i in range(k)]
        np.testing.assert_allclose(values, exact[:k], rtol=0, atol=SAME * exact[0])
    assert found[8] != found[0]


def test_training_notices_nothing():
    data = batch(dtype=torch.float32)
    model = nn.Sequential(networks.mlp(2, 6, 5, 3, "batch", "relu", seed=3), nn.BatchNorm1d(3))
    plain = copy.deepcopy(model)
    model[0][0].weight.grad = torch.ones_like(model[0][0].weight)
    expected = trained(plain, data)
    before = torch.get_rng_state()
    found = trained(model, data, SharpnessMonitor(model, data, every=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert found.loss.tolist() == expected.loss.tolist()
    for (name, there), here in zip(plain.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(here, there), name
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert not model._forward_pre_hooks


def test_a_look_is_a_spectrum_and_later_ones_are_cheaper():
    model, data = perceptron(width=12), batch()
    monitor = SharpnessMonitor(model, data, k=1)
    assert monitor.scalars() == {}
    assert len(monitor.table()) == 0
    first = monitor.measure()
    exact = hessian_eigenvalues(model, cross_entropy, data, 1).values[0]
    assert first["hessian/eigenvalue_1"] == pytest.approx(exact, rel=1e-5)  # the residual of 1e-3, squared, and a gap
    with torch.no_grad():
        model[0].weight.mul_(1.001)
    monitor.measure()
    products = monitor.table()["products"]
    assert products[1] <= products[0]
    assert "2 looks" in repr(monitor)


def test_a_start_at_right_angles_hides_nothing():
    """Products never lead from it to the first eigenvector, which must be found all the same."""
    x = torch.diag(torch.arange(1.0, 41.0, dtype=torch.float64))
    model = nn.Linear(40, 1, bias=False).double()
    cold = hessian_eigenvalues(model, mse_loss, (x, x[:, :1]), k=1)
    start = dataclasses.replace(cold, vectors=(np.arange(40) < 39.0)[:, None].astype(float))
    found = hessian_eigenvalues(model, mse_loss, (x, x[:, :1]), k=1, start=start)
    assert found.values[0] == pytest.approx(2 * 40**2 / 40, rel=SAME)


def test_evaluations_do_not_count():
    model, data = perceptron(), batch()
    with SharpnessMonitor(model, data, every=2) as monitor:
        for _ in range(3):
            model.train()(data[0])
            model.eval()(data[0])
    model.train()(data[0])
    assert monitor.batches == 3
    assert monitor.table()["step"].tolist() == [0, 2]


def test_a_copy_of_the_model_is_not_watched():
    model, data = perceptron(), batch()
    with SharpnessMonitor(model, data) as monitor:
        copy.deepcopy(model)(data[0])
    assert monitor.batches == 0


def test_divergence_is_a_result():
    model, data = perceptron("none", activation="linear"), batch()
    history = trained(model, data, SharpnessMonitor(model, data), learning_rate=1e12)
    assert history.diverged
    found = history.measures["hessian/eigenvalue_1"]
    assert found[0] > 0
    assert math.isnan(found[history.steps])


@pytest.mark.parametrize(("changes", "name"), [
    ({"model": "mlp"}, "model"), ({"every": 0}, "every"), ({"k": 0}, "k"), ({"tolerance": 0.0}, "tolerance"),
    ({"k": 10_000}, "k"), ({"data": batch()[0]}, "data"), ({"loss": "cross_entropy"}, "loss"),
])  # fmt: skip
def test_bad_input(changes, name):
    arguments = {"model": perceptron(), "data": batch(), **changes}
    with pytest.raises(ArgumentError, match=rf"^{name} = .*: expected .*; .*"):
        SharpnessMonitor(**arguments).measure()
