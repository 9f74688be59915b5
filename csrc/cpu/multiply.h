// The one matrix product: out(I, c) = sum over k, in ascending order, of a(I, k) b(k, c).
// The layer, the Gram matrix and the factorisation are this product with different strides.
#pragma once
#include "layout.h"

namespace pyrank::PYRANK_ISA {

// Register block: row_block x column_block accumulators, a row_block of a, and one entry of b.
constexpr int row_block = registers == 32 ? 4 : 2;
constexpr int column_block = 6;

// One block: `start(acc)` sets the accumulators, `finish(acc)` takes them away.
template <class Layout, int R, int C, class Start, class Finish>
PYRANK_INLINE void multiply_block(const typename Layout::T* a, int64_t a_step, const typename Layout::T* b,
                                  int64_t b_step, int64_t b_column, int64_t depth, Start start, Finish finish) {
    using V = typename Layout::V;
    V acc[C][R];
    start(acc);
    for (int64_t k = 0; k < depth; ++k) {
        V x[R];
        for (int r = 0; r < R; ++r) x[r] = V::load(a + r * V::size);
        for (int c = 0; c < C; ++c) {
            const V y = Layout::spread(b + c * b_column);
            for (int r = 0; r < R; ++r) acc[c][r] = fma(x[r], y, acc[c][r]);
        }
        a += a_step;
        b += b_step;
    }
    finish(acc);
}

// Call body<size>(first) for pieces of at most `most` that cover first .. last - 1, as even as possible.
template <int most, class Body>
PYRANK_INLINE void for_pieces(int64_t first, int64_t last, Body body) {
    static_assert(most <= 6);
    int64_t pieces = (last - first + most - 1) / most;
    for (; pieces > 0; --pieces) {
        const int size = int((last - first + pieces - 1) / pieces);
        switch (size) {
            case 1: body.template operator()<1>(first); break;
            case 2:
                if constexpr (most >= 2) body.template operator()<2>(first);
                break;
            case 3:
                if constexpr (most >= 3) body.template operator()<3>(first);
                break;
            case 4:
                if constexpr (most >= 4) body.template operator()<4>(first);
                break;
            case 5:
                if constexpr (most >= 5) body.template operator()<5>(first);
                break;
            case 6:
                if constexpr (most >= 6) body.template operator()<6>(first);
                break;
        }
        first += size;
    }
}

}  // namespace pyrank::PYRANK_ISA
