// What a group records, in memory of its own: two threads that wrote to neighbouring numbers of the caller's arrays
// would wait for each other's cache lines at every layer. Only the trace, which is written ever more rarely, stays
// there.
#pragma once
#include <cstring>

#include "kernels.h"
#include "layout.h"

namespace pyrank::PYRANK_ISA {

class GroupRecord {
public:
    GroupRecord(const Job& job, Group group, int64_t chains, Workspace& workspace)
        : whole_(job.accumulator), group_(group), own_(whole_) {
        own_.moments = workspace.take<double>(whole_.measures * kSlots * chains);
        own_.histogram = workspace.take<int64_t>(int64_t(whole_.ranks) * whole_.bins * chains);
        own_.trace = whole_.trace + group.first;
        own_.chains = group.count;
    }

    const AccumulatorView& view() const { return own_; }

    void load() const {
        for_rows([](auto* own, auto* whole, size_t bytes) { std::memcpy(own, whole, bytes); });
    }
    void store() const {
        for_rows([](auto* own, auto* whole, size_t bytes) { std::memcpy(whole, own, bytes); });
    }

private:
    template <class Copy>
    void for_rows(Copy copy) const {
        for_rows_of(own_.moments, whole_.moments, whole_.measures * kSlots, copy);
        for_rows_of(own_.histogram, whole_.histogram, int64_t(whole_.ranks) * whole_.bins, copy);
    }
    template <class T, class Copy>
    void for_rows_of(T* own, T* whole, int64_t rows, Copy copy) const {
        for (int64_t row = 0; row < rows; ++row)
            copy(own + row * group_.count, whole + row * whole_.chains + group_.first,
                 size_t(group_.count) * sizeof(T));
    }

    const AccumulatorView& whole_;
    Group group_;
    AccumulatorView own_;
};

}  // namespace pyrank::PYRANK_ISA
