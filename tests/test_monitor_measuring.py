"""Hidden matrices are measured by the kernels or by torch, the long way or the short one, to the same numbers."""

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor  # of the kind that has its numbers in other tensors

from pyrank.engine import native
from pyrank.networks import RankMonitor, measuring
from pyrank.specs.measures import Measure

from tolerances import gram_tolerance

MEASURES = ["participation_ratio", "soft_rank(0.5)", "trace"]


class Answers(nn.Module):
    """Returns whatever it is told to."""

    def forward(self, x):
        return self.answer(x)


def watch(*answers, x, measures=MEASURES, **options):
    """Return the monitor of a module that returns one answer after the other."""
    model = nn.Sequential(Answers())
    with RankMonitor(model, measures, **options) as monitor:
        for model[0].answer in answers:
            model(x)
    return monitor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(9, 30), (30, 9), (16, 16), (6, 4, 7, 7), (2, 64, 3, 3)])
@pytest.mark.parametrize("size", [1.0, 1e-20, 1e15, 0.0])
def test_both_ways_agree(shape, dtype, size):
    """The kernels and torch, where entries are of any size; in between the rank is full, below and above it is not."""
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) @ torch.randn(shape[-1], shape[-1], dtype=torch.float64)
    x = (size * x).to(dtype)
    H = x.movedim(1, -1).reshape(-1, x.shape[1]).T
    tau = float(torch.linalg.eigvalsh(H.double() @ H.double().T / H.shape[1])[-3:].mean()) or 0.5
    measures = ["participation_ratio", f"soft_rank({tau!r})", "trace"]
    found = {}
    for by_kernel in (True, False):
        model = nn.Identity()
        monitor = RankMonitor(model, measures)
        monitor._measuring.by_kernel = by_kernel
        with monitor:
            model(x)
        found[by_kernel] = monitor.table()["mean"].to_numpy()
    rtol = gram_tolerance(str(dtype).removeprefix("torch."), H.numel())
    np.testing.assert_allclose(found[True], found[False], rtol=rtol)
    if size:
        exact = [1.0 / (H := H.double() / H.double().norm()).mul(1).T.matmul(H).square().sum().item()]
        np.testing.assert_allclose(found[True][:1], exact, rtol=rtol)
        assert 1 <= found[True][1] <= 3
    else:
        assert np.isnan(found[True][0])
        assert list(found[True][1:]) == [0, 0]


def test_memory_does_not_grow_with_the_activation(monkeypatch):
    """A large activation is never copied as a whole: no piece has more numbers than are allowed at a time."""
    from pyrank.networks import moments

    sizes = []
    split = torch.split
    monkeypatch.setattr(torch, "split", lambda *a, **k: [sizes.append(p.numel()) or p for p in split(*a, **k)])
    model = nn.Identity()
    with RankMonitor(model):
        model(torch.randn(8, 16, 64, 64).contiguous(memory_format=torch.channels_last))
    assert max(sizes) <= moments.PIECE


@pytest.fixture
def kernels_made(monkeypatch):
    """Shapes for which a kernel was made ready, in order."""
    made, make = [], native.measurement

    def counted(samples, features, *rest):
        made.append((samples, features))
        return make(samples, features, *rest)

    monkeypatch.setattr(native, "measurement", counted)
    return made


def test_a_kernel_is_made_ready_once_for_each_shape(kernels_made, monkeypatch):
    monkeypatch.setattr(measuring, "SHAPES", 2)
    model = nn.Sequential(*[nn.Linear(8, 8, bias=False) for _ in range(6)])
    with RankMonitor(model) as monitor:
        for samples in (4, 4, 5, 5, 6, 4):
            model(torch.randn(samples, 8))
            assert len(monitor._measuring._kernels) <= 2
    assert kernels_made == [(4, 8), (5, 8), (6, 8), (4, 8)]


def test_large_matrices_are_left_to_torch(kernels_made, monkeypatch):
    monkeypatch.setattr(measuring, "SMALL", 30)
    for _ in range(2):
        watch(lambda x: x, x=torch.randn(4, 8))
    assert not kernels_made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(6, 5), (4, 7, 5), (3, 5, 2, 2)])
@pytest.mark.parametrize("centre", [False, True])
def test_the_short_way_gives_the_bits_of_the_long_one(shape, dtype, centre, monkeypatch):
    x = torch.randn(3, *shape, dtype=dtype)
    batches = [lambda _, k=k: x[k] for k in (0, 1, 2, 1)]
    found = watch(*batches, x=x[0], centre=centre)
    monkeypatch.setattr(measuring.Measuring, "took", lambda *_: False)
    expected = watch(*batches, x=x[0], centre=centre)
    assert found._rows()[0].tallies == expected._rows()[0].tallies
    assert found._rows()[0].shape == expected._rows()[0].shape


@pytest.mark.parametrize("answer", [
    lambda x: x.to_sparse(),
    lambda x: x.to("meta"),
    lambda x: torch.nested.nested_tensor([x[0], x[1]]),
    lambda x: x > 0,
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_second_batch_may_have_no_matrix(answer):
    monitor = watch(lambda x: x, answer, x=torch.ones(3, 4))
    assert monitor._rows()[0].batches == 1
    assert list(monitor.skipped) == ["0"]


@pytest.mark.parametrize(("answer", "mean"), [
    (lambda x: {"x": 2 * x}, 10.0),
    (lambda x: (3 * x,), 20.0),
    (lambda x: 2 * x.double(), 10.0),
    (lambda x: (2 * x).T.contiguous().T, 10.0),
    (lambda x: torch._neg_view(2 * x), 10.0),  # M is that of -H
    (lambda x: torch._efficientzerotensor(3, 4), 2.0),
    (lambda x: nn.Parameter(2 * x), 10.0),
    (lambda x: TwoTensor(2 * x, 2 * x), 10.0),
    (lambda x: x.expand(2, 3, 4), 4.0),
    (lambda x: float("nan") * x, float("nan")),
    (lambda x: 0 * x, 2.0),
    (lambda x: 1e20 * x, 2.0 * (1 + 1e40)),
])  # fmt: skip
def test_the_second_batch_may_be_of_another_kind(answer, mean):
    """After ones, 3 x 4, whose trace is 4."""
    monitor = watch(lambda x: x, answer, x=torch.ones(3, 4), measures="trace")
    (row,) = monitor._rows()
    assert row.batches == 2
    np.testing.assert_allclose(row.tallies[0].mean, mean, rtol=gram_tolerance("float32", 4))
    assert not monitor.skipped


@pytest.mark.parametrize("answer", [
    lambda _: torch._efficientzerotensor(3, 4), lambda x: nn.Parameter(x), lambda x: TwoTensor(x, x),
])  # fmt: skip
@pytest.mark.parametrize("centre", [False, True])
def test_the_first_batch_may_be_of_another_kind(answer, centre):
    (row,) = watch(answer, x=torch.ones(3, 4), measures="trace", centre=centre)._rows()
    size = 0.0 if centre else answer(torch.ones(3, 4)).detach().square().sum().item() / 3
    np.testing.assert_allclose(row.tallies[0].mean, size, rtol=gram_tolerance("float32", 4))


def test_the_second_batch_may_be_empty():
    assert watch(lambda x: x, lambda x: x[:0], x=torch.ones(3, 4))._rows()[0].batches == 1


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad, torch.func.functionalize])
def test_the_second_batch_may_be_inside_of_a_transform(transform):
    model = nn.Sequential(nn.Identity())
    x = torch.ones(3, 4)
    with RankMonitor(model, "trace") as monitor:
        model(x)
        transform(lambda z: model(z).sum() if transform is torch.func.grad else model(z))(x)
    (row,) = monitor._rows()
    assert row.batches == 1
    assert "torch.func" in monitor.skipped["0"]


def test_fake_tensors_have_no_matrix():
    model = nn.Sequential(nn.Linear(4, 4))
    with FakeTensorMode(allow_non_fake_inputs=True), RankMonitor(model) as monitor:
        model(torch.ones(3, 4))
    assert "fake" in monitor.skipped["0"]


def test_what_a_kernel_cannot_read_as_it_lies_is_left_alone():
    kernel = native.measurement(3, 4, torch.float32, (Measure("trace"),))
    x = torch.ones(3, 4)

    def take(x):
        return kernel(torch.utils.dlpack.to_dlpack(x))

    for same in (x, x.reshape(3, 1, 4)):
        assert take(same) == [pytest.approx(4.0, rel=gram_tolerance("float32", 4))]
    spread = x.T.contiguous().T
    for other in (x.double(), x.T, spread, x[:2], torch.ones(4, 3), x.int(), x.to(torch.complex64)[..., :2]):
        assert take(other) == []
