// Arguments as Python passes them, checked and turned into what the backends take.
#pragma once
#include <pybind11/stl.h>

#include <tuple>
#include <utility>
#include <vector>

#include "../core/params.h"
#include "tensor.h"

namespace pyrank::bindings {

using MeasureList = std::vector<std::pair<int32_t, double>>;

inline std::vector<Measure> measures_of(const MeasureList& list) {
    std::vector<Measure> measures;
    for (const auto& [kind, tau] : list) measures.push_back({MeasureKind(kind), tau});
    return measures;
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
                chains,
                int32_t(measures),
                int32_t(ranks),
                int32_t(bins),
                int32_t(capacity)};
    }
};

inline Job job_on(const Chain& chain, const Tensor& state, const Tensor& counters, const std::vector<Measure>& measures,
                  bool samples_first = false) {
    Job job{};
    job.chain = chain.view();
    job.chains = state.size(0);
    job.every = 1;
    job.samples_first = samples_first;
    std::vector<int64_t> shape{job.chains, job.chain.width, job.chain.batch};
    if (samples_first) std::swap(shape[1], shape[2]);
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

inline Precision precision_of(const Tensor& state) { return state.is_double() ? Precision::twice : Precision::single; }

inline void define_chain(py::module_& m) {
    py::class_<Chain>(m, "Chain", py::module_local())
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
                 if (law < 0 || law > int32_t(Law::gram)) throw py::value_error("law: expected one of the five");
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
}

}  // namespace pyrank::bindings
