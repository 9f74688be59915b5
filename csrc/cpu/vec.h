// Vectors of one register, for every instruction set: the only file with intrinsics.
// Everything lives in a namespace named after the instruction set, so that no two translation units share a symbol.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../core/ieee.h"

#define PYRANK_INLINE inline __attribute__((always_inline))

namespace pyrank::PYRANK_ISA {

#if defined(__AVX512F__)
constexpr int register_bytes = 64, registers = 32;
#elif defined(__AVX2__)
constexpr int register_bytes = 32, registers = 16;
#elif defined(__aarch64__)
constexpr int register_bytes = 16, registers = 32;
#else
constexpr int register_bytes = 16, registers = 16;
#endif

template <class T>
struct Bits : Ieee<T> {
    typedef T Raw __attribute__((vector_size(register_bytes)));
    typedef typename Ieee<T>::Int Mask __attribute__((vector_size(register_bytes)));
};

template <class T_>
struct Vec {
    using T = T_;
    using Raw = typename Bits<T>::Raw;
    using Mask = typename Bits<T>::Mask;
    static constexpr int size = register_bytes / sizeof(T);
    Raw v;

    Vec() = default;
    PYRANK_INLINE Vec(Raw raw) : v(raw) {}
    PYRANK_INLINE Vec(T x) : v(x - Raw{}) {}
    PYRANK_INLINE static Vec load(const T* p) {
        Vec x;
        std::memcpy(&x.v, p, sizeof(Raw));
        return x;
    }
    PYRANK_INLINE void store(T* p) const { std::memcpy(p, &v, sizeof(Raw)); }
    PYRANK_INLINE static Vec from_bits(Mask bits) { return Vec((Raw)bits); }
    PYRANK_INLINE Mask bits() const { return (Mask)v; }
    PYRANK_INLINE Vec element(int64_t lane) const { return Vec(T(v[lane])); }
    PYRANK_INLINE static Vec iota() {
        Vec x;
        for (int lane = 0; lane < size; ++lane) x.v[lane] = T(lane);
        return x;
    }
    friend PYRANK_INLINE Vec operator+(Vec a, Vec b) { return a.v + b.v; }
    friend PYRANK_INLINE Vec operator-(Vec a, Vec b) { return a.v - b.v; }
    friend PYRANK_INLINE Vec operator*(Vec a, Vec b) { return a.v * b.v; }
    friend PYRANK_INLINE Vec operator/(Vec a, Vec b) { return a.v / b.v; }
    friend PYRANK_INLINE Vec operator-(Vec a) { return -a.v; }
    friend PYRANK_INLINE Mask operator<(Vec a, Vec b) { return (Mask)(a.v < b.v); }
    friend PYRANK_INLINE Mask operator>(Vec a, Vec b) { return (Mask)(a.v > b.v); }
    friend PYRANK_INLINE Mask operator<=(Vec a, Vec b) { return (Mask)(a.v <= b.v); }
    friend PYRANK_INLINE Mask operator==(Vec a, Vec b) { return (Mask)(a.v == b.v); }
};

template <class T>
PYRANK_INLINE Vec<T> select(typename Vec<T>::Mask m, Vec<T> a, Vec<T> b) {
    return m ? a.v : b.v;
}
template <class T>
PYRANK_INLINE Vec<T> abs(Vec<T> a) {
    return Vec<T>::from_bits(a.bits() & ~Bits<T>::sign);
}

template <class T>
PYRANK_INLINE Vec<T> larger(Vec<T> a, Vec<T> b) {
    return select(a > b, a, b);
}

// A product and sum, rounded once where the hardware can, and the same for a vector as for a number.
PYRANK_INLINE float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
PYRANK_INLINE double fma(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}

#if defined(__AVX512F__)
PYRANK_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
    return Vec<float>(_mm512_fmadd_ps(a.v, b.v, c.v));
}
PYRANK_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
    return Vec<double>(_mm512_fmadd_pd(a.v, b.v, c.v));
}
PYRANK_INLINE Vec<float> sqrt(Vec<float> a) { return Vec<float>(_mm512_sqrt_ps(a.v)); }
PYRANK_INLINE Vec<double> sqrt(Vec<double> a) { return Vec<double>(_mm512_sqrt_pd(a.v)); }
#elif defined(__AVX2__)
PYRANK_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
    return Vec<float>(_mm256_fmadd_ps(a.v, b.v, c.v));
}
PYRANK_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
    return Vec<double>(_mm256_fmadd_pd(a.v, b.v, c.v));
}
PYRANK_INLINE Vec<float> sqrt(Vec<float> a) { return Vec<float>(_mm256_sqrt_ps(a.v)); }
PYRANK_INLINE Vec<double> sqrt(Vec<double> a) { return Vec<double>(_mm256_sqrt_pd(a.v)); }
#else
template <class T>
PYRANK_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
    for (int lane = 0; lane < Vec<T>::size; ++lane) c.v[lane] = fma(a.v[lane], b.v[lane], c.v[lane]);
    return c;
}
template <class T>
PYRANK_INLINE Vec<T> sqrt(Vec<T> a) {
    for (int lane = 0; lane < Vec<T>::size; ++lane) a.v[lane] = std::sqrt(a.v[lane]);
    return a;
}
#endif

template <class M>
PYRANK_INLINE bool any(M m) {
#if defined(__AVX512F__)
    return _mm512_test_epi64_mask((__m512i)m, (__m512i)m) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)m, (__m256i)m);
#else
    bool found = false;
    for (int lane = 0; lane < int(sizeof(M) / sizeof(m[0])); ++lane) found |= m[lane] != 0;
    return found;
#endif
}

// A single number with the face of a vector, for what is done entry by entry.
template <class T_>
struct One {
    using T = T_;
    static constexpr int size = 1;
    T v;

    One() = default;
    PYRANK_INLINE One(T x) : v(x) {}
    PYRANK_INLINE explicit One(Vec<T> x) : v(x.v[0]) {}
    PYRANK_INLINE operator Vec<T>() const { return Vec<T>(v); }
    PYRANK_INLINE static One load(const T* p) { return *p; }
    PYRANK_INLINE void store(T* p) const { *p = v; }
    friend PYRANK_INLINE One operator+(One a, One b) { return a.v + b.v; }
    friend PYRANK_INLINE One operator-(One a, One b) { return a.v - b.v; }
    friend PYRANK_INLINE One operator*(One a, One b) { return a.v * b.v; }
    friend PYRANK_INLINE One operator/(One a, One b) { return a.v / b.v; }
    friend PYRANK_INLINE bool operator<(One a, One b) { return a.v < b.v; }
    friend PYRANK_INLINE bool operator>(One a, One b) { return a.v > b.v; }
    friend PYRANK_INLINE bool operator<=(One a, One b) { return a.v <= b.v; }
    friend PYRANK_INLINE bool operator==(One a, One b) { return a.v == b.v; }
    friend PYRANK_INLINE One select(bool m, One a, One b) { return m ? a : b; }
    friend PYRANK_INLINE One fma(One a, One b, One c) { return PYRANK_ISA::fma(a.v, b.v, c.v); }
    friend PYRANK_INLINE One abs(One a) { return a.v < 0 ? -a.v : a.v; }
    friend PYRANK_INLINE One larger(One a, One b) { return a.v > b.v ? a : b; }
};
PYRANK_INLINE bool any(bool m) { return m; }

// x = m 2^e with m in [sqrt(1/2), sqrt(2)), for positive normal x; returns e.
template <class T>
PYRANK_INLINE Vec<T> split_exponent(Vec<T> x, Vec<T>& m) {
    const auto e = (x.bits() - Bits<T>::root_half) >> Bits<T>::mantissa;
    m = Vec<T>::from_bits(x.bits() - (e << Bits<T>::mantissa));
    return Vec<T>(__builtin_convertvector(e, typename Vec<T>::Raw));
}

// The nearest integer as a number, and its low bits as integers.
template <class T>
PYRANK_INLINE Vec<T> round_to_integer(Vec<T> x, typename Vec<T>::Mask& bits) {
    const Vec<T> shifted = x + Vec<T>(Bits<T>::round);
    bits = shifted.bits();
    return shifted - Vec<T>(Bits<T>::round);
}

// 2^n from the low bits of the integer n.
template <class T>
PYRANK_INLINE Vec<T> power_of_two(typename Vec<T>::Mask n, Vec<T> /* which type */) {
    return Vec<T>::from_bits((n << Bits<T>::mantissa) + Bits<T>::one);
}

// One 32-bit word for each lane of Vec<T>, in the low halves of 64-bit cells (the high halves are junk), because a
// 32 x 32 -> 64 bit product is one instruction there. For float, half h holds the lanes 2 c + h.
template <class T_>
struct Words {
    using T = T_;
    static constexpr int halves = 8 / sizeof(T);
    typedef uint64_t Cells __attribute__((vector_size(register_bytes)));
    Cells cells[halves];

    Words() = default;
    PYRANK_INLINE Words(uint32_t word) {
        for (int h = 0; h < halves; ++h) cells[h] = uint64_t(word) - Cells{};
    }
    PYRANK_INLINE static Words counting_from(uint32_t first) {
        Words x;
        for (int h = 0; h < halves; ++h)
            for (int c = 0; c < int(register_bytes / 8); ++c) x.cells[h][c] = uint32_t(first + halves * c + h);
        return x;
    }
    PYRANK_INLINE static Cells product(Cells a, uint32_t m) {
#if defined(__AVX512F__)
        return (Cells)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(m));
#elif defined(__AVX2__)
        return (Cells)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#elif defined(__x86_64__)
        return (Cells)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(m));
#else
        return (a & 0xffffffffu) * m;
#endif
    }
    PYRANK_INLINE static void multiply(const Words& a, uint32_t m, Words& high, Words& low) {
        for (int h = 0; h < halves; ++h) {
            low.cells[h] = product(a.cells[h], m);
            high.cells[h] = low.cells[h] >> 32;
        }
    }
    friend PYRANK_INLINE Words operator^(Words a, const Words& b) {
        for (int h = 0; h < halves; ++h) a.cells[h] ^= b.cells[h];
        return a;
    }
    friend PYRANK_INLINE Words operator^(Words a, uint64_t b) {
        for (int h = 0; h < halves; ++h) a.cells[h] ^= b;
        return a;
    }
};

// The words again, each in its lane: the form in which they are kept and become numbers.
template <class T_>
struct PackedWords {
    using T = T_;
    typedef std::make_unsigned_t<typename Ieee<T>::Int> Lane;
    typedef Lane Raw __attribute__((vector_size(register_bytes)));
    Raw v;

    PYRANK_INLINE static PackedWords load(const T* p) {
        PackedWords x;
        std::memcpy(&x.v, p, sizeof(Raw));
        return x;
    }
    PYRANK_INLINE void store(T* p) const { std::memcpy(p, &v, sizeof(Raw)); }
};

PYRANK_INLINE PackedWords<float> packed(const Words<float>& w) {
    using Raw = PackedWords<float>::Raw;
#if defined(__AVX512F__)
    constexpr __mmask16 odd = 0xAAAA;
    return {(Raw)_mm512_mask_shuffle_epi32((__m512i)w.cells[0], odd, (__m512i)w.cells[1], _MM_PERM_CCAA)};
#else
    return {(Raw)((w.cells[0] & 0xffffffffu) | (w.cells[1] << 32))};
#endif
}
PYRANK_INLINE PackedWords<double> packed(const Words<double>& w) {
    return {(PackedWords<double>::Raw)(w.cells[0] & 0xffffffffu)};
}

// The words as numbers, each rounded once to T.
PYRANK_INLINE Vec<float> to_number(PackedWords<float> w) {
    return Vec<float>(__builtin_convertvector(w.v, Vec<float>::Raw));
}
PYRANK_INLINE Vec<double> to_number(PackedWords<double> w) {
    const auto bits = w.v | 0x4330000000000000u;  // 2^52 + word
    return Vec<double>((Vec<double>::Raw)bits) - Vec<double>(0x1p52);
}

// +1 where the bit is set, -1 where it is not.
template <class T>
PYRANK_INLINE Vec<T> sign_of_bit(PackedWords<T> w, int bit) {
    constexpr int top = 8 * sizeof(T) - 1;
    using Lane = typename PackedWords<T>::Lane;
    return Vec<T>::from_bits((typename Vec<T>::Mask)((~w.v << (top - bit)) & (Lane(1) << top)) | Bits<T>::one);
}

}  // namespace pyrank::PYRANK_ISA
