"""What the documentation shows runs, what is public is documented, and the gallery shows what was measured."""

import inspect
import math
import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

import pyrank
from pyrank import cli, data, networks, optimization, theory
from pyrank.cli.arguments import new_parser
from pyrank.experiments import EXPERIMENTS, Claim, load
from pyrank.experiments.reproduction import PRESETS
from pyrank.specs.chain import ACTIVATIONS
from pyrank.specs.normalization import NORMALIZATIONS
from pyrank.support.files import json_text

from gallery import HOW, prose, write_gallery
from pages import draw_figures, examples, run_examples

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# --- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples(page)


@pytest.mark.parametrize(("text", "error"), [
    ("```python\nassert 1 > 2\n```\n", AssertionError),
    ("```python\nx = 3\n```\n\n```pycon\n>>> x\n4\n```\n", AssertionError),
    ("```pycon\nnothing to compare\n```\n", AssertionError),
])  # fmt: skip
def test_bad_examples_are_found(text, error, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(error):
        run_examples(page)


def test_a_page_shows_what_its_code_has_drawn(tmp_path):
    page, here = tmp_path / "page.md", Path.cwd()
    code = "import pathlib\n_ = pathlib.Path('{}.png').write_bytes(b'drawn')\nprint('not shown')"
    page.write_text(f"```python\n{code.format('a')}\n```\n\n![A figure](figures/a.png)\n")
    assert draw_figures(page, tmp_path / "figures") == ["a.png"]
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "figures").iterdir()] == [("a.png", b"drawn")]
    page.write_text(page.read_text().replace("figures/a", "figures/b"))
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        draw_figures(page, tmp_path / "figures")
    assert Path.cwd() == here


def test_own_experiment_is_short_and_runs_from_its_file(tmp_path, monkeypatch):
    page = ROOT / "docs/your_own_experiment.md"
    code = next(code for language, code in examples(page) if language == "python").strip()
    assert sum(bool(line.strip()) for line in code.splitlines()) < 60
    (tmp_path / "layer_norm_rank.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    (command,) = commands(page)
    assert cli.main(shlex.split(command)[1:]) == 0
    assert (tmp_path / "results/layer-norm-rank-quick/layer-norm-rank.svg").is_file()


COLUMNS = 80  # what the pages have room for between their sidebars


def wide_lines(page):
    """Lines of code blocks, fenced or indented, with too many columns; what a program printed stays as it is."""
    blocks = [code for language, code in examples(page) if language != "text"]
    blocks += re.findall(r"^ {4}(\S.*)", page.read_text(encoding="utf-8"), re.M)
    return [line for block in blocks for line in block.splitlines() if len(line) > COLUMNS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_fits_into_its_column(page):
    assert wide_lines(page) == []


def test_wide_code_is_found(tmp_path):
    page = tmp_path / "page.md"
    fits, wide = "x" * COLUMNS, "y" * (COLUMNS + 1)
    page.write_text(f"{wide}\n\n```python\n{fits}\n{wide}\n```\n\n```text\n{wide}\n```\n\n    {fits}\n    {wide}\n")
    assert wide_lines(page) == [wide, wide]


def whole_lines(code):
    """Those that a backslash continues are one."""
    return re.sub(r"\\\n *", "", code).splitlines()


def commands(page):
    """Lines of shell blocks, fenced or indented, from `pyrank ...` on."""
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"^ {4}(\S.*)", text, re.M)
    lines += [line for language, code in examples(page) if language == "sh" for line in whole_lines(code)]
    return [m[1] for line in lines if (m := re.search(r"(?:^|&& )(pyrank .*)", line))]


COMMANDS = [*(command for page in PAGES for command in commands(page)), HOW]


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_commands_are_understood(command):
    arguments = new_parser().parse_args(shlex.split(command)[1:])
    if arguments.command == "reproduce":
        assert arguments.name in (None, "all", *EXPERIMENTS) or arguments.name.endswith(".py")
        assert arguments.preset in (load(arguments.name).presets if arguments.name in EXPERIMENTS else PRESETS)


# --- reference -------------------------------------------------------------------------------------------------------

ROOMS = (pyrank, theory, data, networks, optimization)
PUBLIC = {f"{room.__name__}.{name}" for room in ROOMS for name in room.__all__}


def listed():
    """Full names in the lists of the API reference."""
    module, names = "", []
    for line in (ROOT / "docs/api.rst").read_text().splitlines():
        if match := re.fullmatch(r"\.\. (?:current)?module:: (\S+)", line):
            module = match[1]
        elif match := re.fullmatch(r" {3}(\w[\w.]*)", line):
            names.append(f"{module}.{match[1]}")
    return names


def find(name):
    thing = pyrank
    for part in name.split(".")[1:]:
        thing = getattr(thing, part)
    return thing


def test_every_public_name_has_one_place_in_the_reference():
    names = listed()
    assert sorted(names) == sorted(set(names))
    assert PUBLIC - {"pyrank.__version__"} <= set(names)
    assert "``pyrank.__version__``" in (ROOT / "docs/api.rst").read_text()
    for name in names:
        assert find(name) is not None


SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Warns", "Notes", "References", "Examples")
STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
HEADING = re.compile(r"^(\S.*)\n(-+)$", re.M)


def described(section):
    """Names that a section describes: ``mean, scale`` or ``mean : float`` on a line that is not indented."""
    heads = [line for line in section.splitlines() if line[:1].strip()]
    return [name.strip() for head in heads for name in head.split(" : ")[0].split(",")]


def faults(thing):
    """What keeps the docstring of a function, class or module from being a complete one of numpydoc's form."""
    doc = inspect.cleandoc(thing.__doc__ or "")
    first, *following = doc.split("\n")
    parts = HEADING.split(doc)
    headings, lines, texts = parts[1::3], parts[2::3], parts[3::3]
    sections = dict(zip(headings, texts, strict=True))
    found = []
    if not first.endswith(".") or following[:1] not in ([], [""]):
        found.append("the summary is no sentence on a line of its own")
    if headings != [name for name in SECTIONS if name in sections] or lines != ["-" * len(name) for name in headings]:
        found.append(f"sections {headings}")
    if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, BaseException)):
        return found
    is_result = inspect.isclass(thing) and "Attributes" in sections
    wanted = [STARS.get(argument.kind, "") + name for name, argument in inspect.signature(thing).parameters.items()]
    given = described(sections.get("Attributes" if is_result else "Parameters", ""))
    if sorted(given) != sorted(wanted):  # in any order: some are described together
        found.append(f"parameters {given}, wanted {wanted}")
    if inspect.isfunction(thing) and "Returns" not in sections:
        found.append("no Returns")
    if wanted and not is_result and "Raises" not in sections:  # every argument is checked
        found.append("no Raises")
    return found


@pytest.mark.parametrize("name", sorted(PUBLIC - {"pyrank.__version__"}))
def test_docstrings_are_complete(name):
    assert not faults(find(name))


def good(x, y):
    """Add.

    Parameters
    ----------
    x, y
        Numbers.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        Never.
    """


@pytest.mark.parametrize(("old", "new"), [
    ("Add.", "Add"), ("Add.\n", "Add.\n    More."), ("x, y\n", "x\n"), ("x, y\n", "x, y, z\n"),
    ("Returns\n", "Return\n"), ("Raises\n    ------", "Notes\n    -----"),
    ("----------", "-----"), ("Returns\n    -------", "Raises\n    ------"),
])  # fmt: skip
def test_faults_of_docstrings_are_found(old, new, monkeypatch):
    assert faults(good) == []
    assert old in good.__doc__
    monkeypatch.setattr(good, "__doc__", good.__doc__.replace(old, new, 1))
    assert faults(good)


def test_every_name_of_a_law_is_described():
    """Of an activation or a normalisation, where the class and where the page of the layer list them."""
    page = (ROOT / "docs/layer.md").read_text()
    for name in (*ACTIVATIONS, *NORMALIZATIONS):
        assert re.search(rf"\b{name}\b", pyrank.Chain.__doc__), name
        assert f'| `"{name}"` |' in page, name


# --- gallery ---------------------------------------------------------------------------------------------------------

CLAIMS = [
    Claim("published", "rank_0.5 >= |x|", "Somebody 2020, Fig. 1", 1.23456, 0.02, "1.235 ± 0.020", "at least 1",
          "holds", "within 1 %", "of *all* seeds"),
    Claim("published", "angle -> 90", "the same", math.inf, None, "inf", "90", "fails"),
    Claim("extension", "the same at N = 64", "Theorem 2", 0.5, math.nan, "0.5 ± nan", "at least $|x|$", "fails",
          note="40 runs"),
]  # fmt: skip


def leave_result(folder, name, figure=True, **data):
    (folder / name).mkdir(parents=True)
    (folder / name / f"{name}.json").write_text(json_text({"experiment": name, **data}), encoding="utf-8")
    if figure:
        (folder / name / f"{name}.png").write_bytes(b"a figure")


@pytest.fixture
def gallery(tmp_path):
    results, out = tmp_path / "results", tmp_path / "gallery"
    leave_result(
        results, "shown", claims=list(map(asdict, CLAIMS)), question="How far is x_1?", citation="Somebody 2020",
        caption="Eigenvalues of $H_l |H_l|$ at tau_1,\nN = 8.",
    )  # fmt: skip
    leave_result(
        results,
        "bare",
        figure=False,
        claims=list(map(asdict, CLAIMS[2:])),
        question="And then?",
        citation="Somebody 2021",
    )
    (results / "bare" / "other.json").write_text("not JSON")
    assert write_gallery(results, out) == ["bare", "shown"]
    return out


def in_order(text, *parts):
    """Whether the parts follow each other in the text."""
    return re.search(".*?".join(map(re.escape, parts)), text, re.S) is not None


def test_page_leads_with_the_figure_and_what_is_published(gallery):
    page = (gallery / "shown.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert in_order(
        page,
        r"How far is x\_1?",
        "![Figure of shown](shown.png)",
        r"Eigenvalues of $H_l \vert H_l\vert $ at tau\_1, N = 8.",
        "## What is published",
        r"`holds` | rank\_0.5 \>= \|x\|<br><small>read as: within 1 %; of \*all\* seeds</small> | 1.235 ± 0.020 | S",
        r"`fails` | angle -\> 90 | inf | the same |",
        "## How far it reaches",
        r"| the same at N = 64<br><small>Theorem 2; 40 runs</small> | at least $\vert x\vert $ | 0.5 ± nan | differs |",
    )
    assert (gallery / "shown.png").read_bytes() == b"a figure"


def test_extensions_have_no_verdict(gallery):
    page = (gallery / "bare.md").read_text(encoding="utf-8")
    assert "## What is published" not in page
    assert "fails" not in page
    assert "![" not in page


def test_index_shows_figures_and_counts_published_claims_alone(gallery):
    index = (gallery / "index.md").read_text(encoding="utf-8")
    assert in_order(index, "**Of 2 published claims 1 holds, 1 fails", ":link: bare", "And then?",
                    "Goes beyond what is published.", ":link: shown", ":img-top: shown.png", r"How far is x\_1?",
                    "Of 2 published claims 1 holds, 1 fails", "```{toctree}", "bare\nshown")  # fmt: skip
    assert "bare.png" not in index


def test_index_has_the_chapters_of_experiments(tmp_path):
    results, out = tmp_path / "results", tmp_path / "gallery"
    for name in ("depth-and-learning", "rank-vs-depth", "bound-check"):
        leave_result(results, name, claims=[], question="Why?", citation="")
    assert write_gallery(results, out) == ["rank-vs-depth", "bound-check", "depth-and-learning"]
    assert in_order((out / "index.md").read_text(encoding="utf-8"), "## Random chains", ":link: rank-vs-depth",
                    ":link: bound-check", "## Networks", ":link: depth-and-learning", "{toctree}")  # fmt: skip


def test_gallery_without_results_says_how_to_get_them(gallery):
    assert write_gallery(gallery / "nowhere", gallery) == []
    assert [path.name for path in gallery.iterdir()] == ["index.md"]
    text = (gallery / "index.md").read_text()
    assert HOW in text
    assert "toctree" not in text


def test_prose_keeps_formulas_and_quotes_the_rest():
    assert prose(r"a_b $x_1 \|y\|$ 5 $") == r"a\_b $x_1 \Vert y\Vert $ 5 \$"
    assert prose(None) == ""
