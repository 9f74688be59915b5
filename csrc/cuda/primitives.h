// What the kernels ask of the hardware, and nothing else of CUDA. nvcc compiles what stands here; the emulator of the
// tests defines PYRANK_EMULATOR and the same names: a fibre for each thread, and every access to shared data checked.
#pragma once
#include <cstdint>

#include "../core/host_device.h"

#ifndef PYRANK_EMULATOR

#define PYRANK_DEVICE __device__
#define PYRANK_CALLED __device__ __noinline__     // kept apart, for the sake of the caller's registers
#define PYRANK_PARAMETER const __grid_constant__  // of a kernel, shared by all threads instead of copied for each
#define PYRANK_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)

namespace pyrank::cuda {

PYRANK_DEVICE inline int thread_index() { return int(threadIdx.x); }
PYRANK_DEVICE inline int block_size() { return int(blockDim.x); }
PYRANK_DEVICE inline int block_index() { return int(blockIdx.x); }
PYRANK_DEVICE inline int grid_size() { return int(gridDim.x); }

// No thread of a block goes on before all are here; then each sees what the others wrote.
PYRANK_DEVICE inline void barrier() { __syncthreads(); }

// The memory that a block has for itself, as much as the launch asked for.
PYRANK_DEVICE inline char* shared_memory() {
    extern __shared__ double2 memory[];
    return reinterpret_cast<char*>(memory);
}

// Several threads may count the same events: integers have no order to lose.
PYRANK_DEVICE inline void add_events(int64_t* counter, int64_t events) {
    atomicAdd(reinterpret_cast<unsigned long long*>(counter), static_cast<unsigned long long>(events));
}

// Numbers that the threads of a block share.
template <class T>
class Array {
public:
    Array() = default;
    PYRANK_HD Array(T* first, int64_t) : first_(first) {}
    PYRANK_DEVICE T& operator[](int index) const { return first_[index]; }

private:
    T* first_;
};

}  // namespace pyrank::cuda

#endif
