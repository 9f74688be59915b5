"""The only module that imports the compiled extension; it speaks numpy and specs, and has them put in codes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank.engine import codes
from pyrank.estimate import Accumulator
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure
from pyrank.specs.plan import COUNTERS, Plan
from pyrank.support.errors import ArgumentError, GpuError, as_choice

LAYOUTS = ("auto", "lanes", "rows")
CUDA_KERNELS = ("auto", "plain", "tensor", "quick")
ABOUT_CUDA_KERNELS = {
    "plain": "plain kernels, which perform the operations of the CPU",
    "tensor": "tensor-core kernels with the CPU's weights",
    "quick": "tensor-core kernels with quick gaussian weights",
}


@functools.cache
def _load() -> tuple[ModuleType | None, str]:
    try:
        from pyrank import _native
    except ImportError as error:
        return None, str(error)
    return _native, ""


def why_missing() -> str:
    """Why the extension cannot be used, in one line; empty if it can."""
    module, reason = _load()
    if module is not None:
        return ""
    return (
        f"the compiled kernels are not there ({reason}); build them with `pip install .` and run outside the checkout"
    )


def _extension() -> Any:
    module, _ = _load()
    if module is None:
        raise ImportError(why_missing())
    return module


def _cuda_extension() -> Any:
    """Return the module with the kernels for CUDA: the extension; in the tests, an emulator of them."""
    return _extension()


@functools.cache
def isas() -> tuple[str, ...]:
    """Instruction sets that were built and that this machine can run, best first."""
    return tuple(_extension().available_isas())


def isa_in_use() -> str:
    """Return the instruction set that `PYRANK_ISA` asks for, or the best one."""
    wanted = os.environ.get("PYRANK_ISA", "")
    if wanted and wanted not in isas():
        raise ArgumentError(f"PYRANK_ISA = {wanted!r}: expected one of {', '.join(isas())}; unset it to use the best")
    return wanted or isas()[0]


def build_info() -> dict[str, str]:
    """Return what the extension was built with."""
    module = _extension()
    return {"compiler": module.compiler, "cuda_architectures": module.cuda_architectures or "none"}


class Gpu(NamedTuple):
    """A GPU that CUDA sees: its name, and its compute capability, 90 for 9.0."""

    name: str
    capability: int

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability // 10}.{self.capability % 10})"


def cuda_devices() -> tuple[list[Gpu], str]:
    """Return the GPUs, and why there is none, in one line; empty if there is one."""
    if missing := why_missing():
        return [], missing
    try:
        found = [Gpu(*device) for device in _cuda_extension().cuda_devices()]
    except RuntimeError as error:
        return [], str(error)
    return found, "" if found else _why_none()


def _why_none() -> str:
    """Say why a driver shows no GPU: the usual reason is a variable, or a slice that nobody made."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES = {visible!r} names none that is there; unset it, or see nvidia-smi -L"
    return "CUDA sees none on this machine; see nvidia-smi -L, in MIG mode there has to be an instance"


def cuda_architectures() -> str:
    """Return what the kernels for CUDA were built for, as CMake was told: ``"80-real,90"``."""
    return str(_cuda_extension().cuda_architectures)


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Tell in one line that GPUs have failed, or have too little memory for ``what``."""
    try:
        yield
    except MemoryError as error:
        raise MemoryError(
            f"too little memory for {what}; run fewer at a time, or free what else is on the GPU ({error})"
        ) from None
    except RuntimeError as error:
        raise GpuError(str(error)) from None


def _on_gpus(gpus: tuple[int, ...], what: str) -> AbstractContextManager[None]:
    """Return the context of a call to kernels that run there, or on the CPU, which has nothing to tell."""
    return _telling(what) if gpus else nullcontext()


def quickest_cuda_kernel() -> str:
    """Return the kernel that `PYRANK_CUDA_KERNEL` asks for, or the quickest one."""
    return as_choice("PYRANK_CUDA_KERNEL", os.environ.get("PYRANK_CUDA_KERNEL") or CUDA_KERNELS[-1], CUDA_KERNELS[1:])


def cuda_kernel(chain: Chain, gpus: tuple[int, ...]) -> str:
    """Return which kernel advances a chain on these GPUs: the quickest that can, up to the one that is asked for."""
    wanted = quickest_cuda_kernel()
    module, options = _kernels("", "auto", 1, gpus)
    params, twice = codes.params(module, chain, 0), chain.dtype == "float64"
    with _on_gpus(gpus, "anything"):
        possible = CUDA_KERNELS[options.kernel_for(params, twice)]
    return min(wanted, possible, key=CUDA_KERNELS.index)


@functools.lru_cache
def _cpu(isa: str, layout: int, threads: int) -> Any:
    return _extension().Cpu(isa, layout, threads)


def _kernels(isa: str, layout: str, threads: int, gpus: tuple[int, ...], cuda_kernel: str = "auto") -> tuple[Any, Any]:
    """Return the module with the kernels for GPUs, if there are any to use, or else for the CPU, and its options."""
    if not gpus:
        return _extension(), _cpu(isa or isa_in_use(), LAYOUTS.index(layout), threads)
    module = _cuda_extension()
    # The kernels follow what the caller has asked of torch on these devices, if anything.
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    streams = [torch.cuda.current_stream(gpu).cuda_stream if in_use else 0 for gpu in gpus]
    return module, module.Cuda(list(gpus), streams, CUDA_KERNELS.index(cuda_kernel))


def advance(
    plan: Plan,
    state: Tensor,
    first_layer: int,
    layers: int,
    accumulator: Accumulator,
    counters: NDArray[np.int64],
    *,
    threads: int = 1,
    isa: str = "",
    layout: str = "auto",
    gpus: tuple[int, ...] = (),
    cuda_kernel: str = "auto",
) -> None:
    """Take ``state`` in place from H_first_layer to H_{first_layer + layers}: the compiled `pyrank.reference.advance`.

    ``threads``, ``isa`` and ``layout`` change the speed; the first and the last never change a bit. With ``gpus`` these
    share the chains, and the state may lie in the memory of one of them; ``cuda_kernel`` is "plain", "tensor",
    "quick" or the quickest that can be used.
    """
    module, options = _kernels(isa, layout, threads, gpus, cuda_kernel)
    with _on_gpus(gpus, f"{state.shape[0]} chains of {plan.chain.width} x {plan.chain.batch}"):
        options.advance(
            chain=codes.params(module, plan.chain, plan.seed),
            state=state,
            first_layer=first_layer,
            layers=layers,
            first_chain=0,
            observe_activation=plan.observe == "activation",
            burn_in=plan.burn_in,
            every=plan.every,
            measures=codes.measures_of(plan.measures),
            **accumulator.arrays(),
            counters=counters,
        )


@functools.lru_cache(maxsize=256)
def _matrix(module: Any, width: int, batch: int) -> Any:
    """Return a chain whose states have this shape; a monitor of networks asks for the same few again and again."""
    return codes.params(module, Chain(width, batch), 0)


def _exported(state: Tensor) -> Any:
    """Return what exports the memory of a state: on the CPU an array, which does it in a tenth of torch's time."""
    return state.numpy() if state.device.type == "cpu" else state


def measure(
    state: Tensor,
    measures: tuple[Measure, ...],
    *,
    threads: int = 1,
    isa: str = "",
    layout: str = "auto",
    gpus: tuple[int, ...] = (),
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
    """Evaluate kernel measures on states (chains, d, N), float32 or float64; ``threads`` share the chains.

    A transposed view of (chains, N, d), which is what layers of networks return, is read as it lies.

    Returns
    -------
    values : ndarray, shape (measures, chains)
    counters : dict
        The event counters of `pyrank.specs.plan.COUNTERS`, each of shape (chains,).
    """
    chains, width, batch = state.shape
    counters = np.zeros((len(COUNTERS), chains), dtype=np.int64)
    values = np.full((len(measures), chains), np.nan)
    samples_first = not gpus and not state.is_contiguous() and state.mT.is_contiguous()
    module, options = _kernels(isa, layout, threads, gpus)
    with _on_gpus(gpus, f"{chains} matrices of {width} x {batch}"):
        options.measure(
            chain=_matrix(module, width, batch),
            state=_exported(state.mT if samples_first else state.contiguous()),
            samples_first=samples_first,
            measures=codes.measures_of(measures),
            counters=counters,
            values=values,
        )
    return values, dict(zip(COUNTERS, counters, strict=True))


def measurement(
    samples: int, features: int, dtype: torch.dtype, measures: tuple[Measure, ...]
) -> Callable[[Any], list[float]]:
    """Return what measures matrices of one shape and precision, one at a time, with the least to do for each.

    It works on the caller's thread: in the midst of a network those of torch wait for work in a loop, and threads that
    had to wait for a processor beside them would take twenty times as long.

    It takes a capsule of DLPack with (samples, features) or (items, places, features). The list that it returns is
    empty if the numbers cannot be read as they lie: another size, precision or device, or distances between them.
    """
    module, options = _kernels("", "auto", 1, ())
    kind = _matrix(module, features, samples), codes.measures_of(measures), dtype == torch.float64
    return module.Measurement(options, *kind)  # type: ignore[no-any-return]


def draw_weights(
    chain: Chain, seed: int, layer: int, index: int = 0, *, isa: str = "", gpus: tuple[int, ...] = ()
) -> NDArray[np.floating[Any]]:
    """Return the compiled twin of `pyrank.draw_weights` for independent entries, (fan_out, fan_in)."""
    out = np.full((chain.width_at(layer + 1), chain.width_at(layer)), np.nan, dtype=chain.dtype)
    module, options = _kernels(isa, "auto", 1, gpus)
    with _on_gpus(gpus, f"{out.shape[0]} x {out.shape[1]} weights"):
        options.draw_weights(codes.params(module, chain, seed), layer, index, out)
    return out


def initial_normals(seed: int, layer: int, shape: tuple[int, int, int], *, isa: str = "") -> NDArray[np.float64]:
    """Return the compiled twin of `pyrank.reference.stream.initial_normals`, on one thread."""
    out = np.full(shape, np.nan)
    _, options = _kernels(isa, "auto", 1, ())
    options.initial_normals(seed, layer, out)
    return out


def accumulate(accumulator: Accumulator, values: NDArray[np.float64], sample: int) -> None:
    """Record ``values`` (samples, measures, chains), the first being number ``sample``: the twin of `push`."""
    _extension().accumulate(**accumulator.arrays(), values=values, sample=sample)


def philox(counter: tuple[int, int, int, int], key: int) -> list[int]:
    """Return the four words of one call of the compiled generator."""
    return list(_extension().philox(list(counter), key))
