"""The oldest versions that pyproject.toml allows, in an environment of their own: `python -m tests.lower_bounds`.

They are installed beside the pyrank that is installed here, and the tests run that lean most on other packages. The
oldest torch has builds of several gigabytes alone; `--pinned torch` takes that of constraints.txt.
"""

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ["bad_input", "estimate", "fitting", "intervals", "optional", "plotting", "run_report", "theory_growth", "ops"]
LATER = ["DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"]
"""What old packages say to those that came after them."""


def declared():
    """Return the requirements for running and testing, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = [*project["dependencies"], *extras["plot"], *extras["data"], *extras["test"]]
    return [requirement for requirement in found if not requirement.startswith("pyrank")]


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0]


def pinned():
    """Return the lines of constraints.txt by package."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {name_of(line): line for line in lines}


def oldest(requirement):
    """Return the requirement at its lower bound; it has to have one, and nothing else."""
    bound = re.fullmatch(r"([\w.-]+(?:\[\w+\])?)>=([\w.]+)", requirement)
    if bound is None:
        raise SystemExit(f"{requirement!r}: expected a name and a lower bound, such as numpy>=2.0")
    return f"{bound[1]}=={bound[2]}"


def run(*command, **options):
    print("+", *command, flush=True)
    subprocess.run(command, check=True, **options)


def main():
    """Install, run, and pass on the status of the first command that fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.lower_bounds", description=__doc__.partition("\n")[0])
    parser.add_argument("--pinned", nargs="*", default=[], choices=sorted(pinned()), metavar="NAME",
                        help="packages to take at the version of constraints.txt")  # fmt: skip
    tested = parser.parse_args().pinned
    versions = [pinned()[name_of(each)] if name_of(each) in tested else oldest(each) for each in declared()]
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        here = {"base": place, "platbase": place}
        python = sysconfig.get_path("scripts", "venv", here) + "/python"
        run(python, "-m", "pip", "install", "-q", *versions)
        copy = Path(sysconfig.get_path("platlib", "venv", here), "pyrank")
        shutil.copytree(Path(sysconfig.get_path("platlib"), "pyrank"), copy)
        tests = [f"tests/test_{name}.py" for name in SMOKE]
        options = ["-q", "--disable-warnings", "-p", "no:cacheprovider", *(f"-Wdefault::{name}" for name in LATER)]
        # -P: the installed package, with its extension, not the source folder
        run(python, "-P", "-m", "pytest", *options, *tests, cwd=ROOT)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)
