// The normalisation of one line, a row over the batch or a column over the features, from a sum over its entries.
#pragma once
#include <limits>

#include "elementary.h"
#include "params.h"

namespace pyrank {

// How many roundings of the largest |f| of a column an entry of gamma W F may be off by, with room to spare; 0 where
// it need not be asked. Sums of plus and minus the same number may be zero but for rounding, and rescaling would blow
// that up to a line like any other, as whitening would a state of nothing else. Where W has a density, only lines
// without any sum are zero, and those exactly.
PYRANK_HD inline double cancellation(const ChainParams& chain, const WeightParams& weights) {
    const bool single_sign = chain.law == Law::orthogonal && weights.fan_in == 1 && weights.fan_out == 1;
    const bool takes_few_values = chain.law == Law::rademacher || single_sign || weights.scale == 0;
    if (!takes_few_values || !(chain.rescale || chain.whiten)) return 0;
    const double roundings = 8 + __builtin_sqrt(double(weights.fan_in + chain.batch));
    const double largest = __builtin_fabs(weights.mean) + weights.scale;
    return roundings * double(weights.fan_in) * largest * (chain.skip ? chain.gamma : 1);
}

// Whether it has to be asked in some layer.
PYRANK_HD inline bool sums_cancel(const ChainParams& chain) {
    for (int64_t k = 0; k < chain.period; ++k)
        if (cancellation(chain, chain.weights[k]) > 0) return true;
    return false;
}

// A line is zero if none of its entries is above this, which depends on the largest |f| of the entry's column, before
// the row means are taken off: what rounding did to F(H) is still there after it. To that recentring over the batch
// adds the mean over the columns. An overflow must be seen, and hides nothing.
template <class V>
PYRANK_HD inline V noise_of_column(V largest, double cancellation) {
    using T = typename V::T;
    using Limits = std::numeric_limits<T>;
    const V noise = V(T(cancellation * Limits::epsilon() / 2)) * largest;
    return select(noise < V(Limits::infinity()), noise, V(T(0)));
}

// One more entry in the sum of |z|^p, or in the largest |z| for order 0. An entry that is NaN stays one in the state.
template <int order, class N>
PYRANK_HD inline N add_to_size(N x, N sum) {
    if constexpr (order == 0) return larger(abs(x), sum);
    if constexpr (order == 1) return sum + abs(x);
    if constexpr (order == 2) return fma(x, x, sum);
    if constexpr (order == 3) return fma(x * x, abs(x), sum);
}

// What a line is multiplied with: beta / (mean |z|^p + eps)^(1/p), or 0 for a line of zeros. A sum that is not finite
// gives NaN, so that an overflow is seen instead of being scaled to nothing.
template <int order, class V>
PYRANK_HD inline V line_factor(V sum, int64_t count, const ChainParams& chain) {
    using T = typename V::T;
    using Limits = std::numeric_limits<T>;
    const V eps = V(T(chain.eps)), power = order == 0 ? sum + eps : fma(sum, V(T(1) / T(count)), eps);
    const V size = order == 2 ? sqrt(power) : order == 3 ? cube_root(power) : power;
    const V factor = select(size == V(T(0)), V(T(0)), V(T(chain.beta)) / size);
    return select(sum < V(Limits::infinity()), factor, V(Limits::quiet_NaN()));
}

// The power of two to take off a state with this largest entry. Its inverse is a normal number: what a denormal state
// keeps, the next layer takes off.
template <class T>
PYRANK_HD inline int removable_exponent(T largest) {
    if (!(largest > 0 && largest < std::numeric_limits<T>::infinity())) return 0;
    constexpr int lowest = std::numeric_limits<T>::min_exponent;
    const int power = __builtin_ilogb(double(largest));
    return power < lowest ? lowest : power;
}

}  // namespace pyrank
