// Gaussian weights by the special functions of the hardware: for a weight of Law::gaussian whose pair has the radius R,
// one that is off by at most 2^-20 (1.6 R + 1), which is 1.2e-5 for the largest.
//
// The logarithm has an absolute error, which near u = 1 would be all there is of the radius. A series takes its place
// there, selected and not branched to. docs/stream.md has the sum of the errors.
#pragma once
#include "../core/weights.h"
#include "scalar.h"

namespace pyrank::cuda {

struct QuickNumber {
    using T = float;
    float v;
};

// As the one of core/weights.h, with half a turn taken off the angle: both functions change their sign.
PYRANK_DEVICE inline void gaussian_pair(const Word& first, const Word& second, QuickNumber& a, QuickNumber& b) {
    const float u = unit_interval<Scalar<float>>(first).v, rest = 1.0f - u;  // exact from 1/2 on
    const float far = -1.38629436112f * estimated_log2(u);
    const float near = (rest + rest) * fma(rest, fma(rest, fma(rest, 0.25f, 0.333333333333f), 0.5f), 1.0f);
    const float radius = estimated_root(rest < 0x1p-6f ? near : far);
    const float angle = 6.28318530718f * (unit_interval<Scalar<float>>(second).v - 0.5f);
    a.v = -radius * estimated_cosine(angle);
    b.v = -radius * estimated_sine(angle);
}

}  // namespace pyrank::cuda
