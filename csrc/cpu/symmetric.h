// A symmetric matrix A over a layout. Where only its lower half is known, the upper one holds anything.
#pragma once
#include "sweep.h"

namespace pyrank::PYRANK_ISA {

template <class Layout>
class SymmetricMatrix {
public:
    using V = typename Layout::V;
    using T = typename Layout::T;
    using Mask = typename V::Mask;

    // Of up to `side` rows.
    SymmetricMatrix(int64_t side, Workspace& workspace)
        : a_(workspace.take<T>(side * stride_of<Layout>(side))), row_sums_(workspace.take<T>(stride_of<Layout>(side))),
          sweeps_(side, workspace) {}

    void resize(int64_t n) {
        n_ = n;
        vectors_ = vectors_of<Layout>(n);
        stride_ = stride_of<Layout>(n);
    }

    // Numbers in the n columns of the matrix.
    int64_t numbers() const { return n_ * stride_; }
    T* data() const { return a_; }

    // The lower half of A = factor (X X^T + B), X with `columns` columns.
    void set_gram(const T* x, int64_t columns, const T* b, T factor);

    // The lower half of A = -(A + I)^{-1}.
    void invert() {
        for (int64_t i = 0; i < n_; ++i) Layout::write(entry(i, i), Layout::read(entry(i, i)) + Entry(T(1)));
        sweeps_.minus_inverse(a_, n_);
    }

    // A = factor A + diagonal I, both halves from the lower one.
    void scale_and_shift(V factor, V diagonal);

    // to = A from, in the chosen chains.
    void multiply(const T* from, T* to, int64_t columns, Mask chosen) const;

    V trace() const {
        V sum = V(T(0));
        for (int64_t i = 0; i < n_; ++i) sum = sum + Layout::spread(entry(i, i));
        return sum;
    }

    V square_of_norm() const;

private:
    using Entry = typename Layout::Entry;
    static constexpr int unit = Layout::unit;
    T* entry(int64_t i, int64_t j) const { return a_ + j * stride_ + i * unit; }

    T *a_, *row_sums_;
    SymmetricInverse<Layout> sweeps_;
    int64_t n_ = 0, vectors_ = 0, stride_ = 0;
};

template <class Layout>
void SymmetricMatrix<Layout>::set_gram(const T* x, int64_t columns, const T* b, T factor) {
    for_lower_blocks<Layout>(n_, [&]<int R, int C>(int64_t vector, int64_t column) {
        const int64_t corner = column * stride_ + vector * V::size;
        multiply_block<Layout, R, C>(
            x + vector * V::size, stride_, x + column * unit, stride_, unit, columns,
            [&](V(&acc)[C][R]) { load_block(acc, b + corner, stride_); },
            [&](V(&acc)[C][R]) {
                for_block<C, R>([&](int c, int r) { acc[c][r] = acc[c][r] * V(factor); });
                store_block(acc, a_ + corner, stride_);
            });
    });
}

template <class Layout>
void SymmetricMatrix<Layout>::scale_and_shift(V factor, V diagonal) {
    const Entry f = Entry(factor), d = Entry(diagonal);
    constexpr int64_t few = 8;  // columns at a time, to write whole cache lines of the upper half
    for (int64_t first = 0; first < n_; first += few)
        for (int64_t i = first; i < n_; ++i)
            for (int64_t j = first; j < first + few && j <= i; ++j) {
                const Entry product = Layout::read(entry(i, j)) * f, x = i == j ? product + d : product;
                Layout::write(entry(i, j), x);
                Layout::write(entry(j, i), x);
            }
}

template <class Layout>
void SymmetricMatrix<Layout>::multiply(const T* from, T* to, int64_t columns, Mask chosen) const {
    for_pieces<column_block>(0, columns, [&]<int C>(int64_t column) {
        for_pieces<row_block>(0, vectors_, [&]<int R>(int64_t vector) {
            T* const corner = to + column * stride_ + vector * V::size;
            multiply_block<Layout, R, C>(
                a_ + vector * V::size, stride_, from + column * stride_, unit, stride_, n_,
                [](V(&acc)[C][R]) { fill_block(acc, V(T(0))); },
                [&](V(&acc)[C][R]) {
                    V old[C][R];
                    load_block(old, corner, stride_);
                    for_block<C, R>([&](int c, int r) { acc[c][r] = select(chosen, acc[c][r], old[c][r]); });
                    store_block(acc, corner, stride_);
                });
        });
    });
}

// Row by row, so that nothing is summed across a register.
template <class Layout>
typename Layout::V SymmetricMatrix<Layout>::square_of_norm() const {
    for (int64_t p = 0; p < vectors_ * V::size; p += V::size) {
        V sum = V(T(0));
        for (int64_t j = 0; j < n_; ++j) {
            const V x = V::load(a_ + j * stride_ + p);
            sum = fma(x, x, sum);
        }
        sum.store(row_sums_ + p);
    }
    V sum = V(T(0));
    for (int64_t i = 0; i < n_; ++i) sum = sum + Layout::spread(row_sums_ + i * unit);
    return sum;
}

}  // namespace pyrank::PYRANK_ISA
