"""The report as one figure: time against width, one line a contender, and the machine's own limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from contenders import NAMES, PYRANK
from timing import Band

_PANELS = {"rank": "every layer measured", "none": "the layer alone"}


def save(report: Mapping[str, Any], path: Path) -> None:
    """Write an SVG of the square linear cases of many chains in float32."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "pyrank"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(_PANELS), figsize=(11, 4.5), sharey=True, layout="constrained")
    for axis, (measures, title) in zip(axes, _PANELS.items(), strict=True):
        results = [result for result in report["results"] if _shown(result["case"], measures)]
        results.sort(key=lambda result: result["case"]["width"])
        for index, name in enumerate(NAMES):
            points = [(r["case"]["width"], Band.of(r["times"][name])) for r in results if name in r["times"]]
            if not points:
                continue
            widths = [width for width, _ in points]
            style = {"color": "black", "linewidth": 2.5} if name == PYRANK else {"color": f"C{index}"}
            axis.plot(widths, [1e6 * band.median for _, band in points], marker="o", markersize=3, label=name, **style)
            axis.fill_between(widths, [1e6 * b.low for _, b in points], [1e6 * b.high for _, b in points], alpha=0.2,
                              color=style["color"])  # fmt: skip
        widths = [r["case"]["width"] for r in results]
        limits = [1e6 * r["limit_seconds"] for r in results]
        axis.plot(widths, limits, "--", color="grey", label="limit of one core")
        axis.set(xscale="log", yscale="log", title=title, xlabel="width d = batch N")
        axis.set_xticks(widths, [str(width) for width in widths], minor=False)
        axis.minorticks_off()
    axes[0].set_ylabel("microseconds per layer and chain")
    axes[0].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _shown(case: Mapping[str, Any], measures: str) -> bool:
    square = case["width"] == case["batch"] and case["activation"] == "linear"
    return square and case["measures"] == measures and case["chains"] > 1 and case["dtype"] == "float32"
