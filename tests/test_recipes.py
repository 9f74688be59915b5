"""The recipes of docs/collapse.md for other loops, with stand-ins for the loggers."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pyrank.networks import RankMonitor

PAGE = Path(__file__).parent.parent / "docs/collapse.md"
STEPS = 101
NUMBERS = 3 * 3
"""Batches measured at every 50th step, times layers."""


def train_step(model, *_):
    model(torch.randn(6, 4))
    return 1.0


class Trainer:
    """Logs at every 50th step: whoever writes does so in ``log``, before any callback."""

    def __init__(self, model, written):
        self.model, self.written = model, written

    def train(self):
        for step in range(STEPS):
            train_step(self.model)
            if step % 50 == 0:
                self.log({"loss": 1.0}, 0.0)

    def log(self, logs, start_time=None):
        self.written += (value for name, value in logs.items() if name != "loss")


@pytest.mark.parametrize("word", ["accelerator", "writer", "run.log", "transformers"])
def test_recipes_log_what_was_measured_once(word):
    blocks = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (code,) = (block for block in blocks if word in block)
    assert len(code.splitlines()) <= 5
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    written = []
    there = {
        "RankMonitor": lambda model, every: RankMonitor(model, "participation_ratio", every),
        "model": model, "train_step": train_step, "steps": STEPS, "loader": range(STEPS),
        "accelerator": SimpleNamespace(unwrap_model=lambda x: x, log=lambda x, step: written.extend(x.values())),
        "writer": SimpleNamespace(add_scalar=lambda name, value, step: written.append(value)),
        "run": SimpleNamespace(log=lambda x: written.extend(value for name, value in x.items() if name != "loss")),
        "transformers": SimpleNamespace(Trainer=Trainer),
    }  # fmt: skip
    if "class" in code:
        made, _, code = code.partition("with ")
        exec(made, there)  # noqa: S102, the page's own
        code = f"with {code}"
        there["trainer"] = there["Ranked"](model, written)
    exec(code, there)  # noqa: S102
    assert len(written) == len(set(written)) == NUMBERS
