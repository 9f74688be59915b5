// The extension module: a list of functions over checked tensors.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "../core/philox.h"
#include "../cpu/backend.h"
#include "tensor.h"

namespace pyrank::bindings {

using MeasureList = std::vector<std::pair<int32_t, double>>;

std::vector<Measure> measures_of(const MeasureList& list) {
    std::vector<Measure> measures;
    for (const auto& [kind, tau] : list) measures.push_back({MeasureKind(kind), tau});
    return measures;
}

cpu::Options options_of(const std::string& isa, int32_t layout, int threads) {
    return {isa, LayoutChoice(layout), threads};
}

// The parameters of a chain with the list that they point to.
struct Chain {
    std::vector<WeightParams> weights;
    ChainParams params;

    ChainParams view() const {  // valid as long as the chain stays where it is
        ChainParams pointing = params;
        pointing.weights = weights.data();
        pointing.period = int64_t(weights.size());
        return pointing;
    }
};

// The caller's arrays, held and checked for the time of a call.
struct Accumulators {
    Tensor moments, histogram, trace, rank_index;

    AccumulatorView view(int64_t measures, int64_t chains) const {
        const int64_t ranks = histogram.size(0), bins = histogram.size(1), capacity = trace.size(1);
        const int32_t* index = rank_index.data<int32_t>({measures});
        for (int64_t m = 0; m < measures; ++m)
            if (index[m] < -1 || index[m] >= ranks)
                throw py::value_error("rank_index: expected -1 or a row of the histogram");
        return {moments.data<double>({measures, kSlots, chains}),
                histogram.data<int64_t>({ranks, bins, chains}),
                trace.data<double>({measures, capacity, chains}),
                rank_index.data<int32_t>({measures}),
                chains,
                int32_t(measures),
                int32_t(bins),
                int32_t(capacity)};
    }
};

Job job_on(const Chain& chain, const Tensor& state, const Tensor& counters, const std::vector<Measure>& measures) {
    Job job{};
    job.chain = chain.view();
    job.chains = state.size(0);
    job.every = 1;
    const std::vector<int64_t> shape{job.chains, job.chain.width, job.chain.batch};
    job.state = state.is_double() ? static_cast<void*>(state.data<double>(shape)) : state.data<float>(shape);
    int64_t* counts = counters.data<int64_t>({4, job.chains});
    job.degenerate_rows = counts;
    job.flagged = counts + job.chains;
    job.ambiguous = counts + 2 * job.chains;
    job.exponent = counts + 3 * job.chains;
    job.measures = measures.data();
    job.measure_count = int32_t(measures.size());
    return job;
}

Precision precision_of(const Tensor& state) { return state.is_double() ? Precision::twice : Precision::single; }

void advance(const Chain& chain, const py::object& state_object, int64_t first_layer, int64_t layers,
             int64_t first_chain, bool observe_activation, int64_t burn_in, int64_t every, const MeasureList& list,
             const py::object& moments, const py::object& histogram, const py::object& trace,
             const py::object& rank_index, const py::object& counters_object, const std::string& isa, int32_t layout,
             int threads) {
    const Tensor state(state_object, "state"), counters(counters_object, "counters");
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
    cpu::advance(job, precision_of(state), options_of(isa, layout, threads));
}

void measure(const Chain& chain, const py::object& state_object, const MeasureList& list,
             const py::object& counters_object, const py::object& values_object, const std::string& isa, int32_t layout,
             int threads) {
    const Tensor state(state_object, "state"), counters(counters_object, "counters"), values(values_object, "values");
    const auto measures = measures_of(list);
    const Job job = job_on(chain, state, counters, measures);
    double* out = values.data<double>({job.measure_count, job.chains});
    py::gil_scoped_release release;
    cpu::measure(job, precision_of(state), options_of(isa, layout, threads), out);
}

void draw_weights(const Chain& chain, int64_t layer, int64_t index, const py::object& out_object,
                  const std::string& isa) {
    const Tensor out(out_object, "out");
    const ChainParams params = chain.view();
    const std::vector<int64_t> shape{params.weights_of(layer).fan_out, params.weights_of(layer).fan_in};
    void* data = out.is_double() ? static_cast<void*>(out.data<double>(shape)) : out.data<float>(shape);
    cpu::weights(params, precision_of(out), options_of(isa, 0, 1), layer, index, data);
}

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
            push<void>(view, int32_t(m), 0, chains, value, sample + layer);
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
    py::class_<Chain>(m, "Chain")
        .def(py::init([](int64_t width, int64_t batch, double gamma, bool skip, int32_t law,
                         const std::vector<std::tuple<int64_t, int64_t, double, double>>& weights, int32_t activation,
                         bool over_features, bool recentre, bool rescale, bool whiten, int32_t order, double eps,
                         double alpha, double beta, uint64_t seed) {
                 Chain chain;
                 for (const auto& [fan_out, fan_in, mean, scale] : weights) {
                     if (fan_out < 1 || fan_in < 1 || fan_out > width || fan_in > width)
                         throw py::value_error("weights: expected widths from 1 to that of the state");
                     chain.weights.push_back({fan_out, fan_in, mean, scale});
                 }
                 if (weights.empty()) throw py::value_error("weights: expected at least one layer");
                 chain.params = {
                     width,         batch,    gamma,   skip,   Law(law), nullptr, 0,     Activation(activation),
                     over_features, recentre, rescale, whiten, order,    eps,     alpha, beta,
                     seed};
                 return chain;
             }),
             py::kw_only(), py::arg("width"), py::arg("batch"), py::arg("gamma"), py::arg("skip"), py::arg("law"),
             py::arg("weights"), py::arg("activation"), py::arg("over_features"), py::arg("recentre"),
             py::arg("rescale"), py::arg("whiten"), py::arg("order"), py::arg("eps"), py::arg("alpha"), py::arg("beta"),
             py::arg("seed"));
    m.def("available_isas", &cpu::available_isas);
    m.def("advance", &bindings::advance, py::arg("chain"), py::arg("state"), py::arg("first_layer"), py::arg("layers"),
          py::arg("first_chain"), py::arg("observe_activation"), py::arg("burn_in"), py::arg("every"),
          py::arg("measures"), py::arg("moments"), py::arg("histogram"), py::arg("trace"), py::arg("rank_index"),
          py::arg("counters"), py::arg("isa"), py::arg("layout"), py::arg("threads"));
    m.def("measure", &bindings::measure, py::arg("chain"), py::arg("state"), py::arg("measures"), py::arg("counters"),
          py::arg("values"), py::arg("isa"), py::arg("layout"), py::arg("threads"));
    m.def("draw_weights", &bindings::draw_weights, py::arg("chain"), py::arg("layer"), py::arg("index"), py::arg("out"),
          py::arg("isa"));
    m.def("accumulate", &accumulate, py::arg("moments"), py::arg("histogram"), py::arg("trace"), py::arg("rank_index"),
          py::arg("values"), py::arg("sample"));
    m.def("philox", &philox_words, py::arg("counter"), py::arg("key"));
}
