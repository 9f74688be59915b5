// The matrix instruction of a warp, from its published layout (PTX ISA, mma.m16n8k8 with .tf32).
#pragma once
#include <bit>
#include <cmath>

#include "machine.h"

namespace pyrank::emulator {

// The sign, the exponent and ten digits are all that the unit reads.
inline double leading_bits(float x) { return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0xffffe000u); }

// Eight products and a sum are exact in double; the result is cut off.
inline float truncated(double x) {
    const float nearest = float(x);
    return std::isfinite(nearest) && std::fabs(double(nearest)) > std::fabs(x) ? std::nextafter(nearest, 0.0f)
                                                                               : nearest;
}

// A lane gives a(g, t), a(g + 8, t), a(g, t + 4), a(g + 8, t + 4), b(t, g), b(t + 4, g), where g = lane / 4, t = lane
// % 4.
inline void multiply_tile(float (&upper)[2], float (&lower)[2], const Machine::Given& given, int lane) {
    const auto a = [&](int i, int k) { return leading_bits(given(i % 8 * 4 + k % 4)[size_t(k / 4 * 2 + i / 8)]); };
    const auto b = [&](int k, int j) { return leading_bits(given(j * 4 + k % 4)[size_t(4 + k / 4)]); };
    for (int c = 0; c < 2; ++c)
        for (int half = 0; half < 2; ++half) {
            float& sum = half ? lower[c] : upper[c];
            double total = sum;
            for (int k = 0; k < 8; ++k) total += a(lane / 4 + 8 * half, k) * b(k, lane % 4 * 2 + c);
            sum = truncated(total);
        }
}

}  // namespace pyrank::emulator
