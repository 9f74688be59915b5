// What one device works on: some chains of a job, copied to its memory and back.
#pragma once
#include <algorithm>
#include <vector>

#include "../core/params.h"
#include "runtime.h"

namespace pyrank::cuda {

// Chains first .. first + count - 1. Arrays of the host have the chains last, so that those of one device are pieces of
// their rows.
class DevicePart {
public:
    DevicePart(const Job& job, int64_t first, int64_t count, size_t number, int device, Queue queue)
        : whole_(job), first_(first), part_(job), queue_(queue) {
        const ChainParams& chain = job.chain;
        const AccumulatorView& record = job.accumulator;
        const int64_t measures = job.measure_count;
        part_.chains = count;
        part_.first_chain += first;
        part_.chain.weights = copied(chain.weights, chain.period);
        part_.measures = copied(job.measures, measures);
        const size_t state_bytes = size_t(chain.width * chain.batch) * number;
        char* const state = static_cast<char*>(job.state) + size_t(first) * state_bytes;
        part_.state = state;
        if (!lies_on_device(state, device)) {
            part_.state = room(size_t(count) * state_bytes);
            lend(part_.state, state, size_t(count) * state_bytes, 1, 0);
        }
        part_.degenerate_rows = of_chains(job.degenerate_rows, 1);
        part_.flagged = of_chains(job.flagged, 1);
        part_.ambiguous = of_chains(job.ambiguous, 1);
        part_.exponent = of_chains(job.exponent, 1);
        if (!record.moments) return;
        part_.accumulator.chains = part_.accumulator.trace_chains = count;
        part_.accumulator.rank_index = copied(record.rank_index, measures);
        part_.accumulator.moments = of_chains(record.moments, measures * kSlots);
        part_.accumulator.histogram = of_chains(record.histogram, int64_t(record.ranks) * record.bins);
        part_.accumulator.trace = of_trace(record, measures);
    }

    const Job& job() const { return part_; }

    // A copy of the columns of this part's chains: [rows, chains of the job] there, [rows, chains of the part] here.
    template <class T>
    T* of_chains(T* host, int64_t rows) {
        T* const here = static_cast<T*>(room(size_t(rows * part_.chains) * sizeof(T)));
        lend_rows(here, host, 0, rows);
        return here;
    }

    // Write back what has been lent.
    void give_back() {
        for (const Loan& loan : loans_)
            copy_rows(loan.host, loan.pitch, loan.here, loan.bytes, loan.bytes, loan.rows, queue_);
        wait(queue_);
    }

private:
    struct Loan {
        void *here, *host;
        size_t bytes, rows, pitch;
    };

    void* room(size_t bytes) {
        buffers_.emplace_back(bytes);
        return buffers_.back().data();
    }

    void lend(void* here, void* host, size_t bytes, size_t rows, size_t pitch) {
        pitch = std::max(pitch, bytes);
        loans_.push_back({here, host, bytes, rows, pitch});
        copy_rows(here, bytes, host, pitch, bytes, rows, queue_);
    }

    template <class T>
    void lend_rows(T* here, T* host, int64_t row, int64_t rows) {
        lend(here + row * part_.chains, host + row * whole_.chains + first_, size_t(part_.chains) * sizeof(T),
             size_t(rows), size_t(whole_.chains) * sizeof(T));
    }

    // Traces can be most of what a run keeps, and a call touches few of their entries: no others come along.
    double* of_trace(const AccumulatorView& record, int64_t measures) {
        const int64_t capacity = record.trace_capacity, end = whole_.first_layer + whole_.layers;
        const TracedEntries touched =
            traced_entries(whole_.recorded(whole_.first_layer), whole_.recorded(end), capacity);
        double* const here = static_cast<double*>(room(size_t(measures * capacity * part_.chains) * sizeof(double)));
        for (int64_t m = 0; m < measures; ++m)
            lend_rows(here, record.trace, m * capacity + touched.first, touched.count);
        return here;
    }

    template <class T>
    const T* copied(const T* host, int64_t count) {
        const size_t bytes = size_t(count) * sizeof(T);
        void* const here = room(bytes);
        copy_rows(here, bytes, host, bytes, bytes, 1, queue_);
        return static_cast<const T*>(here);
    }

    const Job& whole_;
    int64_t first_;
    Job part_;
    Queue queue_;
    std::vector<Loan> loans_;
    std::vector<Buffer> buffers_;
};

}  // namespace pyrank::cuda
