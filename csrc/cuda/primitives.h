// What the kernels ask of the hardware, and nothing else of CUDA. nvcc compiles what stands here; the emulator of the
// tests defines PYRANK_EMULATOR and the same names: a fibre for each thread, and every access to shared data checked.
#pragma once
#include <cstdint>

#include "../core/host_device.h"

#ifndef PYRANK_EMULATOR

#define PYRANK_DEVICE __device__
#define PYRANK_CALLED __device__ __noinline__      // kept apart, for the sake of the caller's registers
#define PYRANK_INLINED __device__ __forceinline__  // even if it is large: what it is given stays in registers
#define PYRANK_PARAMETER const __grid_constant__   // of a kernel, shared by all threads instead of copied for each
#define PYRANK_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)

namespace pyrank::cuda {

PYRANK_DEVICE inline int thread_index() { return int(threadIdx.x); }
PYRANK_DEVICE inline int block_index() { return int(blockIdx.x); }
PYRANK_DEVICE inline int grid_size() { return int(gridDim.x); }

// No thread of a block goes on before all are here; then each sees what the others wrote.
PYRANK_DEVICE inline void barrier() { __syncthreads(); }

// Whether the compiler can do with half of the registers: for older devices it would spill some of them to memory.
#if __CUDA_ARCH__ >= 900
constexpr bool spares_registers = true;
#else
constexpr bool spares_registers = false;
#endif

// Whether there are tensor cores that take tf32. For older devices, which the host does not ask for them, kernels that
// use them are compiled to nothing.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
constexpr bool has_tensor_cores = true;
#else
constexpr bool has_tensor_cores = false;
#endif

// Threads of a warp go through all that concerns the warp together.
constexpr int warp_size = 32;

// Asked anew every time: the compiler would keep all that follows from them in registers, from the first layer to the
// last.
PYRANK_DEVICE inline int block_size() {
    int threads;
    asm volatile("mov.u32 %0, %%ntid.x;" : "=r"(threads));
    return threads;
}
PYRANK_DEVICE inline int lane() {
    int own;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(own));
    return own;
}
PYRANK_DEVICE inline int warp() {
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return thread / warp_size;
}

// The same number, and to the compiler another one: not kept with others that are made of it, and not made again.
PYRANK_DEVICE inline uint32_t anew(uint32_t x) {
    asm volatile("" : "+r"(x));
    return x;
}
PYRANK_DEVICE inline float anew(float x) {
    asm volatile("" : "+f"(x));
    return x;
}
// The low half of a number, fetched where this stands; parameters of a kernel are fetched again for each use else.
PYRANK_DEVICE inline uint32_t fetched_once(const uint64_t& number) {
    uint32_t low;
    asm volatile("ld.u32 %0, [%1];" : "=r"(low) : "l"(&number));
    return low;
}

// From here on an object is in the memory of its thread, not in registers.
template <class T>
PYRANK_DEVICE inline void keep_in_memory(T& object) {
    asm volatile("" ::"l"(&object) : "memory");
}

// What the lane has whose number differs in these bits, what lane `from` has, or the first of four neighbours.
PYRANK_DEVICE inline float from_neighbour(float x, int bits) { return __shfl_xor_sync(~0u, x, bits); }
template <class T>
PYRANK_DEVICE inline T from_lane(T x, int from) {
    return __shfl_sync(~0u, x, from);
}
PYRANK_DEVICE inline float from_first_of_four(float x) { return __shfl_sync(~0u, x, 0, 4); }

// A 16 x 8 tile of sums, on the tensor cores: c += a b with a 16 x 8, b 8 x 8. With g = lane / 4 and t = lane % 4, a
// lane holds a(g, t), a(g + 8, t), a(g, t + 4), a(g + 8, t + 4); b(t, g), b(t + 4, g); and in `upper` c(g, 2 t), c(g, 2
// t + 1), in `lower` the same of row g + 8. Of a and b eleven leading bits are seen; sums are truncated.
PYRANK_DEVICE inline void multiply_tile(float (&upper)[2], float (&lower)[2], const float (&a)[4],
                                        const float (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(upper[0]), "+f"(upper[1]), "+f"(lower[0]), "+f"(lower[1])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#endif
}

// The root of a number that is normal or zero, rounded to the nearest as anywhere. Without denormal numbers no case has
// to be told from another.
PYRANK_DEVICE inline float root_of_normal(float x) {
    float inverse;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(fabsf(x)));
    inverse = fminf(inverse, 0x1p60f);  // of zero
    const float root = x * inverse;
    return fmaf(fmaf(-root, root, x), 0.5f * inverse, root);
}

// 1 / sqrt(x), off by at most 2^-22.9 of itself (PTX ISA, rsqrt.approx).
PYRANK_DEVICE inline float estimated_inverse_root(float x) {
    float inverse;
    asm("rsqrt.approx.f32 %0, %1;" : "=f"(inverse) : "f"(x));
    return inverse;
}

// log2 x, off by at most 2^-22 for x in (1/2, 2), by 2^-22 of itself beyond; the root of x, by 2^-23 of itself; sine
// and cosine of x in [-2 pi, 2 pi], by 2^-20.5 (PTX ISA). Numbers that are not normal count as zero.
PYRANK_DEVICE inline float estimated_log2(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
PYRANK_DEVICE inline float estimated_root(float x) {
    float y;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
PYRANK_DEVICE inline float estimated_sine(float x) {
    float y;
    asm("sin.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
PYRANK_DEVICE inline float estimated_cosine(float x) {
    float y;
    asm("cos.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// A number from 0 to 15 that is to be found again in the machine code, and in the counters of a profiler.
template <int number>
PYRANK_DEVICE inline void leave_mark() {
    asm volatile("pmevent %0;" ::"n"(number));
}

// The memory that a block has for itself, as much as the launch asked for.
PYRANK_DEVICE inline char* shared_memory() {
    extern __shared__ double2 memory[];
    return reinterpret_cast<char*>(memory);
}

// Several threads may count the same events: integers have no order to lose.
PYRANK_DEVICE inline void add_events(int64_t* counter, int64_t events) {
    asm volatile("red.global.add.u64 [%0], %1;" ::"l"(__cvta_generic_to_global(counter)), "l"(events) : "memory");
}

template <class T>
struct Four {
    T value[4];
    PYRANK_DEVICE T operator[](int index) const { return value[index]; }
};

// Numbers that the threads of a block share.
template <class T>
class Array {
public:
    Array() = default;
    PYRANK_HD Array(T* first, int64_t) : first_(first) {}
    PYRANK_DEVICE T& operator[](int index) const { return first_[index]; }
    // Numbers index .. index + 3 at once; `index` is a multiple of four.
    PYRANK_DEVICE Four<float> four(int index) const {
        const float4 x = *reinterpret_cast<const float4*>(first_ + index);
        return {{x.x, x.y, x.z, x.w}};
    }

private:
    T* first_;

    template <class U>
    friend PYRANK_DEVICE bool lies_on_chip(const Array<U>& array);
    template <class U>
    friend PYRANK_DEVICE Array<U> on_chip(const Array<U>& array);
};

// The one object of a type that a block has: in its own memory, where nothing in registers has to lead to it.
template <class T>
PYRANK_DEVICE inline Array<T> of_block() {
    __shared__ double2 memory[(sizeof(T) + sizeof(double2) - 1) / sizeof(double2)];
    return Array<T>(reinterpret_cast<T*>(memory), 1);
}

// Whether numbers lie in the memory that a block has for itself; and the same numbers, known to lie there.
template <class T>
PYRANK_DEVICE inline bool lies_on_chip(const Array<T>& array) {
    return __isShared(array.first_);
}
template <class T>
PYRANK_DEVICE inline Array<T> on_chip(const Array<T>& array) {
    char* const begin = shared_memory();
    const uint32_t offset = anew(uint32_t(reinterpret_cast<char*>(array.first_) - begin));
    return Array<T>(reinterpret_cast<T*>(begin + offset), 0);
}

}  // namespace pyrank::cuda

#endif
