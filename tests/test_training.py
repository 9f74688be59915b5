"""Training: against a loop written out, its history, divergence, evaluation, monitors; known accuracies."""

import math
import pickle

import numpy as np
import pytest
import torch
from test_bad_input import assert_one_line
from torch import nn
from torch.nn import functional

import pyrank
from pyrank import data, networks

import chores
from tolerances import SIGMAS

BATCH = pyrank.Normalization(recentre=True, eps=1e-5)


@pytest.fixture(scope="module")
def points():
    return data.separable(3, 8, 4, 100, seed=0)


def network(**options):
    return networks.mlp(2, 12, 8, 3, **{"seed": 0, **options})


def test_is_gradient_descent(points):
    """Losses and weights of the loop written out, in the order that the seed gives; 100 samples are 6 batches of 16."""
    x, y = points
    ours, theirs = network(), network()
    history = networks.train(ours, points, epochs=2, batch=16, learning_rate=0.3, seed=5)
    order, losses = torch.Generator().manual_seed(5), []
    for _ in range(2):
        for chosen in torch.randperm(100, generator=order)[:96].view(6, 16):
            loss = functional.cross_entropy(theirs(x[chosen]), y[chosen])
            losses.append(loss.item())
            grads = torch.autograd.grad(loss, list(theirs.parameters()))
            with torch.no_grad():
                for p, g in zip(theirs.parameters(), grads, strict=True):
                    p.sub_(0.3 * g)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(p, q)
    assert history.steps == 12
    assert not history.diverged
    assert ours.training
    assert repr(history).startswith("History(12 steps, loss ")


def test_learns(points):
    x, y = points
    learning, rest = (x[:80], y[:80]), (x[80:], y[80:])
    history = networks.train(network(), learning, epochs=30, batch=16, learning_rate=0.3, test=rest)
    assert history.accuracy[-1] > 0.9 > history.accuracy[0]
    assert history.loss[-5:].mean() < 0.5 * history.loss[:5].mean()
    assert history.test_accuracy.shape == history.accuracy.shape == (30,)
    assert history.test_accuracy[-1] > 0.6


def test_ambient_state_changes_nothing(points):
    plain = networks.train(network(), points, epochs=1, batch=20, learning_rate=0.1)
    model = network()
    with torch.no_grad(), torch.autocast("cpu"), torch.device("meta"):
        moved = networks.train(model, points, epochs=1, batch=20, learning_rate=0.1)
    np.testing.assert_array_equal(moved.loss, plain.loss)
    np.testing.assert_array_equal(moved.accuracy, plain.accuracy)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9)])
def test_depends_on_its_seed_alone(points, optimizer):
    """Not on torch's generator, which it leaves alone, with dropout in the network."""
    found = []
    for seed, other in ((3, 0), (3, 1), (4, 0)):
        model = nn.Sequential(network(), nn.Dropout(0.5))
        torch.manual_seed(other)
        before = torch.get_rng_state()
        history = networks.train(model, points, epochs=2, batch=20, learning_rate=0.01, optimizer=optimizer, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        found.append((history.loss, history.accuracy))
    assert all(np.array_equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not np.array_equal(found[0][0], found[2][0])


def test_batches_without_shuffling_and_ragged_ones(points):
    sizes = []
    model = network(normalization="none")
    model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])) if module.training else None)
    networks.train(model, points, epochs=1, batch=30, learning_rate=0.0)
    networks.train(model, points, epochs=1, batch=30, learning_rate=0.0, drop_last=False)
    assert sizes == [30, 30, 30, 30, 30, 30, 10]
    still = networks.train(model, points, epochs=2, batch=25, learning_rate=0.0, shuffle=False)
    np.testing.assert_array_equal(still.loss[:4], still.loss[4:])
    assert len(set(still.loss)) == 4


def test_divergence_is_reported(points):
    """Least squares above 2 / lambda_max grow by a factor a step, and leave single precision within 100."""

    def squares(scores, y):
        return (scores - functional.one_hot(y, 3)).square().sum()

    history = networks.train(nn.Linear(8, 3), points, epochs=20, batch=20, learning_rate=1.0, loss=squares)
    assert history.diverged
    assert history.loss.shape == (100,)
    assert 5 < history.steps < 100
    assert np.isfinite(history.loss[: history.steps]).all()
    assert not np.isfinite(history.loss[history.steps :]).any()
    assert np.isnan(history.accuracy).tolist() == [False] * (history.steps // 5) + [True] * (20 - history.steps // 5)
    assert "diverged" in repr(history)


def test_divergence_in_the_last_step_is_reported(points):
    x, y = points
    history = networks.train(nn.Linear(8, 3), (1e25 * x, y), epochs=1, batch=100, learning_rate=1e12)
    assert history.diverged
    assert np.isfinite(history.loss).all()
    assert np.isnan(history.accuracy).all()


def test_accuracy_by_hand(points):
    """In batch mode each batch by itself, and nothing moves; with running statistics, eval mode."""
    x, y = points
    model = nn.Sequential(network(normalization=BATCH), nn.BatchNorm1d(3), nn.Dropout(0.9))
    for _ in range(3):
        model(x)
    model[0][1].eval()
    modes = [module.training for module in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    found = {kind: networks.accuracy(model, points, batch=30, statistics=kind) for kind in ("batch", "running")}
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))
    model.eval()
    assert found["running"] == pytest.approx((model(x).argmax(1) == y).float().mean().item())
    model.train()
    model[2].eval()
    right = sum((model(x[i : i + 30]).argmax(1) == y[i : i + 30]).sum().item() for i in (0, 30, 60))
    assert found["batch"] == pytest.approx(right / 90)
    assert found["batch"] != found["running"]


def test_accuracy_of_what_has_no_parameters():
    scores = torch.eye(4)
    y = torch.tensor([0, 1, 2, 0])
    assert networks.accuracy(nn.Identity(), (scores, y)) == 0.75
    assert math.isnan(networks.accuracy(nn.Identity(), (scores * math.inf, y)))


class Watch:
    """A monitor that notes the norm of the last layer's output at every second batch."""

    every = 2

    def __init__(self, model):
        self.model, self.batches, self.handle, self.value = model, 0, None, math.nan

    def start(self):
        self.handle = self.model.register_forward_hook(self.see)

    def stop(self):
        self.handle.remove()

    def see(self, module, args, output):
        if self.batches % self.every == 0:
            self.value = output.detach().norm().item()
        self.batches += 1

    def scalars(self):
        return {"head/norm": self.value}


def test_monitor_sees_steps_and_no_evaluations(points):
    model = network()
    watch = Watch(model)
    history = networks.train(model, points, epochs=2, batch=20, learning_rate=0.1, monitor=watch)
    assert watch.batches == 10
    values = history.measures["head/norm"]
    assert np.isfinite(values[::2]).all()
    assert np.isnan(values[1::2]).all()
    assert len(set(values[::2])) == 5
    assert not model._forward_hooks
    plain = networks.train(network(), points, epochs=2, batch=20, learning_rate=0.1)
    np.testing.assert_array_equal(plain.loss, history.loss)
    flat = history.to_dict()
    assert {"loss", "accuracy", "test_accuracy", "steps", "diverged", "head/norm"} == set(flat)
    assert pickle.loads(pickle.dumps(history)).steps == 10  # noqa: S301, as between processes


def test_evaluations_by_epoch_change_nothing(points):
    """The weights before the first step and after each epoch; draws and changes of modes and buffers are put back."""
    model = network(normalization=BATCH)
    start = network(normalization=BATCH)[0].weight

    def evaluate():
        model.eval()
        model[1].running_mean += torch.rand(12)
        return {"weights": model[0].weight, "step": (model[0].weight - start).norm()}

    options = {"epochs": 2, "batch": 20, "learning_rate": 0.1}
    history = networks.train(model, points, **options, evaluate=evaluate)
    plain = network(normalization=BATCH)
    unseen = networks.train(plain, points, **options)
    np.testing.assert_array_equal(history.loss, unseen.loss)
    for p, q in zip(model.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(p, q)
    weights = history.evaluations["weights"]
    assert weights.shape == (3, 12, 8)
    np.testing.assert_array_equal(weights[0], start.detach())
    np.testing.assert_array_equal(weights[2], plain[0].weight.detach())
    steps = np.linalg.norm(weights - weights[0], axis=(1, 2))
    np.testing.assert_allclose(history.evaluations["step"], steps, rtol=1e-5)
    assert {"weights", "step"} < set(history.to_dict())
    assert unseen.evaluations == {}


def test_evaluations_end_where_a_training_diverges(points):
    x, y = points
    options = {"epochs": 2, "batch": 100, "learning_rate": 1e12, "evaluate": lambda: {"one": 1.0}}
    history = networks.train(nn.Linear(8, 3), (1e25 * x, y), **options)
    np.testing.assert_array_equal(history.evaluations["one"], [1.0, math.nan, math.nan])


def test_evaluations_of_changing_shapes_are_refused(points):
    shapes = iter(([1.0], [1.0, 2.0]))
    with pytest.raises(pyrank.ArgumentError) as error:
        networks.train(network(), points, epochs=1, learning_rate=0.1, batch=50, evaluate=lambda: {"r": next(shapes)})
    assert_one_line(error, "evaluate", "(2,)", "(1,)")


def test_rank_monitor_follows_the_steps(points):
    """At the first step it sees the first batch in the untrained network."""
    fresh, model = network(), network()
    monitor = networks.RankMonitor(model, ["participation_ratio"], every=3, layers=nn.ReLU)
    history = networks.train(model, points, epochs=2, batch=20, learning_rate=0.1, monitor=monitor)
    first = torch.randperm(100, generator=torch.Generator().manual_seed(0))[:20]
    r = pyrank.participation_ratio(fresh[:6](points[0][first]).T).item()
    assert set(history.measures) == {"2/participation_ratio", "5/participation_ratio"}
    values = history.measures["5/participation_ratio"]
    assert values[0] == pytest.approx(r, rel=1e-5)
    assert np.isfinite(values).tolist() == [step % 3 == 0 for step in range(10)]
    assert not model[5]._forward_hooks


def test_a_training_is_a_task_of_a_study(tmp_path):
    study = pyrank.Study(tmp_path / "rates", pyrank.grid(task=chores.trained, learning_rate=[0.1, 0.3], seed=[5]))
    study.run()
    for rate, result in zip((0.1, 0.3), study.results(), strict=True):
        again = chores.trained(rate, 5)
        assert result.keys() == again.keys()
        for name, value in again.items():
            np.testing.assert_array_equal(result[name], value)
    assert study.table()["steps"].tolist() == [6, 6]


def test_convolutional_networks_train():
    x, y = data.load("fashion-mnist", samples=8)
    model = networks.vgg19(1, 10, width_factor=1 / 32, weights="he", seed=0)
    history = networks.train(model, (x, y), epochs=5, batch=8, learning_rate=0.03)
    assert history.loss[-1] < history.loss[0]


@pytest.mark.parametrize(("options", "word"), [
    ({"epochs": 0}, "epochs"), ({"batch": 0}, "batch"), ({"batch": 101}, "batch"), ({"learning_rate": -1}, "rate"),
    ({"learning_rate": math.nan}, "rate"), ({"optimizer": "lbfgs"}, "optimizer"), ({"seed": -1}, "seed"),
    ({"statistics": "moving"}, "statistics"), ({"data": torch.ones(3)}, "data"),
    ({"data": (torch.ones(3, 8), torch.ones(2))}, "data"), ({"test": (torch.ones(0, 8), torch.ones(0))}, "test"),
])  # fmt: skip
def test_bad_input(points, options, word):
    chosen = {"data": points, "epochs": 1, "batch": 10, "learning_rate": 0.1, **options}
    with pytest.raises(pyrank.ArgumentError) as error:
        networks.train(network(), chosen.pop("data"), **chosen)
    assert_one_line(error, word)


# --- known accuracies ------------------------------------------------------------------------------------------------

KNOWN = {  # at depth 4, after 3 epochs of 78 batches; (normalisation, weights, rate), mean and standard error
    "BN": ((BATCH, "torch", 0.1), (0.896, 0.004)),
    "none": (("none", "torch", 0.1), (0.624, 0.002)),
    "He": (("none", "he", 0.05), (0.774, 0.015)),
    "broken": ((BATCH, "broken", 0.1), (0.156, 0.005)),
    "BN without recentring": ((pyrank.Normalization(eps=1e-5), "torch", 0.03), (0.863, 0.006)),
}


@pytest.mark.validate
@pytest.mark.parametrize("column", KNOWN)
def test_known_accuracies(column):
    """At five standard errors of the difference: the known one, and that of three seeds here, which may be luckier."""
    (normalization, weights, rate), (mean, error) = KNOWN[column]
    try:
        x, y = data.load("fashion-mnist", samples=78 * 128)
    except pyrank.ArgumentError as missing:
        pytest.skip(str(missing))
    shares = []
    for seed in range(3):
        model = networks.mlp(4, 128, 784, 10, normalization, weights=weights, seed=seed)
        history = networks.train(model, (x.flatten(1), y), epochs=3, learning_rate=rate, seed=seed)
        shares.append(history.accuracy[-1])
    own = np.std(shares, ddof=1) / math.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(mean, abs=SIGMAS * math.hypot(error, own))
