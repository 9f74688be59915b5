"""`pyrank hessian`: a network named on the command line, its eigenvalues, and what can be wrong."""

import sys

import pytest
import torch
from torch.nn.functional import cross_entropy

from pyrank import cli, data
from pyrank.optimization import hessian_eigenvalues

SOURCE = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(784, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 10))

def few():
    return nn.Linear(784, 2)

def random():
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "sharp_nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    yield tmp_path
    sys.modules.pop("sharp_nets", None)


def test_prints_the_spectrum(folder, capsys):
    assert cli.main(["hessian", "sharp_nets:build", "--samples", "30", "--k", "2", "--seed", "3"]) == 0
    from sharp_nets import build

    torch.manual_seed(3)
    x, y = data.load("fashion-mnist", samples=30, seed=3)
    expected = hessian_eigenvalues(build(), cross_entropy, (x.flatten(1), y), k=2)
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize(("arguments", "message"), [
    (["sharp_nets:random"], "deterministic"), (["sharp_nets:few"], "labels that model and loss take"),
    (["sharp_nets:missing"], "has no attribute"), (["sharp_nets:build", "--k", "0"], "--k"),
    (["sharp_nets:few", "--k", "3000"], "k = 3000"), (["sharp_nets:build", "--data", "roses"], "roses"),
    (["sharp_nets:build", "--samples", "0"], "--samples"), (["sharp_nets:build", "--seed", "-1"], "--seed"),
])  # fmt: skip
def test_what_is_wrong_takes_one_line(folder, capsys, arguments, message):
    command = ["hessian", *arguments]
    assert cli.main(command if "--samples" in command else [*command, "--samples", "20"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
