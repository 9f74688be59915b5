"""Products with the Hessian of a loss: pyrank, curvlinops and PyHessian, first whether they are right, then how fast.

`pip install --no-deps curvlinops-for-pytorch einops einconv pyhessian` and `python benchmarks/hessian.py --rounds 20`

Right: against the dense Hessian by `torch.autograd.functional.hessian`, of small perceptrons in double precision
without normalisation and with torch's batch normalisation, with and without running statistics, in train and in eval
mode; and whether the model is as before afterwards, its buffers, gradients and mode. Fast: one run, interleaved, of
products for a perceptron 784-100-100-10 on a batch in single precision; ratios of paired rounds, with intervals of
95 %. Only what is right is timed.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib.util import find_spec

import numpy as np
import torch
from timing import Band
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyrank.optimization.hessian_product import HessianProduct

Product = Callable[[Tensor], Tensor]
Pair = tuple[Tensor, Tensor]

RIGHT = 1e-8
"""Relative error of a product in double precision up to which it is right."""


def by_pyrank(model: nn.Module, data: Pair) -> Product:
    """Return products on one retained graph."""
    product = HessianProduct(model, cross_entropy, data, recompute=False, chunk=None)
    return lambda v: torch.from_numpy(product(v.double().numpy()))


def by_curvlinops(model: nn.Module, data: Pair) -> Product:
    """Return products of its linear operator."""
    from curvlinops import HessianLinearOperator

    parameters = list(model.parameters())
    operator = HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, [data], check_deterministic=False)
    return lambda v: (operator @ v.to(parameters[0].dtype)).double()


def by_pyhessian(model: nn.Module, data: Pair) -> Product:
    """Return products with the gradient that it keeps."""
    import pyhessian
    from pyhessian.utils import hessian_vector_product

    whole = pyhessian.hessian(model, nn.CrossEntropyLoss(), data=data, cuda=False)

    def product(v: Tensor) -> Tensor:
        pieces = torch.split(v, [p.numel() for p in whole.params])
        vectors = [piece.view_as(p).to(p.dtype) for piece, p in zip(pieces, whole.params, strict=True)]
        parts = hessian_vector_product(whole.gradsH, whole.params, vectors)
        return torch.cat([part.flatten() for part in parts]).double()

    return product


WAYS: dict[str, Callable[[nn.Module, Pair], Product]] = {
    "pyrank": by_pyrank,
    "curvlinops": by_curvlinops,
    "PyHessian": by_pyhessian,
}


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "no normalisation": nn.Identity,
    "BatchNorm1d": nn.BatchNorm1d,
    "BatchNorm1d, untracked": lambda features: nn.BatchNorm1d(features, track_running_stats=False),
}


def perceptron(inputs: int, width: int, norm: str) -> nn.Sequential:
    """Return two hidden layers of tanh, which has second derivatives everywhere."""
    layers: list[nn.Module] = []
    for into in (inputs, width):
        layers += [nn.Linear(into, width), NORMS[norm](width), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def dense(model: nn.Module, data: Pair) -> Tensor:
    """Return the whole Hessian, (P, P)."""
    names, shapes = zip(*[(name, p.shape) for name, p in model.named_parameters()], strict=True)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def loss(flat: Tensor) -> Tensor:
        pieces = torch.split(flat, [shape.numel() for shape in shapes])
        given = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        return cross_entropy(torch.func.functional_call(model, {**buffers, **given}, (data[0],)), data[1])

    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    hessian: Tensor = torch.autograd.functional.hessian(loss, flat)
    return hessian


def faults(name: str, norm: str, training: bool) -> tuple[float, list[str]]:
    """Return the relative error of a product, infinite if there is none, and what of the model has changed."""
    torch.manual_seed(0)
    model = perceptron(6, 5, norm).double().train(training)
    data = torch.randn(40, 6, dtype=torch.float64), torch.randint(0, 10, (40,))
    H = dense(model, data)
    before = deepcopy(model)
    v = torch.randn(len(H), dtype=torch.float64)
    changed = []
    try:
        error = float((WAYS[name](model, data)(v) - H @ v).norm() / (H @ v).norm())
    except RuntimeError:
        error, changed = math.inf, ["refused"]
    if any(not torch.equal(a, b) for a, b in zip(before.buffers(), model.buffers(), strict=True)):
        changed.append("running statistics")
    if [m.training for m in before.modules()] != [m.training for m in model.modules()]:
        changed.append("mode")
    if any(p.grad is not None and bool(p.grad.any()) for p in model.parameters()):
        changed.append("gradients")
    return error, changed


CASES = [(norm, training) for norm in NORMS for training in (True, False)]
TIMED = ("no normalisation", "BatchNorm1d")
"""In train mode."""


def measure(names: Sequence[str], norm: str, samples: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a product, round by round, and raise SystemExit if they disagree."""
    torch.manual_seed(0)
    data = torch.rand(samples, 784), torch.randint(0, 10, (samples,))
    model = perceptron(784, 100, norm)
    products = {name: WAYS[name](deepcopy(model), data) for name in names}
    v = torch.randn(sum(p.numel() for p in model.parameters()))
    first = products["pyrank"](v)
    for name, product in products.items():
        if not torch.allclose(product(v), first, rtol=1e-3, atol=1e-4 * float(first.abs().max())):
            raise SystemExit(f"pyrank and {name} disagree: nothing is timed")
    times: dict[str, list[float]] = {name: [] for name in products}
    for number in range(rounds):
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            began = time.perf_counter()
            products[name](v)
            times[name].append(time.perf_counter() - began)
    return times


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1_000)
    options = parser.parse_args(arguments)
    if missing := [name for name in ("curvlinops", "pyhessian") if find_spec(name) is None]:
        parser.error(f"{' and '.join(missing)} cannot be imported; see --help for what to install")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the others, about graphs that are kept
    print("| model | mode | tool | relative error | changes in the model |\n|---|---|---|---|---|")
    right: dict[str, list[str]] = {}
    for norm, training in CASES:
        for name in WAYS:
            error, changed = faults(name, norm, training)
            mode = "train" if training else "eval"
            print(f"| {norm} | {mode} | {name} | {error:.1g} | {', '.join(changed) or '-'} |")
            if error <= RIGHT and training:
                right.setdefault(norm, []).append(name)
    print("\n| model | tool | ms a product | times pyrank | 95 % |\n|---|---|---|---|---|")
    for norm in TIMED:
        times = measure(right[norm], norm, options.samples, options.rounds)
        for name, seconds in times.items():
            ratio = Band.of(np.divide(seconds, times["pyrank"]).tolist())
            median = 1e3 * float(np.median(seconds))
            print(f"| {norm} | {name} | {median:.1f} | {ratio.median:.2f} | {ratio.low:.2f} to {ratio.high:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
