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

struct Moments {
    double trace, purity;  // Tr M and ||M||_F^2 / (Tr M)^2

    // `count`, of eigenvalues above tau, where the measure asks for it.
    template <MeasureKind kind>
    PYRANK_HD double value_of(double tau, double count) const {
        if constexpr (kind == MeasureKind::participation_ratio) return 1 / purity;
        if constexpr (kind == MeasureKind::frobenius_norm) return trace == 0 ? 0 : trace * __builtin_sqrt(purity);
        if constexpr (kind == MeasureKind::trace) return trace;
        if constexpr (kind == MeasureKind::soft_rank) return count;
        if constexpr (kind == MeasureKind::rank_bound_margin) return count - (1 - tau) * (1 - tau) * (1 / purity);
    }

    PYRANK_HD double value_of(const Measure& what, double count) const {
        double value = 0;
        with_constant_kind(what.kind, [&](auto kind) { value = this->value_of<kind()>(what.tau, count); });
        return value;
    }
};

}  // namespace pyrank
