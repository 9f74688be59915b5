"""One thread for everybody."""

from __future__ import annotations

import os

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",  # sizes the thread pool of XLA
}


def hold() -> str:
    """Keep this process on one core with one thread per library; say how. Call it before numpy is imported."""
    os.environ.update(_ONE_THREAD)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    try:
        core = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError):
        return "one thread per library, not pinned"
    return f"one thread per library, pinned to core {core}"
