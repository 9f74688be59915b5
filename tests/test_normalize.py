"""`networks.Normalize` against torch's batch normalisation, the chain's reference, and numerical gradients."""

import math

import pytest
import torch
from test_bad_input import assert_one_line
from torch import nn

import pyrank
from pyrank.networks import Normalize
from pyrank.reference.layer import normalize
from pyrank.specs.normalization import NORMALIZATIONS

from harness import gaussian
from tolerances import FLOOR_ULPS, LOSS_FACTOR

ORDERS = (1, 2, 3, math.inf)
SHAPES = {"(B, C)": (7, 4), "(B, C, L)": (3, 4, 5), "(B, C, H, W)": (3, 4, 2, 3)}
EPS = 1e-5
BATCH = pyrank.Normalization(recentre=True, eps=EPS)
SWITCHES = [
    pyrank.Normalization(recentre=recentre, rescale=True, order=order, over=over, eps=0.1)
    for recentre in (False, True)
    for order in ORDERS
    for over in ("batch", "features")
] + [pyrank.Normalization(recentre=recentre, rescale=False) for recentre in (False, True)]


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request):
    return request.param


def as_rows(x):
    """The matrix that the chain's reference takes: features x all else."""
    return x.transpose(0, 1).flatten(1)


def near(ours, theirs, size=None):
    """Within what plain torch loses, in float64: both take the same sums in some order."""
    size = theirs.abs().max().item() if size is None else size
    count = LOSS_FACTOR * FLOOR_ULPS * math.sqrt(theirs.numel())
    assert (ours - theirs).abs().max().item() <= count * torch.finfo(theirs.dtype).eps * max(size, 1.0)


def torch_twin(shape, momentum=0.1, affine=True, track=True):
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    return kind(shape[1], eps=EPS, momentum=momentum, affine=affine, track_running_stats=track).double()


@pytest.mark.parametrize("momentum", [0.1, None, 0.0, 1.0])
@pytest.mark.parametrize("affine", [True, False])
def test_is_batch_normalisation_of_torch(shape, momentum, affine):
    """Output, gradients and running statistics over three batches, then eval mode, which passes gradients, too."""
    ours, theirs = Normalize(shape[1], BATCH, affine, momentum).double(), torch_twin(shape, momentum, affine)
    if affine:
        with torch.no_grad():
            theirs.weight.copy_(gaussian(shape[1], seed=8))
            theirs.bias.copy_(gaussian(shape[1], seed=9))
    ours.load_state_dict(theirs.state_dict())
    for step in range(5):
        if step == 3:
            ours.eval(), theirs.eval()
        x = 3.0 + 2.0 * gaussian(*shape, seed=step)
        g = gaussian(*shape, seed=100 + step)
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [model(each) for model, each in zip((ours, theirs), inputs, strict=True)]
        near(*outputs)
        grads = [
            torch.autograd.grad(y, [each, *model.parameters()], g)
            for model, each, y in zip((ours, theirs), inputs, outputs, strict=True)
        ]
        for one, other in zip(*grads, strict=True):
            near(one, other)
        for name, buffer in theirs.named_buffers():
            near(ours.get_buffer(name), buffer.double())
    assert ours.num_batches_tracked.item() == 3


def test_without_tracking_both_modes_use_the_batch(shape):
    ours, theirs = Normalize(shape[1], BATCH, track=False).double(), torch_twin(shape, track=False)
    assert list(ours.state_dict()) == ["weight", "bias"]
    for mode in (True, False):
        x = gaussian(*shape, seed=4)
        near(ours.train(mode)(x), theirs.train(mode)(x))


@pytest.mark.parametrize("normalization", SWITCHES, ids=str)
def test_is_a_layer_of_the_chain(normalization, shape):
    x = 1.0 + gaussian(*shape, seed=1)
    layer = Normalize(shape[1], normalization, affine=False).double()
    if normalization.over == "batch":
        near(as_rows(layer(x)), normalize(as_rows(x), normalization))
    else:  # a line is a sample
        near(layer(x).flatten(1).T, normalize(x.flatten(1).T, normalization))


@pytest.mark.parametrize("name", [name for name in NORMALIZATIONS if name != "whiten"])
def test_names_are_those_of_the_chain(name):
    x = 1.0 + gaussian(6, 4)
    near(Normalize(4, name)(x).T, normalize(x.T, NORMALIZATIONS[name]))


def test_layer_norm_is_group_norm_of_one_group(shape):
    x = 1.0 + gaussian(*shape, seed=2)
    ours = Normalize(shape[1], pyrank.Normalization(recentre=True, over="features", eps=EPS)).double()
    near(ours(x), nn.GroupNorm(1, shape[1], eps=EPS).double()(x))
    assert not list(ours.buffers())


@pytest.mark.parametrize("normalization", SWITCHES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_gradients(normalization, training):
    x = (1.0 + gaussian(3, 2, 2, seed=3)).requires_grad_()
    layer = Normalize(2, normalization).double()
    with torch.no_grad():
        layer(x + 1.0)
        for p in layer.parameters():
            p.copy_(gaussian(2, seed=5))
    layer.train(training)

    def f(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    assert torch.autograd.gradcheck(f, (x, layer.weight, layer.bias))
    if training and normalization.recentre and normalization.order == 2:
        assert torch.autograd.gradgradcheck(f, (x, layer.weight, layer.bias))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch's own, of forward mode
@pytest.mark.parametrize("normalization", [BATCH, *[pyrank.Normalization(recentre=r) for r in (False, True)]], ids=str)
def test_second_derivatives_of_torch_func(normalization):
    """By forward over reverse mode and by reverse mode twice: for torch's own in train mode they differ."""
    layer = Normalize(3, normalization, track=False).double()
    x, target = gaussian(6, 3, seed=1), gaussian(6, 3, seed=2)

    def loss(z, weight, bias):
        output = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, z)
        return (torch.tanh(output) * target).sum()

    at = (x, gaussian(3, seed=3), gaussian(3, seed=4))
    ours = torch.func.hessian(loss, argnums=(0, 1, 2))(*at)
    expected = torch.autograd.functional.hessian(loss, at)
    for row, wanted in zip(ours, expected, strict=True):
        for block, whole in zip(row, wanted, strict=True):
            near(block, whole)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("recentre", [False, True])
def test_zeros_stay_zero_and_pass_no_gradient(order, recentre):
    layer = Normalize(3, pyrank.Normalization(recentre=recentre, order=order))
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 5.0 * recentre
    for mode in (True, False):
        x = x.detach().requires_grad_()
        layer.train(mode)
        layer.momentum = 1.0
        y = layer(x)
        assert (y[:, 1] == 0).all()
        (grad,) = torch.autograd.grad(y.square().sum() + y.sum(), x, create_graph=True)
        assert grad.isfinite().all()
        (again,) = torch.autograd.grad(grad.square().sum(), x)
        assert again.isfinite().all()


@pytest.mark.parametrize("order", ORDERS)
def test_running_size_is_the_mean_power(order):
    """Without recentring nothing is estimated beside it, so nothing is corrected for."""
    layer = Normalize(4, pyrank.Normalization(order=order, eps=EPS), momentum=None).double()
    batches = [gaussian(9, 4, seed=seed) for seed in range(3)]
    for x in batches:
        layer(x)
    powers = [x.abs().amax(0) if math.isinf(order) else x.abs().pow(order).mean(0) for x in batches]
    power = torch.stack(powers).mean(0)
    near(layer.running_var, power)
    assert (layer.running_mean == 0).all()
    x = gaussian(2, 4, seed=7)
    near(layer.eval()(x), x / (power + EPS) ** (1.0 if math.isinf(order) else 1.0 / order))


@pytest.mark.parametrize("order", ORDERS)
def test_no_samples_give_none(order):
    layer = Normalize(3, pyrank.Normalization(recentre=True, order=order), track=False)
    assert layer(torch.empty(0, 3)).shape == (0, 3)
    assert layer(torch.empty(0, 3, 4)).shape == (0, 3, 4)


@pytest.mark.parametrize("normalization", [*SWITCHES[8:15:2], *SWITCHES[-2:]], ids=str)
def test_compiles_into_one_graph(normalization):
    torch.compiler.reset()
    x = gaussian(5, 3, seed=3)
    layer, plain = Normalize(3, normalization).double(), Normalize(3, normalization).double()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for mode in (True, False):
        compiled.train(mode), plain.train(mode)
        near(compiled(x), plain(x))
    for name, buffer in plain.named_buffers():
        assert torch.equal(layer.get_buffer(name), buffer)


def test_affine_parameters_start_at_alpha_and_beta():
    shifted = pyrank.Normalization(recentre=True, alpha=-0.5, beta=2.0)
    x = gaussian(6, 4)
    for affine in (True, False):
        near(Normalize(4, shifted, affine).double()(x).T, normalize(x.T, shifted))
    layer = Normalize(4, shifted)
    nn.init.zeros_(layer.weight)
    layer.reset_parameters()
    assert (layer.weight == 2.0).all()


def test_16_bit_input_is_summed_in_single_precision():
    x = (100.0 + torch.randn(512, 2, generator=torch.Generator().manual_seed(0))).bfloat16()
    y = Normalize(2, BATCH)(x)
    assert y.dtype == torch.bfloat16
    near(y, Normalize(2, BATCH)(x.float()).bfloat16(), size=0.0)


def test_repr_says_what_it_is():
    assert repr(Normalize(4, "rescale")) == (
        "Normalize(4, Normalization(), affine=True, momentum=0.1, track=True)"
    )  # fmt: skip


@pytest.mark.parametrize(("make", "word"), [
    (lambda: Normalize(0), "features"), (lambda: Normalize(4, "group"), "normalization"),
    (lambda: Normalize(4, "whiten"), "normalization"), (lambda: Normalize(4, momentum=2.0), "momentum"),
    (lambda: Normalize(4)(torch.ones(3)), "input"), (lambda: Normalize(4)(torch.ones(3, 5)), "input"),
    (lambda: Normalize(4, "rescale")(torch.ones(0, 4)), "0 values a feature"),
    (lambda: Normalize(4)(torch.ones(1, 4, 1)), "1 values a feature"),
    (lambda: Normalize(4, pyrank.Normalization(order=math.inf))(torch.ones(0, 4)), "0 values a feature"),
    (lambda: Normalize(4)(torch.ones(5, 4, dtype=torch.int64)), "torch.int64"),
])  # fmt: skip
def test_bad_input(make, word):
    with pytest.raises(pyrank.ArgumentError) as error:
        make()
    assert_one_line(error, word)
