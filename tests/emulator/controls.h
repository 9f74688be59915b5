// Kernels with and without a planted fault, to show that the emulator finds each.
#pragma once
#include "device.h"

#include "../../csrc/cuda/runtime.h"

namespace pyrank::emulator {

using cuda::Array, cuda::barrier, cuda::block_index, cuda::block_size, cuda::thread_index;

constexpr int control_threads = 64, control_blocks = 2;

inline Array<float> shared_numbers() {
    return Array<float>(reinterpret_cast<float*>(cuda::shared_memory()), control_threads);
}

// Each thread reads what its neighbour wrote.
inline void missing_barrier(bool planted, float* out) {
    const Array<float> numbers = shared_numbers();
    numbers[thread_index()] = 1.0f;
    if (!planted) barrier();
    const float neighbour = numbers[(thread_index() + 1) % block_size()];
    Array<float>(out, control_blocks * control_threads)[block_index() * block_size() + thread_index()] = neighbour;
}

// Each thread writes what its neighbour has read.
inline void early_write(bool planted, float*) {
    const Array<float> numbers = shared_numbers();
    numbers[thread_index()] = 1.0f;
    barrier();
    const float neighbour = numbers[(thread_index() + 1) % block_size()];
    if (!planted) barrier();
    numbers[thread_index()] = neighbour;
}

// Several threads write one sum.
inline void race(bool planted, float*) {
    const Array<float> numbers = shared_numbers();
    if (planted || thread_index() == 0) numbers[0] = 1.0f;
}

// Half of the threads leave before the barrier.
inline void divergent_exit(bool planted, float*) {
    if (planted && thread_index() % 2) return;
    barrier();
}

// Half of the threads wait at another barrier.
inline void divergent_barriers(bool planted, float*) {
    if (planted && thread_index() % 2)
        barrier();
    else
        barrier();
}

// Half of a warp does not give what the other half waits for.
inline void divergent_warp(bool planted, float*) {
    if (planted && thread_index() % 2) return;
    cuda::from_neighbour(1.0f, 1);
}

inline void out_of_bounds(bool planted, float*) { shared_numbers()[thread_index() + planted] = 1.0f; }

inline void never_written(bool planted, float* out) {
    const Array<float> numbers = shared_numbers();
    if (!planted || thread_index() != 5) numbers[thread_index()] = 1.0f;
    const float own = numbers[thread_index()];
    Array<float>(out, control_blocks * control_threads)[block_index() * block_size() + thread_index()] = own;
}

// Two blocks write the same numbers.
inline void race_of_blocks(bool planted, float* out) {
    const int block = planted ? 0 : block_index();
    Array<float>(out, control_blocks * control_threads)[block * block_size() + thread_index()] = 1.0f;
}

inline void run_control(const std::string& name, bool planted) {
    using Kernel = void (*)(bool, float*);
    const std::pair<const char*, Kernel> kernels[] = {
        {"missing_barrier", missing_barrier},
        {"early_write", early_write},
        {"race", race},
        {"divergent_exit", divergent_exit},
        {"divergent_barriers", divergent_barriers},
        {"divergent_warp", divergent_warp},
        {"out_of_bounds", out_of_bounds},
        {"never_written", never_written},
        {"race_of_blocks", race_of_blocks},
    };
    cuda::Buffer out(control_blocks * control_threads * sizeof(float));
    for (const auto& [known, kernel] : kernels)
        if (known == name)
            return cuda::launch(kernel, control_blocks, control_threads, control_threads * sizeof(float), nullptr,
                                planted, static_cast<float*>(out.data()));
    throw std::invalid_argument("unknown control " + name);
}

}  // namespace pyrank::emulator
