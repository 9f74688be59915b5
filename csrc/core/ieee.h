// The layout of the bits of a number.
#pragma once
#include <cstdint>

namespace pyrank {

template <class T>
struct Ieee;
template <>
struct Ieee<float> {
    using Int = int32_t;
    static constexpr int mantissa = 23;
    static constexpr Int one = 0x3f800000, sign = INT32_MIN, root_half = 0x3f3504f3;
    static constexpr float round = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
};
template <>
struct Ieee<double> {
    using Int = int64_t;
    static constexpr int mantissa = 52;
    static constexpr Int one = 0x3ff0000000000000, sign = INT64_MIN, root_half = 0x3fe6a09e667f3bcd;
    static constexpr double round = 0x1.8p52;
};

}  // namespace pyrank
