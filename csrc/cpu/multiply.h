// The one matrix product: out(I, c) = sum over k, in ascending order, of a(I, k) b(k, c).
// The layer, the Gram matrix and the factorisation are this product with different strides.
#pragma once
#include "layout.h"
#include "team.h"

namespace pyrank::PYRANK_ISA {

// Register block: row_block x column_block accumulators, a row_block of a, and one entry of b.
constexpr int row_block = registers == 32 ? 4 : 2;
constexpr int column_block = 6;

// Call body(c, r) for the C x R registers of a block. That the outer loop is unrolled must be said: by itself the
// compiler does it too late to keep the block out of memory.
template <int C, int R, class Body>
PYRANK_INLINE void for_block(Body body) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) body(c, r);
}
template <class V, int C, int R>
PYRANK_INLINE void fill_block(V (&block)[C][R], V x) {
    for_block<C, R>([&](int c, int r) { block[c][r] = x; });
}
template <class V, int C, int R>
PYRANK_INLINE void load_block(V (&block)[C][R], const typename V::T* from, int64_t stride) {
    for_block<C, R>([&](int c, int r) { block[c][r] = V::load(from + c * stride + r * V::size); });
}
template <class V, int C, int R>
PYRANK_INLINE void store_block(const V (&block)[C][R], typename V::T* to, int64_t stride) {
    for_block<C, R>([&](int c, int r) { block[c][r].store(to + c * stride + r * V::size); });
}

// One block: `start(acc)` sets the accumulators, `finish(acc)` takes them away. Of a block that is square and `lower`,
// what lies above the diagonal is left out.
template <class Layout, int R, int C, bool lower = false, class Start, class Finish>
PYRANK_INLINE void multiply_block(const typename Layout::T* a, int64_t a_step, const typename Layout::T* b,
                                  int64_t b_step, int64_t b_column, int64_t depth, Start start, Finish finish) {
    using V = typename Layout::V;
    V acc[C][R];
    start(acc);
    for (int64_t k = 0; k < depth; ++k) {
        V x[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) x[r] = V::load(a + r * V::size);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const V y = Layout::spread(b + c * b_column);
#pragma GCC unroll 8
            for (int r = lower ? c : 0; r < R; ++r) acc[c][r] = fma(x[r], y, acc[c][r]);
        }
        a += a_step;
        b += b_step;
    }
    finish(acc);
}

// Call body<size>() for a size from 1 to `most`.
template <int most, class Body>
PYRANK_INLINE void with_constant(int size, Body body) {
    static_assert(most <= 6);
    switch (size) {
        case 1: body.template operator()<1>(); break;
        case 2:
            if constexpr (most >= 2) body.template operator()<2>();
            break;
        case 3:
            if constexpr (most >= 3) body.template operator()<3>();
            break;
        case 4:
            if constexpr (most >= 4) body.template operator()<4>();
            break;
        case 5:
            if constexpr (most >= 5) body.template operator()<5>();
            break;
        case 6:
            if constexpr (most >= 6) body.template operator()<6>();
            break;
    }
}

// Call body<size>(first) for pieces of at most `most` that cover first .. last - 1; the last two share what is left.
template <int most, class Body>
PYRANK_INLINE void for_pieces(int64_t first, int64_t last, Body body) {
    while (first < last) {
        const int64_t left = last - first;
        const int size = int(left >= 2 * most ? most : left > most ? (left + 1) / 2 : left);
        with_constant<most>(size, [&]<int constant>() { body.template operator()<constant>(first); });
        first += size;
    }
}

// The same by the members of a team, whose number body<size>(first, member) is told. Lanes are worked on by
// one thread: there the chains are many.
template <class Layout, int most, class Body>
PYRANK_INLINE void share_pieces(cpu::Team& team, int64_t first, int64_t last, Body body) {
    if constexpr (Layout::rows == 1) {
        for_pieces<most>(first, last, [&]<int size>(int64_t begin) { body.template operator()<size>(begin, 0); });
    } else {
        const int64_t count = last - first, pieces = (count + most - 1) / most;
        team.share(pieces, [&](int64_t piece, int member) {
            const int64_t begin = count * piece / pieces, end = count * (piece + 1) / pieces;
            with_constant<most>(int(end - begin),
                                [&]<int size>() { body.template operator()<size>(first + begin, member); });
        });
    }
}

}  // namespace pyrank::PYRANK_ISA
