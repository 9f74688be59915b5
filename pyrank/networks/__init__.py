"""Real networks, modules of torch: what becomes of their rank and what to do about it, and networks to study.

A monitor watches any of them; layers and builders, weights, training, and chains as networks are there to be watched.
"""

from typing import TYPE_CHECKING

from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank.networks.bridge import ChainLayer, from_chain
    from pyrank.networks.convolutional import resnet50, vgg19
    from pyrank.networks.gradients import GradientAlignment, gradient_alignment
    from pyrank.networks.monitor import RankMonitor
    from pyrank.networks.normalize import Normalize
    from pyrank.networks.perceptrons import mlp
    from pyrank.networks.pretraining import RankIncrease, increase_rank
    from pyrank.networks.training import History, accuracy, train
    from pyrank.networks.weights import initialize

_HOMES = {
    "bridge": "ChainLayer from_chain",
    "convolutional": "resnet50 vgg19",
    "gradients": "GradientAlignment gradient_alignment",
    "monitor": "RankMonitor",
    "normalize": "Normalize",
    "perceptrons": "mlp",
    "pretraining": "RankIncrease increase_rank",
    "training": "History accuracy train",
    "weights": "initialize",
}

__all__ = [
    "ChainLayer",
    "GradientAlignment",
    "History",
    "Normalize",
    "RankIncrease",
    "RankMonitor",
    "accuracy",
    "from_chain",
    "gradient_alignment",
    "increase_rank",
    "initialize",
    "mlp",
    "resnet50",
    "train",
    "vgg19",
]

__getattr__, __dir__ = names_of(__name__, _HOMES)
