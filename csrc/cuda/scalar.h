// A single number with the face of a vector, over which the mathematics of csrc/core is written. Each operation is
// rounded once, as on a CPU: products and sums are fused only where they are written as `fma`.
#pragma once
#include <bit>
#include <cmath>

#include "../core/ieee.h"
#include "../core/philox.h"

namespace pyrank::cuda {

PYRANK_HD inline float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
PYRANK_HD inline double fma(double a, double b, double c) { return ::fma(a, b, c); }
PYRANK_HD inline float abs(float a) { return ::fabsf(a); }
PYRANK_HD inline double abs(double a) { return ::fabs(a); }
PYRANK_HD inline float sqrt(float a) { return ::sqrtf(a); }
PYRANK_HD inline double sqrt(double a) { return ::sqrt(a); }

// The root of any number.
struct AnyRoot {
    template <class T>
    PYRANK_HD static T of(T a) {
        return cuda::sqrt(a);
    }
};

template <class T_, class Root = AnyRoot>
struct Scalar {
    using T = T_;
    using Mask = typename Ieee<T>::Int;  // the bits of a number
    T v;

    Scalar() = default;
    PYRANK_HD Scalar(T x) : v(x) {}
    friend PYRANK_HD inline Scalar operator+(Scalar a, Scalar b) { return a.v + b.v; }
    friend PYRANK_HD inline Scalar operator-(Scalar a, Scalar b) { return a.v - b.v; }
    friend PYRANK_HD inline Scalar operator*(Scalar a, Scalar b) { return a.v * b.v; }
    friend PYRANK_HD inline Scalar operator/(Scalar a, Scalar b) { return a.v / b.v; }
    friend PYRANK_HD inline Scalar operator-(Scalar a) { return -a.v; }
    friend PYRANK_HD inline bool operator<(Scalar a, Scalar b) { return a.v < b.v; }
    friend PYRANK_HD inline bool operator>(Scalar a, Scalar b) { return a.v > b.v; }
    friend PYRANK_HD inline bool operator==(Scalar a, Scalar b) { return a.v == b.v; }
    friend PYRANK_HD inline Scalar select(bool m, Scalar a, Scalar b) { return m ? a : b; }
    friend PYRANK_HD inline Scalar larger(Scalar a, Scalar b) { return a.v > b.v ? a : b; }
    friend PYRANK_HD inline Scalar abs(Scalar a) { return cuda::abs(a.v); }
    friend PYRANK_HD inline Scalar sqrt(Scalar a) { return Root::of(a.v); }
    friend PYRANK_HD inline Scalar fma(Scalar a, Scalar b, Scalar c) { return cuda::fma(a.v, b.v, c.v); }

    // x = m 2^e with m in [sqrt(1/2), sqrt(2)), for positive normal x; returns e.
    friend PYRANK_HD inline Scalar split_exponent(Scalar x, Scalar& m) {
        const Mask bits = std::bit_cast<Mask>(x.v), e = (bits - Ieee<T>::root_half) >> Ieee<T>::mantissa;
        m = std::bit_cast<T>(bits - (e << Ieee<T>::mantissa));
        return T(e);
    }
    // The nearest integer as a number, and its low bits as an integer.
    friend PYRANK_HD inline Scalar round_to_integer(Scalar x, Mask& bits) {
        const T shifted = x.v + Ieee<T>::round;
        bits = std::bit_cast<Mask>(shifted);
        return shifted - Ieee<T>::round;
    }
    // 2^n from the low bits of the integer n.
    friend PYRANK_HD inline Scalar power_of_two(Mask n, Scalar /* which type */) {
        return std::bit_cast<T>((n << Ieee<T>::mantissa) + Ieee<T>::one);
    }
};

// +1 where the bit is set, -1 where it is not.
template <class T>
PYRANK_HD inline T sign_of_bit(Word word, int bit) {
    return word.value >> bit & 1 ? T(1) : T(-1);
}

}  // namespace pyrank::cuda
