"""Functions for studies, in a module where workers find them."""

import os
import shutil
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np


def square(x):
    return {"square": x * x, "root": x**0.5}


def measured(x, seed=0):
    """A number with an error, as a simulation gives it, beside one without."""
    return {"rank": {"mean": float(x + seed), "stderr": 0.5, "flags": ""}, "loss": 1.0 / x}


def walk(seed, steps, log=None, pause=0.005):
    """A random walk: an array, and numbers that a change of one bit would show in."""
    path = np.random.default_rng(seed).normal(size=steps).cumsum()
    time.sleep(pause)
    if log is not None:
        with Path(log).open("a") as file:
            file.write(f"{seed}\n")
    return {"path": path, "end": float(path[-1]), "odd": float("inf") if seed % 2 else float("nan")}


def threads_given(threads=None):
    return threads


def nap(seconds):
    time.sleep(seconds)
    return seconds


def picky(x, bad):
    """Fails in one of several ways, or tells which process it is in."""
    if x != bad:
        return x
    if bad == 0:
        raise ValueError("not\nthis one")
    if bad == 1:
        raise MemoryError
    if bad == 2:
        raise SystemExit(3)
    if bad == 3:
        os._exit(7)
    if bad == 4:
        os.kill(os.getpid(), signal.SIGSEGV)
    if bad == 5:
        return object()
    if bad == 6:
        warnings.warn("told", UserWarning, stacklevel=1)
    if bad == 7:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory runs out
    return x


def deadly(log):
    """Ends its process at once, as the system does where memory runs out, and leaves a line for it."""
    with Path(log).open("a") as file:
        file.write("begun\n")
    os.kill(os.getpid(), signal.SIGKILL)


def counted(steps, checkpoint=None, threads=None, report=None):
    """Counts up to ``steps``, saves each step, and returns at which it began."""
    began = int(checkpoint.read_text()) if checkpoint and checkpoint.exists() else 0
    for step in range(began, steps):
        time.sleep(0.01)
        if checkpoint:
            whole = checkpoint.with_suffix(".whole")
            whole.write_text(str(step + 1))
            whole.replace(checkpoint)
        if report:
            report((step + 1) / steps)
    return {"began": began, "threads": threads, "saved": checkpoint is not None}


@dataclass(frozen=True)
class Point:
    x: float
    y: tuple[int, ...] = ()


def moved(point: Point, by: float) -> Point:
    return Point(point.x + by, (*point.y, 1))


def stop():
    raise KeyboardInterrupt


def remove(path, leave=None):
    """Remove a folder, and leave a file with some text in its place."""
    shutil.rmtree(path)
    if leave:
        Path(path).write_text(leave)


def trained(learning_rate, seed):
    """A small network after a few steps."""
    from pyrank import data, networks

    model = networks.mlp(2, 12, 8, 3, seed=seed)
    points = data.separable(3, 8, 4, 60, seed=seed)
    return networks.train(model, points, epochs=2, batch=20, learning_rate=learning_rate, seed=seed).to_dict()
