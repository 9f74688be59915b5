// Faults that the sanitizers must find: what is planted here stands where the kernels stand, in a compiled module that
// works on arrays of numpy, and in threads of its own.
#include <thread>

#include "../../csrc/bindings/tensor.h"

#define PYRANK_ISA controls
#include "../../csrc/cpu/layout.h"

namespace {

using pyrank::bindings::Tensor;
namespace py = pybind11;

double past_an_array(const py::object& object) {
    const Tensor tensor(object, "array");
    const int64_t size = tensor.size(0);
    return tensor.data<double>({size})[size];
}

double past_a_part_of_the_workspace(int64_t size) {
    alignas(128) static char block[1 << 16];
    pyrank::controls::Workspace workspace(block);
    const double* part = workspace.take<double>(size);
    workspace.take<double>(size);
    return part[size];
}

int64_t race() {
    volatile int64_t shared = 0;
    const auto count = [&shared] {
        for (int k = 0; k < 1000; ++k) shared = shared + 1;
    };
    std::thread other(count);
    count();
    other.join();
    return shared;
}

int32_t overflow(int32_t number) { return number + 1; }

}  // namespace

PYBIND11_MODULE(controls, m) {
    m.def("past_an_array", &past_an_array);
    m.def("past_a_part_of_the_workspace", &past_a_part_of_the_workspace);
    m.def("race", &race);
    m.def("overflow", &overflow);
}
