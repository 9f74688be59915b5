// The Gram matrix of a state on its smaller side, its moments, and eigenvalue counts by inertia.
#pragma once
#include <limits>

#include "../core/inertia.h"
#include "../core/moments.h"
#include "multiply.h"

namespace pyrank::cuda {

struct Count {
    double above, S;  // eigenvalues above tau, and the S of core/inertia.h (NaN after a zero pivot)
};

// What a function leaves in shared data is there for all threads when it returns, and every thread returns the same.
template <class T>
class Spectrum {
public:
    PYRANK_HD Spectrum(int width, int batch, Place place, Workspace& workspace)
        : n_(width < batch ? width : batch), inner_(width < batch ? batch : width), over_samples_(n_ < width),
          batch_(batch), gram_(workspace.take_matrix<T>(n_, n_, place)),
          minus_u_(workspace.take_matrix<T>(n_, block_columns, place)),
          l_(workspace.take_matrix<T>(n_, block_columns, place)), pivots_(workspace.take<T>(n_, place)),
          row_sums_(workspace.take<T>(n_, place)), results_(workspace.take<double>(4, place)) {}

    // Form M = H H^T / N or H^T H / N. `work` is room for rotated_size() numbers.
    template <class State>
    PYRANK_CALLED void set(State state, Array<T> work) const {
        const Matrix<T> x{work, stride_of(n_)};
        rotate(state, x);
        const T factor = T(1) / T(batch_);
        multiply<Part::lower, T>(
            n_, n_, inner_, [&](int i, int k) -> T { return x(i, k); }, [&](int k, int j) -> T { return x(j, k); },
            [](int, int) { return T(0); }, [&](int i, int j, T sum) { gram_(i, j) = sum * factor; });
        barrier();
    }

    // Take over M from a spectrum of another precision.
    template <class Other>
    PYRANK_CALLED void set(const Spectrum<Other>& other) const {
        for_lower([&](int i, int j) { gram_(i, j) = T(Other(other.gram_(i, j))); });
        barrier();
    }

    PYRANK_DEVICE int inner() const { return inner_; }
    PYRANK_DEVICE void find_moments() const;
    // Fetched for each use: registers are short when eigenvalues are counted.
    PYRANK_DEVICE Moments moments() const { return {results_[0], results_[1]}; }
    PYRANK_CALLED Count count(double tau, Array<T> work) const;

private:
    template <class Other>
    friend class Spectrum;
    template <class State>
    PYRANK_DEVICE void rotate(const State& state, const Matrix<T>& x) const;
    template <class Body>
    PYRANK_DEVICE void for_lower(Body body) const {
        for_entries(n_, n_, [&](int i, int j) {
            if (i >= j) body(i, j);
        });
    }
    PYRANK_DEVICE void factor_column(const Matrix<T>& rest, int block, int column) const;

    static constexpr int block_columns = 16;  // factored before the rest of the matrix is brought up to date

    int n_, inner_;
    bool over_samples_;  // M is H^T H / N
    int batch_;
    Matrix<T> gram_;
    Matrix<T> minus_u_, l_;  // -L D and L in the columns of a block
    Array<T> pivots_, row_sums_;
    Array<double> results_;  // trace and purity; positive pivots and S of the last count
};

// x(i, k) for i < n, k < inner: pairs (i, i + n/2) turned by a fixed angle.
template <class T>
template <class State>
PYRANK_DEVICE void Spectrum<T>::rotate(const State& state, const Matrix<T>& x) const {
    const T c = T(rotation_cosine), s = T(rotation_sine), minus_s = T(-rotation_sine);
    const auto entry = [&](int i, int k) { return T(typename State::T(over_samples_ ? state(k, i) : state(i, k))); };
    const int half = n_ / 2;
    for_entries(n_ - half, inner_, [&](int i, int k) {
        if (i == half) {
            x(n_ - 1, k) = entry(n_ - 1, k);
            return;
        }
        const T a = entry(i, k), b = entry(i + half, k);
        x(i, k) = fma(s, b, c * a);
        x(i + half, k) = fma(minus_s, a, c * b);
    });
    barrier();
}

// Squares are taken of M / Tr M, whose entries are at most 1: none overflows or vanishes if M itself does not.
template <class T>
PYRANK_DEVICE void Spectrum<T>::find_moments() const {
    if (leader()) {
        double trace = 0;
        for (int i = 0; i < n_; ++i) trace += T(gram_(i, i));
        results_[0] = trace;
    }
    barrier();
    const double trace = results_[0], inverse = 1 / trace;
    const T inverse_trace = T(inverse);
    for_each(0, n_, [&](int i) {
        T below = 0;
        for (int j = 0; j < i; ++j) {
            const T x = T(gram_(i, j)) * inverse_trace;
            below = fma(x, x, below);
        }
        row_sums_[i] = below;
    });
    barrier();
    if (leader()) {
        double purity = 0;
        for (int i = 0; i < n_; ++i) {
            const double m = T(gram_(i, i)) * inverse;
            purity += 2 * double(T(row_sums_[i])) + m * m;
        }
        results_[1] = purity;
    }
    barrier();
}

// L D L^T, a block of columns at a time; the sum over k of every entry runs in ascending order.
template <class T>
PYRANK_CALLED Count Spectrum<T>::count(double tau, Array<T> work) const {
    const Matrix<T> rest{work, stride_of(n_)};  // what is left of M - tau I
    for_lower([&](int i, int j) { rest(i, j) = T(gram_(i, j)); });
    for_each(0, n_, [&](int i) { row_sums_[i] = T(0); });
    barrier();
    for (int block = 0; block < n_; block += block_columns) {
        const int end = smaller(block + block_columns, n_);
        if (block % shifted_columns == 0) {
            for_each(block, smaller(block + shifted_columns, n_), [&](int i) { rest(i, i) = T(rest(i, i)) - T(tau); });
            barrier();
        }
        for (int column = block; column < end; ++column) factor_column(rest, block, column);
        multiply<Part::lower, T>(
            n_ - end, n_ - end, end - block, [&](int i, int k) -> T { return minus_u_(end + i, k); },
            [&](int k, int j) -> T { return l_(end + j, k); },
            [&](int i, int j) -> T { return rest(end + i, end + j); },
            [&](int i, int j, T sum) { rest(end + i, end + j) = sum; });
        barrier();
    }
    if (leader()) {
        int positive = 0;
        T sizes = 0;
        for (int i = 0; i < n_; ++i) {
            const T pivot = pivots_[i], size = abs(pivot);
            positive += pivot > 0;
            // after a zero pivot nothing is known
            sizes = sizes + (size > 0 ? size : std::numeric_limits<T>::quiet_NaN());
        }
        double S = sizes;
        for (int i = 0; i < n_; ++i) S += T(row_sums_[i]);
        results_[2] = positive;
        results_[3] = S;
    }
    barrier();
    return {results_[2], results_[3]};
}

// One column below its pivot: what earlier columns of the block take off it, then L.
template <class T>
PYRANK_DEVICE void Spectrum<T>::factor_column(const Matrix<T>& rest, int block, int column) const {
    const int c = column - block;
    for_each(column, n_, [&](int i) {
        T u = rest(i, column);
        for (int k = 0; k < c; ++k) u = fma(T(minus_u_(i, k)), T(l_(column, k)), u);
        minus_u_(i, c) = -u;
        if (i == column) pivots_[column] = u;
    });
    barrier();
    const T inverse = T(1) / T(pivots_[column]);
    for_each(column + 1, n_, [&](int i) {
        const T minus_u = minus_u_(i, c), l = -minus_u * inverse;
        l_(i, c) = l;
        row_sums_[i] = fma(abs(minus_u), abs(l), T(row_sums_[i]));
    });
    barrier();
}

}  // namespace pyrank::cuda
