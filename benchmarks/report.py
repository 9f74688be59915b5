"""Gate, then time pyrank against its peers; write JSON, a Markdown table and an SVG figure.

`python benchmarks/report.py --quick`, or for the record
`python benchmarks/report.py --select all --compiled --out benchmarks/results`

`--device cuda` does it on a GPU; `python -m benchmarks.gpu` calls it, after it has built and tested the package.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import one_core
import steps

if TYPE_CHECKING:
    from cases import Case

SCHEMA = 3
NAME = "benchmarks.json"


def main(arguments: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    options = _options(arguments)
    threads = one_core.hold() if options.device == "cpu" else "all, for the host's part of the work"
    # Numerical libraries read their number of threads when they are imported, so not before now.
    import machine
    from cases import select

    from pyrank.engine import native

    if missing := native.why_missing() or (native.cuda_devices()[1] if options.device != "cpu" else ""):
        sys.exit(missing)
    wanted = select(options.select, options.device)
    report = {
        "schema": SCHEMA,
        **machine.occasion("benchmarks/report.py", arguments),
        "machine": machine.describe(threads, options.device),
        "settings": {"rounds": options.rounds, "seconds": options.seconds},
    }
    if options.device == "cpu":
        report |= _on_cpu(wanted, options)
    else:
        _on_gpu(wanted, options, began + options.within, report)
    print(_publish(report, options.out))
    if options.device == "cpu":
        _draw(report, options.out)
    return 0


def _on_cpu(wanted: Sequence[Case], options: argparse.Namespace) -> dict[str, Any]:
    import gate
    import torch

    torch.set_num_threads(1)
    try:
        limits, results = measure(wanted, options.rounds, options.seconds, options.compiled)
    except gate.GateError as red:
        sys.exit(f"the gate is red, nothing is reported: {red}")
    return {"limits": limits, "results": results}


def measure(
    wanted: Sequence[Case], rounds: int, seconds: float, compiled: bool = False, only: Sequence[str] | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the limits by dtype and the result of each case, as plain values for JSON."""
    import contenders
    import measuring
    import roofline

    limits = {dtype: roofline.measure(dtype, seconds) for dtype in sorted({case.dtype for case in wanted})}
    results = []
    for case in wanted:
        names = [name for name in contenders.names(case, compiled) if only is None or name in only]
        results.append(measuring.measure_case(case, limits[case.dtype], rounds, seconds, names))
    return {dtype: limit.to_dict() for dtype, limit in limits.items()}, results


def _on_gpu(wanted: Sequence[Case], options: argparse.Namespace, deadline: float, report: dict[str, Any]) -> None:
    """Fill the report, and write it before, after and within each case: who runs out of time keeps what there is."""
    import measuring

    measured = measuring.Measured(dropped=[str(case) for case in wanted])
    report |= {"ceilings": {}, "limits": {}}
    if (options.resume or options.ceilings) and (options.out / NAME).is_file():
        earlier = json.loads((options.out / NAME).read_text(encoding="utf-8"))
        report |= {key: earlier[key] for key in ("ceilings", "limits", "settings")}
        measured = measuring.Measured(earlier["results"], earlier["failed"], earlier["dropped"])
        if earlier["begun"]:
            measured.failed[earlier["begun"]] = "the program ended, or was stopped because it stood still"

    def publish() -> None:
        report.update(vars(measured))
        _publish(report, options.out)

    if options.ceilings:
        report |= _ceilings(measured.results, options.seconds)
    else:
        measuring.measure_within(wanted, options.rounds, options.seconds, deadline, measured, publish)
    publish()


def _ceilings(results: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Measure the ceilings of a GPU, and add the limit that they make to the results."""
    import ceilings
    from cases import Case

    found = ceilings.measure(seconds)
    limit = ceilings.limit(found)
    for result in results:
        result |= limit.of(Case(**result["case"]))
    return {
        "ceilings": {name: ceiling.to_dict() for name, ceiling in found.items()},
        "limits": {"float32": limit.to_dict()},
    }


def _publish(report: dict[str, Any], out: Path) -> str:
    import tables

    text = tables.markdown(report)
    out.mkdir(parents=True, exist_ok=True)
    steps.write(out / NAME, json.dumps(report, indent=1) + "\n")
    steps.write(out / "benchmarks.md", text)
    return text


def _draw(report: dict[str, Any], out: Path) -> None:
    try:
        import figure
    except ImportError as error:
        print(f"no figure: {error}; pip install matplotlib")
    else:
        figure.save(report, out / "benchmarks.svg")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", default=None, help="core (default), quick, all, or a part of a case's name")
    parser.add_argument("--quick", action="store_true", help="few cases, 7 short rounds: about a minute")
    parser.add_argument("--compiled", action="store_true", help="also time torch.compile, which takes long to build")
    parser.add_argument("--rounds", type=int, default=None, help="rounds of all contenders (11; quick: 7; GPU: 6)")
    parser.add_argument(
        "--seconds", type=float, default=None, help="length of a contender's round (0.5; quick: 0.05; GPU: 0.05)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="one core (default), or one GPU")
    parser.add_argument("--within", type=float, default=300, help="on a GPU: seconds after which no case begins (300)")
    parser.add_argument("--resume", action="store_true", help="on a GPU: go on with the report that ended in --out")
    parser.add_argument("--ceilings", action="store_true", help="on a GPU: no times, but the ceilings of that report")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write to (results)")
    options = parser.parse_args(arguments)
    options.select = options.select or ("quick" if options.quick else "core")
    rounds, seconds = (6, 0.05) if options.device != "cpu" else (7, 0.05) if options.quick else (11, 0.5)
    options.rounds = options.rounds or rounds
    options.seconds = options.seconds or seconds
    return options


if __name__ == "__main__":
    sys.exit(main())
