"""All experiments on one page: self-contained, escaped, continued, and not stopped by one that breaks."""

import base64
import signal
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest

from pyrank import __version__, cli, experiments, plotting
from pyrank.experiments import Claim, Column, Computation, Experiment, catalogue, reproduction
from pyrank.experiments.papers import Paper
from pyrank.plotting import Panel, Sheet
from pyrank.support.errors import ArgumentError
from pyrank.support.signals import Stopped

EVIL = "<script>alert('1 & 2')</script> \"quoted\""
VOID = {"meta", "img", "br"}
INERT = VOID | {
    "html", "head", "title", "style", "body", "header", "main", "nav", "ol", "h1", "h2", "p", "span", "table", "thead",
    "tbody", "tr", "th", "td", "article", "figure", "figcaption", "ul", "li", "a", "code", "details", "summary",
}  # fmt: skip
PAPER = Paper("A 2020", 'A. Author & B. Author: "A <b>title</b>", 2020.')


@dataclass(frozen=True)
class Settings:
    size: int = 1


class Made:
    """An experiment without simulation that counts how often it is computed, and may fail."""

    def __init__(self, name, problem=None):
        self.problem, self.calls = problem, 0
        self.experiment = Experiment(
            name=name, question=f"Is it {name}? {EVIL}", sources=(PAPER.at("Fig. 1"),),
            presets={"quick": Settings(1), "paper": Settings(2)}, tasks=lambda _: [Computation("x", self.compute)],
            columns=(Column("x", "x"),), rows=lambda settings, results: [{"x": x} for x in results],
            claims=lambda _: CLAIMS, caption=lambda _: f"Caption, {EVIL}",
            sheet=Sheet("t", [Panel(lambda axes, _: plotting.points(axes, [1], [2], None, 0, "p"))], size=(3, 2)),
        )  # fmt: skip

    def compute(self):
        self.calls += 1
        if self.problem is not None:
            raise self.problem
        return 1.0


CLAIMS = (
    Claim("published", "a > b", EVIL, 0.5, 0.125, "0.50 ± 0.12", "at least 0", "holds", note=EVIL),
    Claim("published", EVIL, "A 2020", -1.0, None, "-1", "at least 0", "fails", reading="as it is"),
    Claim("published", "e = f", "A 2020", 2.0, 1.0, "2.0 ± 1.0", "2 to within 0.5", "undecided"),
    Claim("extension", f"farther {EVIL}", "A 2020", 2.0, None, "2", "at least 3", "fails"),
)


@pytest.fixture
def made(monkeypatch):
    """Replaces the experiments by three made-up ones."""
    pytest.importorskip("matplotlib")
    made = {name: Made(name) for name in ("first", "second", "third")}
    monkeypatch.setattr(catalogue, "EXPERIMENTS", dict.fromkeys(made, "made"))
    monkeypatch.setattr(reproduction, "EXPERIMENTS", dict.fromkeys(made, "made"))
    monkeypatch.setattr(reproduction, "load", lambda name: made[name].experiment)
    return made


class Page(HTMLParser):
    """Reads a page strictly: only inert tags, closed in order; keeps texts and attributes by tag."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(path.read_text())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag in INERT
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] != "style":
            self.texts.append(" ".join(data.split()))

    def all(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]

    def article(self, name):
        """The texts of an article, from its question on; the contents name it first."""
        starts = [i for i, text in enumerate(self.texts) if text in (name, f"Is it {name}? {EVIL}")]
        return self.texts[starts[-1] :]


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(made, tmp_path):
    return Page(experiments.reproduce_all("quick", tmp_path).page)


def test_page_shows_question_claims_verdicts_and_citation(page):
    shown = page.article("second")
    assert shown[0] == f"Is it second? {EVIL}"
    assert shown[1] == "pyrank reproduce second"
    caption = f"After A 2020, Fig. 1. Caption, {EVIL}"
    assert shown[3] == caption
    assert shown[4:9] == ["✓ holds", "a > b", f"({EVIL})", "measured 0.50 ± 0.12, wanted at least 0", EVIL]
    assert shown[9:14] == ["✗ fails", EVIL, "(A 2020)", "measured -1, wanted at least 0", "read as: as it is"]
    assert shown[14:16] == ["? undecided", "e = f"]
    assert f"{PAPER.reference} Fig. 1." in shown


def test_extensions_are_told_without_red_or_green(page, tmp_path):
    shown = page.article("second")
    start = shown.index("How far it reaches: 1 question beyond the paper")
    assert shown[start + 1 : start + 4] == ["Question", "Expected", "Measured"]
    assert shown[start + 4 : start + 9] == [f"farther {EVIL}", "A 2020", "at least 3", "2", "differs"]
    text = (tmp_path / "index.html").read_text()
    beyond = text[text.index("<details open>") : text.index("</details>")]
    assert not any(f'class="{verdict}' in beyond or f"badge {verdict}" in beyond for verdict in ("holds", "fails"))


def test_page_leads_with_published_claims_and_lists_all_experiments(page):
    assert "Of 9 published claims 3 hold, 3 fail and 3 stay undecided." in page.texts[:4]
    contents = page.texts[: len(page.texts) - len(page.article("third"))]
    assert contents.count("✓") == contents.count("✗") == contents.count("?") == 3
    targets = {attributes["id"] for attributes in page.all("article")}
    assert {link["href"] for link in page.all("a") if link["href"].startswith("#")} == {f"#{name}" for name in targets}


def test_header_says_version_preset_and_time(page):
    header = next(text for text in page.texts if text.startswith("pyrank "))
    version, preset, count, seconds = header.split(" · ")
    assert (version, preset, count) == (f"pyrank {__version__}", "preset quick", "3 of 3 experiments")
    assert seconds.endswith(" s")


@pytest.fixture
def two_chapters(made, monkeypatch):
    """The first experiment stands in one chapter, the others in another."""
    monkeypatch.setattr(catalogue, "EXPERIMENTS", {"first": "a", "second": "b", "third": "b"})
    monkeypatch.setattr(catalogue, "CHAPTERS", {"a": "Chains <&>", "b": "Networks"})


def test_page_and_table_have_chapters(two_chapters, tmp_path):
    overview = experiments.reproduce_all("quick", tmp_path)
    page = Page(overview.page)
    commands = [f"pyrank reproduce {name}" for name in ("first", "second", "third")]
    headings = [text for text in page.texts if text in ("Chains <&>", "Networks", *commands)]
    assert headings == ["Chains <&>", "Networks", "Chains <&>", commands[0], "Networks", *commands[1:]]
    assert [attributes["start"] for attributes in page.all("ol")] == ["1", "2"]
    lines = str(overview).splitlines()
    assert [line.split()[-1] for line in lines[:6]] == ["experiment", "<&>", "first", "Networks", "second", "third"]


def test_experiments_of_no_chapter_stand_without_a_title():
    assert experiments.by_chapter(["rank-vs-depth", "my-own", "bound-check"]) == {
        "Random chains": ["rank-vs-depth", "bound-check"], "": ["my-own"]}  # fmt: skip


def test_page_is_self_contained_and_executes_nothing(page, tmp_path):
    for name, image in zip(("first", "second", "third"), page.all("img"), strict=True):
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True) == (tmp_path / name / f"{name}.png").read_bytes()
        assert image["alt"] == f"After A 2020, Fig. 1. Caption, {EVIL}"
    text = (tmp_path / "index.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert all(not key.startswith("on") for _, attributes in page.tags for key in attributes)


def test_links_lead_to_the_files(page, tmp_path):
    links = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    names, forms = ("first", "second", "third"), ("csv", "txt", "png", "svg", "json")
    assert links == [f"{name}/{name}.{form}" for name in names for form in forms]
    assert all((tmp_path / link).is_file() for link in links)


def test_page_is_for_phones_paper_and_the_dark(page, tmp_path):
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    text = (tmp_path / "index.html").read_text()
    for query in ("(prefers-color-scheme: dark)", "@media print", "@media (max-width:"):
        assert query in text


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_one_that_raises_does_not_stop_the_others(made, tmp_path):
    made["second"].problem = KeyError(EVIL)
    overview = experiments.reproduce_all("quick", tmp_path)
    assert [outcome.name for outcome in overview.failed] == ["second"]
    assert [outcome.result is not None for outcome in overview.outcomes] == [True, False, True]
    page = Page(overview.page)
    assert page.article("second")[3:5] == ["! failed to run", f"TaskError: x failed: KeyError: {EVIL!r}"]
    assert page.texts[page.texts.index("second") + 1] == "! failed to run"
    assert "Of 6 published claims 2 hold, 2 fail and 2 stay undecided." in page.texts


def test_one_that_cannot_be_imported_does_not_stop_the_others(made, tmp_path, monkeypatch):
    load = reproduction.load

    def broken_load(name):
        if name == "first":
            raise SyntaxError("a typing\n mistake")
        return load(name)

    monkeypatch.setattr(reproduction, "load", broken_load)
    (outcome,) = experiments.reproduce_all("quick", tmp_path).failed
    assert outcome.error == "SyntaxError: a typing mistake"
    assert made["third"].calls == 1


def test_interrupt_leaves_the_page_of_what_is_finished(made, tmp_path):
    made["second"].problem = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match=r"interrupted in second; the same command continues; .*index\.html"):
        experiments.reproduce_all("quick", tmp_path)
    assert made["third"].calls == 0
    page = Page(tmp_path / "index.html")
    assert len(page.all("article")) == 1
    assert "Not run yet: second, third." in page.texts
    made["second"].problem = None
    overview = experiments.reproduce_all("quick", tmp_path)
    assert [outcome.earlier for outcome in overview.outcomes] == [True, False, False]
    assert [experiment.calls for experiment in made.values()] == [1, 2, 1]
    assert len(Page(overview.page).all("article")) == 3


def test_page_is_there_before_the_first_experiment_ends(made, tmp_path):
    made["first"].problem = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        experiments.reproduce_all("quick", tmp_path)
    assert "Not run yet: first, second, third." in Page(tmp_path / "index.html").texts


def test_other_settings_are_not_taken_for_finished_but_equal_tasks_are_not_run_again(made, tmp_path):
    experiments.reproduce_all("quick", tmp_path)
    overview = experiments.reproduce_all("paper", tmp_path)
    assert not any(outcome.earlier for outcome in overview.outcomes)
    assert [experiment.calls for experiment in made.values()] == [1, 1, 1]


def test_bad_input_is_told_before_any_work(made, tmp_path):
    with pytest.raises(ArgumentError, match="preset = 'slow': expected one of quick, paper"):
        experiments.reproduce_all("slow", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="out = "):
        experiments.reproduce_all("quick", tmp_path / "file" / "below")
    assert not any(experiment.calls for experiment in made.values())


# --- the command -----------------------------------------------------------------------------------------------------


def test_command_prints_a_table_and_the_page(made, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", "all"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""  # no progress bar outside of a terminal
    assert lines[0].split() == ["holds", "fails", "undecided", "extensions", "seconds", "experiment"]
    assert [(*line.split()[:4], line.split()[5]) for line in lines[1:4]] == [
        ("1", "1", "1", "1", name) for name in ("first", "second", "third")
    ]
    said = "Of 9 published claims 3 hold, 3 fail and 3 stay undecided."
    assert lines[4:] == ["", said, "", "written: results/all-quick/index.html"]


def test_command_fails_if_an_experiment_does(made, capsys, tmp_path):
    made["second"].problem = ArgumentError("x = 1:\n expected 2")
    assert cli.main(["reproduce", "all", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert err == "pyrank: second failed: TaskError: x failed: ArgumentError: x = 1: expected 2\n"
    assert out.splitlines()[2].split()[:3] == ["-", "-", "-"]
    assert str(tmp_path / "index.html") in out


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (Stopped("", signal.SIGTERM), 143)])
def test_interrupted_command_says_how_to_go_on(stop, status, made, capsys, tmp_path):
    made["third"].problem = stop
    assert cli.main(["reproduce", "all", "--out", str(tmp_path)]) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "interrupted in third; the same command continues" in err
