"""Run random chains on a given build of the extension, for so many seconds; in a process of its own, without torch."""

import importlib.util
import random
import sys
import time
from pathlib import Path

import numpy as np

from pyrank.engine import codes
from pyrank.estimate import Accumulator
from pyrank.specs.plan import COUNTERS

sys.path.insert(0, str(Path(__file__).parents[1]))
import family

LAYOUTS = ("auto", "lanes", "rows")


def load(path):
    """Return the compiled module at a path."""
    spec = importlib.util.spec_from_file_location(Path(path).name.partition(".")[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module, case):
    """Advance, measure and draw: every function of the extension that works on arrays."""
    chain = case.chain
    state = case.state()
    flags = [measure.is_rank for measure in case.measures]
    record = Accumulator.empty(flags, case.chains, min(chain.width, chain.batch) + 1, case.trace)
    counters = np.zeros((len(COUNTERS), case.chains), dtype=np.int64)
    options = module.Cpu(case.isa, LAYOUTS.index(case.layout), case.threads)
    params, measures = codes.params(module, chain, case.seed), codes.measures_of(case.measures)
    layer = case.layer
    for layers in (1, 3):
        options.advance(params, state, layer, layers, 0, case.observe == "activation", layer + case.burn_in, case.every,
                        measures, **record.arrays(), counters=counters)  # fmt: skip
        layer += layers
    values = np.zeros((len(measures), case.chains))
    options.measure(params, state, measures, counters, values)
    options.measure(params, np.ascontiguousarray(state.swapaxes(1, 2)), measures, counters, values, samples_first=True)
    module.accumulate(**record.arrays(), values=values[None], sample=2)
    if chain.weights.law not in ("orthogonal", "gram"):
        fans = chain.width_at(layer + 1), chain.width_at(layer)
        options.draw_weights(params, layer, case.chains - 1, np.zeros(fans, dtype=chain.dtype))


def main(path, seconds):
    """Sweep; what a sanitizer finds ends the process."""
    module, rng, count = load(path), random.Random(0), 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        sizes = family.SIZES if count % 4 else family.SIZES + family.LARGE
        case = family.draw(rng, module.available_isas(), sizes)
        print(f"\n{case}", end="", flush=True)  # the last line of a log tells which one it was
        run(module, case)
        count += 1
    print(f"\n{count} chains")


if __name__ == "__main__":
    assert "torch" not in sys.modules
    main(*sys.argv[1:])
