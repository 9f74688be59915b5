// A few vectors that go through the same operations together, so that one is computed while another is waited for. A
// processor looks only so many instructions ahead, and does not find them by itself.
#pragma once
#include "vec.h"

namespace pyrank::PYRANK_ISA {

template <class U, int n>
struct Pack {
    using T = typename U::T;
    U part[n];

    Pack() = default;
    PYRANK_INLINE Pack(T x) {
        for (int i = 0; i < n; ++i) part[i] = U(x);
    }
    template <class F>
    PYRANK_INLINE static Pack each(F f) {
        Pack result;
        for (int i = 0; i < n; ++i) result.part[i] = f(i);
        return result;
    }
    friend PYRANK_INLINE Pack operator+(const Pack& a, const Pack& b) {
        return each([&](int i) { return a.part[i] + b.part[i]; });
    }
    friend PYRANK_INLINE Pack operator-(const Pack& a, const Pack& b) {
        return each([&](int i) { return a.part[i] - b.part[i]; });
    }
    friend PYRANK_INLINE Pack operator*(const Pack& a, const Pack& b) {
        return each([&](int i) { return a.part[i] * b.part[i]; });
    }
    friend PYRANK_INLINE Pack operator/(const Pack& a, const Pack& b) {
        return each([&](int i) { return a.part[i] / b.part[i]; });
    }
    friend PYRANK_INLINE Pack fma(const Pack& a, const Pack& b, const Pack& c) {
        return each([&](int i) { return PYRANK_ISA::fma(a.part[i], b.part[i], c.part[i]); });
    }
    friend PYRANK_INLINE Pack sqrt(const Pack& a) {
        return each([&](int i) { return PYRANK_ISA::sqrt(a.part[i]); });
    }
    friend PYRANK_INLINE Pack split_exponent(const Pack& x, Pack& m) {
        return each([&](int i) { return PYRANK_ISA::split_exponent(x.part[i], m.part[i]); });
    }

    // of words
    PYRANK_INLINE static void multiply(const Pack& a, uint32_t m, Pack& high, Pack& low) {
        for (int i = 0; i < n; ++i) U::multiply(a.part[i], m, high.part[i], low.part[i]);
    }
    friend PYRANK_INLINE Pack operator^(const Pack& a, const Pack& b) {
        return each([&](int i) { return a.part[i] ^ b.part[i]; });
    }
    friend PYRANK_INLINE Pack operator^(const Pack& a, uint64_t b) {
        return each([&](int i) { return a.part[i] ^ b; });
    }
    friend PYRANK_INLINE auto to_number(const Pack& a) {
        return Pack<Vec<T>, n>::each([&](int i) { return PYRANK_ISA::to_number(a.part[i]); });
    }
};

}  // namespace pyrank::PYRANK_ISA
