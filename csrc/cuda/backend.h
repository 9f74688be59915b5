// The CUDA backend as the bindings see it.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../core/params.h"

namespace pyrank::cuda {

// On the tensor cores gaussian weights are the CPU's, or quick ones (quick_normals.h).
enum class Kernel : int32_t { automatic, plain, tensor, quick };

struct Options {
    std::vector<int> devices;           // that share the chains
    std::vector<uintptr_t> queues;      // a CUDA stream of each device; 0 is its default one
    Kernel kernel = Kernel::automatic;  // the quickest that can be used, or as asked for
};

// Name and compute capability, 90 for 9.0.
using Device = std::pair<std::string, int>;

// Those that CUDA sees; throws std::runtime_error where there is no driver, or one that is too old.
std::vector<Device> devices();

// The kernel that advances a chain; throws std::invalid_argument if it cannot be the one asked for.
Kernel kernel_for(const ChainParams& chain, Precision precision, const Options& options);

// The state of a job may lie in host memory or on a device; everything else is the host's.
void advance(const Job& job, Precision precision, const Options& options);
void measure(const Job& job, Precision precision, const Options& options, double* values);
void weights(const ChainParams& chain, Precision precision, const Options& options, int64_t layer, int64_t index,
             void* out);

}  // namespace pyrank::cuda
