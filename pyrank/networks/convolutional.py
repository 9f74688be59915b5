"""VGG19 and ResNet-50 for small images, with any normalisation, activation and weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrank.networks.parts import after, normalizes
from pyrank.networks.weights import as_weights, initialize
from pyrank.specs.chain import MAX_SIZE, as_law
from pyrank.specs.normalization import Normalization
from pyrank.specs.weights import Weights
from pyrank.support.errors import as_choice, as_integer, as_number

_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of each stage (Simonyan and Zisserman 2015, table 1, column E)."""

_RESNET50 = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Inner channels and blocks of each stage (He et al. 2016, table 1)."""
_EXPANSION = 4


def vgg19(
    inputs: int = 3,
    outputs: int = 10,
    normalization: str | Normalization = "batch",
    activation: str = "relu",
    weights: str | Weights = "torch",
    *,
    width_factor: float = 1.0,
    seed: int | None = None,
) -> nn.Sequential:
    """Build the 16 convolutions of VGG19 and a linear head (Simonyan and Zisserman 2015), for images of any size.

    Five poolings, which round up, take 32 x 32 and 28 x 28 images to one position; what larger ones leave is averaged.
    The two hidden layers of 4,096 features that the original has for ImageNet are left out.

    Parameters
    ----------
    inputs, outputs
        Channels of the images (B, inputs, height, width), and number of classes.
    normalization, activation, weights
        As in `mlp`. With normalisation ``"none"`` the convolutions have biases.
    width_factor
        Factor of all numbers of channels, which are rounded.
    seed
        Of the weights; torch's own generator is used if it is not given.

    Returns
    -------
    torch.nn.Sequential
        Without nesting: convolution, normalisation, activation, ..., pooling, ..., the head.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    features, outputs, factor = _sizes(inputs, outputs, width_factor)
    _, activation, normalization = as_law(1.0, activation, normalization)
    weights = as_weights(weights)
    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own, which do not count
        layers: list[nn.Module] = []
        for channels, convolutions in _VGG19:
            width = _scaled(channels, factor)
            for _ in range(convolutions):
                layers.append(nn.Conv2d(features, width, 3, padding=1, bias=not normalizes(normalization)))
                layers += after(width, activation, normalization)
                features = width
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, outputs))
    initialize(model, weights, seed=seed)
    return model


class Bottleneck(nn.Module):
    """A residual block of convolutions 1 x 1, 3 x 3 and 1 x 1; a stride is in the second, as in torchvision.

    Parameters
    ----------
    features, inner, outputs
        Channels before, within and after the block.
    stride
        Of the 3 x 3 convolution and of the projection, which is there where shapes differ.
    activation, normalization
        As in a chain; the last activation follows the sum.

    Raises
    ------
    ArgumentError
        If the normalisation has no form as a module.
    """

    def __init__(
        self, features: int, inner: int, outputs: int, stride: int, activation: str, normalization: Normalization
    ) -> None:
        super().__init__()

        def convolution(into: int, out: int, size: int, step: int, activation: str) -> list[nn.Module]:
            bias = not normalizes(normalization)
            weights = nn.Conv2d(into, out, size, stride=step, padding=size // 2, bias=bias)
            return [weights, *after(out, activation, normalization)]

        self.branch = nn.Sequential(
            *convolution(features, inner, 1, 1, activation),
            *convolution(inner, inner, 3, stride, activation),
            *convolution(inner, outputs, 1, 1, "linear"),
        )
        projects = stride != 1 or features != outputs
        self.skip = nn.Sequential(*(convolution(features, outputs, 1, stride, "linear") if projects else []))
        self.activation = nn.Sequential(*after(outputs, activation, Normalization(rescale=False)))

    def forward(self, x: Tensor) -> Tensor:
        """Take (B, features, H, W) to (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.activation(self.skip(x) + self.branch(x))
        return y


def resnet50(
    inputs: int = 3,
    outputs: int = 10,
    normalization: str | Normalization = "batch",
    activation: str = "relu",
    weights: str | Weights = "torch",
    *,
    width_factor: float = 1.0,
    stem: str = "cifar",
    seed: int | None = None,
) -> nn.Sequential:
    """Build a ResNet-50 (He et al. 2016).

    Parameters
    ----------
    inputs, outputs
        Channels of the images (B, inputs, height, width), and number of classes.
    normalization, activation, weights
        As in `mlp`. With normalisation ``"none"`` the convolutions have biases.
    width_factor
        Factor of all numbers of channels, which are rounded.
    stem
        ``"cifar"``: one 3 x 3 convolution, for images of 28 x 28 or 32 x 32; ``"imagenet"``: a 7 x 7 convolution and a
        pooling, both of stride 2, which makes it 8 times as fast.
    seed
        Of the weights; torch's own generator is used if it is not given.

    Returns
    -------
    torch.nn.Sequential
        The stem, 16 blocks, the mean over positions, and a linear head.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    inputs, outputs, factor = _sizes(inputs, outputs, width_factor)
    as_choice("stem", stem, ("cifar", "imagenet"))
    _, activation, normalization = as_law(1.0, activation, normalization)
    weights = as_weights(weights)
    features = _scaled(_RESNET50[0][0], factor)
    size, stride = (3, 1) if stem == "cifar" else (7, 2)
    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own, which do not count
        first = nn.Conv2d(inputs, features, size, stride, padding=size // 2, bias=not normalizes(normalization))
        layers = [first, *after(features, activation, normalization)]
        if stem == "imagenet":
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        for stage, (channels, blocks) in enumerate(_RESNET50):
            inner, wide = _scaled(channels, factor), _scaled(channels * _EXPANSION, factor)
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Bottleneck(features, inner, wide, stride, activation, normalization))
                features = wide
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, outputs))
    initialize(model, weights, seed=seed)
    return model


def _sizes(inputs: int, outputs: int, width_factor: float) -> tuple[int, int, float]:
    return (
        as_integer("inputs", inputs, 1, MAX_SIZE, "give the number of channels of the images"),
        as_integer("outputs", outputs, 1, MAX_SIZE, "give the number of classes"),
        as_number("width_factor", width_factor, 1e-3, 1e3, "give the factor of the number of channels"),
    )


def _scaled(channels: int, factor: float) -> int:
    return max(1, round(channels * factor))
