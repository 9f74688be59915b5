// What is measured of matrices of one shape, one at a time and again and again: all that can be is settled beforehand.
#pragma once
#include "../cpu/backend.h"
#include "arguments.h"

namespace pyrank::bindings {

class Measurement {
public:
    // Of matrices with the shape of the chain's states.
    Measurement(const cpu::Options& options, const Chain& chain, const MeasureList& list, bool twice)
        : options_(options), chain_(chain), measures_(measures_of(list)),
          precision_(twice ? Precision::twice : Precision::single) {
        job_.chain = chain_.view();
        job_.chains = job_.every = 1;
        job_.samples_first = true;
        job_.measures = measures_.data();
        job_.measure_count = int32_t(measures_.size());
    }
    Measurement(const Measurement&) = delete;

    // The measures of a matrix in a capsule, (samples, features) or (items, places, features). Nothing if it cannot be
    // read as it lies: another size, precision or device, distances between its numbers, or no memory at all.
    std::vector<double> operator()(const py::object& capsule) const {
        const DLTensor& matrix = tensor_in(capsule);
        if (!fits(matrix)) return {};
        std::vector<double> values(measures_.size());
        int64_t counts[4] = {};  // not asked for
        Job job = job_;          // its own: the object may be called by several threads
        job.state = data_of(matrix);
        job.degenerate_rows = counts;
        job.flagged = counts + 1;
        job.ambiguous = counts + 2;
        job.exponent = counts + 3;
        py::gil_scoped_release release;
        cpu::measure(job, precision_, options_, values.data());
        return values;
    }

private:
    bool fits(const DLTensor& matrix) const {
        return matrix.device.device_type == 1 && matrix.dtype.code == 2 && matrix.dtype.lanes == 1 &&
               matrix.dtype.bits == (precision_ == Precision::twice ? 64 : 32) && matrix.ndim > 0 &&
               matrix.shape[matrix.ndim - 1] == job_.chain.width &&
               size_of(matrix) == job_.chain.width * job_.chain.batch && is_contiguous(matrix) && matrix.data;
    }

    const cpu::Options options_;
    const Chain chain_;
    const std::vector<Measure> measures_;
    const Precision precision_;
    Job job_{};
};

}  // namespace pyrank::bindings
