"""Operations with gradients of their own: against the reference, finite differences, and what torch asks of them."""

import math

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.library import opcheck

import pyrank
from pyrank import ops, reference
from pyrank.specs.chain import ACTIVATIONS
from pyrank.specs.normalization import NORMALIZATIONS

import harness
from tolerances import gram_tolerance, layer_tolerance

SMOOTH = [name for name in NORMALIZATIONS if name != "whiten"]
NORMS = {
    **{name: NORMALIZATIONS[name] for name in NORMALIZATIONS},
    "p = 1": pyrank.Normalization(order=1, recentre=True),
    "p = 3": pyrank.Normalization(order=3),
    "p = inf": pyrank.Normalization(order=math.inf, recentre=True, over="features"),
    "eps": pyrank.Normalization(eps=0.3, recentre=True),
    "p = inf, eps": pyrank.Normalization(order=math.inf, eps=0.3),
    "affine": pyrank.Normalization(order=3, alpha=0.4, beta=-1.5, over="features"),
}


def gaussian(*shape, seed=0, dtype=torch.float64):
    return harness.gaussian(*shape, seed=seed, dtype=dtype).requires_grad_()


def gradients(function, *tensors):
    """The gradients of a fixed weighted sum of what a function returns."""
    out = function(*tensors)
    weights = gaussian(*out.shape, seed=9, dtype=out.dtype)
    return torch.autograd.grad((out * weights).sum(), tensors)


# Values and first derivatives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [math.inf, 0.3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layer_is_the_reference(name, activation, gamma, dtype):
    H, W = gaussian(2, 5, 12, dtype=dtype), gaussian(2, 5, 5, seed=1, dtype=dtype)
    options = {"gamma": gamma, "activation": activation, "normalization": NORMS[name]}
    plain = reference.layer_step(H, W, **options)
    torch.testing.assert_close(ops.layer_step(H, W, **options), plain, rtol=0, atol=0)
    mine = gradients(lambda h, w: ops.layer_step(h, w, **options), H, W)
    single, exact = (gradients(lambda h, w: reference.layer_step(h, w, **options), H.to(some), W.to(some))
                     for some in (torch.float32, torch.float64))  # fmt: skip
    for ours, rough, true in zip(mine, single, exact, strict=True):
        bound = layer_tolerance(true, rough, str(dtype).removeprefix("torch."))
        assert (ours.double() - true).abs().max().item() <= bound


@pytest.mark.parametrize(("d", "n"), [(5, 9), (9, 5), (6, 6), (1, 4), (4, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ratio_is_the_reference(d, n, dtype):
    H = gaussian(2, 3, d, n, dtype=dtype)
    tolerance = gram_tolerance(str(dtype).removeprefix("torch."), max(d, n))
    r = reference.participation_ratio(H)
    torch.testing.assert_close(ops.participation_ratio(H), r, rtol=tolerance, atol=0)
    mine, exact = gradients(ops.participation_ratio, H)[0], gradients(reference.participation_ratio, H.double())[0]
    # At rank one the gradient is zero, a difference of two equal terms: rounding is of their size.
    terms = 4.0 * (r / n / reference.trace(H))[..., None, None] * H.abs()
    assert (mine.double() - exact).abs().max().item() <= tolerance * 3.0 * terms.max().item()  # weights are below 3


# Finite differences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [math.inf, 0.3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", SMOOTH)
def test_layer_has_two_derivatives(name, activation, gamma):
    tensors = gaussian(3, 4), gaussian(3, 3, seed=1)

    def layer(H, W):
        return pyrank.layer_step(H, W, gamma=gamma, activation=activation, normalization=name)

    assert gradcheck(layer, tensors)
    assert gradgradcheck(layer, tensors)


@pytest.mark.parametrize("recentre", [False, True])
@pytest.mark.parametrize("over", ["batch", "features"])
@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_every_size_of_a_line_has_two_derivatives(order, over, recentre, eps):
    norm = pyrank.Normalization(recentre=recentre, order=order, over=over, eps=eps, alpha=0.5, beta=2.0)
    tensors = gaussian(2, 4, 5), gaussian(3, 4, seed=1)

    def layer(H, W):
        return pyrank.layer_step(H, W, normalization=norm)

    assert gradcheck(layer, tensors)
    assert gradgradcheck(layer, tensors)


@pytest.mark.parametrize(("states", "weights"), [
    ((3, 4), (3, 3)), ((2, 3, 4), (5, 3)), ((3, 4), (2, 5, 3)), ((2, 1, 3, 4), (6, 5, 3)), ((1, 3, 4), (2, 3, 3)),
])  # fmt: skip
def test_leading_dimensions_are_broadcast(states, weights):
    tensors = gaussian(*states), gaussian(*weights, seed=1)
    assert gradcheck(pyrank.layer_step, tensors)


@pytest.mark.parametrize(("d", "n"), [(3, 5), (5, 3), (1, 1)])
def test_ratio_has_two_derivatives(d, n):
    H = gaussian(2, d, n)
    assert gradcheck(pyrank.participation_ratio, (H,))
    assert gradgradcheck(pyrank.participation_ratio, (H,))


# On a GPU --------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch_gpu(request):
    """A GPU that torch sees."""
    if not torch.cuda.is_available():
        (pytest.fail if request.config.getoption("--require-gpu") else pytest.skip)("torch sees no GPU")
    return torch.device("cuda")


@pytest.mark.parametrize("name", SMOOTH)
def test_layer_on_a_gpu(name, torch_gpu):
    tensors = gaussian(2, 5, 7), gaussian(4, 5, seed=1)
    there = [tensor.detach().to(torch_gpu).requires_grad_() for tensor in tensors]

    def layer(H, W):
        return pyrank.layer_step(H, W, activation="tanh", normalization=name)

    torch.testing.assert_close(layer(*there).cpu(), layer(*tensors))
    assert gradcheck(layer, there)
    assert gradgradcheck(layer, there)


def test_ratio_on_a_gpu(torch_gpu):
    H = gaussian(2, 5, 7)
    there = H.detach().to(torch_gpu).requires_grad_()
    torch.testing.assert_close(pyrank.participation_ratio(there).cpu(), pyrank.participation_ratio(H))
    assert gradcheck(pyrank.participation_ratio, (there,))
    assert gradgradcheck(pyrank.participation_ratio, (there,))


# The corners -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
def test_a_line_of_zeros_stays_zero_and_has_no_gradient(order):
    """Row 1 of W makes row 1 of the product zero; through it nothing comes back, to W or to H."""
    H, W = gaussian(3, 4), gaussian(3, 3, seed=1).detach()
    W[1] = 0.0
    W.requires_grad_()
    norm = pyrank.Normalization(order=order)

    def layer(H, W):
        return pyrank.layer_step(H, W, normalization=norm)

    assert (layer(H, W)[1] == 0).all()
    grad_H, grad_W = gradients(layer, H, W)
    assert (grad_W[1] == 0).all()
    assert (grad_W[[0, 2]] != 0).all()
    kept = [0, 2]
    weights = gaussian(3, 4, seed=9)[kept]
    alone = torch.autograd.grad((layer(H, W[kept]) * weights).sum(), H)[0]
    torch.testing.assert_close(grad_H, alone)


def test_equal_largest_entries_share_the_gradient():
    """As in torch.amax: of z = (1, -1), max |z| grows by a half with either size."""
    H = torch.tensor([[1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    W = torch.ones(1, 1, dtype=torch.float64)
    norm = pyrank.Normalization(order=math.inf)
    mine, plain = (
        torch.autograd.grad(step(H, W, normalization=norm)[0, 0], H)[0]
        for step in (ops.layer_step, reference.layer_step)
    )
    torch.testing.assert_close(mine, plain)
    torch.testing.assert_close(mine, torch.tensor([[0.5, 0.5]], dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_ratio_has_a_gradient_at_any_size(size):
    """r(c H) = r(H), so its gradient is 1 / c times that at H; fourth powers of these entries are no floats."""
    H = gaussian(4, 6, dtype=torch.float32)
    big = (H * size).detach().requires_grad_()
    expected = gradients(pyrank.participation_ratio, H)[0]
    torch.testing.assert_close(gradients(pyrank.participation_ratio, big)[0] * size, expected)


def test_zero_and_broken_states():
    assert pyrank.participation_ratio(torch.zeros(2, 3)).isnan()
    with pytest.raises(FloatingPointError, match="NaN"):
        pyrank.participation_ratio(torch.tensor([[1.0, math.nan]]))
    assert pyrank.participation_ratio(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32


# What torch asks of an operation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "activation", "recentre", "rescale", "order", "over", "eps"), [
    (math.inf, "relu", True, True, 2.0, "batch", 0.0),
    (0.3, "gelu", False, True, math.inf, "features", 0.1),
    (1.0, "tanh", True, False, 2.0, "batch", 0.0),
])  # fmt: skip
def test_layer_is_registered_well(gamma, activation, recentre, rescale, order, over, eps):
    tensors = gaussian(2, 3, 4, dtype=torch.float32), gaussian(3, 3, seed=1, dtype=torch.float32)
    options = gamma, activation, recentre, rescale, order, over, eps
    opcheck(torch.ops.pyrank.layer_step.default, (*tensors, *options))


@pytest.mark.parametrize(("d", "n"), [(3, 5), (5, 3)])
def test_ratio_is_registered_well(d, n):
    opcheck(torch.ops.pyrank.participation_ratio.default, (gaussian(2, d, n),))


def rank_after_two_layers(H, V, W):
    H = pyrank.layer_step(H, V, activation="relu", normalization="batch")
    return pyrank.participation_ratio(pyrank.layer_step(H, W, gamma=0.5, activation="gelu")).sum()


def assert_compiles(backend):
    tensors = gaussian(2, 6, 5), gaussian(6, 6, seed=1), gaussian(2, 6, 6, seed=2)
    compiled = torch.compile(rank_after_two_layers, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(*tensors), rank_after_two_layers(*tensors))
    for mine, plain in zip(gradients(compiled, *tensors), gradients(rank_after_two_layers, *tensors), strict=True):
        torch.testing.assert_close(mine, plain)


def test_compiles_into_one_graph():
    assert_compiles("aot_eager")


def test_maps_over_any_dimension():
    H, V, W = gaussian(6, 5, 3), gaussian(6, 6, seed=1), gaussian(4, 3, 6, 6, seed=2)
    mapped = torch.func.vmap(rank_after_two_layers, in_dims=(2, None, 1))(H, V, W)
    one_by_one = torch.stack([rank_after_two_layers(H[..., i], V, W[:, i]) for i in range(3)])
    torch.testing.assert_close(mapped, one_by_one)
    for mine, plain in zip(torch.autograd.grad(mapped.sum(), (H, V, W)),
                           torch.autograd.grad(one_by_one.sum(), (H, V, W)), strict=True):  # fmt: skip
        torch.testing.assert_close(mine, plain)


def test_functional_gradients_are_those_of_autograd():
    H, V, W = gaussian(3, 6, 5), gaussian(6, 6, seed=1), gaussian(6, 6, seed=2)
    expected = torch.autograd.grad(rank_after_two_layers(H, V, W), H)[0]
    torch.testing.assert_close(torch.func.grad(rank_after_two_layers)(H, V, W), expected)
    each = torch.func.vmap(torch.func.grad(rank_after_two_layers), in_dims=(0, None, None))(H, V, W)
    torch.testing.assert_close(each, expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own use of it
def test_forward_mode_is_refused():
    """A tangent that is silently lost would be a wrong derivative."""
    H = gaussian(3, 5).detach()
    for function in (pyrank.participation_ratio, lambda h: pyrank.layer_step(h, torch.eye(3, dtype=h.dtype))):
        with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
            function(forward_ad.make_dual(H, H))


# What is kept for the gradient -----------------------------------------------------------------------------------


def kept_bytes(function, *tensors):
    """Bytes that autograd keeps beside the arguments."""
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage  # kept alive, so that no address is used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = function(*tensors)
    given = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    del out
    return sum(storage.nbytes() for address, storage in storages.items() if address not in given)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_deep_chain_keeps_one_state_a_layer(activation):
    layers, d, n = 6, 16, 64
    tensors = gaussian(d, n), *(gaussian(d, d, seed=layer) for layer in range(layers))

    def through(step):
        def network(H, *weights):
            for W in weights:
                H = step(H, W, activation=activation, normalization="batch")
            return H

        return kept_bytes(network, *tensors)

    assert through(ops.layer_step) == layers * 8 * (d * n + d)
    assert through(reference.layer_step) > 1.5 * through(ops.layer_step)


def test_the_ratio_keeps_the_gram_matrix_alone():
    H = gaussian(8, 100)
    assert kept_bytes(ops.participation_ratio, H) == 8 * 8 * 8
