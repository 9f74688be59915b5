"""Where a layer has no rank, or one of rounding alone, a monitor says so, and the network runs as it would without."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pyrank.networks import RankMonitor, tally
from pyrank.networks.moments import ROUNDINGS

from tolerances import gram_tolerance

TRANSFORMS = {
    "grad": lambda model, x: torch.func.grad(lambda parameters: torch.func.functional_call(model, parameters, x).sum())(
        dict(model.named_parameters())
    ),
    "jvp": lambda model, x: torch.func.jvp(model, (x,), (x,)),
    "vmap": lambda model, x: torch.func.vmap(model)(x[:, None]),
}


def near(spread, dtype, samples=64, features=6):
    """Samples about (1, ..., 1) that differ from it by so many roundings."""
    signs = torch.where(torch.arange(samples)[:, None] % 2 == 0, 1.0, -1.0)
    directions = torch.eye(features)[torch.arange(samples) // 2 % features]
    x = torch.ones(samples, features, dtype=torch.float64) + spread * torch.finfo(dtype).eps * signs * directions
    return x.to(dtype)


@pytest.mark.parametrize("way", ["kernel", "torch", "pooled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_spread_of_a_few_roundings_is_told(way, dtype):
    """Tr of the covariance is spread^2 eps^2 / 6 of that of the mean: on either side of the limit."""
    root = ROUNDINGS * 6**0.5
    for spread, flagged in ((root // 2, True), (2 * root // 1, False)):
        model = nn.Identity()
        monitor = RankMonitor(model, "participation_ratio", centre=True, pooled=way == "pooled")
        monitor._measuring.by_kernel &= way == "kernel"
        with monitor:
            model(near(spread, dtype))
        assert ("spread is rounding in 1 of 1 batches" in repr(monitor)) == flagged
        if flagged:
            with pytest.warns(UserWarning, match="samples differ by rounding alone: Identity: .*float64"):
                monitor.table()
        else:
            monitor.table()  # without a warning


def test_what_is_not_centred_is_no_rounding():
    model = nn.Identity()
    with RankMonitor(model) as monitor:
        model(near(2, torch.float32))
        model(torch.zeros(4, 3))
    assert "rounding" not in repr(monitor)


def test_an_outlier_of_one_sample_is_no_number():
    model = nn.Identity()
    with RankMonitor(model, ["outlier_angle", "outlier_ratio"]) as monitor:
        model(torch.randn(1, 4))
    assert monitor.table()["mean"].isna().all()
    assert "no finite number in 1 of 1 batches" in repr(monitor)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_is_told(pooled, bad):
    model = nn.Identity()
    with RankMonitor(model, "trace", pooled=pooled) as monitor:
        model(torch.full((2, 4), bad))
        model(torch.ones(2, 4))
    assert "no finite number in 1 of 2 batches" in repr(monitor)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_left_out():
    """Those that an encoder in eval mode makes of what its mask leaves, and one of two dimensions."""
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad(), RankMonitor(encoder) as monitor:
        encoder(torch.randn(2, 5, 8), src_key_padding_mask=mask)
    assert monitor.skipped["layers.0.linear1"] == "its output is no dense tensor"
    model = nn.Identity()
    with RankMonitor(model) as monitor:
        model(torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]))
    assert monitor.skipped[""] == "its output is no dense tensor"


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_of_functions_run_and_are_left_out(transform):
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    x = torch.randn(4, 3)
    with RankMonitor(model, centre=True) as monitor:
        TRANSFORMS[transform](model, x)
        assert set(monitor.skipped) == {"0", "1"}
        model(x)
    with pytest.warns(UserWarning, match=r"left out.*torch\.func"):
        assert set(monitor.table()["batches"]) == {1}


def test_a_watched_network_is_exported():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    x = torch.randn(4, 3)
    with RankMonitor(model) as monitor:
        exported = torch.export.export(model, (x,), strict=False)
    plain = torch.export.export(model, (x,), strict=False)
    assert [node.target for node in exported.graph.nodes] == [node.target for node in plain.graph.nodes]
    assert not monitor.scalars()


def test_scalars_are_of_the_last_batch_alone():
    """Also where an empty batch came, or a second call does not come again."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.always, self.sometimes = nn.Identity(), nn.Identity()

        def forward(self, x, times):
            for _ in range(times):
                x = self.sometimes(x)
            return self.always(x)

    model = Branches()
    with RankMonitor(model, "trace", every=2) as monitor:
        for times, names in ((2, {"always", "sometimes", "sometimes[1]"}), (0, None), (1, {"always", "sometimes"}),
                             (1, None), (0, {"always"}), (2, {"always"})):  # fmt: skip
            model(torch.ones(2, 2), times)
            assert names is None or {key.partition("/")[0] for key in monitor.scalars()} == names


def test_layers_called_alone_after_the_network_are_batches():
    """Every second one is measured, the network's calls counting for themselves; nothing grows."""
    model = nn.Sequential(nn.Identity(), nn.Identity())
    with RankMonitor(model, "trace", every=2) as monitor:
        model(torch.zeros(1, 1))
        for value in (1.0, 2.0, 3.0, 4.0):
            model[0](torch.full((1, 1), value))
    table = monitor.table().set_index("layer")
    assert list(table.index) == ["0", "1"]
    assert list(table["batches"]) == [3, 1]
    assert table["mean"]["0"] == pytest.approx((0 + 1 + 9) / 3)
    assert monitor.batches == 5
    assert "batches: 5," in repr(monitor)


def test_layers_called_alone_again_in_the_backward_pass():
    """Checkpoints call once more: that is a second call in the same batch, measured where the first was."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with RankMonitor(model, "trace", layers="0", every=2) as monitor:
        for _ in range(4):
            x = torch.ones(2, 3, requires_grad=True)
            checkpoint(lambda x: model[1](model[0](x)), x, use_reentrant=False).sum().backward()
    table = monitor.table()
    assert list(table["call"]) == [0, 1]
    assert list(table["batches"]) == [2, 2]


def test_a_network_that_raised_is_not_still_running():
    model = nn.Sequential(nn.Identity(), nn.Linear(2, 2))
    with RankMonitor(model, "trace", layers="0") as monitor:
        with pytest.raises(RuntimeError, match="shapes"):
            model(torch.ones(1, 3))
        for _ in range(3):
            model[0](torch.ones(1, 3))
    assert list(monitor.table()["batches"]) == [4]


def test_batches_that_make_no_pool_are_left_out(monkeypatch):
    model = nn.Identity()
    apart = []
    for lengths in ((3, 5, 3), (5,)):
        with RankMonitor(model, "trace", pooled=True, matrix="samples") as monitor:
            for length in lengths:
                model(torch.ones(2, length, 4))
        apart.append(monitor)
    one, other = apart
    reason = "batches of 20 features beside others of 12"
    assert reason in one.skipped[""]
    assert reason in repr(one)
    with pytest.warns(UserWarning, match=reason):
        table = one.table()
    assert (table["batches"][0], table["mean"][0]) == (2, pytest.approx(12))
    one.skipped.clear()
    one.merge(other)
    assert reason in one.skipped[""]
    assert one._rows()[0].batches == 2
    monkeypatch.setattr(tally, "WIDEST_POOL", 4)
    with RankMonitor(nn.Sequential(nn.Identity(), nn.Flatten()), "trace", pooled=True) as monitor:
        monitor.model(torch.ones(2, 3, 4))
    assert list(monitor.table()["layer"]) == ["0"]
    assert "12 features, where a pool takes 4 at most" in monitor.skipped["1"]


@pytest.mark.parametrize("centre", [False, True])
def test_sixteen_bits_are_taken_as_they_are(centre):
    """Small and large, and by measures that take the matrix: what the same numbers give in single precision."""
    measures = ["participation_ratio", "trace", "stable_rank"]
    for wanted, shape in (measures[:2], (30, 6)), (measures[:2], (4, 8, 256, 64)), (measures, (30, 6)):
        x = (1.0 + torch.randn(shape, generator=torch.Generator().manual_seed(0))).bfloat16()
        found = []
        for values in (x, x.float()):
            model = nn.Identity()
            with RankMonitor(model, wanted, centre=centre) as monitor:
                model(values)
            found.append(list(monitor.scalars().values()))
        assert found[0] == pytest.approx(found[1], rel=gram_tolerance("float32", 30))
