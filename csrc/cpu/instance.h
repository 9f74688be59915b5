// The table of one instruction set; a file that includes this has named the set in PYRANK_ISA.
#pragma once
#include "chain.h"

#define PYRANK_JOIN2(a, b) a##b
#define PYRANK_JOIN(a, b) PYRANK_JOIN2(a, b)
#define PYRANK_NAME2(a) #a
#define PYRANK_NAME(a) PYRANK_NAME2(a)

namespace pyrank::PYRANK_ISA {

// Call body(Layout()) with the layout that a precision and a choice stand for.
template <class Body>
auto with_layout(Precision precision, LayoutChoice layout, Body body) {
    if (precision == Precision::single)
        return layout == LayoutChoice::lanes ? body(Lanes<Vec<float>>()) : body(Rows<Vec<float>>());
    return layout == LayoutChoice::lanes ? body(Lanes<Vec<double>>()) : body(Rows<Vec<double>>());
}

static size_t workspace(const Job& job, Precision precision, LayoutChoice layout, cpu::Team& team) {
    return with_layout(precision, layout, [&]<class L>(L) { return GroupChain<L>::workspace_size(job, team); });
}

static void advance(const Job& job, Precision precision, Group group, void* block, cpu::Team& team) {
    with_layout(precision, group.layout,
                [&]<class L>(L) { GroupChain<L>(job, group, Workspace(block), team).advance(); });
}

static void measure(const Job& job, Precision precision, Group group, double* values, void* block, cpu::Team& team) {
    with_layout(precision, group.layout, [&]<class L>(L) {
        GroupChain<L> chain(job, group, Workspace(block), team);
        const double* const measured = chain.measure_given();
        for (int m = 0; m < job.measure_count; ++m)
            for (int64_t c = 0; c < group.count; ++c)
                values[m * job.chains + group.first + c] = measured[m * L::chains + c];
    });
}

// By the code with which a chain draws its weights.
static void draw(const Draw& what, Precision precision, void* out, void* block) {
    const WeightParams& w = what.entries;
    with_layout(precision, LayoutChoice::rows, [&]<class L>(L) {
        using T = typename L::T;
        const RoundKeys keys(what.seed);
        const StreamPosition<L> position{keys, uint32_t(what.layer), uint32_t(what.chain), what.stream};
        T* panel = static_cast<T*>(block);
        for (int64_t vector = 0; vector < vectors_of<L>(w.fan_out); ++vector)
            for (int64_t k = 0; k < w.fan_in; k += panel_depth) {
                const int64_t depth = w.fan_in - k < panel_depth ? w.fan_in - k : panel_depth;
                draw_panel<L, 1>(what.law, w, position, vector, k, depth, panel);
                for (int64_t i = vector * L::rows; i < (vector + 1) * L::rows && i < w.fan_out; ++i)
                    for (int64_t q = 0; q < depth; ++q)
                        static_cast<T*>(out)[i * w.fan_in + k + q] = panel[q * L::rows + i - vector * L::rows];
            }
    });
}

}  // namespace pyrank::PYRANK_ISA

namespace pyrank {

const Kernels PYRANK_JOIN(kernels_, PYRANK_ISA) = {
    PYRANK_NAME(PYRANK_ISA), {PYRANK_ISA::Vec<float>::size, PYRANK_ISA::Vec<double>::size},
    PYRANK_ISA::workspace,   PYRANK_ISA::advance,
    PYRANK_ISA::measure,     PYRANK_ISA::draw,
};

}  // namespace pyrank
