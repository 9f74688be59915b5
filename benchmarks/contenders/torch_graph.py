"""torch: the batched loop as a CUDA graph, which starts all kernels of several layers at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from cases import Case
from contenders import SEED, Layer, Loop, UnfitError
from contenders.torch_loop import Start, add, advance, layer_of
from torch import Tensor

LAYERS = 16
"""In one graph: enough that its one copy of the state costs nothing."""


def build(case: Case, name: str, chains: int) -> tuple[Layer, Loop]:
    """Return one layer and the loop."""
    if case.measures == "rank":
        raise UnfitError("eigvalsh waits for the GPU, which cannot be recorded in a graph")
    forward = advance(case)
    start = Start(case, chains)
    torch.cuda.manual_seed(SEED)  # the default generator is the one that every graph may use
    with torch.no_grad():
        H, W, totals = start()

    def layers_from(state: Tensor, count: int) -> None:
        for _ in range(count):
            state, values = forward(state, W.normal_())
            add(totals, values)
        H.copy_(state)

    graph = _record(lambda: layers_from(H, LAYERS))

    @torch.no_grad()
    def run(layers: int) -> tuple[Tensor, Tensor]:
        H.copy_(start()[0])
        for total in totals:
            total.zero_()
        for _ in range(layers // LAYERS):
            graph.replay()
        if layers % LAYERS:
            layers_from(H, layers % LAYERS)
        return start.outcome(H.clone(), totals, layers)

    return layer_of(case, chains, forward), run


@torch.no_grad()
def _record(work: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """Return the graph of some work, after the libraries under it have prepared themselves on another stream."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph
