// The CUDA backend over the emulator, with the bindings of the package. One translation unit, compiled by the tests.
#include "controls.h"

#include "../../csrc/cuda/backend.cu"

#include "../../csrc/bindings/backend.h"

PYBIND11_MODULE(emulated, m) {
    namespace py = pybind11;
    using namespace pyrank;
    bindings::define_chain(m);
    bindings::define_cuda(m);
    m.attr("cuda_architectures") = "75-real,80-real,90";
    m.def(
        "configure",
        [](uint64_t seed, int64_t shared_limit, int devices, int resident_blocks, int compute_capability,
           int64_t free_memory, int driver) {
            emulator::settings = {seed,  shared_limit, free_memory, devices, resident_blocks, compute_capability,
                                  driver};
            emulator::fault = {};
        },
        py::kw_only(), py::arg("seed") = 0, py::arg("shared_limit") = 48 << 10, py::arg("devices") = 1,
        py::arg("resident_blocks") = 2, py::arg("compute_capability") = 90, py::arg("free_memory") = int64_t(1) << 40,
        py::arg("driver") = CUDART_VERSION);
    m.def(
        "fail",
        [](const std::string& call, int error, int spared, bool lasting) {
            emulator::fault = {call, cudaError_t(error), spared, lasting};
        },
        py::arg("call"), py::arg("error"), py::arg("spared") = 0, py::arg("lasting") = false);
    m.def("shared_bytes_of_last_launch", [] { return emulator::shared_bytes_of_last_launch.load(); });
    m.def("run_control", &emulator::run_control, py::arg("name"), py::arg("planted"));
}
