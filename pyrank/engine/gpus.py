"""Which GPUs are meant, and what of this build would run on each."""

from __future__ import annotations

import re

from pyrank.engine import native
from pyrank.engine.native import Gpu
from pyrank.support.errors import invalid

_DEVICE = re.compile(r"cpu|cuda(?::(\d+))?")
_ARCHITECTURE = re.compile(r"(\d+)([af]?)(-real|-virtual)?")


def check_device(device: str) -> None:
    """Refuse a device that is misspelt, not there or of no use, before anything is computed."""
    if str(device) != "cpu":
        chosen(str(device), "auto")


def chosen(device: str, backend: str) -> dict[int, Gpu]:
    """Return the GPUs that are asked for, by number: all that this build has kernels for, or the one that is named."""
    if not (named := _DEVICE.fullmatch(device)):
        raise invalid("device", device, "'cpu', 'cuda' or 'cuda:N'", "check the spelling")
    if backend not in ("auto", "cuda"):
        raise invalid("backend", backend, f"'auto' or 'cuda' with device={device!r}", "or use device='cpu'")
    found, missing = native.cuda_devices()
    asked = ("backend", backend) if device == "cpu" else ("device", device)
    if missing:
        raise invalid(*asked, f"a GPU, but {missing}", "use device='cpu'")
    numbered = dict(enumerate(found))
    if named[1]:
        if int(named[1]) >= len(found):
            raise invalid("device", device, f"cuda:0 to cuda:{len(found) - 1}", "CUDA sees no more on this machine")
        numbered = {int(named[1]): found[int(named[1])]}
    built = native.cuda_architectures()
    usable = {number: gpu for number, gpu in numbered.items() if what_runs(gpu, built)}
    if not usable:
        first = next(iter(numbered.values()))
        raise invalid(*asked, f"a GPU that this build has kernels for, but {first} is none", build_for(first))
    return usable


def what_runs(gpu: Gpu, architectures: str) -> str:
    """Return what of a build would run on a GPU, empty if nothing would.

    ``architectures`` is what CMake was given: ``"80-real,90"`` is machine code for 8.0, and code and PTX for 9.0.
    Machine code runs where all digits but the last agree, and that is not lower; of PTX the driver makes code for
    whatever came later.
    """
    listed = [_ARCHITECTURE.fullmatch(word) for word in architectures.split(",")]
    if not all(listed):
        return f"what the compiler chose ({architectures})"
    code, ptx = [0], [0]
    for word in filter(None, listed):
        number, only_here, kept = int(word[1]), word[2], word[3]
        same = number // 10 == gpu.capability // 10
        fits = number <= gpu.capability and (same or not only_here) and (only_here != "a" or number == gpu.capability)
        if fits and kept != "-virtual" and same:
            code.append(number)
        if fits and kept != "-real":
            ptx.append(number)
    if any(code):
        return f"machine code for sm_{max(code)}"
    return f"PTX for {_decimal(max(ptx))}, compiled by the driver when it is first used" if any(ptx) else ""


def build_for(gpu: Gpu) -> str:
    """Return what to do where nothing of a build runs."""
    return f"CMAKE_ARGS=-DCMAKE_CUDA_ARCHITECTURES={gpu.capability} pip install . builds for it"


def describe() -> dict[str, str]:
    """Return what runs on each GPU by its name as a device, or why there is none."""
    found, missing = native.cuda_devices()
    if missing:
        return {"GPUs": f"none ({missing})"}
    built = native.cuda_architectures()
    return {
        f"cuda:{number}": f"{gpu}: {what_runs(gpu, built) or f'nothing; {build_for(gpu)}'}"
        for number, gpu in enumerate(found)
    }


def _decimal(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"
