"""Real networks, `torch.nn.Module`s: layers and builders to study them, weights, training, and chains as networks."""

from typing import TYPE_CHECKING

from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank.networks.bridge import ChainLayer, from_chain
    from pyrank.networks.convolutional import resnet50, vgg19
    from pyrank.networks.normalize import Normalize
    from pyrank.networks.perceptrons import mlp
    from pyrank.networks.training import History, accuracy, train
    from pyrank.networks.weights import initialize

_HOMES = {
    "bridge": "ChainLayer from_chain",
    "convolutional": "resnet50 vgg19",
    "perceptrons": "mlp",
    "normalize": "Normalize",
    "training": "History accuracy train",
    "weights": "initialize",
}

__all__ = [
    "ChainLayer",
    "History",
    "Normalize",
    "accuracy",
    "from_chain",
    "initialize",
    "mlp",
    "resnet50",
    "train",
    "vgg19",
]

__getattr__, __dir__ = names_of(__name__, _HOMES)
