"""The weights of one layer, drawn from the stream, and their product with what they act on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrank.reference import stream
from pyrank.reference.layer import recentre
from pyrank.specs.chain import Chain
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_integer, invalid

MAX_INDEX = 2**32 - 1


def weights(chain: Chain, seed: int, layer: int, chains: Tensor) -> Tensor:
    """Return W of shape (chains, fan_out, fan_in) in the chain's dtype."""
    dtype = getattr(torch, chain.dtype)
    law, fan_in, fan_out = chain.weights, chain.width_at(layer), chain.width_at(layer + 1)
    if law.law == "orthogonal":
        side = max(fan_in, fan_out)
        normals = stream.draw("gaussian", seed, stream.WEIGHTS, layer, side, side, chains, dtype)
        w = (haar(normals.double()) * math.sqrt(side))[:, :fan_out, :fan_in].to(dtype)
    else:
        w = stream.draw(law.law, seed, stream.WEIGHTS, layer, fan_out, fan_in, chains, dtype)
    scale = law.standard_deviation(fan_in, fan_out)
    return w * torch.tensor(scale, dtype=dtype) + torch.tensor(law.average(fan_in, fan_out), dtype=dtype)


def largest_of_few(chain: Chain, layer: int) -> float:
    """Return the largest |gamma w| of weights that take few values, so that sums of them may cancel; 0 for others."""
    law, fan_in, fan_out = chain.weights, chain.width_at(layer), chain.width_at(layer + 1)
    scale = law.standard_deviation(fan_in, fan_out)
    single_sign = law.law == "orthogonal" and fan_in == fan_out == 1
    if not (law.law == "rademacher" or single_sign or scale == 0):
        return 0.0
    return (abs(law.average(fan_in, fan_out)) + scale) * (1.0 if math.isinf(chain.gamma) else chain.gamma)


def haar(normals: Tensor) -> Tensor:
    """Return orthogonal matrices from the Haar measure, made of the lower triangles of gaussian ones (..., d, d).

    Q_d = R (1 + Q_{d-1}), a direct sum, where R is -s times the Householder reflection that takes the first unit vector
    to a uniform one, the first column of ``normals``; so the first column of Q_d is uniform on the sphere, and the
    others are Haar in its complement (Stewart, SIAM J. Numer. Anal. 17, 403, 1980).
    """
    d = normals.shape[-1]
    Q = torch.eye(d, dtype=normals.dtype).expand_as(normals).clone()
    for k in reversed(range(d)):
        u = normals[..., k:, k].clone()
        u[..., 0] = torch.where(u[..., 0] == 0, 2.0**-40, u[..., 0])  # in float32 once in 10^7: alone, no direction
        u /= torch.linalg.vector_norm(u, dim=-1, keepdim=True)
        sign = torch.where(u[..., :1] < 0, -1.0, 1.0)
        v = u.clone()
        v[..., :1] += sign
        below = Q[..., k:, :]
        along = (v.unsqueeze(-2) @ below) / (1.0 + u[..., :1].abs()).unsqueeze(-1)
        Q[..., k:, :] = -sign.unsqueeze(-1) * (below - v.unsqueeze(-1) * along)
    return Q


def gram_factor(F: Tensor) -> Tensor:
    """Return the upper triangular R (..., N, N) with R^T R = F^T F, for F (..., d, N), in float64.

    A pivot that is not above the rounding of the sums, d eps times its diagonal entry, is taken as zero, and so is its
    row: that sample is a combination of the ones before it. Equal samples have equal columns.
    """
    G = F.double().mT @ F.double()
    limit = F.shape[-2] * torch.finfo(torch.float64).eps * torch.diagonal(G, dim1=-2, dim2=-1)
    return semidefinite_factor(G, limit).take_along_dim(first_equal(F).unsqueeze(-2), dim=-1)


def semidefinite_factor(G: Tensor, limit: Tensor) -> Tensor:
    """Return R of `gram_factor` for G (..., N, N); a pivot that is not above its ``limit`` (..., N) is zero."""
    R = torch.zeros_like(G)
    for k in range(G.shape[-1]):
        row = G[..., k, k:] - (R[..., :k, k : k + 1].mT @ R[..., :k, k:]).squeeze(-2)
        pivot = row[..., :1]
        positive = ~(pivot <= limit[..., k : k + 1])  # true for NaN, which must be seen
        R[..., k, k:] = torch.where(positive, row / torch.where(positive, pivot, 1.0).sqrt(), 0.0)
    return R


def first_equal(F: Tensor) -> Tensor:
    """Return for each sample of (..., d, N) the first that is equal to it: rounding must not part what has met."""
    equal = (F.mT.unsqueeze(-2) == F.mT.unsqueeze(-3)).all(dim=-1) | torch.eye(F.shape[-1], dtype=torch.bool)
    return equal.int().argmax(dim=-1)


def multiply(chain: Chain, seed: int, layer: int, chains: Tensor, F: Tensor) -> Tensor:
    """Return W F for F of shape (chains, fan_in, N), in the dtype of F."""
    if chain.weights.law != "gram":
        return weights(chain, seed, layer, chains).to(F.dtype) @ F
    if chain.normalization.recentre and chain.normalization.over == "batch":
        F = recentre(
            F
        )  # before the factor is taken, as in the kernels: both give the same law but not the same numbers
    dtype = getattr(torch, chain.dtype)
    fan_out, batch = chain.width_at(layer + 1), F.shape[-1]
    G = stream.draw("gaussian", seed, stream.WEIGHTS, layer, fan_out, batch, chains, dtype)
    scale = torch.tensor(chain.weights.standard_deviation(F.shape[-2], fan_out), dtype=dtype)
    return (G * scale).to(F.dtype) @ gram_factor(F).to(F.dtype)


@unmoved
def draw_weights(chain: Chain, seed: int, layer: int, index: int = 0) -> Tensor:
    """Return the weight matrix that backends use for one layer of one chain.

    Parameters
    ----------
    chain
        The chain's specification; its law of weights must not be ``"gram"``, which never draws W.
    seed
        0 <= seed < 2**64.
    layer
        The layer that takes H_layer to H_{layer + 1}, counted from 0.
    index
        Number of the chain, counted from 0.

    Returns
    -------
    torch.Tensor
        (fan_out, fan_in), the widths after and before the layer, in the chain's dtype. Uniform and rademacher weights
        are the same to the bit on every backend; the others agree to a few units in the last place, on the tensor cores
        of a GPU gaussian ones to 1.2e-5 (docs/stream.md).

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """
    if not isinstance(chain, Chain):
        raise invalid("chain", chain, "a pyrank.Chain", "write for example pyrank.Chain(width=32)")
    if chain.weights.law == "gram":
        raise invalid("weights.law", "gram", "a law that draws W itself", "use the gaussian law")
    seed = as_integer("seed", seed, 0, 2**64 - 1, "give an integer seed")
    layer = as_integer("layer", layer, 0, MAX_INDEX, "layers count from 0")
    index = as_integer("index", index, 0, MAX_INDEX, "chains count from 0")
    return weights(chain, seed, layer, torch.tensor([index]))[0]
