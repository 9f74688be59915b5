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
        part_.state = lies_on_device(state, device) ? state : lend(state, 1, size_t(count) * state_bytes, 0);
        part_.degenerate_rows = of_chains(job.degenerate_rows, 1);
        part_.flagged = of_chains(job.flagged, 1);
        part_.ambiguous = of_chains(job.ambiguous, 1);
        part_.exponent = of_chains(job.exponent, 1);
        if (!record.moments) return;
        part_.accumulator.chains = part_.accumulator.trace_chains = count;
        part_.accumulator.rank_index = copied(record.rank_index, measures);
        part_.accumulator.moments = of_chains(record.moments, measures * kSlots);
        part_.accumulator.histogram = of_chains(record.histogram, int64_t(record.ranks) * record.bins);
        part_.accumulator.trace = of_chains(record.trace, measures * record.trace_capacity);
    }

    const Job& job() const { return part_; }

    // A copy of the columns of this part's chains: [rows, chains of the job] there, [rows, chains of the part] here.
    template <class T>
    T* of_chains(T* host, int64_t rows) {
        return static_cast<T*>(
            lend(host + first_, size_t(rows), size_t(part_.chains) * sizeof(T), size_t(whole_.chains) * sizeof(T)));
    }

    // Write back what of_chains and the state have become.
    void give_back() {
        for (const Loan& loan : loans_)
            copy_rows(loan.host, loan.pitch, loan.buffer.data(), loan.bytes, loan.bytes, loan.rows, queue_);
        wait(queue_);
    }

private:
    struct Loan {
        Buffer buffer;
        void* host;
        size_t rows, bytes, pitch;
    };

    void* lend(void* host, size_t rows, size_t bytes, size_t pitch) {
        pitch = std::max(pitch, bytes);
        loans_.push_back({Buffer(rows * bytes), host, rows, bytes, pitch});
        copy_rows(loans_.back().buffer.data(), bytes, host, pitch, bytes, rows, queue_);
        return loans_.back().buffer.data();
    }

    template <class T>
    const T* copied(const T* host, int64_t count) {
        const size_t bytes = size_t(count) * sizeof(T);
        constants_.emplace_back(bytes);
        copy_rows(constants_.back().data(), bytes, host, bytes, bytes, 1, queue_);
        return static_cast<const T*>(constants_.back().data());
    }

    const Job& whole_;
    int64_t first_;
    Job part_;
    Queue queue_;
    std::vector<Loan> loans_;
    std::vector<Buffer> constants_;
};

}  // namespace pyrank::cuda
