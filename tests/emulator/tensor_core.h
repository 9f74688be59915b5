// The matrix instruction of a warp, from its published layout (PTX ISA, mma.m16n8k8 with .tf32).
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>

#include "machine.h"

namespace pyrank::emulator {

// The sign, the exponent and ten digits are all that the unit reads.
inline double leading_bits(float x) { return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0xffffe000u); }

// A sum of products is not normalised on the way: each is cut off two bits beyond the last of the largest, of four
// products and the sum before them, and their sum to single precision (Fasi, Higham, Mikaitis & Pranesh, PeerJ Comput.
// Sci. 7, e330, 2021, for the A100; later units are at least as good).
constexpr int summed_together = 4, bits_below = 23 + 2;

inline double cut_off(double x, int lowest_bit) {
    return std::ldexp(std::trunc(std::ldexp(x, -lowest_bit)), lowest_bit);
}

inline float sum_cut_off(double sum, const double (&products)[summed_together]) {
    double largest = std::fabs(sum), total = sum;
    for (const double product : products) largest = std::max(largest, std::fabs(product)), total += product;
    if (largest == 0 || !std::isfinite(total)) return float(total);
    const int lowest_bit = std::ilogb(largest) - bits_below;
    total = cut_off(sum, lowest_bit);
    for (const double product : products) total += cut_off(product, lowest_bit);
    const float nearest = float(total);
    return std::isfinite(nearest) && std::fabs(double(nearest)) > std::fabs(total) ? std::nextafter(nearest, 0.0f)
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
            for (int k = 0; k < 8; k += summed_together) {
                double products[summed_together];
                for (int q = 0; q < summed_together; ++q)
                    products[q] = a(lane / 4 + 8 * half, k + q) * b(k + q, lane % 4 * 2 + c);
                sum = sum_cut_off(sum, products);
            }
        }
}

}  // namespace pyrank::emulator
