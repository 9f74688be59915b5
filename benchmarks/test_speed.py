"""Every contender of every case under pytest-benchmark: `pytest benchmarks`, grouped by case.

Times are per layer and chain, as in the report. The report compares in interleaved rounds and is the one to quote;
here each contender runs by itself.
"""

import functools
import time

import contenders
import gate
import pytest
import torch
from cases import CORE
from timing import calibrate

pytest.importorskip("pytest_benchmark", reason="pip install pyrank[bench]")

SECONDS = 0.1
ROUNDS = 5


class ChainLayerClock:
    """Seconds per layer and chain, so that contenders that run different numbers of both stand in one table."""

    chain_layers = 1

    def __call__(self) -> float:
        """Return the time in this unit."""
        return time.perf_counter() / self.chain_layers


clock = ChainLayerClock()


@functools.cache
def gated(case, name):
    """Return the contender, or why it cannot be timed: it is missing, or its gate is red."""
    contender = contenders.build(case, name)
    if isinstance(contender, contenders.Contender):
        gate.check(case, contender)
    return contender


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize("name", contenders.names(CORE[0]))
@pytest.mark.parametrize("case", CORE, ids=str)
def test_speed(benchmark, case, name):
    torch.set_num_threads(1)
    contender = gated(case, name)
    if isinstance(contender, contenders.Missing):
        pytest.skip(f"{contender.name} is missing: {contender.reason}")
    layers = calibrate(contender.run, SECONDS, case.least_layers)
    clock.chain_layers = layers * contender.chains
    benchmark.group = str(case)
    benchmark.extra_info["chain_layers"] = clock.chain_layers
    benchmark.pedantic(contender.run, args=(layers,), rounds=ROUNDS)
