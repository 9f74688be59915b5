// The Gram matrix of a state on its smaller side, its moments, and eigenvalue counts by inertia.
#pragma once
#include <type_traits>

#include "../core/inertia.h"
#include "factorisation.h"

namespace pyrank::PYRANK_ISA {

template <class Layout>
class Spectrum {
public:
    using V = typename Layout::V;
    using T = typename Layout::T;
    static constexpr int unit = Layout::unit;

    Spectrum(int64_t width, int64_t batch, Workspace& workspace, cpu::Team& team)
        : team_(team), width_(width), batch_(batch), n_(width < batch ? width : batch),
          inner_(width < batch ? batch : width), vectors_(vectors_of<Layout>(n_)), stride_(stride_of<Layout>(n_)),
          gram_(workspace.take<T>(n_ * stride_)), factorisation_(n_, workspace, team) {}

    // Numbers in the room that `set` asks for: there the state is rotated, and the matrix factored afterwards.
    static int64_t room_size(int64_t width, int64_t batch) {
        return width < batch ? batch * stride_of<Layout>(width) : width * stride_of<Layout>(batch);
    }

    // Form M = H H^T / N or H^T H / N of a state whose entry (i, j) lies at state[j * column + i * row].
    template <class S>
    void set(const S* state, int64_t row, int64_t column, T* room) {
        room_ = room;
        if (n_ < width_)
            rotate(state, column, row);
        else
            rotate(state, row, column);
        form_gram();
    }

    // Take over M of one chain from a spectrum of another layout or precision.
    template <class Other>
    void set(const Spectrum<Other>& other, int64_t chain, T* room) {
        room_ = room;
        for_columns(n_, [&](int64_t j) {
            for (int64_t i = j; i < n_; ++i)
                gram_[j * stride_ + i * unit] = T(other.gram_[j * other.stride_ + i * Other::unit + chain]);
        });
    }

    int64_t inner() const { return inner_; }

    // Tr M and ||M||_F^2 / (Tr M)^2 of each chain.
    void moments(double (&trace)[Layout::chains], double (&purity)[Layout::chains]);

    // Eigenvalues of M above tau, and the S of core/inertia.h (NaN after a zero pivot), of each chain.
    void count(double tau, double (&count)[Layout::chains], double (&S)[Layout::chains]) {
        factorisation_.count(gram_, room_, tau, count, S);
    }

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
    template <int R, int C, bool lower>
    PYRANK_INLINE void gram_block(int64_t vector, int64_t column);
    template <class S>
    PYRANK_INLINE static typename Layout::Entry entry(const S* p) {
        if constexpr (Layout::rows == 1)
            return V::load(p);
        else
            return T(*p);
    }
    cpu::Team& team_;
    int64_t width_, batch_, n_, inner_, vectors_, stride_;
    T* room_ = nullptr;
    T* gram_;
    Factorisation<Layout> factorisation_;
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
    for_columns(inner_, [=, this](int64_t k) { rotate_column(state + k * across, along, room_ + k * stride_); });
}

template <class Layout>
template <class S>
PYRANK_INLINE void Spectrum<Layout>::rotate_column(const S* from, int64_t along, T* to) const {
    const int64_t half = n_ / 2;
    if (Layout::rows > 1 && along == 1)
        turn_pairs(from, from + half, to, to + half, half);
    else
#pragma GCC unroll 4
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
    // a row of Lanes is one vector, so that blocks on the diagonal can be cut along it
    constexpr bool cut = Layout::rows == 1 && row_block == 4;
    share_pieces<Layout, cut ? row_block : column_block>(team_, 0, n_, [&]<int C>(int64_t column, int) {
        if constexpr (cut) gram_block<C, C, true>(column, column);
        for_pieces<row_block>(cut ? column + C : column / Layout::rows, vectors_,
                              [&]<int R>(int64_t vector) { gram_block<R, C, false>(vector, column); });
    });
}

template <class Layout>
template <int R, int C, bool lower>
PYRANK_INLINE void Spectrum<Layout>::gram_block(int64_t vector, int64_t column) {
    const V factor = V(T(1) / T(batch_));
    multiply_block<Layout, R, C, lower>(
        room_ + vector * V::size, stride_, room_ + column * unit, stride_, unit, inner_,
        [](V(&acc)[C][R]) { fill_block(acc, V(T(0))); },
        [&](V(&acc)[C][R]) {
            for_block<C, R>([&](int c, int r) { acc[c][r] = acc[c][r] * factor; });
            store_block(acc, gram_ + column * stride_ + vector * V::size, stride_);
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
                const V x =
                    rows_below<Layout>(vector + r, c, V::load(from + c * stride_ + r * V::size)) * inverse_trace;
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

}  // namespace pyrank::PYRANK_ISA
