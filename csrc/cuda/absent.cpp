// Takes the place of backend.cu in a build without a CUDA compiler.
#include <stdexcept>

#include "backend.h"

namespace pyrank::cuda {
namespace {

[[noreturn]] void refuse() {
    throw std::runtime_error("this build of pyrank has no CUDA kernels; build it where nvcc is found");
}

}  // namespace

std::vector<Device> devices() { refuse(); }
Kernel kernel_for(const ChainParams&, Precision, const Options&) { refuse(); }
void advance(const Job&, Precision, const Options&) { refuse(); }
void measure(const Job&, Precision, const Options&, double*) { refuse(); }
void weights(const ChainParams&, Precision, const Options&, int64_t, int64_t, void*) { refuse(); }

}  // namespace pyrank::cuda
