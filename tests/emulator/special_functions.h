// The special functions of a GPU, as wrong as their documentation lets them be: each result is off by a share of the
// stated error that looks random, and is always the same for the same argument.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace pyrank::emulator {

// x, off by at most `error`.
inline float perturbed(double x, double error, float argument, uint32_t function) {
    uint64_t hash = (uint64_t(std::bit_cast<uint32_t>(argument)) << 3 | function) * 0x9E3779B97F4A7C15u;
    hash = (hash ^ hash >> 31) * 0xBF58476D1CE4E5B9u;
    return float(x + error * (double(hash >> 11) * 0x1p-52 - 1));
}

}  // namespace pyrank::emulator

namespace pyrank::cuda {

inline float estimated_log2(float x) {
    const double exact = std::log2(double(x)), size = x > 0.5f && x < 2.0f ? 1.0 : std::abs(exact);
    return emulator::perturbed(exact, 0x1p-22 * size, x, 0);
}
inline float estimated_root(float x) {
    const double exact = std::sqrt(double(x));
    return emulator::perturbed(exact, 0x1p-23 * exact, x, 1);
}
constexpr double error_of_sine = 0x1.6ap-21;  // 2^-20.5
inline float estimated_sine(float x) { return emulator::perturbed(std::sin(double(x)), error_of_sine, x, 2); }
inline float estimated_cosine(float x) { return emulator::perturbed(std::cos(double(x)), error_of_sine, x, 3); }

}  // namespace pyrank::cuda
