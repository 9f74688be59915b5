// The measures that come with every layer, from the moments of M and from an eigenvalue count.
#pragma once
#include "params.h"

namespace pyrank {

// purity = ||M||_F^2 / (Tr M)^2; `count`, of eigenvalues above tau, where the measure asks for it.
PYRANK_HD inline double value_of(const Measure& what, double trace, double purity, double count) {
    const double ratio = 1 / purity;
    switch (what.kind) {
        case MeasureKind::participation_ratio: return ratio;
        case MeasureKind::frobenius_norm: return trace == 0 ? 0 : trace * __builtin_sqrt(purity);
        case MeasureKind::trace: return trace;
        case MeasureKind::soft_rank: return count;
        case MeasureKind::rank_bound_margin: return count - (1 - what.tau) * (1 - what.tau) * ratio;
    }
    return 0;
}

}  // namespace pyrank
