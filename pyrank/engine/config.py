"""What this installation can do, in a few lines."""

from __future__ import annotations

import os
import platform
import sys

import numpy as np
import torch

from pyrank._version import __version__
from pyrank.engine import gpus, native


def show_config() -> str:
    """Describe versions, backends, the instruction set in use, CUDA architectures, and what would run on each GPU.

    Returns
    -------
    str
        One ``name: value`` pair a line.
    """
    lines = {"pyrank": __version__}
    if missing := native.why_missing():
        lines["backends"] = f"reference ({missing})"
    else:
        build = native.build_info()
        seen = gpus.describe()
        lines["backends"] = "cpu, reference" if "GPUs" in seen else "cpu, cuda, reference"
        lines["instruction set"] = f"{native.isa_in_use()} (available: {', '.join(native.isas())})"
        lines["compiler"] = build["compiler"]
        lines["CUDA architectures"] = build["cuda_architectures"]
        if native.cuda_architectures():
            kernel = native.quickest_cuda_kernel()
            lines["CUDA kernels"] = f"up to {kernel!r}, {native.ABOUT_CUDA_KERNELS[kernel]} (PYRANK_CUDA_KERNEL)"
        lines |= seen
    lines["processor"] = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads by default"
    lines["python"] = f"{sys.version.split()[0]}, numpy {np.__version__}, torch {torch.__version__}"
    width = max(map(len, lines))
    return "\n".join(f"{name + ':':<{width + 1}} {value}" for name, value in lines.items())
