"""Where a layer has no rank, or one of rounding alone, a monitor says so, and the network runs as it would without."""

import torch
from torch import nn

from pyrank.networks import RankMonitor


def test_a_watched_network_is_exported():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    x = torch.randn(4, 3)
    with RankMonitor(model) as monitor:
        exported = torch.export.export(model, (x,), strict=False)
    plain = torch.export.export(model, (x,), strict=False)
    assert [node.target for node in exported.graph.nodes] == [node.target for node in plain.graph.nodes]
    assert not monitor.scalars()
