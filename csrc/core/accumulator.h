// Records samples in constant memory. The numpy twin, pyrank/estimate/accumulator.py, explains what is kept and
// performs the same operations in the same order, so that both agree to the last bit.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

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

// Slots hold a power of two of samples each. Smallest b such that `slots` slots of 2^b samples hold n samples; found
// without a division, because every sample of every measure asks for it.
PYRANK_HD inline int slot_bits(int64_t n, int64_t slots) {
    if (n <= slots) return 0;
    const int least = bit_length(uint64_t(n - 1)) - bit_length(uint64_t(slots));
    return slots << least < n ? least + 1 : least;
}

// True if sample n is the first that needs slots of 2^bits samples, so that neighbours have to be merged before.
PYRANK_HD inline bool slots_double(int64_t n, int64_t slots, int bits) { return bits > 0 && n == slots << (bits - 1); }

// Entries first .. first + count - 1 of a trace.
struct TracedEntries {
    int64_t first, count;
};

// The entries that samples first .. end - 1 read or write: all of them if the stride doubles meanwhile.
PYRANK_HD inline TracedEntries traced_entries(int64_t first, int64_t end, int64_t capacity) {
    if (!capacity || first >= end) return {0, 0};
    const int bits = slot_bits(end, capacity);
    if (slot_bits(first + 1, capacity) != bits || slots_double(first, capacity, bits)) return {0, capacity};
    const int64_t entry = (first + (int64_t(1) << bits) - 1) >> bits;
    return {entry, ((end - 1) >> bits) + 1 - entry};
}

// N is what is recorded at a time: the number of one chain, or a vector with those of several.
template <class N>
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

    PYRANK_HD static N load(const double* p) {
        if constexpr (std::is_same_v<N, double>) return *p;  // or nvcc would copy it byte by byte
        N x;
        std::memcpy(&x, p, sizeof(N));
        return x;
    }
    PYRANK_HD static void store(double* p, N x) {
        if constexpr (std::is_same_v<N, double>)
            *p = x;
        else
            std::memcpy(p, &x, sizeof(N));
    }

    // Call body(c) for the first chain of each N.
    template <class Body>
    PYRANK_HD void for_chains(Body body) const {
        for (int64_t c = 0; c < count; c += sizeof(N) / sizeof(double)) body(c);
    }

    PYRANK_HD void copy(const double* from, double* to) const {
        for_chains([=](int64_t c) { store(to + c, load(from + c)); });
    }

    PYRANK_HD void start(const double* values) const {
        for (const Slot first_value : {kShift, kMin, kMax}) copy(values, slot(first_value));
    }

    PYRANK_HD void merge_batches() const {
        for (int64_t i = 0; i < kBatches / 2; ++i) {
            const double *left = slot(kBatchSums + 2 * i), *right = slot(kBatchSums + 2 * i + 1);
            double* merged = slot(kBatchSums + i);
            for_chains([=](int64_t c) { store(merged + c, load(left + c) + load(right + c)); });
        }
        for (int64_t i = kBatches / 2; i < kBatches; ++i) {
            double* freed = slot(kBatchSums + i);
            for_chains([=](int64_t c) { store(freed + c, N(0.0)); });
        }
    }

    // `running` becomes the dyadic block of length 1 that ends with this sample.
    PYRANK_HD void add(const double* values, int64_t batch, double* running) const {
        const double* shift = slot(kShift);
        double *sum = slot(kSum), *squares = slot(kSumSquares), *low = slot(kMin), *high = slot(kMax);
        double* batch_sum = slot(kBatchSums + batch);
        for_chains([=](int64_t c) {
            const N x = load(values + c), v = x - load(shift + c), lowest = load(low + c), highest = load(high + c);
            store(sum + c, load(sum + c) + v);
            store(squares + c, load(squares + c) + v * v);
            store(low + c, select(x == x, select(x < lowest, x, lowest), x));
            store(high + c, select(x == x, select(x > highest, x, highest), x));
            store(batch_sum + c, load(batch_sum + c) + v);
            store(running + c, v);
        });
    }

    PYRANK_HD void close_block(int64_t level, const double* running) const {
        double* squares = slot(kBlockSquares + level);
        for_chains([=](int64_t c) {
            const N sum = load(running + c);
            store(squares + c, load(squares + c) + sum * sum);
        });
    }

    PYRANK_HD void join_block(int64_t level, double* running) const {
        const double* pending = slot(kPending + level);
        for_chains([=](int64_t c) { store(running + c, load(pending + c) + load(running + c)); });
    }

    PYRANK_HD void trace(const double* values, int64_t n) const {
        const int64_t capacity = view.trace_capacity;
        const int bits = slot_bits(n + 1, capacity);
        if (slots_double(n, capacity, bits))
            for (int64_t i = 1; i < capacity / 2; ++i) copy(traced(2 * i), traced(i));
        if (n >> bits << bits == n) copy(values, traced(n >> bits));
    }

    PYRANK_HD void tally(const double* values) const {
        int64_t* bins = view.histogram + int64_t(view.rank_index[measure]) * view.bins * view.chains + first;
        for (int64_t c = 0; c < count; ++c)
            if (values[c] >= 0 && values[c] < view.bins) ++bins[int64_t(values[c]) * view.chains + c];
    }
};

// Records values[0 .. count - 1], sample number n (from 0) of one measure in chains first_chain, first_chain + 1, ...
// A whole number of N fits into `count`.
template <class N>
PYRANK_HD inline void push(const AccumulatorView& view, int32_t measure, int64_t first_chain, int64_t count,
                           const double* values, int64_t n) {
    const Recorder<N> recorder{view, measure, first_chain, count};
    if (n == 0) recorder.start(values);

    const int bits = slot_bits(n + 1, kBatches);
    if (slots_double(n, kBatches, bits)) recorder.merge_batches();

    // This sample ends one block at each level up to the first zero bit of n. The pending block of that last level is
    // free, and the longest block has to end up there: it is built in place.
    int64_t last = 0;
    while (n >> last & 1 && last < kLevels - 1) ++last;
    double* running = recorder.slot(kPending + last);
    recorder.add(values, n >> bits, running);
    for (int64_t level = 0; level < last; ++level) {
        recorder.close_block(level, running);
        recorder.join_block(level, running);
    }
    recorder.close_block(last, running);

    if (view.trace_capacity) recorder.trace(values, n);
    if (view.rank_index[measure] >= 0) recorder.tally(values);
}

}  // namespace pyrank
