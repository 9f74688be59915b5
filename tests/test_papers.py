"""The page about the papers keeps its word: what it names exists, and what it says is to come does not exist yet."""

import re
import shlex
from pathlib import Path

import pytest

import pyrank
from pyrank.cli.arguments import new_parser
from pyrank.experiments import EXPERIMENTS, load

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
HEAD, RULE = "| where | what it says | here |", "|---|---|---|"
NOT_YET = "not yet:"


def rows(page):
    """Cells of every row of the tables: (where, what it says, here)."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [tuple(line.strip("| ").split(" | ")) for line in lines if line not in (HEAD, RULE)]


def exists(name):
    """Whether pyrank has something public of this name."""
    thing = pyrank
    for part in name.removeprefix("pyrank.").split("."):
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


def is_understood(command):
    try:
        arguments = new_parser().parse_args(shlex.split(command)[1:])
    except SystemExit:
        return False
    if arguments.command != "reproduce":
        return True
    return arguments.name in EXPERIMENTS and arguments.preset in load(arguments.name).presets


def is_a_test(command):
    """Whether ``pytest FILE -k WORD`` has something to run."""
    path, option, word = shlex.split(command)[1:]
    file = ROOT / path
    return option == "-k" and file.is_file() and re.search(rf"^def test_\w*{word}", file.read_text("utf-8"), re.M)


def is_here(name):
    """Whether a command is understood, a test is there, or the package has a function or class."""
    if name.startswith("pytest "):
        return is_a_test(name)
    return is_understood(name) if name.startswith("pyrank ") else name.startswith("pyrank.") and exists(name)


def names(text):
    return re.findall(r"`([^`]+)`", text)


def faults(row):
    """What is wrong with a row; a name before "not yet" must exist, one after it must not."""
    if len(row) != 3 or not all(row):
        return ["not three cells"]
    now, _, later = row[2].partition(NOT_YET)
    found = [f"{name} is not here" for name in names(now) if not is_here(name)]
    found += [f"{name} is here" for name in names(later) if name in EXPERIMENTS or exists(name)]
    if not names(now) and not later.strip():
        found.append("neither a name nor what it would take")
    return found


def test_every_row_keeps_its_word():
    table = rows(PAGE)
    assert table
    assert [(row[0], fault) for row in table for fault in faults(row)] == []


def test_every_experiment_has_a_row():
    shown = {
        shlex.split(name)[2] for row in rows(PAGE) for name in names(row[-1]) if name.startswith("pyrank reproduce ")
    }
    assert shown == set(EXPERIMENTS)


@pytest.mark.parametrize("here", [
    "`pyrank reproduce vanilla-collapse`, `pyrank reproduce no-such-thing`", "`pyrank reproduce all`",
    "`pyrank reproduce lp-normalizations --preset nonsense`", "`pyrank reproduce vanilla-collapse --preset gpu`",
    "`pyrank repeat vanilla-collapse`", "`pyrank simulate --width 8`", "`pyrank.no_such_thing`", "`math.inf`",
    "`pytest tests/test_nothing.py -k word`", "`pytest tests/test_papers.py -k nothing`", "a promise", "not yet:",
    "not yet: `vanilla-collapse`", "not yet: `theory.residual_gap`", "`pyrank.Chain`; not yet: `vanilla-collapse`",
])  # fmt: skip
def test_rows_that_break_it_are_found(here):
    good = (
        "`pyrank reproduce vanilla-collapse`, `pyrank.Chain`, `pytest tests/test_papers.py -k word`; not yet: `so-so`"
    )
    assert faults(("Fig. 1", "The rank falls", good)) == []
    assert len(faults(("Fig. 1", "The rank falls", here))) == 1


@pytest.mark.parametrize("line", ["| Fig. 1 | `pyrank.Chain` |", "| Fig. 1 |  | `pyrank.Chain` |", "| a | b | c | d |"])
def test_rows_of_another_shape_are_found(line):
    assert faults(*rows(f"{HEAD}\n{RULE}\n{line}")) == ["not three cells"]
