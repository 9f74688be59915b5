"""Whatever is typed after `pyrank`, the answer is a result or one line, and the status says which."""

import random
import sys

import pytest

from pyrank import cli, experiments
from pyrank.specs.chain import ACTIVATIONS, DTYPES
from pyrank.specs.measures import SCALAR_MEASURES, SNAPSHOT_MEASURES
from pyrank.specs.normalization import NORMALIZATIONS
from pyrank.specs.weights import INITIALIZATIONS, SCALES

VECTORS = 2_000

JUNK = ["", " ", "-", "--", "-1", "0", "1", "3", "2.5", "1e0", "nan", "inf", "-inf", "1e400", "9" * 400, "0x10", "1_0",
        "٣", "½", "\udcff", "a\nb", "%s", "{}", "auto", "none", "None", "gaussian", "trace", "x" * 5_000, "/", ".",
        "missing/file", "--width", "--bogus", "--help=1", "-h", "@file", "$HOME", "1,2", ",", "soft_rank(", "(1)",
        "18446744073709551616", "1e19", "-1e99"]  # fmt: skip
MEASURES = [*SCALAR_MEASURES, *SNAPSHOT_MEASURES, "soft_rank(0.5)", "soft_rank(1e-300)", "soft_rank(inf)",
            "soft_rank(-1)", "rank_bound_margin(0.5)", "rank_bound_margin(2)", "singular_values(2)",
            "singular_values(99)", "numerical_rank(0.1)", "numerical_rank(nan)", "trace(1)", "mean"]  # fmt: skip
FILES = ["run.ckpt", "run.json", "other.json", "folder", "folder/x", "file/x", "run.ckpt.previous"]

# Every value is tiny or wrong, so that a vector which asks for something gets it within milliseconds.
SIMULATE = {
    "--width": ["1", "2", "3", "8", "2,3", "4,1,2", "8,0"],
    "--batch": ["1", "2", "5"],
    "--gamma": ["0", "0.1", "1", "inf", "1e-300", "1e300"],
    "--weights": list(INITIALIZATIONS),
    "--weight-mean": ["0", "-0.1", "1e-3", "1e30"],
    "--weight-scale": ["1", "0", "1e-30", *SCALES],
    "--activation": list(ACTIVATIONS),
    "--normalization": list(NORMALIZATIONS),
    "--dtype": list(DTYPES),
    "--depth": ["1", "2", "7", "1e1"],
    "--chains": ["1", "2", "5"],
    "--seed": ["0", "7", "18446744073709551615"],
    "--measure": MEASURES,
    "--observe": ["state", "activation"],
    "--initial": ["gaussian", "identity", "collinear", "collinear(0.1)", "collinear(1e-30)", "collinear()"],
    "--burn-in": ["0", "1", "6"],
    "--every": ["1", "2", "9", "auto"],
    "--snapshot-every": ["1", "3"],
    "--trace": ["2", "4", "64"],
    "--device": ["cpu", "cuda:99", "meta", "mps", "cuda:-1"],
    "--backend": ["auto", "cpu", "reference", "cuda"],
    "--threads": ["1", "2", "1000"],
    "--checkpoint": FILES,
    "--json": ["-", *FILES],
    "--plot": ["run.png", "run.jpg", "folder/x.svg", "run"],
}
WRONG = ["slow", "", "gpu2"]


def simulate(rng):
    """Return an argument vector of `simulate`; most are right but for one or two places."""
    names = dict.fromkeys(["--width", "--depth", *rng.sample(list(SIMULATE), rng.randrange(6))])
    if rng.random() < 0.95:
        names.pop("--plot", None)  # a figure takes a hundred times as long as the rest
    vector = ["simulate"]
    for name in sorted(names, key=lambda _: rng.random()):
        values = rng.choices(SIMULATE[name], k=rng.randrange(3) if name == "--measure" else 1)
        vector += [f"{name}={values[0]}"] if values and rng.random() < 0.3 else [name, *values]
    for _ in range(rng.choice((0, 0, 1, 2))):
        vector[rng.randrange(len(vector))] = rng.choice(JUNK)
    if rng.random() < 0.1:
        vector.insert(rng.randrange(len(vector) + 1), rng.choice(JUNK))
    return vector


def reproduce(rng):
    """Return an argument vector of `reproduce` that is refused or lists: a wrong name, preset, device or folder."""
    name = rng.choice(["all", *experiments.EXPERIMENTS])
    options = {"--preset": ["quick", "paper"], "--out": ["folder"], "--device": ["cpu"]}
    wrong = {
        "--preset": WRONG,
        "--out": ["file", "file/x"],
        "--device": ["tpu", "cuda:99", "", "cpu:1:2"],
    }
    given = {option: rng.choice(values) for option, values in options.items() if rng.random() < 0.5}
    option = rng.choice(["name", "list", *wrong])
    if option == "name":
        name = rng.choice([junk for junk in JUNK if junk not in ("-h",)])
    elif option != "list":
        given[option] = rng.choice(wrong[option])
    vector = [name, *(["--list"] if option == "list" else []), *(word for pair in given.items() for word in pair)]
    return ["reproduce", *vector]


def anything(rng):
    """Return words in any order, without a number that could be a depth."""
    words = ["info", "--version", "--help", "-h", *JUNK, *SIMULATE, "--list", "--out", "--preset"]
    return rng.choices(words, k=rng.randrange(5))


@pytest.mark.filterwarnings("always")
def test_every_vector_is_answered(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyrank.experiments.declaration.run_tasks", lambda *_, **__: pytest.fail("an experiment began"))
    sys.stderr.reconfigure(errors="backslashreplace")  # as outside of pytest
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    rng = random.Random(0)
    seen = []
    for _ in range(VECTORS):
        vector = rng.choices((simulate, reproduce, anything), weights=(8, 1, 1))[0](rng)
        try:
            status = cli.main(vector)
        except BaseException as error:
            raise AssertionError(f"{vector} raises {error!r}") from error
        out, err = capsys.readouterr()
        said = err.splitlines()
        complaints = [line for line in said if not line.startswith("pyrank: warning: ")]
        assert all(line.startswith("pyrank: ") for line in said), (vector, err)
        assert status in (0, 1, 2), (vector, status)
        assert len(complaints) == (status != 0), (vector, status, err)
        assert bool(out) == (status == 0) or (status == 1 and "--json" in str(vector)), (vector, status, out)
        assert "Traceback" not in out + err
        seen.append(status)
    assert seen.count(0) > VECTORS // 5  # or nothing but the parser was tried
    assert seen.count(2) > VECTORS // 5
