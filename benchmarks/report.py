"""Gate, then time pyrank against its peers; write JSON, a Markdown table and an SVG figure.

`python benchmarks/report.py --quick`, or for the record
`python benchmarks/report.py --select all --compiled --out benchmarks/results`
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import one_core

if TYPE_CHECKING:
    from cases import Case

SCHEMA = 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    threads = one_core.hold()
    # Numerical libraries read their number of threads when they are imported, so not before now.
    import gate
    import machine
    import tables
    import torch
    from cases import select

    from pyrank import native

    if missing := native.why_missing():
        sys.exit(missing)
    torch.set_num_threads(1)
    wanted = select(options.select)
    try:
        limits, results = measure(wanted, options.rounds, options.seconds, options.compiled)
    except gate.GateError as red:
        sys.exit(f"the gate is red, nothing is reported: {red}")
    report = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "benchmarks/report.py", *(sys.argv[1:] if arguments is None else arguments)]),
        "machine": machine.describe(threads),
        "settings": {"rounds": options.rounds, "seconds": options.seconds},
        "limits": limits,
        "results": results,
    }
    text = tables.markdown(report)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "benchmarks.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (options.out / "benchmarks.md").write_text(text, encoding="utf-8")
    print(text)
    try:
        import figure
    except ImportError as error:
        print(f"no figure: {error}; pip install matplotlib")
    else:
        figure.save(report, options.out / "benchmarks.svg")
    return 0


def measure(
    wanted: Sequence[Case], rounds: int, seconds: float, compiled: bool = False, only: Sequence[str] | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the limits by dtype and the result of each case, as plain values for JSON."""
    import contenders
    import gate
    import roofline
    import timing

    limits = {dtype: roofline.measure(dtype, seconds) for dtype in sorted({case.dtype for case in wanted})}
    results = []
    for case in wanted:
        names = [name for name in contenders.names(case, compiled) if only is None or name in only]
        built = [contenders.build(case, name) for name in names]
        present = [contender for contender in built if isinstance(contender, contenders.Contender)]
        for contender in present:
            gate.check(case, contender)
        times = timing.interleave(present, rounds, seconds, case.least_layers)
        results.append({
            "name": str(case),
            "case": case.to_dict(),
            "times": times,
            "missing": {absent.name: absent.reason for absent in built if isinstance(absent, contenders.Missing)},
            "limit_seconds": limits[case.dtype].seconds(case),
            "limit_in_turn_seconds": limits[case.dtype].seconds_in_turn(case),
            "limit_from": limits[case.dtype].binds(case),
        })  # fmt: skip
        print(f"{case}: {_progress(times)}", file=sys.stderr, flush=True)
    return {dtype: limit.to_dict() for dtype, limit in limits.items()}, results


def _progress(times: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {1e6 * sorted(seconds)[len(seconds) // 2]:.3g} us" for name, seconds in times.items())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", default=None, help="core (default), quick, all, or a part of a case's name")
    parser.add_argument("--quick", action="store_true", help="few cases, 7 short rounds: about a minute")
    parser.add_argument("--compiled", action="store_true", help="also time torch.compile, which takes long to build")
    parser.add_argument("--rounds", type=int, default=None, help="rounds of all contenders (11; quick: 7)")
    parser.add_argument("--seconds", type=float, default=None, help="length of a contender's round (0.5; quick: 0.05)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write to (results)")
    options = parser.parse_args(arguments)
    options.select = options.select or ("quick" if options.quick else "core")
    options.rounds = options.rounds or (7 if options.quick else 11)
    options.seconds = options.seconds or (0.05 if options.quick else 0.5)
    return options


if __name__ == "__main__":
    sys.exit(main())
