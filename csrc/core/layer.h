// The normalisation of one row, from its sum of squares.
#pragma once
#include <limits>

#include "params.h"

namespace pyrank {

// What a row is multiplied with: beta / sqrt(mean z^2 + eps), or 0 for a row of zeros. A sum that is not finite gives
// NaN, so that an overflow is seen instead of being scaled to nothing.
template <class V>
PYRANK_HD inline V row_factor(V sum_of_squares, const ChainParams& chain) {
    using T = typename V::T;
    using Limits = std::numeric_limits<T>;
    const V size = sqrt(sum_of_squares / V(T(chain.batch)) + V(T(chain.eps)));
    const V factor = select(size == V(T(0)), V(T(0)), V(T(chain.beta)) / size);
    return select(sum_of_squares < V(Limits::infinity()), factor, V(Limits::quiet_NaN()));
}

}  // namespace pyrank
