"""How do the rank of a network and what it learns depend on its depth, with and without BN? Both fall without it.

Daneshmand et al. 2020, Fig. 1: perceptrons of width 128 on Fashion-MNIST. Without BN the rank of the last hidden
layer falls to one within some fifteen layers, and with it what can be learnt; BN keeps both. The rank of that figure
is a numerical one in single precision, a statement about a threshold: in double precision the same layers have a rank
far above one, while r, which needs no threshold, has been 1.00 since layer eight. All are shown.

The preset ``paper`` takes 100 to 150 hours of one core, 75 epochs of 468 steps of 5 seeds and 4 rates at 17 depths.
``as-published`` is the script instead of the text: one rate without BN; with BN Adam, at rates that depend on depth,
no scales or shifts and the unbiased deviation; 3 seeds. It draws its batches with replacement, which is not done
here; two of its accuracies with BN were overwritten in the plotted data, by 0.08 more, and the axis there is one
short of the hidden layers.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pyrank.estimate.intervals import Interval
from pyrank.experiments.batchnorm import BN
from pyrank.experiments.claims import Claim, at_least, at_most, extension
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.networks import depth_curves as curves
from pyrank.experiments.networks.depth_curves import COLLAPSED, Data, Settings
from pyrank.experiments.networks.rates import CHANCE, Trial, over_seeds, pick
from pyrank.experiments.networks.recipes import Recipe
from pyrank.experiments.networks.reporting import by_rate, judged
from pyrank.experiments.papers import DANESHMAND
from pyrank.plotting import Sheet
from pyrank.specs.normalization import Normalization

DEPTHS = tuple(range(1, 34, 2))
WIDTH = 128
GRID = (0.001, 0.01, 0.1, 0.3)
LEARNT = 0.2
"""Accuracy up to which a network counts as unable to learn; guessing has 0.1."""
UNLEARNT = -0.9 * math.log(CHANCE)
"""Training loss down to which a network counts as unable to learn: nine tenths of that of guessing."""
MILD = 0.1
"""Accuracy that BN may lose with depth."""
SHALLOW = 10


def _script() -> tuple[Trial, ...]:
    """Return what the authors' script runs; there as here, the depth counts hidden layers."""
    unbiased = Normalization(recentre=True, beta=math.sqrt(127 / 128))
    with_bn = Recipe(width=WIDTH, normalization=unbiased, affine="fixed", optimizer="adam")

    def rate(depth: int) -> float:
        return 0.01 if depth <= 8 else 0.05 if depth < 22 else 0.005 if depth < 30 else 0.0005

    normal = [Trial("BN", replace(with_bn, depth=depth), (rate(depth),)) for depth in DEPTHS]
    return (*normal, *curves.trials({"no BN": Recipe(width=WIDTH)}, DEPTHS, (0.01,)))


KINDS = {"BN": Recipe(width=WIDTH, normalization=BN), "no BN": Recipe(width=WIDTH)}
SHORT = {kind: replace(recipe, samples=31 * 128, epochs=4) for kind, recipe in KINDS.items()}

PRESETS = {
    "quick": Settings(curves.trials(SHORT, (2, 8, 16, 32), (0.01, 0.1)), 3, depths=DEPTHS, rank_seeds=10),
    "paper": Settings(curves.trials(KINDS, DEPTHS, GRID), 5, complete=True, depths=DEPTHS, rank_seeds=24),
    "as-published": Settings(_script(), 3, script=True, depths=DEPTHS, rank_seeds=3),
}


def claims(found: Found) -> list[Claim]:
    """Return what the text says of Fig. 1, and what its ranks are."""
    data: Data = found.data
    settings: Settings = found.settings
    deepest, left, right = max(settings.depths), DANESHMAND.at("Fig. 1 left"), DANESHMAND.at("Fig. 1 right")
    kept = min((row for row in found.rows if row.kind == "BN"), key=lambda row: float(row.rank32))
    vanilla = [each for each in pick(data.trainings, kind="no BN") if each.trial.recipe.depth > SHALLOW]
    normal, deep = pick(data.trainings, kind="BN"), pick(data.trainings, kind="no BN")[-1]
    best, last = curves.accuracy(normal, least=False), curves.accuracy(normal[-1:], least=True)
    lost = Interval(best.value - last.value, best.low - last.high, best.high - last.low)
    depths = ", ".join(str(each.trial.recipe.depth) for each in vanilla)
    found_at = [depth for depth in settings.depths if depth >= COLLAPSED] or [deepest]

    def rank(kind: str, depth: int, name: str) -> Interval:
        return over_seeds(data.at(kind, depth, name, settings))

    return [
        judged(settings, "the rank in the last hidden layer of the vanilla networks collapses with depth", left,
               rank("no BN", deepest, "rank32"), at_most(WIDTH / 10),
               reading=f"numerical rank in float32, by the footnote, at most a tenth of the width at depth {deepest}",
               note="a statement about the threshold, see below"),
        judged(settings, "batch-normalised networks preserve a high rank across all network sizes", left,
               Interval.around(kept.rank32, kept.rank32_error), at_least(WIDTH / 2),
               reading=f"numerical rank in float32, at least half of the width; the least is at depth {kept.depth}"),
        judged(settings, "vanilla networks are essentially unable to learn as soon as the number of layers is above "
               "10", right, curves.accuracy(vanilla, least=False), at_most(LEARNT), more="raise",
               reading=f"training accuracy at depths {depths}, the largest, at the best rate; guessing has {CHANCE:g}"),
        judged(settings, "the training accuracy of BN networks drops only very mildly as they reach depth 32", right,
               lost, at_most(MILD), more="both",
               reading=f"accuracy of the best depth less that of depth {normal[-1].trial.recipe.depth}"),
        *(
            extension(f"rank without BN at depth {depth} in float64, {how}", left, rank("no BN", depth, name),
                      wanted, note=f"in float32 {rank('no BN', depth, 'rank32')}")
            for depth in dict.fromkeys((found_at[0], deepest))
            for name, how, wanted in (("rank64", "above sigma_max d 2.2e-16: not collapsed", at_least(2)),
                                      ("footnote64", "above the footnote's threshold: collapsed", at_most(2)))
        ),
        extension(f"r without BN at depth {found_at[0]}, the largest of all seeds", left,
                  Interval.exact(data.at("no BN", found_at[0], "r", settings).max()), at_most(1.01)),
        extension(f"r with BN at depth {deepest}: far below the width, and far above one", left,
                  rank("BN", deepest, "r"), at_least(2), note="the numerical rank with BN is close to the width"),
        extension(f"training loss without BN at depth {deep.trial.recipe.depth}, the least of all rates: of guessing",
                  right, Interval.exact(min(deep.losses.values())), at_least(UNLEARNT), note=by_rate(deep)),
        extension(f"training loss with BN at depth {normal[-1].trial.recipe.depth}, the largest of all rates: below it",
                  right, Interval.exact(max(normal[-1].losses.values())), at_most(UNLEARNT), note=by_rate(normal[-1])),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="depth-and-learning",
    question="How do the rank of a network and what it learns depend on its depth, with and without BN?",
    sources=(DANESHMAND.at("Fig. 1"),),
    presets=PRESETS,
    tasks=curves.tasks,
    analyse=curves.analyse,
    columns=curves.COLUMNS,
    rows=curves.rows,
    note="Last hidden layer at initialisation; means over seeds, ± half of the 95 % interval (Student).",
    tables=(curves.TRAININGS,),
    claims=claims,
    sheet=Sheet("Depth, rank and learning, with and without batch normalisation", curves.panels(), size=(13, 4.6)),
    caption=curves.caption,
)
