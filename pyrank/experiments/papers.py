"""The papers whose results are reproduced, and how a place in one of them is cited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A publication.

    Attributes
    ----------
    short
        Authors and year, such as ``"Daneshmand et al. 2020"``.
    reference
        Authors, title and where to find it.
    """

    short: str
    reference: str

    def at(self, place: str) -> Source:
        """Return a place in it, such as ``"Fig. 3a"``."""
        return Source(self, place)


@dataclass(frozen=True)
class Source:
    """A place in a paper; as text, ``"Daneshmand et al. 2020, Fig. 3a"``."""

    paper: Paper
    place: str

    def __str__(self) -> str:
        return f"{self.paper.short}, {self.place}"


DANESHMAND = Paper(
    "Daneshmand et al. 2020",
    "Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann, Aurelien Lucchi: Batch normalization provably avoids "
    "rank collapse for randomly initialised deep networks, NeurIPS 2020, arXiv:2003.01652.",
)
TALK = Paper("Daneshmand 2020 (talk)", "Hadi Daneshmand: talk on arXiv:2003.01652.")
MORWANI = Paper("Morwani 2020", "Depen Morwani: Understanding batch normalization, 2020.")
NACHUM = Paper(
    "Nachum et al. 2024",
    "Ido Nachum, Marco Bondaschi, Michael Gastpar, Anatoly Khina: Batch normalization decomposed, 2024, "
    "arXiv:2412.02843.",
)


def short(sources: Sequence[Source]) -> str:
    """Name several places, each paper once: ``"Daneshmand et al. 2020, Fig. 3a, Theorem 2"``."""
    return "; ".join(f"{paper.short}, {places}" for paper, places in _places(sources))


def full(sources: Sequence[Source]) -> str:
    """Give the references with the places, each paper once."""
    return " ".join(f"{paper.reference} {places}." for paper, places in _places(sources))


def _places(sources: Sequence[Source]) -> list[tuple[Paper, str]]:
    papers = dict.fromkeys(source.paper for source in sources)
    return [(paper, ", ".join(s.place for s in sources if s.paper == paper)) for paper in papers]
