// Functions of the core run on host and device alike. On the host they are always inlined: they are compiled once for
// each instruction set, and a copy that was not inlined could be merged by the linker with that of another set.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define PYRANK_HD __host__ __device__
#define PYRANK_UNROLL _Pragma("unroll")
#else
#define PYRANK_HD __attribute__((always_inline))
#define PYRANK_UNROLL _Pragma("GCC unroll 10")
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

// What vectors do for each of their numbers.
PYRANK_HD inline double select(bool chosen, double a, double b) { return chosen ? a : b; }

}  // namespace pyrank
