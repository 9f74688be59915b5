// Counting eigenvalues above tau by Sylvester's law: the positive pivots of L D L^T = M - tau I, and when to trust
// them.
//
// The count is exact for M + E with |E| <= c u S, S = sum_k |d_k| (1 + sum_i l_ik^2); c = 0.2 covers what was observed
// on 110 000 adversarial matrices (at most 0.18).
//
// Without pivoting S is unbounded, and normalised rows give M a unit diagonal, where tau = 1 makes every first pivot
// rounding noise. Rotating the rows of H in pairs (i, i + n/2) by a fixed angle changes no eigenvalue and removes the
// coincidence for the price of one pass over H.
#pragma once
#include <cstdint>
#include <type_traits>

#include "host_device.h"

namespace pyrank {

constexpr double rotation_cosine = 0.8, rotation_sine = 0.6;
constexpr int shifted_columns = 128;  // of M from which tau is taken together, when those before them are factored
constexpr double tie_width = 1e-9;    // relative distance below which an eigenvalue is called equal to tau

template <class T>
constexpr double unit_roundoff = 0;
template <>
constexpr double unit_roundoff<float> = 0x1p-24;
template <>
constexpr double unit_roundoff<double> = 0x1p-53;

// Sums of products on tensor cores: each product has lost 2^-21 at most where its numbers were split, and the sum is
// truncated every four products, always downwards.
struct TensorSum {};

// When a count of one matrix at one tau may be believed.
struct CountRule {
    double largest;    // lower bound ||M||_F^2 / Tr M of the largest eigenvalue, or 1
    double tolerance;  // an eigenvalue further than this from tau is counted on the right side
    double inner;      // how many products an entry of M sums

    // purity = ||M||_F^2 / (Tr M)^2
    PYRANK_HD CountRule(double tau, double trace, double purity, int64_t inner)
        : largest(trace * purity > 1 ? trace * purity : 1),
          tolerance(1e-3 * largest < 0.02 * tau ? 1e-3 * largest : 0.02 * tau), inner(double(inner)) {}

    // Whether the rounding of M, summed in Sum, and that of its factorisation in Factor stay within the tolerance;
    // false for NaN.
    template <class Sum, class Factor>
    PYRANK_HD bool accepts(double S) const {
        return unit_roundoff<Factor> * 0.2 * S + rounding_of<Sum>() * largest <= tolerance;
    }

private:
    // Of an entry of M, as a share of the largest: errors to the nearest spread like the root of their number.
    template <class Sum>
    PYRANK_HD double rounding_of() const {
        if constexpr (std::is_same_v<Sum, TensorSum>) return 0x1p-21 + inner / 4 * 0x1p-23;
        return unit_roundoff<Sum> * 2 * __builtin_sqrt(inner);
    }
};

}  // namespace pyrank
