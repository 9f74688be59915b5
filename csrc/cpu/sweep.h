// The inverse of a symmetric positive definite matrix by symmetric sweeps. To sweep pivot k is to replace
//     a_kk by -1 / a_kk,   a_ik and a_ki by a_ik / a_kk,   every other a_ij by a_ij - a_ik a_kj / a_kk;
// the matrix stays symmetric, and when all pivots are swept it is minus its inverse, for n^3 / 2 products.
//
// A few pivots are swept in their own columns first, then in the rest of the matrix together, but always one after the
// other: with the inverse of a block in the place of pivots, an ill-conditioned matrix would cost digits.
#pragma once
#include "multiply.h"

namespace pyrank::PYRANK_ISA {

// Call body<R, C>(vector, column) for blocks that cover the lower half of an n x n matrix.
template <class Layout, class Body>
PYRANK_INLINE void for_lower_blocks(int64_t n, Body body) {
    for_pieces<column_block>(0, n, [&]<int C>(int64_t column) {
        for_pieces<row_block>(column / Layout::rows, vectors_of<Layout>(n),
                              [&]<int R>(int64_t vector) { body.template operator()<R, C>(vector, column); });
    });
}

template <class Layout>
class SymmetricInverse {
public:
    using V = typename Layout::V;
    using T = typename Layout::T;

    // For matrices of up to `side` rows.
    SymmetricInverse(int64_t side, Workspace& workspace)
        : panel_(workspace.take<T>(pivots * stride_of<Layout>(side))),
          minus_u_(workspace.take<T>(pivots * stride_of<Layout>(side))),
          swept_(workspace.take<T>(pivots * stride_of<Layout>(side))), row_(workspace.take<T>(pivots * pivots * unit)) {
    }

    // Turn the lower half of an n x n matrix, columns stride_of<Layout>(n) apart, into that of minus its inverse.
    void minus_inverse(T* a, int64_t n) const;

private:
    using Entry = typename Layout::Entry;
    static constexpr int pivots = 4, unit = Layout::unit;

    void sweep_pivots(Entry (&p)[pivots][pivots]) const;
    template <int R>
    void sweep_columns(int64_t vector, int64_t stride) const;

    T *panel_, *minus_u_;  // [pivot, n]: a_ik when k is swept, and -a_ik / a_kk
    T* swept_;             // [pivot, n]: the columns when all of them are swept
    T* row_;               // [pivot, pivot]: a_kj when k is swept, but -1 / a_kk for j = k
};

template <class Layout>
void SymmetricInverse<Layout>::minus_inverse(T* a, int64_t n) const {
    const int64_t stride = stride_of<Layout>(n);
    const auto lower = [&](int64_t i, int64_t j) {
        return i < j ? a + i * stride + j * unit : a + j * stride + i * unit;
    };
    for (int64_t first = 0; first < n; first += pivots) {
        const int64_t count = n - first < pivots ? n - first : pivots;
        for (int64_t p = 0; p < pivots * stride; ++p) panel_[p] = 0;
        for (int64_t k = 0; k < count; ++k)
            for (int64_t i = 0; i < n; ++i)
                Layout::write(panel_ + k * stride + i * unit, Layout::read(lower(i, first + k)));
        Entry p[pivots][pivots];
        for (int i = 0; i < pivots; ++i)
            for (int k = 0; k < pivots; ++k)
                p[i][k] = i < count ? Layout::read(panel_ + k * stride + (first + i) * unit) : Entry(T(i == k));
        sweep_pivots(p);
        for_pieces<2>(0, vectors_of<Layout>(n), [&]<int R>(int64_t vector) { sweep_columns<R>(vector, stride); });
        for (int k = 0; k < count; ++k)
            for (int i = 0; i < count; ++i) Layout::write(swept_ + k * stride + (first + i) * unit, p[i][k]);
        for_lower_blocks<Layout>(n, [&]<int R, int C>(int64_t vector, int64_t column) {
            T* const corner = a + column * stride + vector * V::size;
            multiply_block<Layout, R, C>(
                minus_u_ + vector * V::size, stride, panel_ + column * unit, stride, unit, count,
                [&](V(&acc)[C][R]) { load_block(acc, corner, stride); },
                [&](V(&acc)[C][R]) { store_block(acc, corner, stride); });
        });
        for (int64_t k = 0; k < count; ++k)
            for (int64_t i = 0; i < n; ++i)
                Layout::write(lower(i, first + k), Layout::read(swept_ + k * stride + i * unit));
    }
}

// Sweep the pivots' own rows, and note down what the other rows need of them.
template <class Layout>
void SymmetricInverse<Layout>::sweep_pivots(Entry (&p)[pivots][pivots]) const {
#pragma GCC unroll 4
    for (int k = 0; k < pivots; ++k) {
        const Entry minus_inverse = Entry(T(-1)) / p[k][k];
        Entry row[pivots];
        for (int j = 0; j < pivots; ++j) {
            row[j] = p[k][j];
            Layout::write(row_ + (k * pivots + j) * unit, j == k ? minus_inverse : row[j]);
        }
        for (int i = 0; i < pivots; ++i) {
            const Entry minus_u = row[i] * minus_inverse;
            for (int j = 0; j <= i; ++j)
                if (i != k && j != k) p[i][j] = p[j][i] = fma(minus_u, row[j], p[i][j]);
            p[i][k] = p[k][i] = Entry(T(0)) - minus_u;
        }
        p[k][k] = minus_inverse;
    }
}

template <class Layout>
template <int R>
void SymmetricInverse<Layout>::sweep_columns(int64_t vector, int64_t stride) const {
    V p[pivots][R];
    load_block(p, panel_ + vector * V::size, stride);
#pragma GCC unroll 4
    for (int k = 0; k < pivots; ++k) {
        const T* const row = row_ + k * pivots * unit;
        for (int r = 0; r < R; ++r) {
            const int64_t at = k * stride + (vector + r) * V::size;
            const V minus_u = p[k][r] * Layout::spread(row + k * unit);
            p[k][r].store(panel_ + at);
            minus_u.store(minus_u_ + at);
            for (int j = 0; j < pivots; ++j)
                if (j != k) p[j][r] = fma(minus_u, Layout::spread(row + j * unit), p[j][r]);
            p[k][r] = -minus_u;
        }
    }
    store_block(p, swept_ + vector * V::size, stride);
}

}  // namespace pyrank::PYRANK_ISA
