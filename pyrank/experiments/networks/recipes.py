"""What is trained in this chapter: a network, its start, its images and its optimiser, as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from pyrank import data, networks
from pyrank.data import Images
from pyrank.experiments.batchnorm import NONE
from pyrank.specs.normalization import Normalization
from pyrank.specs.weights import Weights
from pyrank.support.errors import ArgumentError

PADDED = 32
"""Height and width of what stands in for CIFAR-10."""


@dataclass(frozen=True)
class Raising:
    """A pre-training that raises the rank, with arguments of `pyrank.networks.increase_rank`.

    ``every``: the layers whose rank is raised, so many apart, the last one among them. All steps are taken.
    """

    steps: int
    schedule: str = "layerwise"
    optimizer: str = "adam"
    learning_rate: float | None = None
    every: int = 1
    rescale: bool = True

    def __str__(self) -> str:
        how = "Adam on log(r - 1)" if self.optimizer == "adam" else f"plain ascent on r at {self.learning_rate:g}"
        where = "of the last layer" if self.schedule == "last" else "layer by layer"
        return f"{self.steps:,} steps of {how} {where}" + ", hidden layers scaled to size one" * self.rescale


@dataclass(frozen=True)
class Recipe:
    """A network, and how it is trained but for the learning rate.

    Attributes
    ----------
    network
        ``"mlp"``, ``"vgg19"`` or ``"resnet50"``.
    depth, width
        Hidden layers of an MLP, and their features; of the others the width is a factor of all channels.
    normalization, weights, activation
        As `pyrank.networks.mlp` takes them.
    affine
        Scales and shifts of a normalisation: ``"trained"``, ``"fixed"`` at 1 and 0, or ``"drawn"``: trained from a
        start that is drawn from ``weights``, as all biases are then.
    images, samples, tests
        Name of a set of images, or ``"fashion-mnist 32 x 32"``; its first so many for training, and for tests.
    pixels
        The largest value of a pixel.
    epochs, batch, optimizer
        As `pyrank.networks.train` takes them.
    raising
        What is done before the training, if anything.
    stem
        Of a ResNet-50.
    """

    depth: int = 0
    width: float = 128
    normalization: Normalization = NONE
    weights: str | Weights = "torch"
    network: str = "mlp"
    activation: str = "relu"
    affine: str = "trained"
    images: str = "fashion-mnist"
    samples: int = 60_000
    tests: int = 0
    pixels: float = 1.0
    epochs: int = 75
    batch: int = 128
    optimizer: str = "sgd"
    raising: Raising | None = None
    stem: str = "cifar"

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.epochs * (self.samples // self.batch)


def pictures(recipe: Recipe, split: str = "train", samples: int | None = None) -> tuple[Tensor, Tensor]:
    """Return images as the network takes them, and labels; by default as many as the recipe names."""
    count = samples or (recipe.samples if split == "train" else recipe.tests)
    x, y = _loaded(recipe.images, split, count)
    x = x * recipe.pixels if recipe.pixels != 1.0 else x
    return (x.flatten(1) if recipe.network == "mlp" else x), y


@lru_cache(maxsize=4)
def _loaded(name: str, split: str, samples: int) -> Images:
    source, _, size = name.partition(" ")
    images = data.load(source, split, samples)
    if not size:
        return images
    margin = (PADDED - images.x.shape[-1]) // 2
    return Images(nn.functional.pad(images.x, 4 * (margin,)), images.y, images.source)


@lru_cache(maxsize=1)
def cifar_or_padded() -> str:
    """Return ``"cifar-10"`` where somebody has put it, and otherwise the name of what stands in for it."""
    try:
        data.load("cifar-10", samples=1)
    except data.DataError:  # it is here, and damaged: for its user to know
        raise
    except ArgumentError:
        return f"fashion-mnist {PADDED} x {PADDED}"
    return "cifar-10"


def told(images: str) -> str:
    """Name a set of images, and tell what it stands in for."""
    if images.startswith("fashion-mnist "):
        return f"Fashion-MNIST padded to {images.partition(' ')[2]} in place of CIFAR-10, which is not here"
    return {"fashion-mnist": "Fashion-MNIST", "cifar-10": "CIFAR-10"}.get(images, images)


def built(recipe: Recipe, seed: int) -> nn.Sequential:
    """Build the network with the weights of a seed, and raise its rank if that is asked for."""
    x, y = pictures(recipe)
    classes = int(y.max()) + 1
    law = (recipe.normalization, recipe.activation, recipe.weights)
    if recipe.network == "mlp":
        model = networks.mlp(recipe.depth, int(recipe.width), x.shape[1], classes, *law, seed=seed)
    elif recipe.network == "vgg19":
        model = networks.vgg19(x.shape[1], classes, *law, width_factor=recipe.width, seed=seed)
    else:
        model = networks.resnet50(x.shape[1], classes, *law, width_factor=recipe.width, stem=recipe.stem, seed=seed)
    _set_affine(model, recipe, seed)
    if recipe.raising is not None:
        how = recipe.raising
        activations = [name for name, layer in model.named_modules() if isinstance(layer, nn.ReLU | nn.Tanh)]
        networks.increase_rank(
            model, x, activations[:: -how.every][::-1], schedule=how.schedule, steps=how.steps,
            target=math.inf, learning_rate=how.learning_rate, optimizer=how.optimizer, rescale=how.rescale,
            batch=recipe.batch, seed=seed,
        )  # fmt: skip
    return model


@torch.no_grad()
def _set_affine(model: nn.Module, recipe: Recipe, seed: int) -> None:
    if recipe.affine == "fixed":
        for norm in (layer for layer in model.modules() if isinstance(layer, networks.Normalize)):
            norm.requires_grad_(False)
    elif recipe.affine == "drawn":
        law, generator = networks.weights.as_weights(recipe.weights), torch.Generator().manual_seed(seed)
        spread = 3**0.5 * law.standard_deviation(1, 1)
        for vector in (parameter for parameter in model.parameters() if parameter.ndim == 1):
            vector.uniform_(law.average(1, 1) - spread, law.average(1, 1) + spread, generator=generator)
