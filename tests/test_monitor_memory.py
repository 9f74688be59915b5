"""A rank monitor adds little to the memory that a network takes, however large and many its activations are."""

import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrank import networks

MEGABYTE = 2**20


class Living(TorchDispatchMode):
    """Counts the bytes of all tensors that operations have made and that are still there."""

    def __init__(self):
        super().__init__()
        self.bytes = self.most = 0
        self.storages = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        output = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor)
        return output

    def see(self, tensor):
        storage = tensor.untyped_storage()
        owner, size = storage.data_ptr(), storage.nbytes()
        count = self.storages.get(owner, 0)
        self.storages[owner] = count + 1
        if not count:
            self.bytes += size
            self.most = max(self.most, self.bytes)
        weakref.finalize(tensor, self.gone, owner, size)

    def gone(self, owner, size):
        self.storages[owner] -= 1
        if not self.storages[owner]:
            self.bytes -= size


LAYERS = 60


def most_living(watched):
    """Return the most bytes at a time of a pass through layers that return 2 MB each, or half a megabyte."""
    model = nn.Sequential(*[nn.Identity() if k % 2 else Negative() for k in range(LAYERS)])
    monitor = networks.RankMonitor(model, "participation_ratio")
    with torch.no_grad(), Living() as living:
        if watched:
            monitor.start()
        for x in (torch.ones(8, 16, 64, 64), torch.ones(8, 16, 32, 32)):
            model(x)
        monitor.stop()
    return living.most


class Negative(nn.Module):
    def forward(self, x):
        return -x


def test_no_activation_is_kept():
    """Pieces in double: not the 60 MB and 15 MB of activations that there are."""
    assert most_living(watched=True) - most_living(watched=False) < 20 * MEGABYTE


@pytest.mark.parametrize("centre", [False, True])
def test_sixteen_bits_are_converted_by_pieces(centre):
    """An activation of 8 MB, seen as it lies, would take 16 MB in single as a whole."""
    model, x = nn.Identity(), torch.ones(16, 64, 64, 64, dtype=torch.bfloat16)
    with torch.no_grad(), Living() as living, networks.RankMonitor(model, "participation_ratio", centre=centre):
        model(x)
    assert living.most < 16 * MEGABYTE


PROGRAM = """
import resource, sys, torch
from pyrank import networks

torch.set_num_threads(1)
model, x = networks.resnet50(seed=0), torch.rand(64, 3, 32, 32)
monitor = networks.RankMonitor(model)
with torch.no_grad():
    if sys.argv[1] == "watched":
        monitor.start()
    model(x)
    monitor.stop()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.validate
def test_a_resnet_of_full_size_takes_50_megabytes_more_at_most():
    """Peak memory of two processes that differ in nothing else."""
    plain, watched = (
        float(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout)
        for how in ("plain", "watched")
    )
    assert watched - plain < 50
