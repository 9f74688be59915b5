// Records samples in constant memory. The numpy twin, pyrank/estimate/accumulator.py, explains what is kept and
// performs the same operations in the same order, so that both agree to the last bit.
#pragma once
#include <cstdint>

#include "host_device.h"

namespace pyrank {

constexpr int64_t kBatches = 128;
constexpr int64_t kLevels = 40;

enum Slot : int64_t {
    kShift,
    kSum,
    kSumSquares,
    kMin,
    kMax,
    kBatchSums,
    kPending = kBatchSums + kBatches,
    kBlockSquares = kPending + kLevels,
    kSlots = kBlockSquares + kLevels,
};

struct AccumulatorView {
    double* moments;            // [measures, kSlots, chains]
    int64_t* histogram;         // [ranks, bins, chains]
    double* trace;              // [measures, trace_capacity, trace_chains]
    const int32_t* rank_index;  // [measures], place in the histogram, -1: not a rank
    int64_t chains, trace_chains;
    int32_t measures, ranks, bins, trace_capacity;
};

// Smallest power of two m such that `slots` slots of m samples hold n samples.
PYRANK_HD inline int64_t slot_length(int64_t n, int64_t slots) {
    return n <= slots ? 1 : int64_t(1) << bit_length(uint64_t((n - 1) / slots));
}

// True if sample n is the first that needs slots of this length, so that neighbours have to be merged before.
PYRANK_HD inline bool slots_double(int64_t n, int64_t slots, int64_t length) {
    return length > 1 && 2 * n == slots * length;
}

// Entries first .. first + count - 1 of a trace.
struct TracedEntries {
    int64_t first, count;
};

// The entries that samples first .. end - 1 read or write: all of them if the stride doubles meanwhile.
PYRANK_HD inline TracedEntries traced_entries(int64_t first, int64_t end, int64_t capacity) {
    if (!capacity || first >= end) return {0, 0};
    const int64_t stride = slot_length(end, capacity);
    if (slot_length(first + 1, capacity) != stride || slots_double(first, capacity, stride)) return {0, capacity};
    const int64_t entry = (first + stride - 1) / stride;
    return {entry, (end - 1) / stride + 1 - entry};
}

// Isa is a tag without content: translation units built for different instruction sets pass different tags, so that
// the linker never merges their copies of these functions.
template <class Isa>
struct Recorder {
    const AccumulatorView& view;
    int32_t measure;
    int64_t first, count;  // chains first .. first + count - 1

    PYRANK_HD double* slot(int64_t index) const {
        return view.moments + (measure * kSlots + index) * view.chains + first;
    }

    PYRANK_HD double* traced(int64_t index) const {
        return view.trace + (int64_t(measure) * view.trace_capacity + index) * view.trace_chains + first;
    }

    PYRANK_HD void start(const double* __restrict values) const {
        double* __restrict shift = slot(kShift), * __restrict low = slot(kMin), * __restrict high = slot(kMax);
        for (int64_t c = 0; c < count; ++c) shift[c] = low[c] = high[c] = values[c];
    }

    PYRANK_HD void merge_batches() const {
        for (int64_t i = 0; i < kBatches / 2; ++i) {
            const double *left = slot(kBatchSums + 2 * i), *right = slot(kBatchSums + 2 * i + 1);
            double* merged = slot(kBatchSums + i);
            for (int64_t c = 0; c < count; ++c) merged[c] = left[c] + right[c];
        }
        for (int64_t i = kBatches / 2; i < kBatches; ++i) {
            double* freed = slot(kBatchSums + i);
            for (int64_t c = 0; c < count; ++c) freed[c] = 0;
        }
    }

    // `running` becomes the dyadic block of length 1 that ends with this sample.
    PYRANK_HD void add(const double* __restrict values, int64_t batch, double* __restrict running) const {
        const double* __restrict shift = slot(kShift);
        double* __restrict sum = slot(kSum), * __restrict squares = slot(kSumSquares);
        double* __restrict low = slot(kMin), * __restrict high = slot(kMax);
        double* __restrict batch_sum = slot(kBatchSums + batch);
        for (int64_t c = 0; c < count; ++c) {
            const double x = values[c], v = x - shift[c];
            sum[c] += v;
            squares[c] += v * v;
            low[c] = x < low[c] || x != x ? x : low[c];
            high[c] = x > high[c] || x != x ? x : high[c];
            batch_sum[c] += v;
            running[c] = v;
        }
    }

    PYRANK_HD void close_block(int64_t level, const double* __restrict running) const {
        double* __restrict squares = slot(kBlockSquares + level);
        for (int64_t c = 0; c < count; ++c) squares[c] += running[c] * running[c];
    }

    PYRANK_HD void join_block(int64_t level, double* __restrict running) const {
        const double* __restrict pending = slot(kPending + level);
        for (int64_t c = 0; c < count; ++c) running[c] = pending[c] + running[c];
    }

    PYRANK_HD void trace(const double* __restrict values, int64_t n) const {
        const int64_t capacity = view.trace_capacity, stride = slot_length(n + 1, capacity);
        if (slots_double(n, capacity, stride))
            for (int64_t i = 1; i < capacity / 2; ++i)
                for (int64_t c = 0; c < count; ++c) traced(i)[c] = traced(2 * i)[c];
        if (n % stride) return;
        double* __restrict entry = traced(n / stride);
        for (int64_t c = 0; c < count; ++c) entry[c] = values[c];
    }

    PYRANK_HD void tally(const double* values) const {
        int64_t* bins = view.histogram + int64_t(view.rank_index[measure]) * view.bins * view.chains + first;
        for (int64_t c = 0; c < count; ++c)
            if (values[c] >= 0 && values[c] < view.bins) ++bins[int64_t(values[c]) * view.chains + c];
    }
};

// Records values[0 .. count - 1], sample number n (from 0) of one measure in chains first_chain, first_chain + 1, ...
template <class Isa>
PYRANK_HD inline void push(const AccumulatorView& view, int32_t measure, int64_t first_chain, int64_t count,
                           const double* values, int64_t n) {
    const Recorder<Isa> recorder{view, measure, first_chain, count};
    if (n == 0) recorder.start(values);

    const int64_t length = slot_length(n + 1, kBatches);
    if (slots_double(n, kBatches, length)) recorder.merge_batches();

    // This sample ends one block at each level up to the first zero bit of n. The pending block of that last level is
    // free, and the longest block has to end up there: it is built in place.
    int64_t last = 0;
    while (n >> last & 1 && last < kLevels - 1) ++last;
    double* running = recorder.slot(kPending + last);
    recorder.add(values, n / length, running);
    for (int64_t level = 0; level < last; ++level) {
        recorder.close_block(level, running);
        recorder.join_block(level, running);
    }
    recorder.close_block(last, running);

    if (view.trace_capacity) recorder.trace(values, n);
    if (view.rank_index[measure] >= 0) recorder.tally(values);
}

}  // namespace pyrank
