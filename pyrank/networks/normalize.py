"""Batch normalisation whose recentring, rescaling and order are switched one by one, as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyrank.reference.layer import mean_power, size_of
from pyrank.specs.chain import as_law
from pyrank.specs.normalization import Normalization
from pyrank.support.errors import as_integer, as_number, invalid


class Normalize(nn.Module):
    """What a chain does to each row, for batches (B, C), (B, C, L) and (B, C, H, W) of a network.

    A feature z, with all its samples and positions, becomes ``weight (z - mean) / size + bias``, where the mean is that
    of z, or 0 without recentring, and the size ``(mean |z|^p + eps)^(1/p)`` is taken after recentring, or is 1 without
    rescaling. For recentring and p = 2 this is `torch.nn.BatchNorm1d` and ``2d``, running statistics included, and
    their state dicts are exchangeable. Where eps = 0, a feature of zeros stays zero and passes no gradient.

    Parameters
    ----------
    features
        C, their number.
    normalization
        A `pyrank.Normalization` or its name, as in a chain; the names have eps = 0. With ``over="features"`` a line is
        one sample with all its features and positions, as in `torch.nn.GroupNorm` with one group, and there are no
        running statistics. There is no whitening.
    affine
        Whether weight and bias are parameters, which start at beta and alpha of the normalisation, or stay there.
    momentum
        Weight of a batch in the running statistics, or None for their plain average.
    track
        Whether to keep running statistics and use them in eval mode; otherwise both modes use the batch. They are
        called as in torch: ``running_mean``, and ``running_var`` for ``mean |z|^p`` (``max |z|`` for p = inf); for
        p = 2 with recentring it is unbiased, with n - 1 for n. ``eps`` is added when they are used.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or later: if the input has another shape, number of features or dtype, or too few
        values for running statistics, one for a variance or none at all.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        features: int,
        normalization: str | Normalization = "batch",
        affine: bool = True,
        momentum: float | None = 0.1,
        track: bool = True,
    ) -> None:
        super().__init__()
        self.features = as_integer("features", features, 1, 2**31, "give the number of channels C")
        self.normalization = as_law(1.0, "linear", normalization)[2]
        if self.normalization.whiten:
            raise invalid("normalization", normalization, "recentring and rescaling", "a module has no whitening")
        remedy = "give the weight of a batch, or None for the plain average"
        self.momentum = None if momentum is None else as_number("momentum", momentum, 0.0, 1.0, remedy)
        self.affine, self.track = bool(affine), bool(track) and self.normalization.over == "batch"
        shape = (self.features,)
        for name in ("weight", "bias"):
            self.register_parameter(name, nn.Parameter(torch.empty(shape)) if self.affine else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.empty(shape) if self.track else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if self.track else None)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set weight, bias and running statistics to what they start at."""
        starts = {"weight": self.normalization.beta, "bias": self.normalization.alpha, "running_mean": 0.0,
                  "running_var": 1.0, "num_batches_tracked": 0}  # fmt: skip
        for name, start in starts.items():
            tensor = getattr(self, name)
            if tensor is not None:
                tensor.fill_(start)

    def extra_repr(self) -> str:
        """Return the arguments, for the module's repr."""
        return (f"{self.features}, {self.normalization}, affine={self.affine}, momentum={self.momentum}, "
                f"track={self.track}")  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, its name in every module of torch
        """Normalise a batch; statistics of 16-bit input are taken in float32."""
        if input.ndim not in (2, 3, 4) or input.shape[1] != self.features:
            wanted = f"(B, C), (B, C, L) or (B, C, H, W) with C = {self.features}"
            raise invalid("input", tuple(input.shape), wanted, "check the layer before")
        if not input.is_floating_point():
            raise invalid("input", input.dtype, "floating-point numbers", "convert it by .float()")
        z = input.float() if input.dtype.itemsize == 2 else input
        norm = self.normalization
        column = (-1, *[1] * (z.ndim - 2))
        if self.track and not self.training:
            assert self.running_mean is not None
            assert self.running_var is not None
            z = z - self.running_mean.view(column) if norm.recentre else z
            size = size_of(self.running_var.view(column), norm.order, norm.eps) if norm.rescale else None
        elif self._is_usual(z):
            z, size = self._usual(z), None
        else:
            z, size = self._recentred(z)
        if self.weight is not None and self.bias is not None:
            factor = self.weight.view(column)
            z = torch.addcmul(self.bias.view(column), z, factor if size is None else factor / size)
        elif norm.rescale:
            z = norm.alpha + norm.beta * (z if size is None else z / size)
        return z.to(input.dtype)

    def _is_usual(self, z: Tensor) -> bool:
        """Whether torch's kernel does what is asked; zeros without eps, or one value of a feature, are beyond it."""
        norm = self.normalization
        usual = norm.recentre and norm.rescale and norm.order == 2 and norm.eps > 0 and norm.over == "batch"
        statistics = self.running_mean is None or (self.momentum is not None and self.running_mean.dtype == z.dtype)
        return usual and statistics and z.numel() > self.features

    def _usual(self, z: Tensor) -> Tensor:
        """Recentre and rescale a batch by torch's kernel, in less than half of the time.

        It is not given weight and bias, with which its second derivatives are wrong under `torch.func`.
        """
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        running, momentum = (self.running_mean, self.running_var), self.momentum or 0.0
        return functional.batch_norm(z, *running, training=True, momentum=momentum, eps=self.normalization.eps)

    def _recentred(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Recentre a batch, and return the size by which it is divided."""
        norm = self.normalization
        along = (0, *range(2, z.ndim)) if norm.over == "batch" else tuple(range(1, z.ndim))
        mean = z.mean(dim=along, keepdim=True) if norm.recentre else None
        z = z if mean is None else z - mean
        power = mean_power(z, norm.order, along) if norm.rescale else None
        if self.track:
            self._update(mean, power, z.numel() // self.features)
        return z, None if power is None else size_of(power, norm.order, norm.eps)

    @torch.no_grad()
    def _update(self, mean: Tensor | None, power: Tensor | None, count: int) -> None:
        """Move the running statistics towards those of a batch with ``count`` values a feature."""
        assert self.num_batches_tracked is not None
        estimates_mean = power is not None and mean is not None and self.normalization.order == 2
        if count < 1 + estimates_mean:
            wanted = f"at least {1 + estimates_mean}, to keep running statistics"
            raise invalid("input", f"{count} values a feature", wanted, "use eval mode or track=False")
        if estimates_mean and power is not None:
            power = power * (count / (count - 1))
        self.num_batches_tracked.add_(1)
        for running, value in ((self.running_mean, mean), (self.running_var, power)):
            if value is not None:
                assert running is not None
                share = 1.0 / self.num_batches_tracked.to(running.dtype) if self.momentum is None else self.momentum
                running.lerp_(value.view(-1).to(running.dtype), share)
