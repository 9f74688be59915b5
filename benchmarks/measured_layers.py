"""What a layer on tensor cores costs that is measured as well: r and one threshold, with as many rows as columns.

Loops are told from each other by what they compute. How often a warp goes through each follows from the size; what only
some of the warps do is shared out among all. The rest is counted on its shortest way: a record in which nothing
happens but sums, and no count that single precision leaves open.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from machine_code import Code, Function, Instruction, Loop

PASSED = Instruction("", "")
"""Stands in the code of a loop that has to be passed."""

PANEL = 16
"""Columns that are factored together (csrc/cuda/spectrum.h), and rows that a warp takes along."""

TILE = 4
"""Rows and columns of a product that a thread has (csrc/cuda/multiply.h)."""

DEPTH = 8
"""Columns that a matrix instruction takes (csrc/cuda/tensor_gram.h)."""

FORM, COUNT = r"SpectrumIfE19set_on_tensor_coresILi\d+ELb1", r"SpectrumIfE5countILi[1-9]"
"""What is called where everything lies in shared memory, for M and for its pivots."""


@dataclass(frozen=True)
class Stage:
    """A loop: what it has and has not, how many units of work a turn does, and how many a warp has to do."""

    has: tuple[str, ...]
    has_not: str
    unit: str  # an instruction that there is one of for each unit
    units: float  # in each turn of the loop around it
    around: float | None = None  # turns of that loop, if it is in one


@dataclass(frozen=True)
class Measured:
    """What a warp issues for a layer and for what is measured of it, by part, and in all."""

    columns: int
    layer: float
    moments: float
    gram: float
    count: float
    code: Code

    @property
    def all(self) -> float:
        """All instructions."""
        return sum(self.code.values())

    @property
    def rest(self) -> float:
        """What is between the parts: the state is loaded and stored, the record is written."""
        return self.all - self.layer - self.moments - self.gram - self.count

    @property
    def barriers(self) -> float:
        """How often the block waits for its threads."""
        return sum(count for code, count in self.code.items() if code.name.startswith("BAR"))


def measured(kernel: Function, layer: Loop, slabs: list[Loop], columns: int) -> Measured:
    """Count a layer of one of the cases, whose loop is given with that within, and all that follows up to the next."""
    warps, lines = columns // 16, -(-columns // 32)
    panels = range(PANEL, columns + PANEL, PANEL)
    memory, each = "LD(\\.|$)|MUFU|SHFL", columns / warps  # generic memory is for larger ones

    squares = sum(min(columns, 32 * (line + 1)) for line in range(lines)) / lines
    moments = _costs(
        kernel,
        Stage(("LDS", "F2F.F64", "DADD"), f"{memory}|DMUL|HMMA", "F2F", each),
        Stage(("LDS", "FMUL", "FFMA"), f"{memory}|FADD|HMMA|STS", "FFMA", squares, lines / warps),
        Stage(("LDS.64", "DADD"), f"{memory}|DMUL|F2F|HMMA|STS", "DADD", each),
    )
    record = next(loop for loop in kernel.loops if _has(kernel, loop, "DSETP") and not _calls(kernel, loop, COUNT))
    written = {record: _times(kernel.path(record, _worth_of_r), 1 / warps)}
    known = {slab: _times(kernel.path(slab, _worth), columns / 16) for slab in slabs}
    whole = _times(kernel.path(layer, _worth, known), 1)
    outer = next(loop for loop in kernel.loops if layer.body < loop.body and _calls(kernel, loop, FORM))
    code = kernel.path(outer, _worth, {layer: whole, **moments, **written})

    forming = _called(kernel, FORM)
    turned = _costs(forming, Stage(("FMUL .*0\\.8000", "FFMA .*0\\.6000"), memory, "FMUL", columns / 2))
    steps = forming.innermost("HMMA")[0]
    strip = next(loop for loop in forming.loops if steps.body < loop.body)
    products = {steps: _times(_mean(forming, steps, {}), columns / DEPTH)}
    gram = forming.through(_worth, turned | {strip: _times(_mean(forming, strip, products), 1)})

    counting = _called(kernel, COUNT)
    left = sum(tiles(columns - end) for end in panels) / warps / len(panels)
    within = _costs(
        counting,
        Stage(("LDS", "FFMA"), memory, "FFMA", TILE * TILE * PANEL, left),
        Stage(("LDS", "F2F.F64", "DADD"), memory, "F2F", each),
    )
    strips = sum(max(1, -(-(columns - end) // PANEL)) for end in panels) / warps / len(panels)
    panel = next(loop for loop in counting.loops if _has(counting, loop, "SHFL"))
    within[panel] = _times(counting.path(panel, _worth), strips)
    around = next(loop for loop in counting.loops if panel.body < loop.body)
    within[around] = _times(counting.path(around, _worth, within), len(panels))
    count = counting.through(_worth, within)

    total = code + gram + count
    del total[PASSED]
    # the loops of the moments are within each other, the larger ones last
    largest = [loop for loop in moments if not any(loop.body < other.body for other in moments)]
    parts = [_size(whole), sum(_size(moments[loop]) for loop in largest), _size(gram), _size(count)]
    return Measured(columns, *parts, total)


def _costs(function: Function, *stages: Stage) -> dict[Loop, Code]:
    """Return what a warp issues in the loops of some stages, and in those around them."""
    known: dict[Loop, Code] = {}
    for stage in stages:
        loop, units = _find(function, stage)
        known[loop] = _times(function.path(loop, _worth), stage.units / units)
        if stage.around is not None:
            outer = next(each for each in function.loops if loop.body < each.body)
            known[outer] = _times(function.path(outer, _worth, known), stage.around)
    return known


def _find(function: Function, stage: Stage) -> tuple[Loop, int]:
    """Return the loop of a stage and its units: of several the one that was unrolled most, and then the leanest."""
    found: list[tuple[int, int, Loop]] = []
    for loop in function.loops:
        code = [str(each) for each in function.code(loop.body)]
        innermost = not any(other.body < loop.body for other in function.loops)
        fits = all(any(re.match(name, each) for each in code) for name in stage.has)
        if innermost and fits and not any(re.match(stage.has_not, each) for each in code):
            found.append((sum(each.startswith(stage.unit) for each in code), -len(code), loop))
    if not found:
        raise LookupError(f"there is no loop with {', '.join(stage.has)} and without {stage.has_not}")
    units, _, loop = max(found, key=lambda each: each[:2])
    return loop, units


def _worth(code: Instruction) -> tuple[int, ...]:
    """Prefer ways through the loops that have to be passed and to the two functions, and to no other one."""
    call = code.name.startswith("CALL")
    wanted = call and bool(re.search(f"{FORM}|{COUNT}", code.operands))
    return code == PASSED, wanted, -(call and not wanted)


def _worth_of_r(code: Instruction) -> tuple[int, ...]:
    """Prefer what divides, as r does."""
    return *_worth(code), code.name == "MUFU.RCP64H"


def _mean(function: Function, loop: Loop, known: dict[Loop, Code]) -> Code:
    """Return the mean of the longest and the shortest way, for one that has from no to all strips before its own."""
    code: Code = Counter()
    for sign in (1, -1):
        code += function.path(loop, lambda each, sign=sign: (each == PASSED, sign), known)
    return _times(code, 0.5)


def _times(code: Code, turns: float) -> Code:
    """Return code that is passed so often."""
    passed: Code = Counter({each: count * turns for each, count in code.items()})  # type: ignore[misc]
    passed[PASSED] = 1
    return passed


def tiles(size: int) -> int:
    """Return how many warps have to do with the tiles of a lower triangle."""
    lines = -(-size // TILE)
    even = lines + lines % 2
    return -(-(even + 1) * even // 2 // 32)


def _called(kernel: Function, name: str) -> Function:
    return next(function for label, function in kernel.called.items() if re.search(name, label))


def _calls(function: Function, loop: Loop, name: str) -> bool:
    return any(code.name.startswith("CALL") and re.search(name, code.operands) for code in function.code(loop.body))


def _has(function: Function, loop: Loop, name: str) -> bool:
    return any(code.name.startswith(name) for code in function.code(loop.body))


def _size(code: Code) -> float:
    return sum(count for each, count in code.items() if each != PASSED)
