"""How far a kernel may be off after one layer from a state that is known to the bit.

Each operation of a layer takes an exact value and a bound of its error, entry by entry, and returns both. What becomes
of an error follows from the formula of the next operation: a rescaled line divides it by its size, whitening by its
smallest singular value. So a bound is as wide as a state is singular, and no state has to be left out.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrank.reference import activations, stream
from pyrank.reference.layer import CANCELLATION_ROUNDINGS, LINES, WHITENING_CUTOFF, combine, mean_power, recentre
from pyrank.reference.weights import first_equal, gram_factor, largest_of_few, semidefinite_factor, weights

from tolerances import (
    CANCELLED,
    FLOOR_ULPS,
    GAUSSIAN_ULPS,
    LOSS_FACTOR,
    REFLECTION_ROUNDINGS,
    SMALLEST_NORMALS,
    gram_tolerance,
)

FACTORS = 3
"""Gram matrices with roundings of their own, to learn what these make of a triangular factor."""


class Bounded(NamedTuple):
    """An exact value, and how far off a kernel may be."""

    value: Tensor
    error: Tensor


class Layer(NamedTuple):
    """The state after a layer, and how many of its lines or directions are zero, by chain.

    Where ``open`` holds, a line may be zero instead, as rounding decides.
    """

    state: Bounded
    open: Tensor
    fewest: Tensor
    most: Tensor


def epsilon(dtype):
    """Distance from 1 to the next number; in float64 the reference rounds as often as the kernel does."""
    return float(np.finfo(dtype).eps) * (2.0 if dtype == "float64" else 1.0)


def layer(chain, seed, number, H, zeros):
    """Bound layer ``number`` from states H (chains, d, N) in float64; whitening found ``zeros`` directions to be so."""
    norm, rounding = chain.normalization, FLOOR_ULPS * epsilon(chain.dtype)
    F = activated(H, chain)
    limit = noise(F.value, chain, number)
    if norm.recentre and norm.over == "batch":
        F = recentred(F, "batch", rounding)
    Z = with_skip(H, product(chain, seed, number, F), chain.gamma, rounding)
    if norm.recentre:
        Z = recentred(Z, norm.over, FLOOR_ULPS * epsilon("float64") if norm.whiten else rounding)
    if norm.whiten:
        return whitened(without_noise(Z, limit), norm, zeros, rounding)
    if norm.rescale:
        return rescaled(Z, limit, norm, rounding)
    none = torch.zeros(H.shape[0], dtype=torch.int64)
    return Layer(Z, torch.zeros(1, dtype=torch.bool), none, none)


def activated(H, chain):
    """F(H): exact, or an elementary function, which moves as far as a rounding of what it is given moves it."""
    F = activations.activate(H, chain.activation)
    if chain.activation in ("linear", "relu"):
        return Bounded(F, torch.zeros_like(F))
    slope = activations.FORMULAS[chain.activation].pullback(torch.ones_like(H), H, F)
    smallest = SMALLEST_NORMALS * float(np.finfo(chain.dtype).tiny)
    size = FLOOR_ULPS * epsilon(chain.dtype) * torch.maximum(F.abs(), (H * slope).abs())
    return Bounded(F, size + smallest * H.abs().clamp_min(1.0))


def recentred(Z, over, rounding):
    """Z without the mean of each line; equal entries of equal error leave exactly zero."""
    along = LINES[over]
    distances = Z.value - Z.value.narrow(along, 0, 1)
    equal = ((distances == 0) & (Z.error == Z.error.narrow(along, 0, 1))).all(dim=along, keepdim=True)
    error = Z.error + rounding * distances.abs()
    error = error + error.mean(dim=along, keepdim=True)
    return Bounded(recentre(Z.value, over), torch.where(equal, 0.0, error))


def with_skip(H, A, gamma, rounding):
    """H + gamma A, which is H to the bit where A is zero."""
    Z = combine(H, A.value, gamma)
    if math.isinf(gamma):
        return A
    untouched = (A.value == 0) & (A.error == 0)
    return Bounded(Z, torch.where(untouched, 0.0, gamma * A.error + rounding * (H.abs() + gamma * A.value.abs())))


def product(chain, seed, number, F):
    """W F, by its law: roundings of the weights, of what they multiply, and of the sums."""
    eps, fan_in, fan_out = epsilon(chain.dtype), chain.width_at(number), chain.width_at(number + 1)
    index = torch.arange(F.value.shape[0])
    if chain.weights.law == "gram":
        return by_factor(chain, seed, number, F)
    W = weights(chain, seed, number, index).double()
    A, error = W @ F.value, W.abs() @ F.error
    if chain.weights.law == "orthogonal":
        side = max(fan_in, fan_out)
        normals = stream.draw("gaussian", seed, stream.WEIGHTS, number, side, side, index, getattr(torch, chain.dtype))
        lost = eps * (REFLECTION_ROUNDINGS * side + GAUSSIAN_ULPS * short_directions(normals.double()))
        size = chain.weights.standard_deviation(fan_in, fan_out) * math.sqrt(side)
        return Bounded(A, error + lost * size * torch.linalg.vector_norm(F.value, dim=-2, keepdim=True))
    sums = FLOOR_ULPS * (W.abs() @ F.value.abs())
    if chain.weights.law == "gaussian":
        size = chain.weights.standard_deviation(fan_in, fan_out)
        sums = sums + GAUSSIAN_ULPS * largest(W, size) * F.value.abs().sum(dim=-2, keepdim=True)
    return Bounded(A, error + eps * sums)


def largest(W, size):
    """Largest |w| of each matrix; of a few numbers, of standard deviation ``size``, all may happen to be small."""
    return W.abs().amax(dim=(-2, -1), keepdim=True).clamp_min(size)


def short_directions(normals):
    """Largest number over length of each column from its diagonal on, added up: what its rounding turns it by."""
    below = normals.tril()[..., :-1]  # of the last column the sign counts alone
    turns = largest(normals, 1.0) / torch.linalg.vector_norm(below, dim=-2, keepdim=True)
    return turns.sum(dim=-1, keepdim=True)


def by_factor(chain, seed, number, F):
    """G R with R^T R = F^T F, and what becomes of R when rounding moves F and its Gram matrix.

    A row of R whose pivot is within the rounding of its sums may be zero, or noise of sqrt(d eps) of each sample's
    length: what `pyrank.Weights` says is lost.
    """
    eps, (fan_in, batch), fan_out = epsilon(chain.dtype), F.value.shape[-2:], chain.width_at(number + 1)
    index, dtype = torch.arange(F.value.shape[0]), getattr(torch, chain.dtype)
    G = stream.draw("gaussian", seed, stream.WEIGHTS, number, fan_out, batch, index, dtype).double()
    size = chain.weights.standard_deviation(fan_in, fan_out)
    G = G * size
    R, rng, like = gram_factor(F.value), np.random.default_rng(1), first_equal(F.value).unsqueeze(-2)
    lengths, rounding = torch.linalg.vector_norm(F.value, dim=-2), float(np.finfo(np.float64).eps)
    limit = fan_in * rounding * lengths.square()
    sums = math.sqrt(fan_in + batch) * epsilon("float64") / 2 * lengths.unsqueeze(-1) * lengths.unsqueeze(-2)
    undecided = torch.diagonal(R, dim1=-2, dim2=-1).square() <= LOSS_FACTOR * limit
    moved = torch.where(undecided.unsqueeze(-1), limit.sqrt().unsqueeze(-2), 0.0).triu()
    for _ in range(FACTORS):
        other = F.value + F.error * torch.from_numpy(rng.uniform(-1.0, 1.0, F.value.shape))
        gram = other.mT @ other + sums * torch.from_numpy(rng.uniform(-1.0, 1.0, R.shape))
        other = semidefinite_factor(gram.triu() + gram.triu(1).mT, limit).take_along_dim(like, dim=-1)
        moved = torch.maximum(moved, (other - R).abs())
    error = G.abs() @ (LOSS_FACTOR * moved + FLOOR_ULPS * eps * R.abs())
    drawn = GAUSSIAN_ULPS * eps * largest(G, size)
    return Bounded(G @ R, error + drawn * R.abs().sum(dim=-2, keepdim=True))


def noise(F, chain, number):
    """What rounding may leave of a sum that is zero, in each column; see `pyrank.reference.layer.clear_cancelled`."""
    roundings = CANCELLATION_ROUNDINGS + math.sqrt(F.shape[-2] + F.shape[-1])
    largest, norm = F.abs().amax(dim=-2, keepdim=True), chain.normalization
    if norm.recentre and norm.over == "batch":
        largest = largest + largest.mean(dim=-1, keepdim=True)
    return roundings * F.shape[-2] * float(np.finfo(chain.dtype).eps) / 2 * largest_of_few(chain, number) * largest


def within(Z, bound, over="batch"):
    """Lines of which no entry is above its bound."""
    return (Z.value.abs() <= bound).all(dim=LINES[over], keepdim=True)


def without_noise(Z, noise):
    """Z without the rows that are zero but for rounding; what is near that limit may be zero or not."""
    zero, possible = within(Z, (1.0 - CANCELLED) * noise), within(Z, (1.0 + CANCELLED) * noise)
    error = Z.error + torch.where(possible, Z.value.abs(), 0.0)
    return Bounded(torch.where(zero, 0.0, Z.value), torch.where(zero, 0.0, error))


def rescaled(Z, noise, norm, rounding):
    """Alpha + beta Z / size.

    An error of Z moves the size by no more than its own size, which is Minkowski's inequality. So z / size moves by no
    more than (error + |z / size| moved) / (size - moved), and by twice the longest there is where nothing is left.
    """
    along, count = LINES[norm.over], Z.value.shape[LINES[norm.over]]
    root = 1.0 if math.isinf(norm.order) else 1.0 / norm.order
    size = (mean_power(Z.value, norm.order, (along,)) + norm.eps) ** root
    moved = mean_power(Z.error, norm.order, (along,)) ** root
    unscaled = torch.where(size > 0, Z.value / torch.where(size > 0, size, 1.0), 0.0)
    left = (size - moved).clamp_min(0.0)
    error = torch.where(moved > 0, (Z.error + unscaled.abs() * moved) / left, 0.0)
    error = error.nan_to_num(math.inf).clamp_max(2.0 * count ** (0.0 if math.isinf(norm.order) else root))
    error = abs(norm.beta) * error + rounding * (abs(norm.alpha) + abs(norm.beta) * unscaled.abs())
    zero = within(Z, (1.0 - CANCELLED) * noise, norm.over) | (within(Z, 0.0, norm.over) & (moved == 0))
    possible = zero | within(Z, (1.0 + CANCELLED) * noise, norm.over) | within(Z, Z.error, norm.over)
    exact = Bounded(norm.alpha + torch.where(zero, 0.0, norm.beta * unscaled), torch.where(zero, 0.0, error))
    return Layer(exact, possible, zero.sum(dim=(-2, -1)), possible.sum(dim=(-2, -1)))


def whitened(Z, norm, zeros, rounding):
    """F(Z): each singular value s of Z becomes f(s) = s / sqrt(s^2 / N + eps), and 0 for the ``zeros`` smallest.

    Errors of the entries of Z, in the bases of its singular vectors, are multiplied by a difference quotient of f at
    s_i and s_j, or of f and -f at s_i and -s_j, whichever is larger (Noferini, SIAM J. Matrix Anal. Appl. 38, 434,
    2017). They are independent, so their squares add up. The kernel takes Gram matrices in float64, whose roundings
    turn directions by as much over the smallest eigenvalue, or the gap above those that are left out, and by more where
    they grow in an inversion.
    """
    (width, batch), n, eps = Z.value.shape[-2:], min(Z.value.shape[-2:]), norm.eps
    U, sigma, Vh = torch.linalg.svd(Z.value)
    size = (sigma.square() + batch * eps).sqrt()
    kept = torch.arange(n) < n - zeros.unsqueeze(-1)
    f = math.sqrt(batch) * torch.where(kept, sigma / torch.where(kept, size, 1.0), 0.0)
    exact = (U[..., :n] * f.unsqueeze(-2)) @ Vh[..., :n, :]

    square = U.mT.square() @ Z.error.square() @ Vh.mT.square()
    amplified = (square * difference_quotients(sigma, f, kept, (width, batch)).square()).sum(dim=(-2, -1)).sqrt()
    gram = gram_tolerance("float64", max(width, batch)) * size.square().sum(dim=-1)
    smallest = torch.where(kept, size, math.inf).amin(dim=-1)
    below = torch.where(kept, 0.0, size).amax(dim=-1)
    turned = math.sqrt(batch) * gram * multiplier(Z.value, norm) / (smallest.square() - below.square())
    moved = (amplified + turned).nan_to_num(math.inf).clamp_max(2.0 * math.sqrt(batch))
    bound = torch.where(kept.any(dim=-1), moved, 0.0)[:, None, None] + rounding * exact.abs()

    exists = torch.arange(n) < batch - norm.recentre  # of N directions recentring leaves N - 1, in float64
    error, gram = torch.where(exists, torch.linalg.matrix_norm(Z.error).unsqueeze(-1), 0.0), gram.unsqueeze(-1)
    cut = WHITENING_CUTOFF * max(width, batch) * size.square().norm(dim=-1, keepdim=True)
    surely = (size - error).clamp_min(0.0).square() - gram > cut
    surely_not = ((size + error).square() + gram < cut) | ((size + error).square() <= gram)
    none = torch.zeros(1, dtype=torch.bool)
    return Layer(Bounded(exact, bound), none, surely_not.sum(dim=-1), (~surely).sum(dim=-1))


def multiplier(Z, norm):
    """The largest multiplier of an elimination without a choice of pivots in I + M / cut-off, with M the smaller side.

    The kernel inverts that matrix so (`csrc/cpu/sweep.h`). It is above 1 where the first rows alone are more singular
    than all of them, as when two samples have met.
    """
    width, batch = Z.shape[-2:]
    transposed = batch < width + norm.recentre
    X = Z.mT if transposed else Z
    n = X.shape[-2]
    M = X @ X.mT + batch * norm.eps * torch.eye(n)
    size = torch.linalg.matrix_norm(M)[:, None, None]
    M = M / torch.where(size > 0, size, 1.0) + (1 / n if transposed and norm.recentre and norm.eps == 0 else 0.0)
    L, failed = torch.linalg.cholesky_ex(torch.eye(n) + M / (WHITENING_CUTOFF * max(width, batch)))
    multipliers = (L / torch.diagonal(L, dim1=-2, dim2=-1).unsqueeze(-2)).abs().amax(dim=(-2, -1))
    return multipliers.masked_fill(failed > 0, math.inf)


def difference_quotients(sigma, f, kept, shape):
    """The larger of (f_i - f_j) / (s_i - s_j) and (f_i + f_j) / (s_i + s_j), for a concave f of what is kept.

    The directions that a matrix of this ``shape`` (d, N) does not reach have the singular value zero.
    """
    sides = [[torch.nn.functional.pad(x, (0, side - x.shape[-1])) for x in (sigma, f, kept)] for side in shape]
    (s_i, f_i, kept_i), (s_j, f_j, kept_j) = ([x.unsqueeze(-1) for x in sides[0]], [x.unsqueeze(-2) for x in sides[1]])
    sign = torch.where(kept_i & kept_j, 1.0, -1.0)
    return torch.where(kept_i | kept_j, (f_i + sign * f_j).abs() / (s_i + sign * s_j).abs(), 0.0)
