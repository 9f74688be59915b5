// Functions of the core run on host and device alike. On the host they are always inlined: they are compiled once for
// each instruction set, and a copy that was not inlined could be merged by the linker with that of another set.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define PYRANK_HD __host__ __device__
#define PYRANK_UNROLL _Pragma("unroll")
#define PYRANK_ROLLED _Pragma("unroll 1")
#else
#define PYRANK_HD __attribute__((always_inline))
#define PYRANK_UNROLL _Pragma("GCC unroll 10")
#define PYRANK_ROLLED
#endif

namespace pyrank {

// Digits of a positive number in base two.
PYRANK_HD inline int bit_length(uint64_t x) {
#ifdef __CUDA_ARCH__
    return 64 - __clzll(int64_t(x));
#else
    return 64 - __builtin_clzll(x);
#endif
}

// All 64 bits of a product; of 64-bit factors the compiler would add products of upper halves that it knows to be zero.
PYRANK_HD inline uint64_t wide_product(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
    uint64_t product;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
    return product;
#else
    return uint64_t(a) * b;
#endif
}

// What vectors do for each of their numbers.
PYRANK_HD inline double select(bool chosen, double a, double b) { return chosen ? a : b; }

}  // namespace pyrank
