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
#include "host_device.h"

namespace pyrank {

constexpr double rotation_cosine = 0.8, rotation_sine = 0.6;
constexpr double tie_width = 1e-9;  // relative distance below which an eigenvalue is called equal to tau

// An eigenvalue further than this from tau is counted on the right side: one part in 1000 of the largest eigenvalue
// (of the bound ||M||_F^2 / Tr M <= lambda_max), but never more than two per cent of tau.
PYRANK_HD inline double count_tolerance(double tau, double trace, double squared_norm) {
    const double largest = squared_norm > trace ? squared_norm / trace : 1;
    return 1e-3 * largest < 0.02 * tau ? 1e-3 * largest : 0.02 * tau;
}

template <class T>
constexpr double unit_roundoff = 0;
template <>
constexpr double unit_roundoff<float> = 0x1p-24;
template <>
constexpr double unit_roundoff<double> = 0x1p-53;

// False for NaN.
template <class T>
PYRANK_HD inline bool count_is_certain(double S, double tolerance) {
    return 0.2 * unit_roundoff<T> * S <= tolerance;
}

}  // namespace pyrank
