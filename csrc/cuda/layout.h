// Where the data of a block lie: matrices column by column, in shared memory as long as it lasts, then in global
// memory.
#pragma once
#include "primitives.h"

namespace pyrank::cuda {

PYRANK_HD inline int smaller(int a, int b) { return a < b ? a : b; }
template <class N>
PYRANK_HD inline N larger(N a, N b) {
    return a > b ? a : b;
}
PYRANK_HD inline int pieces(int count, int size) { return (count + size - 1) / size; }

// The distance of two columns is odd, so that neither rows nor columns fall on one bank of shared memory.
PYRANK_HD inline int stride_of(int rows) { return rows | 1; }

// The same where four rows are taken at once: an odd number of fours.
PYRANK_HD inline int stride_of_fours(int rows) { return 4 * (pieces(rows, 4) | 1); }

constexpr int most_threads = 256;  // of a block

// Room for a state on either side, as it is, or turned over, its smaller side first, as a measurement needs it; and for
// a number of each thread.
PYRANK_HD inline int64_t rotated_size(int width, int batch) {
    const int64_t state = int64_t(batch) * stride_of(width), turned = int64_t(width) * stride_of(batch);
    return larger(larger(state, turned), int64_t(most_threads));
}

template <class T_>
struct Matrix {
    using T = T_;
    Array<T> data;
    int stride;
    PYRANK_DEVICE decltype(auto) operator()(int row, int column) const { return data[column * stride + row]; }
};

enum class Place { shared, global };

// A bump allocator over a block's two memories; with neither it only counts.
class Workspace {
public:
    PYRANK_HD Workspace(char* shared, int64_t shared_bytes, char* global)
        : shared_(shared), global_(global), shared_bytes_(shared_bytes) {}

    // `Place::shared` is a wish.
    template <class T>
    PYRANK_HD Array<T> take(int64_t count, Place place = Place::shared) {
        const int64_t bytes = (count * int64_t(sizeof(T)) + 15) / 16 * 16;
        const bool fits = place == Place::shared && shared_used_ + bytes <= shared_bytes_;
        char* const memory = fits ? shared_ : global_;
        const int64_t used = fits ? shared_used_ : global_used_;
        T* const first = memory ? reinterpret_cast<T*>(memory + used) : nullptr;
        shared_used_ += fits ? bytes : 0;  // a reference to one or the other would put both in memory
        global_used_ += fits ? 0 : bytes;
        return Array<T>(first, count);
    }
    template <class T>
    PYRANK_HD Matrix<T> take_matrix(int rows, int columns, Place place = Place::shared) {
        return {take<T>(int64_t(columns) * stride_of(rows), place), stride_of(rows)};
    }

    PYRANK_HD int64_t shared_used() const { return shared_used_; }
    PYRANK_HD int64_t global_used() const { return global_used_; }

private:
    char *shared_, *global_;
    int64_t shared_bytes_, shared_used_ = 0, global_used_ = 0;
};

// One thread of each block speaks for it where order matters.
PYRANK_DEVICE inline bool leader() { return thread_index() == 0; }

// body(index) for first <= index < last, shared out among the threads.
template <class Body>
PYRANK_DEVICE inline void for_each(int first, int last, Body body) {
    const int step = block_size();
    for (int index = first + thread_index(); index < last; index += step) body(index);
}

// body(row, column) for every entry of a matrix, shared out among the threads; unsigned numbers are divided faster.
template <class Body>
PYRANK_DEVICE inline void for_entries(int rows, int columns, Body body) {
    for_each(0, rows * columns,
             [&](int p) { body(int(unsigned(p) % unsigned(rows)), int(unsigned(p) / unsigned(rows))); });
}

}  // namespace pyrank::cuda
