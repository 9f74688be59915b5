// L D L^T of symmetric matrices of several chains, for the signs of the pivots.
#pragma once
#include <limits>

#include "../core/inertia.h"
#include "multiply.h"

namespace pyrank::PYRANK_ISA {

// x in the rows > row of a vector of rows, 0 elsewhere.
template <class Layout>
PYRANK_INLINE typename Layout::V rows_below(int64_t vector, int64_t row, typename Layout::V x) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    if constexpr (Layout::rows == 1)
        return vector > row ? x : V(T(0));
    else
        return select(V::iota() > V(T(row - vector * Layout::rows)), x, V(T(0)));
}

template <class Layout>
class Factorisation {
public:
    using V = typename Layout::V;
    using T = typename Layout::T;
    static constexpr int unit = Layout::unit;

    Factorisation(int64_t n, Workspace& workspace, cpu::Team& team)
        : team_(team), n_(n), vectors_(vectors_of<Layout>(n)), stride_(stride_of<Layout>(n)),
          minus_u_(workspace.take<T>(n * stride_)), row_sums_(workspace.take<T>(stride_)),
          inverses_(workspace.take<T>(panel_columns * V::size)) {}

    // Eigenvalues above tau, and the S of core/inertia.h (NaN after a zero pivot), of each chain. `l` is room for a
    // matrix.
    void count(const T* matrix, T* l, double tau, double (&count)[Layout::chains], double (&S)[Layout::chains]);

private:
    PYRANK_INLINE static V in_row(int64_t first_row, int64_t row, V x) {  // x in that row of a vector, 0 elsewhere
        if constexpr (Layout::rows == 1)
            return x;
        else
            return select(V::iota() == V(T(row - first_row)), x, V(T(0)));
    }
    // Columns factored at a time: divides a vector of rows, so that a diagonal block lies within one.
    static constexpr int count_block = Layout::rows == 1 || Layout::rows > 4 ? 4 : Layout::rows;
    template <int C>
    static constexpr int block_vectors = Layout::rows == 1 ? C : 1;  // vectors that hold C rows of a diagonal block
    template <int C>
    PYRANK_INLINE void factor_diagonal(const T* source, double tau, int64_t panel, int64_t first);
    template <int C>
    PYRANK_INLINE void factor_diagonal_block(int64_t panel, int64_t first, V (&block)[C][block_vectors<C>]);
    static constexpr int64_t panel_columns = shifted_columns;  // a multiple of count_block
    template <class Body>
    PYRANK_INLINE static void for_count_blocks(int64_t first, int64_t end, Body body);
    template <int R, int C>
    void factor_below(const T* source, int64_t panel, int64_t vector, int64_t first);
    void take_off(const T* source, int64_t panel, int64_t end);

    cpu::Team& team_;
    int64_t n_, vectors_, stride_;
    T *minus_u_, *l_ = nullptr, *row_sums_;
    T* inverses_;  // of the pivots of a panel
    V positive_pivots_, pivot_sizes_;
};

// L D L^T: minus_u holds -L D, l holds L, and columns yet to come are kept in l while panels are taken off them. Of a
// panel, first the rows of its own square are factored, a few columns at a time, then those below. The sum over k of
// every entry runs in ascending order with panels of any width.
template <class Layout>
void Factorisation<Layout>::count(const T* matrix, T* l, double tau, double (&count)[Layout::chains],
                                  double (&S)[Layout::chains]) {
    l_ = l;
    positive_pivots_ = pivot_sizes_ = V(T(0));
    for (int64_t p = 0; p < vectors_ * V::size; ++p) row_sums_[p] = 0;
    const T* source = matrix;
    for (int64_t panel = 0; panel < n_; panel += panel_columns) {
        const int64_t end = panel + panel_columns < n_ ? panel + panel_columns : n_;
        const int64_t below = vectors_of<Layout>(end);
        for_count_blocks(panel, end, [&]<int C>(int64_t first) {
            factor_diagonal<C>(source, tau, panel, first);
            for_pieces<row_block>(first / Layout::rows + block_vectors<C>, below,
                                  [&]<int R>(int64_t vector) { factor_below<R, C>(source, panel, vector, first); });
        });
        share_pieces<Layout, row_block>(team_, below, vectors_, [&]<int R>(int64_t vector, int) {
            for_count_blocks(panel, end,
                             [&]<int C>(int64_t first) { factor_below<R, C>(source, panel, vector, first); });
        });
        take_off(source, panel, end);
        source = l_;
    }

    T counts[V::size], sizes[V::size];
    positive_pivots_.store(counts);
    pivot_sizes_.store(sizes);
    for (int chain = 0; chain < Layout::chains; ++chain) {
        count[chain] = counts[chain];
        S[chain] = sizes[chain];
    }
    for (int64_t row = 0; row < n_; ++row)
        for (int chain = 0; chain < Layout::chains; ++chain) S[chain] += row_sums_[row * unit + chain];
}

// Call body<C>(first) for whole blocks of columns, and what is left.
template <class Layout>
template <class Body>
PYRANK_INLINE void Factorisation<Layout>::for_count_blocks(int64_t first, int64_t end, Body body) {
    for (; first + count_block <= end; first += count_block) body.template operator()<count_block>(first);
    for_pieces<count_block>(first, end, body);
}

// The square block on the diagonal: what earlier columns of the panel take off it, then its own factorisation.
template <class Layout>
template <int C>
PYRANK_INLINE void Factorisation<Layout>::factor_diagonal(const T* source, double tau, int64_t panel, int64_t first) {
    constexpr int vectors = block_vectors<C>;
    const int64_t top = first / Layout::rows;
    multiply_block<Layout, vectors, C>(
        minus_u_ + panel * stride_ + top * V::size, stride_, l_ + panel * stride_ + first * unit, stride_, unit,
        first - panel,
        [&](V(&acc)[C][vectors]) {
            load_block(acc, source + first * stride_ + top * V::size, stride_);
            for (int c = 0; c < C; ++c) {
                V& diagonal = acc[c][Layout::rows == 1 ? c : 0];
                diagonal = diagonal - in_row(top * Layout::rows, first + c, V(T(tau)));
            }
        },
        [&](V(&acc)[C][vectors]) { factor_diagonal_block<C>(panel, first, acc); });
}

template <class Layout>
template <int C>
PYRANK_INLINE void Factorisation<Layout>::factor_diagonal_block(int64_t panel, int64_t first,
                                                                V (&block)[C][block_vectors<C>]) {
    constexpr int vectors = block_vectors<C>;
    constexpr bool lanes = Layout::rows == 1;
    const int64_t top = first / Layout::rows;
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
        const int64_t row = first + c;
        T* const u_column = minus_u_ + row * stride_;
        T* const l_column = l_ + row * stride_;
        const V pivot = lanes ? block[c][lanes ? c : 0] : block[c][0].element(row - top * Layout::rows);
        const V inverse = V(T(1)) / pivot, size = abs(pivot);
        inverse.store(inverses_ + (row - panel) * V::size);
        positive_pivots_ = positive_pivots_ + select(pivot > V(T(0)), V(T(1)), V(T(0)));
        // after a zero pivot nothing is known
        pivot_sizes_ = pivot_sizes_ + select(size > V(T(0)), size, V(std::numeric_limits<T>::quiet_NaN()));
        V minus_u[vectors], l[vectors];
        for (int r = 0; r < vectors; ++r) {
            if (lanes && r <= c) continue;
            minus_u[r] = -block[c][r];
            l[r] = block[c][r] * inverse;
            minus_u[r].store(u_column + (top + r) * V::size);
            l[r].store(l_column + (top + r) * V::size);
            T* const sums = row_sums_ + (top + r) * V::size;
            const V u_below = rows_below<Layout>(top + r, row, abs(minus_u[r])),
                    l_below = rows_below<Layout>(top + r, row, abs(l[r]));
            fma(u_below, l_below, V::load(sums)).store(sums);
        }
#pragma GCC unroll 4
        for (int later = c + 1; later < C; ++later) {
            const V factor = lanes ? l[lanes ? later : 0] : l[0].element(first + later - top * Layout::rows);
            for (int r = 0; r < vectors; ++r)
                if (!lanes || r >= later) block[later][r] = fma(minus_u[r], factor, block[later][r]);
        }
    }
}

// The columns after a panel, less the product of the panel with its transpose.
template <class Layout>
void Factorisation<Layout>::take_off(const T* source, int64_t panel, int64_t end) {
    share_pieces<Layout, row_block>(team_, end / Layout::rows, vectors_, [&]<int R>(int64_t vector, int) {
        const int64_t last = (vector + R) * Layout::rows < n_ ? (vector + R) * Layout::rows : n_;
        for_pieces<column_block>(end, last, [&]<int C>(int64_t column) {
            const int64_t corner = column * stride_ + vector * V::size;
            multiply_block<Layout, R, C>(
                minus_u_ + panel * stride_ + vector * V::size, stride_, l_ + panel * stride_ + column * unit, stride_,
                unit, end - panel, [&](V(&acc)[C][R]) { load_block(acc, source + corner, stride_); },
                [&](V(&acc)[C][R]) { store_block(acc, l_ + corner, stride_); });
        });
    });
}

// Rows below the diagonal block: the product with earlier columns of the panel, then the small triangle, in registers.
template <class Layout>
template <int R, int C>
void Factorisation<Layout>::factor_below(const T* source, int64_t panel, int64_t vector, int64_t first) {
    source += first * stride_ + vector * V::size;
    multiply_block<Layout, R, C>(
        minus_u_ + panel * stride_ + vector * V::size, stride_, l_ + panel * stride_ + first * unit, stride_, unit,
        first - panel, [&](V(&acc)[C][R]) { load_block(acc, source, stride_); },
        [&](V(&acc)[C][R]) {
            V sum[R];
            for (int r = 0; r < R; ++r) sum[r] = V::load(row_sums_ + (vector + r) * V::size);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) {
                const int64_t column = (first + c) * stride_;
                const V inv = V::load(inverses_ + (first + c - panel) * V::size);
#pragma GCC unroll 4
                for (int r = 0; r < R; ++r) {
                    const V minus_u = -acc[c][r], l = acc[c][r] * inv;
                    minus_u.store(minus_u_ + column + (vector + r) * V::size);
                    l.store(l_ + column + (vector + r) * V::size);
                    sum[r] = fma(abs(minus_u), abs(l), sum[r]);
#pragma GCC unroll 4
                    for (int later = c + 1; later < C; ++later)
                        acc[later][r] =
                            fma(minus_u, Layout::spread(l_ + column + (first + later) * unit), acc[later][r]);
                }
            }
            for (int r = 0; r < R; ++r) sum[r].store(row_sums_ + (vector + r) * V::size);
        });
}

}  // namespace pyrank::PYRANK_ISA
