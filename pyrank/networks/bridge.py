"""A chain of random layers as a module, with the weights that `pyrank.simulate` draws."""

from __future__ import annotations

from torch import Tensor, nn

from pyrank.networks.normalize import Normalize
from pyrank.networks.parts import ACTIVATION_MODULES, normalizes
from pyrank.reference.layer import combine, take_off_exponent, whiten
from pyrank.reference.weights import draw_weights
from pyrank.specs.chain import Chain
from pyrank.specs.normalization import Normalization
from pyrank.support.errors import as_integer, invalid


class ChainLayer(nn.Module):
    """One layer of a chain, ``Normalise(H + gamma W F(H))``, on batches (N, d): rows are samples, as in any network.

    Parameters
    ----------
    chain, layer, seed, index
        The weights are ``pyrank.draw_weights(chain, seed, layer, index)``.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or the weights are of the gram law, which never draws them.
    """

    def __init__(self, chain: Chain, layer: int, seed: int = 0, index: int = 0) -> None:
        super().__init__()
        W = draw_weights(chain, seed, layer, index)
        self.gamma = chain.gamma
        self.activation = ACTIVATION_MODULES[chain.activation]()
        self.linear = nn.Linear(W.shape[1], W.shape[0], bias=False, device="meta")  # which draws nothing
        self.linear.weight = nn.Parameter(W)
        self.normalize = _normalization(chain, len(W))

    def forward(self, h: Tensor) -> Tensor:
        """Take (N, d) to (N, d')."""
        result: Tensor = self.normalize(combine(h, self.linear(self.activation(h)), self.gamma))
        return result


def from_chain(chain: Chain, depth: int, seed: int = 0, index: int = 0) -> nn.Sequential:
    """Return a chain as a module: what `pyrank.simulate` computes, for input, monitors and gradients of one's own.

    Layer l of the module takes the transpose of H_l to that of H_{l+1}, so that
    ``simulate(chain, depth, initial=x.T, seed=seed)`` records of chain 0 what a monitor of the `ChainLayer` s sees of
    ``model(x)``. All statistics are those of the batch, in train and eval mode, and there are no affine parameters. A
    chain that `pyrank.simulate` keeps in range by powers of two is divided by the same ones.

    Parameters
    ----------
    chain
        A `pyrank.Chain` of any weights but the gram law. Its batch is not used; ``model(x)`` takes any.
    depth
        Number of layers.
    seed, index
        Of the weights: the seed of `pyrank.simulate`, and the number of the chain in it.

    Returns
    -------
    torch.nn.Sequential
        Of ``depth`` `ChainLayer` s, with the weights as parameters in the dtype of the chain. The reference of
        `pyrank.simulate` works in float64: ``model.double()`` does the same.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    if not isinstance(chain, Chain):
        raise invalid("chain", chain, "a pyrank.Chain", "write for example pyrank.Chain(width=32)")
    depth = as_integer("depth", depth, 1, 2**32, "give the number of layers")
    return nn.Sequential(*(ChainLayer(chain, layer, seed, index) for layer in range(depth)))


class _Whiten(nn.Module):
    """(Z Z^T / N + eps)^(-1/2) Z of the batch."""

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.normalization = normalization

    def forward(self, z: Tensor) -> Tensor:
        return whiten(z.T, self.normalization.eps, centred=self.normalization.recentre)[0].T


class _TakeOffExponent(nn.Module):
    """Division by the power of two that brings the largest entry into [1, 2)."""

    def forward(self, z: Tensor) -> Tensor:
        return take_off_exponent(z)[0]


def _normalization(chain: Chain, features: int) -> nn.Module:
    norm = chain.normalization
    module: nn.Module = nn.Identity()
    if norm.whiten:
        module = _Whiten(norm)
    elif normalizes(norm):
        module = Normalize(features, norm, affine=False, track=False)
    return nn.Sequential(module, _TakeOffExponent()) if chain.drifts else module
