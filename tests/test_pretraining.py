"""Rank-increasing pre-training raises r, leaves everything but weights alone, and stops at the best weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import pyrank
from pyrank.networks import RankMonitor, increase_rank
from pyrank.support.errors import ArgumentError

SCHEDULES = pytest.mark.parametrize("schedule", ["layerwise", "last"])


def deep(depth=8, width=24, inputs=12):
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(width, 3))


def convolutional():
    torch.manual_seed(0)
    act = nn.ReLU()  # one module for all
    convs = [nn.Conv2d(into, 8, 3, padding=1) for into in (1, 8, 8)]
    layers = [part for conv in convs for part in (conv, act)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 36, 3))


def ranks(model, x):
    with RankMonitor(model, "participation_ratio", layers=nn.ReLU) as monitor:
        model(x)
    return monitor.table()["mean"].to_numpy()


@SCHEDULES
@pytest.mark.parametrize(("build", "shape"), [(deep, (32, 12)), (convolutional, (16, 1, 6, 6))])
def test_raises_the_rank_that_a_monitor_sees(build, shape, schedule):
    model, x = build(), torch.rand(shape)
    before = ranks(model, x)
    steps = {"layerwise": 30, "last": 100}[schedule]
    report = increase_rank(model, x, schedule=schedule, steps=steps, target=math.inf, learning_rate=6e-3)
    after = ranks(model, x)
    np.testing.assert_allclose(report.before, before, rtol=1e-4)
    np.testing.assert_allclose(report.after, after, rtol=1e-4)
    assert after[-1] > 1.2 * before[-1]
    assert report.input_scale == pytest.approx(float(x.square().mean().sqrt()))
    assert report.steps == steps * (len(report.layers) if schedule == "layerwise" else 1)
    assert not report.stopped
    assert "r before" in repr(report)


def test_first_step_is_gradient_ascent():
    """One step of plain ascent on a linear layer: W + rate dr/dW, from autograd on the reference in double."""
    model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Identity()).double()
    x = torch.rand(9, 6, dtype=torch.float64)
    weight = model[0].weight.detach().clone().requires_grad_()
    r = pyrank.reference.participation_ratio(weight @ x.T)
    (gradient,) = torch.autograd.grad(r, weight)
    increase_rank(model, x, "1", steps=1, learning_rate=1e-3, optimizer="sgd", rescale=False)
    torch.testing.assert_close(model[0].weight.detach(), (weight + 1e-3 * gradient).detach())


def test_last_opens_layer_after_layer():
    """The last of 24 layers sees one sample: ascent there alone ends at r = 2 with all samples on two rays."""
    model = deep(24, 32)
    report = increase_rank(model, torch.rand(64, 12), schedule="last", steps=400)
    assert report.before[-1] < 1 + 1e-6
    assert report.after[-1] > 3


def test_last_does_not_end_below_its_start():
    """Normalised, at a rate that throws the weights about: the untouched ones are the best of all."""
    model = deep(6)
    for place in range(11, 0, -2):
        model.insert(place, nn.BatchNorm1d(24))
    x = torch.rand(64, 12)
    report = increase_rank(model, x, schedule="last", steps=5, learning_rate=1.0, target=math.inf, rescale=False)
    assert report.after[-1] >= report.before[-1]


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_half_of_the_steps_go_to_the_last_layer(steps):
    """Where no layer opens."""
    to_the_last = []

    class Watched(torch.optim.Adam):
        def step(self):
            to_the_last.append(self.param_groups[0]["params"][-1].grad is not None)
            super().step()

    increase_rank(deep(24), torch.rand(8, 12), schedule="last", steps=steps, optimizer=Watched, learning_rate=1e-6)
    assert len(to_the_last) == steps
    assert sum(to_the_last) >= steps / 2


def test_a_function_may_return_the_usual_optimizer():
    x, named, made = torch.rand(32, 12), deep(3), deep(3)
    increase_rank(named, x, steps=3)
    increase_rank(made, x, steps=3, optimizer=lambda weights, rate: torch.optim.Adam(weights, rate, fused=True))
    assert all(torch.equal(a, b) for a, b in zip(named.parameters(), made.parameters(), strict=True))


@pytest.mark.parametrize(("target", "reached"), [(3.5, 3.5), (None, 1.2 * 24**0.5)])
def test_each_layer_is_raised_to_the_target(target, reached):
    """One batch, so that what an ascent sees is what the report tells; the last of its steps does not reach far."""
    model, x = deep(4), torch.rand(128, 12)
    report = increase_rank(model, x, steps=400, target=target)
    assert (report.after >= reached * (1 - 1e-6)).all()
    assert (report.after < reached * 1.2).all()
    assert report.steps < 4 * 400
    again = increase_rank(model, x, target=target)
    assert again.steps == 0
    np.testing.assert_allclose(again.after, report.after, rtol=1e-4)


def test_plain_ascent_is_that_of_the_last_layer_from_the_start():
    model = deep(3).double()
    x = torch.rand(32, 12, dtype=torch.float64)
    weight = model[0].weight.detach().clone()
    r = pyrank.ops.participation_ratio(model[:6](x).T)
    (gradient,) = torch.autograd.grad(r, model[0].weight)
    increase_rank(model, x, schedule="last", steps=1, learning_rate=1e-3, optimizer="sgd", rescale=False)
    torch.testing.assert_close(model[0].weight.detach(), weight + 1e-3 * gradient)


def test_layerwise_trains_the_weights_of_each_stage_alone():
    model = deep()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    increase_rank(model, torch.rand(32, 12), layers=["3", "7"], steps=3)
    same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert same == [False] * 8 + [True] * 10  # weight and bias of four layers; the rest comes after


@SCHEDULES
def test_all_but_weights_is_left_alone(schedule):
    model = deep(4)
    model.insert(1, nn.BatchNorm1d(24))
    model.insert(3, nn.Dropout(0.5))
    model[0].weight.requires_grad_(False)
    model[4].eval()
    frozen = model[0].weight.detach().clone()
    buffers = [buffer.clone() for buffer in model.buffers()]
    modes = [module.training for module in model.modules()]
    x = torch.rand(32, 12)
    state = torch.get_rng_state()
    increase_rank(model, x, schedule=schedule, steps=3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(frozen, model[0].weight)
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [False, *[True] * (len(list(model.parameters())) - 1)]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@SCHEDULES
def test_same_seed_same_weights(schedule):
    x = torch.rand(64, 12)
    ends = []
    for seed in (1, 1, 2):
        model = deep(3)
        increase_rank(model, x, schedule=schedule, steps=5, batch=16, seed=seed)
        ends.append(model[2].weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_nan_stops_and_leaves_the_best_weights():
    """An optimiser that ruins the weights at its fourth step: what was best before is what remains."""

    class Ruin(torch.optim.SGD):
        steps = 0

        def step(self):
            Ruin.steps += 1
            super().step()
            if Ruin.steps == 4:
                self.param_groups[0]["params"][0].data.fill_(torch.nan)

    x = torch.rand(32, 12)
    model, undisturbed = deep(2), deep(2)
    report = increase_rank(model, x, "3", steps=9, optimizer=lambda weights, rate: Ruin(weights, 0.05))
    increase_rank(undisturbed, x, "3", steps=3, rescale=False, optimizer="sgd", learning_rate=0.05)
    assert report.stopped == "r of layer 3 is no number after 4 steps"
    assert report.steps == 4
    for a, b in zip(model.parameters(), undisturbed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_start_without_numbers_changes_nothing():
    model = deep(2)
    model[0].weight.data[0, 0] = torch.nan
    before = model[2].weight.detach().clone()
    report = increase_rank(model, torch.rand(8, 12), steps=3)
    assert "after 0 steps" in report.stopped
    assert torch.equal(before, model[2].weight)
    assert np.isnan(report.before).all()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"schedule": "first"}, "schedule = 'first'"), ({"steps": 0}, "steps = 0"), ({"learning_rate": -1}, "rate = -1"),
    ({"optimizer": "newton"}, "optimizer = 'newton'"), ({"batch": 1}, "batch = 1"), ({"layers": "9.x"}, "layers = "),
    ({"target": 0.5}, "target = 0.5"), ({"target": math.nan}, "target = nan"), ({"x": torch.rand(12)}, "x = "),
    ({"layers": "0.x"}, "layers = "),
])  # fmt: skip
def test_bad_arguments_are_told(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        increase_rank(deep(2), **({"x": torch.rand(8, 12)} | arguments))


def test_nothing_to_train_is_told():
    model = deep(2).requires_grad_(False)
    with pytest.raises(ArgumentError, match="trainable weights"):
        increase_rank(model, torch.rand(8, 12))


def test_rescaling_gives_size_one_and_keeps_the_rank():
    """Where a stage is positively homogeneous: with tanh it is not, and its weights stay."""
    x = torch.rand(32, 12)
    model, plain = deep(3), deep(3)
    increase_rank(model, x, steps=1, learning_rate=1e-3)
    for stage in (2, 4, 6):
        assert model[:stage](x).square().mean().sqrt().item() == pytest.approx(1.0, rel=1e-3)
    report = increase_rank(plain, x, "1", steps=1, rescale=False, learning_rate=1e-3)
    np.testing.assert_allclose(ranks(model, x)[0], report.after[0], rtol=1e-4)
    whole, plain = deep(5), deep(5)
    for each, rescale in ((whole, True), (plain, False)):
        increase_rank(each, x, schedule="last", steps=5, rescale=rescale)
    np.testing.assert_allclose(ranks(whole, x), ranks(plain, x), rtol=1e-4)
    for stage in (2, 4, 6, 8, 10):
        assert whole[:stage](x).square().mean().sqrt().item() == pytest.approx(1.0, rel=1e-3)
    first, second = (nn.Sequential(nn.Linear(12, 9), nn.Tanh()) for _ in range(2))
    second.load_state_dict(first.state_dict())
    increase_rank(first, x, steps=1)
    increase_rank(second, x, steps=1, rescale=False)
    assert torch.equal(first[0].weight, second[0].weight)
