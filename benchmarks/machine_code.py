"""The machine code of CUDA kernels as a graph: functions, blocks, loops, and the instructions on a path through a loop.

It reads the text of ``nvdisasm -c``. What a loop costs is the number of its instructions that a warp issues, and that
is known from the text, without a GPU, as soon as it is said which way the branches go.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

_SECTION = re.compile(r"^\.text\.(\S+):")
_LABEL = re.compile(r"^(\.L_\w+|\$\S+):")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z]\S*)\s*(.*?)\s*;")
_TARGET = re.compile(r"`\((\.L_\w+)\)")

CLASSES = {
    "wide product": r"IMAD\.(WIDE|HI)",
    "other integer": r"IMAD|IADD|VIADD|ISETP|LOP|SHF|SEL|LEA|IABS|PRMT|MOV|VIMNMX|I2FP|CS2R|PLOP|FLO|SGXT|P2R|R2P|BMSK",
    "single": r"F(ADD|MUL|FMA|SEL|SETP|MNMX|CHK|SET)|F2FP",
    "double": r"D(ADD|MUL|FMA|SETP)",
    "special function": r"MUFU|F2F|F2I|I2F",
    "matrix": r"HMMA|WGMMA|HGMMA",
    "shared memory": r"LDS|STS|LDSM|ATOMS",
    "generic memory": r"(LD|ST|ATOM)(\.|$)",
    "global memory": r"LDG|STG|ATOMG|RED",
    "local memory": r"LDL|STL",
    "constants": r"LDC|ULDC",
    "uniform": r"U[A-Z]|R2UR|S2UR|VOTEU",
    "shuffle": r"SHFL",
    "barrier": r"BAR|WARPSYNC|ENDCOLLECTIVE|DEPBAR",
    "call": r"CALL|RET",
    "branch": r"BRA|BRX|BSSY|BSYNC|BREAK|EXIT|JMP|YIELD|NANOSLEEP",
}
"""Classes of instructions, and a pattern for the beginning of the name; the first that fits counts."""


@dataclass(frozen=True)
class Instruction:
    """A name such as ``IMAD.WIDE.U32``, what it is applied to, and the predicate that may switch it off."""

    name: str
    operands: str
    predicate: str = ""

    @cached_property
    def kind(self) -> str:
        """The class of the instruction, as in `CLASSES`."""
        return next((kind for kind, pattern in CLASSES.items() if re.match(pattern, self.name)), "other")

    def __str__(self) -> str:
        return f"{self.name} {self.operands}"


@dataclass
class Block:
    """Instructions that are entered at the first and left at the last, and the blocks that may follow."""

    code: list[Instruction] = field(default_factory=list)
    followers: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Loop:
    """The blocks from which the loop's first one is reached again, and that one."""

    header: int
    body: frozenset[int]


Code = Counter[Instruction]
"""Instructions, and how often each is issued."""

Worth = Callable[[Instruction], tuple[int, ...]]
"""What a path should have most of: sums of these are compared, the first first."""


def functions(text: str) -> dict[str, Function]:
    """Return the functions in a text of ``nvdisasm -c``, by mangled name; what a kernel calls is a part of it."""
    lines: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("//---"):
            current = []
        elif section := _SECTION.match(line):
            current = lines.setdefault(section[1], [])
        else:
            current.append(line)
    return {name: Function(found) for name, found in lines.items()}


class Function:
    """The blocks of one function and the loops that they form."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = list(lines)
        self.blocks = _blocks(self._lines)

    @cached_property
    def called(self) -> dict[str, Function]:
        """What the function calls, by the label that stands in the call."""
        found: dict[str, list[str]] = {}
        current: list[str] = []
        for line in self._lines:
            if label := re.match(r"^(\$\S+):", line):
                current = found.setdefault(label[1], [])
            current.append(line)
        return {label: Function(lines) for label, lines in found.items()}

    def code(self, blocks: Iterable[int] | None = None) -> Iterator[Instruction]:
        """All instructions, or those of some blocks; what only fills up the code is left out."""
        for block in range(len(self.blocks)) if blocks is None else sorted(blocks):
            yield from (instruction for instruction in self.blocks[block].code if instruction.name != "NOP")

    @cached_property
    def loops(self) -> list[Loop]:
        """All loops, inner ones before those around them. Loops with the same first block are one."""
        return sorted(_loops(self.blocks), key=lambda loop: len(loop.body))

    def innermost(self, *names: str) -> list[Loop]:
        """Return the loops that have an instruction for each pattern, and no loop within that has as well."""
        having = [
            loop
            for loop in self.loops
            if all(any(re.match(name, str(found)) for found in self.code(loop.body)) for name in names)
        ]
        return [loop for loop in having if not any(other.body < loop.body for other in having)]

    def around(self, loop: Loop, name: str) -> Loop | None:
        """Return the smallest loop around another that has an instruction of this name."""
        outer = (each for each in self.loops if loop.body < each.body)
        return next((each for each in outer if any(code.name.startswith(name) for code in self.code(each.body))), None)

    def nearest_before(self, loop: Loop, name: str) -> Instruction | None:
        """Return the instruction of this name that is met first on the ways back from where a loop is entered."""
        seen, ways = set(loop.body), [loop.header]
        while ways:
            ways = [at for at, block in enumerate(self.blocks) if at not in seen and set(block.followers) & set(ways)]
            found = next((code for at in ways for code in self.code([at]) if code.name == name), None)
            if found:
                return found
            seen.update(ways)
        return None

    def path(self, loop: Loop, worth: Worth, known: Mapping[Loop, Code] | None = None) -> Code:
        """Count the instructions of the worthiest way through a loop, from its first block back to it.

        Of equal ways the one with the fewest instructions is taken. A loop within counts as ``known`` says, or once.
        """
        ends = [block for block in loop.body if loop.header in self.blocks[block].followers]
        inner = [each for each in self.loops if each.body < loop.body and each.header != loop.header]
        return self._way(loop.header, loop.body, ends, inner, worth, known or {})

    def through(self, worth: Worth, known: Mapping[Loop, Code] | None = None) -> Code:
        """Count the instructions of the worthiest way from the first one to a return, as `path` does."""
        body = frozenset(_order(self.blocks))
        ends = [block for block in body if any(code.name.startswith("RET") for code in self.blocks[block].code)]
        return self._way(0, body, ends, self.loops, worth, known or {})

    def _way(
        self,
        first: int,
        body: frozenset[int],
        ends: Iterable[int],
        inner: Sequence[Loop],
        worth: Worth,
        known: Mapping[Loop, Code],
    ) -> Code:
        outermost = {block: each for each in inner for block in each.body}  # larger loops come later
        counts = dict(known)
        for each in outermost.values():
            if each not in counts:
                counts[each] = self.path(each, worth, known)

        def place(block: int) -> int:
            return outermost[block].header if block in outermost else block

        def cost(node: int) -> Code:
            return counts[outermost[node]] if node in outermost else Counter(self.code([node]))

        followers: dict[int, set[int]] = {place(block): set() for block in body}
        for block in body:
            for follower in self.blocks[block].followers:
                if follower in body and follower != first and place(follower) != place(block):
                    followers[place(block)].add(place(follower))
        costs = {node: cost(node) for node in followers}
        return _worthiest(place(first), followers, {place(block) for block in ends}, costs, worth)


def by_kind(code: Code) -> Counter[str]:
    """Return how many instructions of each class there are."""
    counted: Counter[str] = Counter()
    for instruction, count in code.items():
        counted[instruction.kind] += count
    return counted


def _blocks(lines: Iterable[str]) -> list[Block]:
    blocks, places, jumps = [Block()], {}, []
    for line in lines:
        if label := _LABEL.match(line):
            if blocks[-1].code:
                blocks.append(Block())
            places[label[1]] = len(blocks) - 1
        elif found := _INSTRUCTION.match(line):
            predicate, name, operands = found[1] or "", found[2], found[3]
            blocks[-1].code.append(Instruction(name, operands, predicate))
            if re.match(r"BRA|BRX|EXIT|RET|JMP", name):
                jumps.append((len(blocks) - 1, _TARGET.search(operands)))
                blocks.append(Block())
    for number, block in enumerate(blocks[:-1]):
        last = block.code[-1] if block.code else None
        ends = last is not None and re.match(r"BRA|BRX|EXIT|RET|JMP", last.name) and not last.predicate
        if not ends or (last is not None and last.name.startswith("BRA.DIV")):
            block.followers.append(number + 1)
    for number, target in jumps:
        if target and target[1] in places:
            blocks[number].followers.append(places[target[1]])
    return blocks


def _order(blocks: list[Block]) -> list[int]:
    """Blocks that can be reached from the first, each before those that follow it but for jumps back."""
    order, seen, stack = [], {0}, [(0, iter(blocks[0].followers))]
    while stack:
        block, rest = stack[-1]
        follower = next((each for each in rest if each not in seen), None)
        if follower is None:
            order.append(block)
            stack.pop()
        else:
            seen.add(follower)
            stack.append((follower, iter(blocks[follower].followers)))
    return order[::-1]


def _loops(blocks: list[Block]) -> list[Loop]:
    """Natural loops: a jump back goes to a block that every way to it has passed."""
    order = _order(blocks)
    before: dict[int, list[int]] = {block: [] for block in order}
    for block in order:
        for follower in blocks[block].followers:
            before[follower].append(block)
    everything = sum(1 << block for block in order)
    passed = dict.fromkeys(order, everything)  # on every way to a block, as bits
    passed[order[0]] = 1 << order[0]
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            common = everything
            for each in before[block]:
                common &= passed[each]
            common |= 1 << block
            changed |= common != passed[block]
            passed[block] = common
    bodies: dict[int, set[int]] = {}
    for block in order:
        for header in blocks[block].followers:
            if passed[block] >> header & 1:
                body, stack = bodies.setdefault(header, {header}), [block]
                while stack:
                    each = stack.pop()
                    if each not in body:
                        body.add(each)
                        stack.extend(before[each])
    return [Loop(header, frozenset(body)) for header, body in bodies.items()]


def _worthiest(
    first: int,
    followers: Mapping[int, set[int]],
    ends: set[int],
    costs: Mapping[int, Counter[Instruction]],
    worth: Worth,
) -> Code:
    """Return the sum over the best way from the first node to one that ends."""
    Value = tuple[tuple[int, ...], tuple[int, ...]]  # its worth, and the nodes on it
    best: dict[int, Value | None] = {}
    values = {node: _sum(worth, cost) for node, cost in costs.items()}

    def visit(node: int) -> Value | None:
        if node not in best:
            best[node] = None  # a way that comes back here is no way
            zero = (0,) * len(values[node])
            rest: list[Value] = [(zero, ())] if node in ends else []
            rest += [found for follower in sorted(followers[node]) if (found := visit(follower))]
            if rest:
                value, nodes = max(rest)
                best[node] = (tuple(map(sum, zip(values[node], value, strict=True))), (node, *nodes))
        return best[node]

    found = visit(first)
    if found is None:
        raise LookupError("the loop has no way back to its beginning")
    return sum((costs[node] for node in found[1]), Counter())


def _sum(worth: Worth, code: Code) -> tuple[int, ...]:
    terms = [tuple(count * part for part in (*worth(each), -1)) for each, count in code.items()]
    return tuple(map(sum, zip(*terms, strict=True))) if terms else (0,) * (len(worth(Instruction("NOP", ""))) + 1)
