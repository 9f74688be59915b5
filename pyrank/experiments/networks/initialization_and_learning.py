"""Does another initialisation do what BN does for rank and learning? He's weights keep more of both than torch's.

Nachum et al. 2024, Fig. 2, with the code of Daneshmand et al.: final training accuracy and rank of the last hidden
layer of ReLU perceptrons, with BN, without it, and without it but with He's weights in place of torch's default ones.
Weights of torch shrink a layer's signal by a factor of about the root of 6, which He's do not; the directions that
are lost, and so the rank, are another matter. At rates that are too high for it, a network with He's weights
diverges.

Settings are those of depth-and-learning, of which this has one curve more; the paper gives no others. The preset
``paper`` takes 140 to 200 hours of one core. ``as-published`` is the script of that figure with He's weights besides.
"""

from __future__ import annotations

from dataclasses import replace

from pyrank.estimate.intervals import Interval
from pyrank.experiments.claims import Claim, at_least, at_most, extension
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.networks import depth_curves as curves
from pyrank.experiments.networks.depth_and_learning import DEPTHS, GRID, KINDS, WIDTH
from pyrank.experiments.networks.depth_and_learning import PRESETS as FIGURE_1
from pyrank.experiments.networks.depth_curves import COLLAPSED, Data, Settings
from pyrank.experiments.networks.rates import over_seeds, pick
from pyrank.experiments.networks.recipes import Recipe
from pyrank.experiments.networks.reporting import judged
from pyrank.experiments.papers import NACHUM
from pyrank.plotting import Sheet

PLACE = NACHUM.at("Fig. 2")
HE = "no BN, He"
UNTOLD = "the text names the comparison and not its outcome"
BETTER = 0.05
"""Accuracy by which one network has to be better than another."""

ALL = {**KINDS, HE: Recipe(width=WIDTH, weights="he")}
SHORT = {kind: replace(recipe, samples=31 * 128, epochs=4) for kind, recipe in ALL.items()}

PRESETS = {
    "quick": Settings(curves.trials(SHORT, (4, 16), (0.01, 0.1)), 3, depths=DEPTHS, rank_seeds=10),
    "paper": Settings(curves.trials(ALL, DEPTHS, GRID), 5, complete=True, depths=DEPTHS, rank_seeds=24),
    "as-published": replace(
        FIGURE_1["as-published"],
        trials=(*FIGURE_1["as-published"].trials, *curves.trials({HE: ALL[HE]}, DEPTHS, (0.01,))),
    ),
}


def claims(found: Found) -> list[Claim]:
    """Return what the three curves of the figure show, and where they cross."""
    data: Data = found.data
    settings: Settings = found.settings
    deepest = max(settings.depths)
    middle = min(settings.depths, key=lambda depth: abs(depth - COLLAPSED))
    last = {kind: pick(data.trainings, kind=kind)[-1] for kind in settings.starts}
    depth = last["BN"].trial.recipe.depth
    accuracy = {kind: each.end("accuracy") for kind, each in last.items()}

    def rank(kind: str, depth: int, name: str = "rank32") -> Interval:
        return over_seeds(data.at(kind, depth, name, settings))

    def ahead(kind: str, other: str) -> Interval:
        return over_seeds(accuracy[kind] - accuracy[other])

    lead = over_seeds(data.at("BN", middle, "rank32", settings) - data.at("no BN", middle, "rank32", settings))
    return [
        judged(settings, "the rank of the last hidden layer is high with BN and low without", PLACE, lead,
               at_least(WIDTH / 2), reading=f"numerical rank in float32 at depth {middle}: with BN less without, "
               "torch's weights; at least half of the width", note=UNTOLD),
        judged(settings, "the final training accuracy is higher with BN than without", PLACE, ahead("BN", "no BN"),
               at_least(BETTER), more="both", reading=f"by {BETTER:g} at depth {depth}, torch's weights", note=UNTOLD),
        judged(settings, "changing only torch's initialisation to He's changes the rank without BN", PLACE,
               over_seeds(data.at(HE, middle, "rank32", settings) - data.at("no BN", middle, "rank32", settings)),
               at_least(WIDTH / 8), reading=f"numerical rank in float32 at depth {middle}: He's less torch's weights; "
               "at least an eighth of the width", note=UNTOLD),
        judged(settings, "changing only torch's initialisation to He's changes the final accuracy without BN", PLACE,
               ahead(HE, "no BN"), at_least(BETTER), more="both", reading=f"by {BETTER:g} at depth {depth}",
               note=UNTOLD),
        extension(f"accuracy at depth {depth}: with BN less He's weights", PLACE, ahead("BN", HE), at_least(0.0),
                  note=f"{HE}: rate {last[HE].rate:g}, {last[HE].diverged} of {settings.seeds} seeds diverged"),
        *(
            extension(f"training loss at rate {rate:g}, depth {depth}: torch's weights less He's, without BN", PLACE,
                      Interval.exact(last["no BN"].losses[rate] - loss), at_least(0.0))
            for rate, loss in last[HE].losses.items() if rate in last["no BN"].losses
        ),
        extension(f"r without BN at depth {deepest}, He's weights: no rank-one collapse to rounding", PLACE,
                  rank(HE, deepest, "r"), at_least(1.01), note=f"torch's: {rank('no BN', deepest, 'r').value:.4f}"),
        extension(f"r without BN at depth {deepest}, He's weights: far from that with BN", PLACE,
                  rank(HE, deepest, "r"), at_most(2.0), note=f"with BN: {rank('BN', deepest, 'r')}"),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="initialization-and-learning",
    question="Does another initialisation do what BN does for rank and learning?",
    sources=(PLACE,),
    presets=PRESETS,
    tasks=curves.tasks,
    analyse=curves.analyse,
    columns=curves.COLUMNS,
    rows=curves.rows,
    note="Last hidden layer at initialisation; means over seeds, ± half of the 95 % interval (Student).",
    tables=(curves.TRAININGS,),
    claims=claims,
    sheet=Sheet("Rank and learning with BN, with torch's weights and with He's", curves.panels(), size=(13, 4.6)),
    caption=curves.caption,
)
