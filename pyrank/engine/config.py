"""What this installation can do, in a few lines."""

from __future__ import annotations

import os
import platform
import sys

import numpy as np
import torch

from pyrank._version import __version__
from pyrank.engine import native


def show_config() -> str:
    """Describe versions, the backends built, the instruction set in use, and CUDA architectures.

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
        names, no_gpu = native.cuda_devices()
        lines["backends"] = "cpu, reference" if no_gpu else "cpu, cuda, reference"
        lines["instruction set"] = f"{native.isa_in_use()} (available: {', '.join(native.isas())})"
        lines["compiler"] = build["compiler"]
        lines["CUDA architectures"] = build["cuda_architectures"]
        lines["GPUs"] = ", ".join(names) or f"none ({no_gpu})"
    lines["processor"] = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads by default"
    lines["python"] = f"{sys.version.split()[0]}, numpy {np.__version__}, torch {torch.__version__}"
    width = max(map(len, lines))
    return "\n".join(f"{name + ':':<{width + 1}} {value}" for name, value in lines.items())
