"""One teacher-forced layer: the compiled kernels against the float64 reference, over the whole family."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special

import pyrank
from pyrank import reference
from pyrank.engine import native
from pyrank.reference.weights import weights
from pyrank.specs.chain import ACTIVATIONS
from pyrank.specs.normalization import NORMALIZATIONS

from harness import advance, assert_same, make_plan, start
from tolerances import FLOOR_ULPS, LOSS_FACTOR, SMALLEST_NORMALS, layer_tolerance

WIDTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 100, 128, 129)
DTYPES = ("float32", "float64")


def one_layer(chain, seed=11, chains=3, layer=5, **options):
    """One layer from the same state with the same weights: in the kernel, in float64, and in plain float32 torch."""
    plan = make_plan(chain, chains, seed, measures=())
    state, accumulator, counters = start(plan)
    state = state + 0.25
    W = weights(chain, seed, layer, torch.arange(chains))
    law = {"gamma": chain.gamma, "activation": chain.activation, "normalization": chain.normalization}
    exact = reference.layer_step(state.double(), W.double(), **law)
    single = reference.layer_step(state.float(), W.float(), **law)
    largest = largest_before_normalization(state.double(), W.double(), chain)
    native.advance(plan, state, layer, 1, accumulator, counters, **options)
    return torch.ldexp(state, torch.tensor(counters[3])[:, None, None]), exact, single, largest


def largest_before_normalization(H, W, chain):
    """The largest entry of H + gamma W F(H), in units of its line's size after recentring."""
    norm = chain.normalization
    Z = reference.layer.combine(H, W @ reference.activations.activate(H, chain.activation), chain.gamma)
    if not norm.rescale:
        return Z.abs().max().item()
    centred = reference.layer.recentre(Z, norm.over) if norm.recentre else Z
    return (Z.abs() / reference.layer.line_size(centred, norm.order, norm.eps, norm.over)).max().item()


def assert_close_to_reference(chain, **options):
    compiled, exact, single, largest = one_layer(chain, **options)
    error = (compiled.double() - exact).abs().max().item()
    tolerance = layer_tolerance(exact, single, chain.dtype, largest)
    assert error <= tolerance, f"error {error:.3g} exceeds {tolerance:.3g}"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normalization", [name for name in NORMALIZATIONS if name != "whiten"])  # test_whitening.py
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_and_normalizations(activation, normalization, dtype, width, layout):
    for gamma in (math.inf, 0.3):
        chain = pyrank.Chain(
            width, max(width, 4), gamma=gamma, activation=activation, normalization=normalization, dtype=dtype,
            weights="uniform",
        )  # fmt: skip
        assert_close_to_reference(chain, layout=layout)


@pytest.mark.parametrize("width", [1, 2, 8, 9, 16, 17, 31, 33, 65])
@pytest.mark.parametrize(("cuda_kernel", "dtype"), [("plain", "float32"), ("plain", "float64"), ("tensor", "float32")])
def test_cuda_kernels(cuda_kernel, dtype, width, gpus):
    left_out = ("whiten", "layer") if cuda_kernel == "tensor" else ("whiten",)
    cases = list(itertools.product(ACTIVATIONS, [name for name in NORMALIZATIONS if name not in left_out]))
    for k, (activation, normalization) in enumerate(cases):
        if width < 30 or k % 7 == width % 7:
            batch, gamma, law = max(2 * width // 3, 4), (math.inf, 0.3)[k % 2], ("uniform", "gaussian")[width % 2]
            chain = pyrank.Chain(width, batch, gamma=gamma, activation=activation, normalization=normalization,
                                 dtype=dtype, weights=law)  # fmt: skip
            assert_close_to_reference(chain, gpus=gpus, cuda_kernel=cuda_kernel)


@pytest.mark.parametrize("batch", WIDTHS)
@pytest.mark.parametrize("width", [1, 3, 8, 17, 33, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batches(width, batch, dtype, layout):
    for normalization in ("rescale", "batch"):
        if normalization == "batch" and batch == 1:
            continue  # recentring one sample leaves zeros: tested as bad input
        chain = pyrank.Chain(width, batch, gamma=1.0, activation="relu", normalization=normalization, dtype=dtype,
                             weights="rademacher")  # fmt: skip
        assert_close_to_reference(chain, layout=layout)


@pytest.mark.parametrize("law", ["gaussian", "uniform", "rademacher"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_instruction_sets_and_laws(law, dtype, isa, layout):
    for width, batch in ((5, 9), (32, 32), (130, 20), (300, 40)):
        chain = pyrank.Chain(width, batch, gamma=0.5, activation="tanh", dtype=dtype,
                             weights=pyrank.Weights(law, mean=0.1, scale=0.5))  # fmt: skip
        assert_close_to_reference(chain, layout=layout, isa=isa)


@pytest.mark.parametrize("over", ["batch", "features"])
@pytest.mark.parametrize("recentre", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [4, 16, 17, 33, 70])
def test_lines_and_orders(width, dtype, order, recentre, over, layout):
    for batch in (5, width, 2 * width + 1):
        for eps in (0.0, 0.2):
            norm = pyrank.Normalization(recentre=recentre, order=order, over=over, eps=eps)
            chain = pyrank.Chain(width, batch, gamma=0.5, activation="relu", normalization=norm, dtype=dtype,
                                 weights="uniform")  # fmt: skip
            assert_close_to_reference(chain, layout=layout)


@pytest.mark.parametrize("normalization", ["none", "recentre"])
@pytest.mark.parametrize("activation", ["linear", "relu", "leaky_relu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_drifting_state_times_its_power_of_two_is_the_plain_chain(dtype, activation, normalization, isa, layout):
    """Taking off powers of two is exact: the same bits as a chain that is left to grow."""
    chain = pyrank.Chain(9, 12, gamma=0.7, activation=activation, normalization=normalization, dtype=dtype,
                         weights="rademacher")  # fmt: skip
    plan = make_plan(chain, chains=3, measures=())
    kept = advance(plan, [8], isa=isa, layout=layout)
    exponent = kept["counters"][3]
    H = start(plan)[0].double()
    for layer in range(8):
        W = weights(chain, plan.seed, layer, torch.arange(3)).double()
        H = reference.layer_step(H, W, gamma=chain.gamma, activation=activation, normalization=normalization)
    true = np.ldexp(kept["state"].astype(float), exponent[:, None, None])
    assert ((np.abs(kept["state"]).max(axis=(1, 2)) >= 1) & (np.abs(kept["state"]).max(axis=(1, 2)) < 2)).all()
    size = H.abs().amax(dim=(-2, -1), keepdim=True).numpy()
    np.testing.assert_allclose(true / size, H.numpy() / size, atol=8 * FLOOR_ULPS * 9 * np.finfo(dtype).eps)
    options = {"chains": 3, "seed": plan.seed, "initial": start(plan)[0], "measures": [], "progress": False}
    oracle = pyrank.simulate(chain, 8, backend="reference", **options)
    np.testing.assert_allclose(np.ldexp(oracle.state.numpy(), oracle.exponent[:, None, None]), H.numpy(), rtol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_affine_and_eps(dtype, layout):
    norm = pyrank.Normalization(recentre=True, eps=0.3, alpha=0.7, beta=-1.5)
    assert_close_to_reference(
        pyrank.Chain(19, 23, gamma=2.0, activation="gelu", normalization=norm, dtype=dtype), layout=layout
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_over_its_whole_range(activation, isa):
    """A 1 x 1 weight of exactly 1 and no normalisation: the layer is F(x), over many magnitudes of x."""
    x = torch.cat([torch.linspace(-100, 100, 4001), torch.logspace(-20, 2, 400), -torch.logspace(-20, 2, 400)])
    for dtype in DTYPES:
        chain = pyrank.Chain(1, x.numel(), activation=activation, normalization="none", dtype=dtype,
                             weights=pyrank.Weights(mean=1.0, scale=0.0))  # fmt: skip
        plan = make_plan(chain, 1, measures=())
        _, accumulator, counters = start(plan)
        state = x.to(getattr(torch, dtype)).reshape(1, 1, -1).clone()
        argument = state.double().clone().requires_grad_()
        exact = reference.activations.activate(argument, activation)
        (slope,) = torch.autograd.grad(exact.sum(), argument)
        exact = exact.detach()
        if activation == "gelu":  # the lower tail of which is easily lost
            ndtr = torch.from_numpy(special.ndtr(x.double().numpy()))
            torch.testing.assert_close(exact, (x.double() * ndtr).reshape(1, 1, -1), rtol=1e-12, atol=1e-300)
        plain = reference.activations.activate(state, activation).clone()
        native.advance(plan, state, 0, 1, accumulator, counters, isa=isa)
        error = (state.double() * 2.0 ** counters[3, 0] - exact).abs()
        eps = np.finfo(dtype).eps
        allowed = FLOOR_ULPS * eps * (exact.abs() + (slope * x).abs()) + LOSS_FACTOR * (plain.double() - exact).abs()
        allowed += SMALLEST_NORMALS * np.finfo(dtype).tiny * x.double().abs().clamp_min(1.0)
        assert (error <= allowed).all(), x[(error > allowed)[0, 0]][:5]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_layouts_agree_to_the_last_bit(width, dtype, isa):
    for batch in (width, max(2, width // 3), width + 5):
        norm = "batch" if batch > 2 else "rescale"
        chain = pyrank.Chain(width, batch, gamma=0.5, activation="relu", normalization=norm, dtype=dtype)
        plan = make_plan(chain, chains=2)
        assert_same(advance(plan, [3], isa=isa, layout="lanes"), advance(plan, [3], isa=isa, layout="rows"))


def test_free_run_stays_with_the_reference():
    """Ten layers: rounding grows, but by no more than in plain float32 torch."""
    chain = pyrank.Chain(24, 24, gamma=1.0, activation="relu", normalization="batch", weights="uniform")
    compiled = pyrank.simulate(chain, 10, chains=4, backend="cpu", progress=False).state
    exact = pyrank.simulate(chain, 10, chains=4, backend="reference", progress=False).state
    plan = make_plan(chain, 4, seed=0)
    plain, accumulator, counters = start(plan)
    reference.advance(plan, plain, 0, 10, accumulator, counters)
    assert (compiled.double() - exact).abs().max() <= layer_tolerance(exact, plain, "float32")


def test_gradients_are_finite_at_a_line_of_zeros():
    H, W = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 5, dtype=torch.float64)
    W[2] = 0
    for norm in ("rescale", pyrank.Normalization(order=3), pyrank.Normalization(order=1, over="features")):
        h, w = H.clone().requires_grad_(), W.clone().requires_grad_()
        reference.layer_step(h, w, normalization=norm).square().sum().backward()
        assert torch.isfinite(h.grad).all()
        assert torch.isfinite(w.grad).all()


def test_the_comparison_can_fail():
    """A gamma off by one part in 10^4 is noticed by the same comparison."""
    chain = pyrank.Chain(16, gamma=0.3, weights="uniform")
    compiled, exact, single, _ = one_layer(chain)
    wrong, *_ = one_layer(pyrank.Chain(16, gamma=0.3 * 1.0001, weights="uniform"))
    tolerance = layer_tolerance(exact, single, "float32")
    assert (compiled.double() - exact).abs().max() <= tolerance < (wrong.double() - exact).abs().max()
