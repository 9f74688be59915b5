// The Gram matrix of a state on its smaller side, its moments, and eigenvalue counts by inertia.
#pragma once
#include <limits>
#include <type_traits>

#include "../core/inertia.h"
#include "multiply.h"

namespace pyrank::PYRANK_ISA {

template <class Layout>
class Spectrum {
public:
    using V = typename Layout::V;
    using T = typename Layout::T;
    static constexpr int unit = Layout::unit;

    Spectrum(int64_t width, int64_t batch, Workspace& workspace, cpu::Team& team)
        : team_(team), width_(width), batch_(batch), n_(width < batch ? width : batch),
          inner_(width < batch ? batch : width), vectors_(vectors_of<Layout>(n_)), stride_(stride_of<Layout>(n_)) {
        x_ = workspace.take<T>(inner_ * stride_);
        gram_ = workspace.take<T>(n_ * stride_);
        minus_u_ = workspace.take<T>(n_ * stride_);
        l_ = x_;  // one is done with when the other begins
        row_sums_ = workspace.take<T>(stride_);
        inverses_ = workspace.take<T>(panel_columns * V::size);
    }

    // Form M = H H^T / N or H^T H / N of a state whose entry (i, j) lies at state[j * column + i * row].
    template <class S>
    void set(const S* state, int64_t row, int64_t column) {
        if (n_ < width_)
            rotate(state, column, row);
        else
            rotate(state, row, column);
        form_gram();
    }

    // Take over M of one chain from a spectrum of another layout or precision.
    template <class Other>
    void set(const Spectrum<Other>& other, int64_t chain) {
        for_columns(n_, [&](int64_t j) {
            for (int64_t i = j; i < n_; ++i)
                gram_[j * stride_ + i * unit] = T(other.gram_[j * other.stride_ + i * Other::unit + chain]);
        });
    }

    int64_t inner() const { return inner_; }

    // Tr M and ||M||_F^2 / (Tr M)^2 of each chain.
    void moments(double (&trace)[Layout::chains], double (&purity)[Layout::chains]);

    // Eigenvalues of M above tau, and the S of core/inertia.h (NaN after a zero pivot), of each chain.
    void count(double tau, double (&count)[Layout::chains], double (&S)[Layout::chains]);

private:
    template <class Other>
    friend class Spectrum;
    template <class Body>
    PYRANK_INLINE void for_columns(int64_t count, Body body);
    template <class S>
    void rotate(const S* state, int64_t along, int64_t across);
    template <class X, class Write>
    PYRANK_INLINE static void turn(X a, X b, Write write) {
        const X c = T(rotation_cosine), s = T(rotation_sine), minus_s = T(-rotation_sine);
        write(fma(s, b, c * a), fma(minus_s, a, c * b));
    }
    template <class S>  // that nothing overlaps lets the compiler take many at once
    static void turn_pairs(const S* __restrict a, const S* __restrict b, T* __restrict x, T* __restrict y, int64_t n) {
        for (int64_t i = 0; i < n; ++i)
            turn(T(a[i]), T(b[i]), [&](T first, T second) {
                x[i] = first;
                y[i] = second;
            });
    }
    template <class S>
    PYRANK_INLINE void rotate_column(const S* from, int64_t along, T* to) const;
    void form_gram();
    template <class S>
    PYRANK_INLINE static typename Layout::Entry entry(const S* p) {
        if constexpr (Layout::rows == 1)
            return V::load(p);
        else
            return T(*p);
    }
    PYRANK_INLINE static V in_row(int64_t first_row, int64_t row, V x) {  // x in that row of a vector, 0 elsewhere
        if constexpr (Layout::rows == 1)
            return x;
        else
            return select(V::iota() == V(T(row - first_row)), x, V(T(0)));
    }
    PYRANK_INLINE static V rows_below(int64_t vector, int64_t row, V x) {  // x in the rows > row, 0 elsewhere
        if constexpr (Layout::rows == 1)
            return vector > row ? x : V(T(0));
        else
            return select(V::iota() > V(T(row - vector * Layout::rows)), x, V(T(0)));
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
    int64_t width_, batch_, n_, inner_, vectors_, stride_;
    T *x_, *gram_, *minus_u_, *l_, *row_sums_;
    T* inverses_;  // of the pivots of a panel
    V positive_pivots_, pivot_sizes_;
};

// Call body(column) for 0 .. count - 1; the members of the team take a few at a time.
template <class Layout>
template <class Body>
PYRANK_INLINE void Spectrum<Layout>::for_columns(int64_t count, Body body) {
    constexpr int64_t at_once = 16;
    team_.share((count + at_once - 1) / at_once, [=](int64_t piece, int) {
        const int64_t first = piece * at_once, last = first + at_once < count ? first + at_once : count;
        for (int64_t column = first; column < last; ++column) body(column);
    });
}

// x(i, k) for i < n, k < inner: pairs (i, i + n/2) turned by a fixed angle.
template <class Layout>
template <class S>
void Spectrum<Layout>::rotate(const S* state, int64_t along, int64_t across) {
    for_columns(inner_, [=, this](int64_t k) { rotate_column(state + k * across, along, x_ + k * stride_); });
}

template <class Layout>
template <class S>
PYRANK_INLINE void Spectrum<Layout>::rotate_column(const S* from, int64_t along, T* to) const {
    const int64_t half = n_ / 2;
    if (Layout::rows > 1 && along == 1)
        turn_pairs(from, from + half, to, to + half, half);
    else
        for (int64_t i = 0; i < half; ++i)
            turn(entry(from + i * along), entry(from + (i + half) * along), [&](auto x, auto y) {
                Layout::write(to + i * unit, x);
                Layout::write(to + (i + half) * unit, y);
            });
    if (n_ % 2) Layout::write(to + (n_ - 1) * unit, entry(from + (n_ - 1) * along));
    for (int64_t p = n_ * unit; p < vectors_ * V::size; ++p) to[p] = 0;
}

template <class Layout>
void Spectrum<Layout>::form_gram() {
    const V factor = V(T(1) / T(batch_));
    share_pieces<Layout, column_block>(team_, 0, n_, [&]<int C>(int64_t column, int) {
        for_pieces<row_block>(column / Layout::rows, vectors_, [&]<int R>(int64_t vector) {
            multiply_block<Layout, R, C>(
                x_ + vector * V::size, stride_, x_ + column * unit, stride_, unit, inner_,
                [](V(&acc)[C][R]) { fill_block(acc, V(T(0))); },
                [&](V(&acc)[C][R]) {
                    T* to = gram_ + column * stride_ + vector * V::size;
                    for_block<C, R>([&](int c, int r) { acc[c][r] = acc[c][r] * factor; });
                    store_block(acc, to, stride_);
                });
        });
    });
}

// Squares are taken of M / Tr M, whose entries are at most 1: none overflows or vanishes if M itself does not.
template <class Layout>
void Spectrum<Layout>::moments(double (&trace)[Layout::chains], double (&purity)[Layout::chains]) {
    constexpr int chains = Layout::chains, rows = Layout::rows;
    double inverse[chains];
    for (int chain = 0; chain < chains; ++chain) trace[chain] = purity[chain] = 0;
    for (int64_t row = 0; row < n_; ++row)
        for (int chain = 0; chain < chains; ++chain) trace[chain] += gram_[row * stride_ + row * unit + chain];
    for (int chain = 0; chain < chains; ++chain) inverse[chain] = 1 / trace[chain];
    T inverses[V::size];
    for (int lane = 0; lane < V::size; ++lane) inverses[lane] = T(inverse[chains == 1 ? 0 : lane]);
    const V inverse_trace = V::load(inverses);

    for_pieces<4>(0, vectors_, [&]<int R>(int64_t vector) {
        V below[R];  // of each row, the sum of squares below the diagonal
        for (V& sum : below) sum = V(T(0));
        const T* const from = gram_ + vector * V::size;
        int64_t c = 0;
        for (; c < vector * rows; ++c)
            for (int r = 0; r < R; ++r) {
                const V x = V::load(from + c * stride_ + r * V::size) * inverse_trace;
                below[r] = fma(x, x, below[r]);
            }
        for (; c + 1 < (vector + R) * rows && c < n_; ++c)
            for (int r = 0; r < R; ++r) {
                const V x = rows_below(vector + r, c, V::load(from + c * stride_ + r * V::size)) * inverse_trace;
                below[r] = fma(x, x, below[r]);
            }
        T off_diagonal[R * V::size];
        for (int r = 0; r < R; ++r) below[r].store(off_diagonal + r * V::size);
        const int64_t first = vector * rows, last = first + R * rows < n_ ? first + R * rows : n_;
        for (int64_t row = first; row < last; ++row)
            for (int chain = 0; chain < chains; ++chain) {
                const double m = gram_[row * stride_ + row * unit + chain] * inverse[chain];
                purity[chain] += 2 * double(off_diagonal[(row - first) * unit + chain]) + m * m;
            }
    });
}

// L D L^T: minus_u holds -L D, l holds L, and columns yet to come are kept in l while panels are taken off them. Of a
// panel, first the rows of its own square are factored, a few columns at a time, then those below. The sum over k of
// every entry runs in ascending order with panels of any width.
template <class Layout>
void Spectrum<Layout>::count(double tau, double (&count)[Layout::chains], double (&S)[Layout::chains]) {
    positive_pivots_ = pivot_sizes_ = V(T(0));
    for (int64_t p = 0; p < vectors_ * V::size; ++p) row_sums_[p] = 0;
    const T* source = gram_;
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
PYRANK_INLINE void Spectrum<Layout>::for_count_blocks(int64_t first, int64_t end, Body body) {
    for (; first + count_block <= end; first += count_block) body.template operator()<count_block>(first);
    for_pieces<count_block>(first, end, body);
}

// The square block on the diagonal: what earlier columns of the panel take off it, then its own factorisation.
template <class Layout>
template <int C>
PYRANK_INLINE void Spectrum<Layout>::factor_diagonal(const T* source, double tau, int64_t panel, int64_t first) {
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
PYRANK_INLINE void Spectrum<Layout>::factor_diagonal_block(int64_t panel, int64_t first,
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
            const V u_below = rows_below(top + r, row, abs(minus_u[r])), l_below = rows_below(top + r, row, abs(l[r]));
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
void Spectrum<Layout>::take_off(const T* source, int64_t panel, int64_t end) {
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
void Spectrum<Layout>::factor_below(const T* source, int64_t panel, int64_t vector, int64_t first) {
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
