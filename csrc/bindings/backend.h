// A backend as Python sees it: its options, as a class, with what it does as methods.
#pragma once
#include <string>
#include <type_traits>

#include "../cuda/backend.h"
#include "arguments.h"

namespace pyrank::bindings {

// Whether a backend may be handed a state that lies on a GPU.
template <class Options>
constexpr bool reaches_gpu = std::is_same_v<Options, cuda::Options>;

template <class Options>
void call_advance(const Options& options, const Chain& chain, const py::object& state_object, int64_t first_layer,
                  int64_t layers, int64_t first_chain, bool observe_activation, int64_t burn_in, int64_t every,
                  const MeasureList& list, const py::object& moments, const py::object& histogram,
                  const py::object& trace, const py::object& rank_index, const py::object& counters_object) {
    const Tensor state(state_object, "state", reaches_gpu<Options>), counters(counters_object, "counters");
    const auto measures = measures_of(list);
    const Accumulators accumulators{
        {moments, "moments"}, {histogram, "histogram"}, {trace, "trace"}, {rank_index, "rank_index"}};
    if (every < 1) throw py::value_error("every: expected at least 1");
    Job job = job_on(chain, state, counters, measures);
    job.first_layer = first_layer;
    job.layers = layers;
    job.first_chain = first_chain;
    job.observe_activation = observe_activation;
    job.burn_in = burn_in;
    job.every = every;
    job.accumulator = accumulators.view(job.measure_count, job.chains);
    py::gil_scoped_release release;
    advance(job, precision_of(state), options);
}

template <class Options>
void call_measure(const Options& options, const Chain& chain, const py::object& state_object, const MeasureList& list,
                  const py::object& counters_object, const py::object& values_object, bool samples_first) {
    if (samples_first && reaches_gpu<Options>) throw py::value_error("samples_first: expected False on a GPU");
    const Tensor state(state_object, "state", reaches_gpu<Options>), counters(counters_object, "counters"),
        values(values_object, "values");
    const auto measures = measures_of(list);
    const Job job = job_on(chain, state, counters, measures, samples_first);
    double* out = values.data<double>({job.measure_count, job.chains});
    py::gil_scoped_release release;
    measure(job, precision_of(state), options, out);
}

template <class Options>
void call_weights(const Options& options, const Chain& chain, int64_t layer, int64_t index,
                  const py::object& out_object) {
    const Tensor out(out_object, "out");
    const ChainParams params = chain.view();
    const std::vector<int64_t> shape{params.weights_of(layer).fan_out, params.weights_of(layer).fan_in};
    void* data = out.is_double() ? static_cast<void*>(out.data<double>(shape)) : out.data<float>(shape);
    py::gil_scoped_release release;
    weights(params, precision_of(out), options, layer, index, data);
}

template <class Options>
py::class_<Options> define_backend(py::module_& m, const char* name) {
    return py::class_<Options>(m, name, py::module_local())
        .def("advance", &call_advance<Options>, py::arg("chain"), py::arg("state"), py::arg("first_layer"),
             py::arg("layers"), py::arg("first_chain"), py::arg("observe_activation"), py::arg("burn_in"),
             py::arg("every"), py::arg("measures"), py::arg("moments"), py::arg("histogram"), py::arg("trace"),
             py::arg("rank_index"), py::arg("counters"))
        .def("measure", &call_measure<Options>, py::arg("chain"), py::arg("state"), py::arg("measures"),
             py::arg("counters"), py::arg("values"), py::arg("samples_first") = false)
        .def("draw_weights", &call_weights<Options>, py::arg("chain"), py::arg("layer"), py::arg("index"),
             py::arg("out"));
}

inline void define_cuda(py::module_& m) {
    m.def("cuda_devices", &cuda::devices);
    define_backend<cuda::Options>(m, "Cuda")
        .def(py::init([](std::vector<int> devices, std::vector<uintptr_t> streams, int32_t kernel) {
                 if (devices.empty()) throw py::value_error("devices: expected at least one");
                 if (streams.size() != devices.size()) throw py::value_error("streams: expected one a device");
                 return cuda::Options{std::move(devices), std::move(streams), cuda::Kernel(kernel)};
             }),
             py::arg("devices"), py::arg("streams"), py::arg("kernel") = 0)
        .def(
            "kernel_for",
            [](const cuda::Options& options, const Chain& chain, bool twice) {
                const Precision precision = twice ? Precision::twice : Precision::single;
                return int32_t(cuda::kernel_for(chain.view(), precision, options));
            },
            py::arg("chain"), py::arg("twice"));
}

}  // namespace pyrank::bindings
