// The extension module: a list of functions over checked tensors.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "../core/philox.h"
#include "../cpu/backend.h"
#include "../cuda/backend.h"
#include "backend.h"
#include "measurement.h"

namespace pyrank::bindings {

void accumulate(const py::object& moments, const py::object& histogram, const py::object& trace,
                const py::object& rank_index, const py::object& values_object, int64_t sample) {
    const Tensor values(values_object, "values");
    const int64_t layers = values.size(0), measures = values.size(1), chains = values.size(2);
    const Accumulators accumulators{
        {moments, "moments"}, {histogram, "histogram"}, {trace, "trace"}, {rank_index, "rank_index"}};
    const AccumulatorView view = accumulators.view(measures, chains);
    const double* value = values.data<double>({layers, measures, chains});
    for (int64_t layer = 0; layer < layers; ++layer)
        for (int64_t m = 0; m < measures; ++m, value += chains)
            push<double>(view, int32_t(m), 0, chains, value, sample + layer);
}

void call_initial_normals(const cpu::Options& options, uint64_t seed, int64_t layer, const py::object& out_object) {
    const Tensor out(out_object, "out");
    const int64_t chains = out.size(0), rows = out.size(1), columns = out.size(2);
    double* const data = out.data<double>({chains, rows, columns});
    py::gil_scoped_release release;
    cpu::initial_normals(seed, layer, chains, rows, columns, options, data);
}

std::array<uint32_t, 4> philox_words(std::array<uint32_t, 4> counter, uint64_t key) {
    Word x{counter[0]}, y{counter[1]}, z{counter[2]}, w{counter[3]};
    philox(x, y, z, w, RoundKeys(key));
    return {x.value, y.value, z.value, w.value};
}

}  // namespace pyrank::bindings

PYBIND11_MODULE(_native, m) {
    namespace py = pybind11;
    using namespace pyrank;
    using namespace pyrank::bindings;
    m.doc() = "Compiled kernels of pyrank.";
    m.attr("compiler") = PYRANK_COMPILER;
    m.attr("cuda_architectures") = PYRANK_CUDA_ARCHITECTURES;
    define_chain(m);
    define_backend<cpu::Options>(m, "Cpu")
        .def(py::init([](const std::string& isa, int32_t layout, int threads) {
                 return cpu::Options{isa, LayoutChoice(layout), threads};
             }),
             py::arg("isa"), py::arg("layout") = 0, py::arg("threads") = 1)
        .def("initial_normals", &call_initial_normals, py::arg("seed"), py::arg("layer"), py::arg("out"));
    define_cuda(m);
    py::class_<Measurement>(m, "Measurement", py::module_local())
        .def(py::init<const cpu::Options&, const Chain&, const MeasureList&, bool>(), py::arg("options"),
             py::arg("chain"), py::arg("measures"), py::arg("twice"))
        .def("__call__", &Measurement::operator(), py::arg("capsule"));
    m.def("available_isas", &cpu::available_isas);
    m.def("accumulate", &accumulate, py::arg("moments"), py::arg("histogram"), py::arg("trace"), py::arg("rank_index"),
          py::arg("values"), py::arg("sample"));
    m.def("philox", &philox_words, py::arg("counter"), py::arg("key"));
}
