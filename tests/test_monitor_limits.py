"""Where a layer has no rank, or one of rounding alone, a monitor says so, and the network runs as it would without."""

import pytest
import torch
from torch import nn

from pyrank.networks import RankMonitor

TRANSFORMS = {
    "grad": lambda model, x: torch.func.grad(lambda parameters: torch.func.functional_call(model, parameters, x).sum())(
        dict(model.named_parameters())
    ),
    "jvp": lambda model, x: torch.func.jvp(model, (x,), (x,)),
    "vmap": lambda model, x: torch.func.vmap(model)(x[:, None]),
}


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
    assert set(monitor.table()["batches"]) == {1}


def test_a_watched_network_is_exported():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    x = torch.randn(4, 3)
    with RankMonitor(model) as monitor:
        exported = torch.export.export(model, (x,), strict=False)
    plain = torch.export.export(model, (x,), strict=False)
    assert [node.target for node in exported.graph.nodes] == [node.target for node in plain.graph.nodes]
    assert not monitor.scalars()
