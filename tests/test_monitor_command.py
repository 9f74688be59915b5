"""`pyrank monitor`: a network named on the command line, its table, its figure, and what can be wrong."""

import pytest
import torch

from pyrank import cli
from pyrank.cli.watching import as_it_takes
from pyrank.networks import RankMonitor

SOURCE = """
import torch
from torch import nn

def vectors():
    return nn.Sequential(nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 3))

def images():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 3))

class Nets:
    ready = vectors()

class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2 * 36, 3)
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))

class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.row = nn.Linear(8, 4)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x):
        return self.norm(self.row(x))

class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()

class Faulty(nn.Module):
    def forward(self, x):
        return {}[self.key] if hasattr(self, "key") else self.missing

def assertive():
    net = Faulty()
    net.forward = lambda x: exec("assert False")
    return net

def keyed():
    net = Faulty()
    net.key = "some"
    return net

def elsewhere():
    return nn.Linear(4, 2, device="meta")

def number():
    return 3

three = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "some_nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    yield tmp_path
    __import__("sys").modules.pop("some_nets", None)


def test_prints_what_a_monitor_measures(folder, capsys):
    assert cli.main(["monitor", "some_nets:images", "--data", "random", "--shape", "1,8,8", "--samples", "16"]) == 0
    text = capsys.readouterr().out
    from some_nets import images

    torch.manual_seed(0)
    model = images()
    with RankMonitor(model) as monitor:
        model(torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert text == f"{monitor}\n"


def test_flattens_images_for_linear_networks_and_draws(folder, capsys):
    command = ["monitor", "some_nets:Nets.ready", "--samples", "9", "--measure", "explained_rank(0.9)", "trace"]
    assert cli.main([*command, "--plot", "depth.svg"]) == 0
    text = capsys.readouterr().out
    assert "8 x 9" in text
    assert "explained_rank(0.9)" in text
    assert (folder / "depth.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(("network", "size"), [("Late", "3 x 16"), ("Rows", "1 x 512")])
def test_images_are_given_as_they_are_where_that_works(folder, capsys, network, size):
    """Whatever is declared first, and where the first layer is linear along rows."""
    command = ["monitor", f"some_nets:{network}", "--data", "random", "--shape", "1,8,8", "--samples", "16"]
    assert cli.main(command) == 0
    assert size in capsys.readouterr().out


def test_inputs_go_to_the_device_of_the_network(folder):
    assert as_it_takes("some_nets:elsewhere", 0, torch.ones(3, 4), lambda model, x: model(x)).device.type == "meta"


@pytest.mark.parametrize(("arguments", "message"), [
    (["some_nets"], "module:factory"), (["no_nets:images"], "No module named 'no_nets'"),
    (["some_nets:missing"], "has no attribute 'missing'"), (["some_nets:number"], "torch.nn.Module, not int"),
    (["some_nets:three"], "TypeError: 'int' object is not callable"),
    (["some_nets:Scaled"], "missing 1 required positional argument"), (["some_nets:Faulty"], "AttributeError: "),
    (["some_nets:keyed"], "it says: KeyError: 'some'"), (["some_nets:assertive"], "it says: AssertionError; "),
    (["some_nets:images", "--data", "random", "--shape", "2,8,8"], "inputs (128, 2, 8, 8); it says: RuntimeError"),
    (["some_nets:images", "--data", "random", "--shape", "0"], "--shape"),
    (["some_nets:images", "--data", "roses"], "roses"), (["some_nets:images", "--samples", "0"], "--samples"),
    (["some_nets:images", "--measure", "colour"], "colour"), (["some_nets:images", "--plot", "a.txt"], "--plot"),
])  # fmt: skip
def test_what_is_wrong_takes_one_line(folder, capsys, arguments, message):
    assert cli.main(["monitor", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
