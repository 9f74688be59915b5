// What the measures make of the two moments of M and of a count of its eigenvalues.
#pragma once
#include <type_traits>

#include "params.h"

namespace pyrank {

// Call body with the kind as a constant, so that a loop over chains need not ask for it in every turn.
template <class Body>
PYRANK_HD inline void with_constant_kind(MeasureKind kind, Body body) {
    using Kind = MeasureKind;
    switch (kind) {
        case Kind::participation_ratio: body(std::integral_constant<Kind, Kind::participation_ratio>()); break;
        case Kind::frobenius_norm: body(std::integral_constant<Kind, Kind::frobenius_norm>()); break;
        case Kind::trace: body(std::integral_constant<Kind, Kind::trace>()); break;
        case Kind::soft_rank: body(std::integral_constant<Kind, Kind::soft_rank>()); break;
        case Kind::rank_bound_margin: body(std::integral_constant<Kind, Kind::rank_bound_margin>()); break;
    }
}

// N is a double, or a vector of those of several chains.
template <class N>
struct Moments {
    N trace, purity;  // Tr M and ||M||_F^2 / (Tr M)^2

    // `count`, of eigenvalues above tau, where the measure asks for it.
    template <MeasureKind kind>
    PYRANK_HD N value_of(double tau, N count) const {
        const N zero = N(0.0), one = N(1.0);
        if constexpr (kind == MeasureKind::participation_ratio) return one / purity;
        if constexpr (kind == MeasureKind::frobenius_norm) return select(trace == zero, zero, trace * sqrt(purity));
        if constexpr (kind == MeasureKind::trace) return trace;
        if constexpr (kind == MeasureKind::soft_rank) return count;
        if constexpr (kind == MeasureKind::rank_bound_margin) return count - N((1 - tau) * (1 - tau)) * (one / purity);
    }

    PYRANK_HD N value_of(const Measure& what, N count) const {
        N value = N(0.0);
        with_constant_kind(what.kind, [&](auto kind) { value = this->value_of<kind()>(what.tau, count); });
        return value;
    }
};

}  // namespace pyrank
