"""Reading machine code: what follows what, loops, and the cheapest way that does what it has to."""

from collections import Counter

import machine_code
import measured_layers
import pytest
import sass
from machine_code import by_kind

TEXT = """\
	.target	sm_90

//--------------------- .text._Z6kernelPf --------------------------
	.section	.text._Z6kernelPf,"ax",@progbits
.text._Z6kernelPf:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0008*/                   PMTRIG 0x40 ;
        /*0010*/                   BSSY B0, `(.L_x_9) ;
.L_x_0:
        /*0020*/                   STS [R4], R5 ;
        /*0030*/                   ISETP.GE.AND P0, PT, R2, R3, PT ;
        /*0040*/               @P0 BRA `(.L_x_2) ;
.L_x_1:
        /*0050*/                   IMAD.WIDE.U32 R6, R0, -0x2daee0ad, RZ ;
        /*0060*/               @P1 BRA `(.L_x_3) ;
        /*0070*/                   MUFU.RSQ R8, R9 ;
        /*0080*/                   FMUL.FTZ R8, R8, R9 ;
        /*0090*/                   CALL.REL.NOINC `($_Z6kernelPf$root) ;
        /*00a0*/                   BRA `(.L_x_4) ;
.L_x_3:
        /*00b0*/                   I2FP.F32.U32 R8, R9 ;
.L_x_4:
        /*00c0*/                   HMMA.1688.F32.TF32 R12, R8.reuse, R10, R12 ;
        /*00d0*/              @!P2 BRA `(.L_x_1) ;
.L_x_2:
        /*00e0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*00f0*/              @!P3 BRA `(.L_x_0) ;
.L_x_9:
        /*0100*/                   EXIT ;
        /*0110*/                   NOP ;
$_Z6kernelPf$root:
        /*0120*/                   LDL R2, [R1] ;
        /*0130*/                   RET.REL.NODEC R4 `(_Z6kernelPf) ;
.L_x_10:
        /*0140*/                   BRA `(.L_x_10);

//--------------------- .text._Z5emptyv --------------------------
	.section	.text._Z5emptyv,"ax",@progbits
.text._Z5emptyv:
        /*0000*/                   EXIT ;
"""


@pytest.fixture
def kernel():
    return machine_code.functions(TEXT)["_Z6kernelPf"]


def loops_of(kernel):
    """Return the slab loop and the layer loop."""
    ((layer, (slab,)),) = sass.slab_loops(kernel).items()
    return slab, layer


def names(code):
    return Counter({instruction.name: often for instruction, often in code.items()})


def test_functions_and_their_instructions(kernel):
    found = machine_code.functions(TEXT)
    assert list(found) == ["_Z6kernelPf", "_Z5emptyv"]
    assert [str(code) for code in found["_Z5emptyv"].code()] == ["EXIT "]
    assert len(list(kernel.code())) == 21  # NOP does nothing
    assert next(code for code in kernel.code() if code.name == "BRA").predicate == "P0"


def test_classes_of_instructions(kernel):
    kinds = {code.name: code.kind for code in kernel.code()}
    assert kinds["IMAD.WIDE.U32"] == "wide product"
    assert kinds["HMMA.1688.F32.TF32"] == "matrix"
    assert kinds["STS"] == "shared memory"
    assert kinds["LDL"] == "local memory"
    assert kinds["BAR.SYNC.DEFER_BLOCKING"] == "barrier"
    for name, kind in {"LD.E.64": "generic memory", "LDG.E": "global memory", "LDS.128": "shared memory",
                       "ULDC.64": "constants", "ATOM.E.ADD": "generic memory", "UMOV": "uniform"}.items():  # fmt: skip
        assert machine_code.Instruction(name, "").kind == kind
    assert [name for name, kind in kinds.items() if kind == "other"] == ["PMTRIG"]


def test_loops_are_found_from_the_inside(kernel):
    slab, layer = loops_of(kernel)
    assert kernel.loops[:2] == [slab, layer]
    assert kernel.around(slab, "STS") == layer
    assert kernel.around(layer, "STS") is None
    assert slab.body < layer.body
    assert {code.name for code in kernel.code(slab.body)} & {"STS", "BAR.SYNC.DEFER_BLOCKING", "EXIT"} == set()
    assert kernel.innermost("DADD") == []
    assert kernel.innermost("STS") == [layer]


def test_the_way_of_a_law(kernel):
    slab, _ = loops_of(kernel)
    common = Counter({"IMAD.WIDE.U32": 1, "HMMA.1688.F32.TF32": 1})
    root = Counter({"MUFU.RSQ": 1, "FMUL.FTZ": 1, "CALL.REL.NOINC": 1})
    assert names(kernel.path(slab, sass.LAWS["uniform"])) == common + Counter({"I2FP.F32.U32": 1, "BRA": 1})
    assert names(kernel.path(slab, sass.LAWS["gaussian"])) == common + root + Counter({"BRA": 1})
    assert names(kernel.path(slab, lambda code: (0,))) == names(kernel.path(slab, sass.LAWS["uniform"]))


def test_a_layer_with_several_slabs(kernel):
    slab, layer = loops_of(kernel)
    each = kernel.path(slab, sass.LAWS["gaussian"])
    three = Counter({code: 3 * often for code, often in each.items()})
    found = kernel.path(layer, lambda code: (code.name.startswith("HMMA"),), {slab: three})
    assert by_kind(found)["matrix"] == 3
    assert sum(found.values()) == sum(three.values()) + 5
    bypassing = kernel.path(layer, lambda code: (0,))
    assert "matrix" not in by_kind(bypassing)
    assert sum(bypassing.values()) == 5


def test_what_is_called_is_a_function_of_its_own(kernel):
    ((label, root),) = kernel.called.items()
    assert label == "$_Z6kernelPf$root"
    assert f"`({label})" in next(code.operands for code in kernel.code() if code.name.startswith("CALL"))
    assert names(root.through(lambda code: (0,))) == Counter({"LDL": 1, "RET.REL.NODEC": 1})


def test_tiles_of_a_triangle_are_shared_out_by_warps():
    assert [measured_layers.tiles(size) for size in (0, 1, 16, 32, 48, 64)] == [0, 1, 1, 2, 3, 5]


def test_the_case_is_read_from_the_mark_before_the_loop(kernel):
    _, layer = loops_of(kernel)
    assert kernel.nearest_before(layer, "PMTRIG").operands == "0x40"
    assert sass.case(kernel, layer) == "quick gaussian, relu, batch"
    assert kernel.nearest_before(layer, "DADD") is None


def test_a_kernel_of_any_law_is_counted_for_each(kernel):
    counted = {each.case: each for each in sass.count("advance_kernelINS0_11TensorLayerILi4ELi1EEE", kernel)}
    assert list(counted) == list(sass.LAWS)
    shortest = 5  # of a law that this kernel does not have, as well
    assert [sum(each.slab.values()) for each in counted.values()] == [8, shortest, 5, 8]
    assert by_kind(counted["uniform"].layer)["matrix"] == 32 // 16
    table = sass.table(list(counted.values()))
    assert table.splitlines()[2].startswith("| 32 columns | gaussian | 8 | 21 | 14 |")
    assert list(sass.count("measure_kernelIfE", kernel)) == []


def test_the_rate_is_that_of_what_runs_out_first():
    instruction = machine_code.Instruction
    few = Counter({instruction("HMMA.1688.F32.TF32", ""): 100, instruction("FADD", ""): 10})
    many = Counter({instruction("HMMA.1688.F32.TF32", ""): 100, instruction("FADD", ""): 900})
    tensor, issue = (sass.Counted("", "", 32, 0, each, each).rate for each in (few, many))
    assert tensor == (pytest.approx(528 * 1.98e9 / (400 * 2)), "HMMA")
    assert issue == (pytest.approx(528 * 1.98e9 / (1000 * 2)), "issue slots")


def test_without_a_disassembler_the_command_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(sass, "find_tool", lambda name: None)
    assert sass.main([]) == 2
    assert "cuda-dev" in capsys.readouterr().err


def test_the_options_are_those_of_the_build():
    assert "-fmad=false" in sass.compile_options()
    assert not [option for option in sass.compile_options() if option.startswith("-std=")]
