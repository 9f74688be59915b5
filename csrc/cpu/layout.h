// The two ways to lay a d x N matrix over vector registers. Both perform the same operations on the same numbers in
// the same order, so their results agree to the last bit and the choice between them is one of speed alone.
//
//   Lanes  a vector holds one entry of as many chains as fit: nothing is ever summed across a register.
//   Rows   a vector holds consecutive rows of one column of one chain.
//
// A matrix is stored column by column; a column is `vectors` registers, padded to an odd number so that columns do not
// fall on the same cache set.
#pragma once
#include <cstddef>
#include <cstdint>

#include "redzone.h"
#include "vec.h"

namespace pyrank::PYRANK_ISA {

template <class V_>
struct Lanes {
    using V = V_;
    using T = typename V::T;
    using Entry = V;                                  // what one matrix entry is
    static constexpr int unit = V::size;              // distance of two rows of a column, in numbers
    static constexpr int rows = 1, chains = V::size;  // held by one vector
    PYRANK_INLINE static V spread(const T* p) { return V::load(p); }
    PYRANK_INLINE static Entry read(const T* p) { return V::load(p); }
    PYRANK_INLINE static void write(T* p, Entry x) { x.store(p); }
};

template <class V_>
struct Rows {
    using V = V_;
    using T = typename V::T;
    using Entry = One<T>;
    static constexpr int unit = 1;
    static constexpr int rows = V::size, chains = 1;
    PYRANK_INLINE static V spread(const T* p) { return V(*p); }
    PYRANK_INLINE static Entry read(const T* p) { return *p; }
    PYRANK_INLINE static void write(T* p, Entry x) { *p = x.v; }
};

// Vectors in a column of `rows` rows, and the distance of two columns in numbers.
template <class Layout>
constexpr int64_t vectors_of(int64_t rows) {
    return (rows + Layout::rows - 1) / Layout::rows;
}
template <class Layout>
constexpr int64_t stride_of(int64_t rows) {
    return (vectors_of<Layout>(rows) | 1) * Layout::V::size;
}

// A bump allocator over one aligned block, so that a thread allocates once; with no block it only counts. The address
// sanitizer is told where each array ends, and keeps a gap behind it.
class Workspace {
public:
    explicit Workspace(void* block) : block_(static_cast<char*>(block)) {}
    template <class T>
    T* take(int64_t count) {
        char* const p = block_ + used_;
        const size_t bytes = size_t(count) * sizeof(T), whole = (bytes + 127) / 128 * 128 + cpu::redzone;
        if (block_) cpu::guard(p, bytes, whole);
        used_ += whole;
        return reinterpret_cast<T*>(p);
    }
    size_t used() const { return used_; }

private:
    char* block_;
    size_t used_ = 0;
};

}  // namespace pyrank::PYRANK_ISA
