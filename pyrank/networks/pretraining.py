"""Pre-training that raises the rank of hidden representations, without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pyrank.networks.ascent import ascend, batches_of, hidden_at, rank_at, to_size_one
from pyrank.networks.hidden import tensors
from pyrank.networks.kept import kept
from pyrank.networks.selection import Layers, select
from pyrank.networks.stages import Stage, parameters_of, stages
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_choice, as_integer, as_number, invalid
from pyrank.support.text import text_table

SCHEDULES = {"layerwise": (50, 1.2), "last": (1000, 1.5)}
"""Of each schedule: steps of every layer, or in all; target of r in units of sqrt(d), the order of what BN keeps."""

RELATIVE_RATE, PLAIN_RATE = 0.05, 0.1
"""Learning rate of Adam at its height, relative to the weights, because r does not know their scale; and of other
optimisers."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True), "sgd": torch.optim.SGD,
}  # fmt: skip

Optimizer = str | Callable[[list[nn.Parameter], float], torch.optim.Optimizer]


@dataclass(frozen=True, repr=False)
class RankIncrease:
    """What `increase_rank` did.

    Attributes
    ----------
    layers
        The layers whose rank was looked at, in the order of their calls.
    before, after
        r of each on the first batch, float64, shape (layers,).
    gradient_before, gradient_after
        Size of the gradient that the weights of each stage get from a random direction of the output, float64, shape
        (layers,): by how much a training would move them. High rank is of no use where these vanish.
    input_scale
        Root mean square of the input, which weighs more in training than the rank.
    steps
        Steps that were taken, over all layers.
    stopped
        Why it ended early; empty if it did not.
    """

    layers: tuple[str, ...]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    gradient_before: NDArray[np.float64]
    gradient_after: NDArray[np.float64]
    input_scale: float
    steps: int
    stopped: str

    def __repr__(self) -> str:
        end = f", stopped: {self.stopped}" if self.stopped else ""
        columns = (self.before, self.after, self.gradient_before, self.gradient_after)
        rows = [
            [name.rjust(6), *(f"{value:.4g}" for value in values)]
            for name, *values in zip(self.layers, *columns, strict=True)
        ]
        table = text_table(["layer", "r before", "r after", "gradient before", "gradient after"], rows)
        return f"{self.steps:,} steps, input of size {self.input_scale:.3g}{end}\n\n{table}"


@unmoved
def increase_rank(
    model: nn.Module,
    x: Tensor,
    layers: Layers = None,
    *,
    schedule: str = "layerwise",
    steps: int | None = None,
    target: float | None = None,
    learning_rate: float | None = None,
    optimizer: Optimizer = "adam",
    batch: int = 128,
    rescale: bool = True,
    seed: int = 0,
) -> RankIncrease:
    """Raise r(H) of hidden layers by gradient ascent on the weights: a start for networks without normalisation.

    ``"layerwise"`` goes from the first layer to the last; at each one, the weights since the one before are trained.
    ``"last"`` trains all weights for the last layer. Where deep layers see one and the same sample there is nothing
    to ascend; so Adam begins at the first layer, moves on to the next one where r has come to 1.1, and has all weights
    to train from the start.
    A layer's hidden matrix is features x samples as in `RankMonitor`, channels being features.

    Parameters
    ----------
    model
        Changed in place, in the mode it is in: weights alone. Buffers, requires_grad, gradients, the mode and the
        random state are put back. Parameters that need no gradient stay.
    x
        Inputs, samples first, of which batches are drawn.
    layers
        As in `RankMonitor`; None for all activations (`torch.nn.ReLU`, ...), or if there are none, all layers with
        weights but the last.
    schedule
        ``"layerwise"`` or ``"last"``.
    steps
        At most; for each layer (50 if not given), or in all (1,000).
    target
        r of a batch at which an ascent ends, or inf. If not given, 1.2 sqrt(d) layer by layer, of the order that batch
        normalisation keeps, and 1.5 sqrt(d) for the last layer; d is the smaller side of the hidden matrix. More is
        paid for in gradients, and trains worse.
    learning_rate
        Of the optimiser. If not given, for Adam a twentieth of the size of a weight, the median over layers of their
        root mean squares, and 0.1 for others.
    optimizer
        ``"adam"``, ``"sgd"``, or a function of the parameters and the rate. Adam, whose steps do not depend on the size
        of gradients, ascends log(r - 1): the same direction, and nothing vanishes where r is nearly 1. Its rate rises
        in the first tenth of the steps, and falls to nothing like half a cosine.
    batch
        Samples of a step, at most.
    rescale
        Multiply weights and biases of each stage by numbers, when its ascent is done, so that its hidden matrix has a
        root mean square of 1, where that changes no r: stages of one linear layer and an activation such as ReLU.
        Activations neither vanish nor explode then.
    seed
        Of the batches and whatever the network draws.

    Returns
    -------
    RankIncrease
        r before and after, layer by layer, and what else decides whether the network trains.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or there is nothing to train on the way to a layer.

    Notes
    -----
    The best weights of each ascent are kept, those of its start among them. If r or a gradient stops being finite the
    ascent ends there, with the best weights so far.

    References
    ----------
    Daneshmand, Kohler, Bach, Hofmann, Lucchi 2020, section 4 and appendix G.
    """
    usual_steps, height = SCHEDULES[as_choice("schedule", schedule, tuple(SCHEDULES))]
    steps = usual_steps if steps is None else as_integer("steps", steps, 1, 2**31, "take 50")
    if target is not None and target != math.inf:
        target = as_number("target", target, 1.0, math.inf, "give a rank to stop at, or inf")
    if learning_rate is not None:
        learning_rate = as_number("learning_rate", learning_rate, 0.0, 1e9, "take 0.001")
    batch = as_integer("batch", batch, 2, 2**31, "take 128")
    seed = as_integer("seed", seed, 0, 2**63 - 1, "take 0")
    make = OPTIMIZERS[as_choice("optimizer", optimizer, tuple(OPTIMIZERS))] if isinstance(optimizer, str) else optimizer
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) < 2:
        raise invalid("x", getattr(x, "shape", type(x).__name__), "a tensor (samples, ...)", "pass a batch of inputs")
    chosen = _hidden_layers(model) if layers is None else select(model, layers)
    with kept(model), torch.enable_grad():
        torch.manual_seed(seed)
        trainable = {parameter for parameter in model.parameters() if parameter.requires_grad}
        look = x[:batch]
        with torch.no_grad():
            way = stages(model, chosen, look)
        before, gradient_before = _ranks(model, way, look), _gradients(model, way, look, seed)
        ascents = [(stage,) for stage in way] if schedule == "layerwise" else [tuple(way)]
        batches = batches_of(x, batch, seed)
        weights = [parameter for parameter in parameters_of(way) if parameter in trainable]
        if not weights:
            raise invalid("layers", list(chosen)[:8], "layers with trainable weights before them", "name other layers")
        adam = isinstance(make(weights, PLAIN_RATE), torch.optim.Adam)
        usual = RELATIVE_RATE * _size(way) if adam else PLAIN_RATE
        rate = usual if learning_rate is None else learning_rate
        taken, stopped = 0, ""
        for ascent in ascents:
            weights = [parameter for parameter in parameters_of(ascent) if parameter in trainable]
            if not weights:
                continue
            for parameter in model.parameters():
                parameter.requires_grad_(False)
            end = height * _smaller_side(model, ascent[-1], look) ** 0.5 if target is None else target
            done, stopped = ascend(model, ascent, weights, make(weights, rate), batches, steps, end)
            taken += done
            if rescale and not stopped:
                to_size_one(model, ascent, weights, look)
            if stopped:
                break
        after, gradient_after = _ranks(model, way, look), _gradients(model, way, look, seed)
    size = float(x.detach().double().square().mean().sqrt())
    names = tuple(stage.name for stage in way)
    return RankIncrease(names, before, after, gradient_before, gradient_after, size, taken, stopped)


def _hidden_layers(model: nn.Module) -> dict[str, nn.Module]:
    leaves = select(model)
    activations = {name: m for name, m in leaves.items() if type(m).__module__ == "torch.nn.modules.activation"}
    activations = {name: m for name, m in activations.items() if not isinstance(m, nn.MultiheadAttention)}
    weighted = {name: m for name, m in leaves.items() if any(True for _ in m.parameters())}
    found = activations or dict(list(weighted.items())[:-1])
    if not found:
        raise invalid("model", type(model).__name__, "a network with hidden layers", "name them by layers=")
    return found


def _size(way: Sequence[Stage]) -> float:
    """Return the root mean square of the weights of a stage, the median over stages; 0.05 if that is no size."""
    matrices = [[w.detach().double().flatten() for w in stage.parameters if w.ndim > 1] for stage in way]
    sizes = [float(torch.cat(some).square().mean().sqrt()) for some in matrices if some]
    size = median(sizes) if sizes else 0.0
    return size if 0.0 < size < math.inf else 0.05


@torch.no_grad()
def _smaller_side(model: nn.Module, stage: Stage, x: Tensor) -> int:
    return min(hidden_at(model, stage, x).shape)


@torch.no_grad()
def _ranks(model: nn.Module, way: Sequence[Stage], x: Tensor) -> NDArray[np.float64]:
    return np.array([float(rank_at(model, stage, x)) for stage in way])


def _gradients(model: nn.Module, way: Sequence[Stage], x: Tensor, seed: int) -> NDArray[np.float64]:
    """Return the norm of the gradient of <v, output> by the weights of each stage, v random, E v^2 = 1 / samples."""
    asked = parameters_of(way)
    flags = [parameter.requires_grad for parameter in asked]
    for parameter in asked:
        parameter.requires_grad_(True)
    output = next((t for t in tensors(model(x)) if t.is_floating_point()), None)
    sizes: dict[nn.Parameter, float] = dict.fromkeys(asked, 0.0)
    if output is not None and asked:
        generator = torch.Generator().manual_seed(seed)
        v = torch.randn(output.shape, generator=generator).to(output) / len(x) ** 0.5
        found: Iterable[Tensor | None] = torch.autograd.grad((v * output).sum(), asked, allow_unused=True)
        sizes = {p: 0.0 if g is None else float(g.double().square().sum()) for p, g in zip(asked, found, strict=True)}
    for parameter, flag in zip(asked, flags, strict=True):
        parameter.requires_grad_(flag)
    return np.array([sum(sizes[parameter] for parameter in stage.parameters) ** 0.5 for stage in way])
