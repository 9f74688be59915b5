// Functions of the core run on host and device alike. On the host they are always inlined: they are compiled once for
// each instruction set, and a copy that was not inlined could be merged by the linker with that of another set.
#pragma once

#ifdef __CUDACC__
#define PYRANK_HD __host__ __device__
#define PYRANK_UNROLL _Pragma("unroll")
#else
#define PYRANK_HD __attribute__((always_inline))
#define PYRANK_UNROLL _Pragma("GCC unroll 10")
#endif
