// The Gram matrix of a state on its smaller side, its moments, and eigenvalue counts by inertia.
#pragma once
#include <limits>

#include "../core/inertia.h"
#include "../core/moments.h"
#include "multiply.h"
#include "tensor_gram.h"

namespace pyrank::cuda {

struct Count {
    double above, S;  // eigenvalues above tau, and the S of core/inertia.h (NaN after a zero pivot)
};

// What a function leaves in shared data is there for all threads when it returns, and every thread returns the same.
template <class T>
class Spectrum {
public:
    // `most` is 0, or the most rows that M may have: then, where everything lies in the memory of the block, the
    // compiler can be told so, and distances as well.
    PYRANK_HD Spectrum(int width, int batch, int most, Place place, Workspace& workspace)
        : n_(width < batch ? width : batch), inner_(width < batch ? batch : width), over_samples_(n_ < width),
          batch_(batch), gram_(workspace.take_matrix<T>(larger(n_, most), n_, place)),
          u_(take_fours(larger(n_, most), place, workspace)), l_(take_fours(larger(n_, most), place, workspace)),
          row_sums_(workspace.take<T>(n_, place)), results_(workspace.take<double>(results + n_, place)) {}

    // Whether everything lies in the memory of the block, as it has to with a `most` that is not 0.
    PYRANK_DEVICE bool lies_on_chip() const {
        return cuda::lies_on_chip(gram_.data) && cuda::lies_on_chip(u_.data) && cuda::lies_on_chip(l_.data) &&
               cuda::lies_on_chip(row_sums_) && cuda::lies_on_chip(results_);
    }

    // Form M = H H^T / N or H^T H / N. `work` is room for rotated_size() numbers.
    template <int most, class State>
    PYRANK_CALLED void set(State state, Array<T> work) const {
        const int stride = most ? stride_of_fours(most) : stride_of(n_);
        copy<most>().template form<(most > 0)>(known<most>(state), {known<most>(work), stride});
    }

    // The same on the tensor cores, with a rounding of TensorSum, for at most `most` rows; `in_block` if everything
    // lies in the memory of the block.
    template <int most, bool in_block, class State>
    PYRANK_CALLED void set_on_tensor_cores(State state, Array<T> work) const {
        constexpr int where = in_block ? most : 0;
        const Spectrum own = copy<where>();
        const State from = known<where>(state);
        const Turned<most> x{known<where>(work)};
        const bool over_samples = over_samples_;
        const T factor = T(1) / T(batch_);
        x.fill(n_, inner_, [&](int i, int k) { return T(over_samples ? from(k, i) : from(i, k)); });
        barrier();
        x.multiply_by_itself(n_, inner_, [&](int i, int j, T sum) { own.gram_(i, j) = sum * factor; });
        barrier();
    }

    // Take over M from a spectrum of another precision.
    template <class Other>
    PYRANK_CALLED void set(const Spectrum<Other>& other) const {
        for_lower([&](int i, int j) { gram_(i, j) = T(Other(other.gram_(i, j))); });
        barrier();
    }

    PYRANK_DEVICE int inner() const { return inner_; }
    template <int most>
    PYRANK_DEVICE void find_moments() const {
        copy<most>().sum_squares();
    }
    // Fetched for each use: registers are short when eigenvalues are counted.
    PYRANK_DEVICE Moments moments() const { return {results_[0], results_[1]}; }
    // Count the eigenvalues of M above tau.
    template <int most>
    PYRANK_CALLED Count count(double tau, Array<T> work) const {
        return copy<most>().template factor<(most > 0)>(tau, {known<most>(work), stride_of(most ? most : n_)});
    }

private:
    template <class Other>
    friend class Spectrum;
    PYRANK_HD static Matrix<T> take_fours(int rows, Place place, Workspace& workspace) {
        return {workspace.take<T>(block_columns * padded(rows), place), padded(rows)};
    }
    template <int most, class U>
    PYRANK_DEVICE static Array<U> known(const Array<U>& array) {
        if constexpr (most > 0) return on_chip(array);
        return array;
    }
    template <int most, class Entries>
    PYRANK_DEVICE static Entries known(Entries entries) {
        entries.data = known<most>(entries.data);
        return entries;
    }
    // In registers: to the compiler, what is written may be what the places are read from.
    template <int most>
    PYRANK_DEVICE Spectrum copy() const {
        Spectrum own = *this;
        own.gram_ = known<most>(gram_);
        own.u_ = known<most>(u_);
        own.l_ = known<most>(l_);
        own.row_sums_ = known<most>(row_sums_);
        own.results_ = known<most>(results_);
        if (most) {
            own.gram_.stride = stride_of(most);
            own.u_.stride = own.l_.stride = padded(most);
        }
        return own;
    }
    template <bool by_fours, class State>
    PYRANK_DEVICE void form(const State& state, const Matrix<T>& x) const;
    template <class State>
    PYRANK_DEVICE void rotate(const State& state, const Matrix<T>& x, int rows) const;
    PYRANK_DEVICE void sum_squares() const;
    template <bool by_fours>
    PYRANK_DEVICE Count factor(double tau, const Matrix<T>& rest) const;
    // Rows of which four are taken at once.
    PYRANK_HD static int padded(int rows) { return pieces(rows, 4) * 4; }
    template <class Body>
    PYRANK_DEVICE void for_lower(Body body) const {
        for_entries(n_, n_, [&](int i, int j) {
            if (i >= j) body(i, j);
        });
    }
    // What the pivots tell, taken in their order.
    struct Pivots {
        int positive = 0;
        T sizes = 0;
        PYRANK_DEVICE void take(T pivot) {
            const T size = abs(pivot);
            positive += pivot > 0;
            sizes = sizes + (size > 0 ? size : std::numeric_limits<T>::quiet_NaN());  // after zero nothing is known
        }
    };
    // What earlier columns leave of M - tau I, of which tau has yet to be taken from the rows before `shifted`.
    struct Left {
        Matrix<T> entries;
        int shifted;
        T tau;
        PYRANK_DEVICE T operator()(int i, int j) const {
            const T x = entries(i, j);
            return i == j && i < shifted ? x - tau : x;
        }
    };
    PYRANK_DEVICE void factor_columns(int block, const Left& left, Pivots& pivots) const;

    // Factored before the rest of the matrix is brought up to date: as many as there are registers for.
    static constexpr int block_columns = 64 / sizeof(T);

    int n_, inner_;
    bool over_samples_;  // M is H^T H / N
    int batch_;
    Matrix<T> gram_;
    Matrix<T> u_, l_;  // L D and L in the columns of a block, below its diagonal
    Array<T> row_sums_;
    // Trace and purity; positive pivots and S of the last count. Then, for each row, what it adds to the purity.
    static constexpr int results = 4;
    Array<double> results_;
};

template <class T>
template <bool by_fours, class State>
PYRANK_DEVICE void Spectrum<T>::form(const State& state, const Matrix<T>& x) const {
    const T factor = T(1) / T(batch_);
    const auto start = [](int, int) { return T(0); };
    const auto finish = [&](int i, int j, T sum) { gram_(i, j) = sum * factor; };
    rotate(state, x, by_fours ? padded(n_) : n_);
    if constexpr (by_fours)
        multiply_fours<T>(
            n_, inner_, [&](int i, int k) { return x.data.four(k * x.stride + i); },
            [&](int k, int j) { return x.data.four(k * x.stride + j); }, start, finish);
    else
        multiply<Part::lower, T>(
            n_, n_, inner_, [&](int i, int k) -> T { return x(i, k); }, [&](int k, int j) -> T { return x(j, k); },
            start, finish);
    barrier();
}

// x(i, k) for i < n, k < inner: pairs (i, i + n/2) turned by a fixed angle; zeros up to `rows`.
template <class T>
template <class State>
PYRANK_DEVICE void Spectrum<T>::rotate(const State& state, const Matrix<T>& x, int rows) const {
    const T c = T(rotation_cosine), s = T(rotation_sine), minus_s = T(-rotation_sine);
    const auto entry = [&](int i, int k) { return T(typename State::T(over_samples_ ? state(k, i) : state(i, k))); };
    const int half = n_ / 2;
    for_each(0, inner_, [&](int k) {
        for (int i = 0; i < half; ++i) {
            const T a = entry(i, k), b = entry(i + half, k);
            x(i, k) = fma(s, b, c * a);
            x(i + half, k) = fma(minus_s, a, c * b);
        }
        if (n_ % 2) x(n_ - 1, k) = entry(n_ - 1, k);
        for (int i = n_; i < rows; ++i) x(i, k) = T(0);
    });
    barrier();
}

// Squares are taken of M / Tr M, whose entries are at most 1: none overflows or vanishes if M itself does not.
template <class T>
PYRANK_DEVICE void Spectrum<T>::sum_squares() const {
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
        const double m = T(gram_(i, i)) * inverse;
        results_[results + i] = 2 * double(below) + m * m;
    });
    barrier();
    if (leader()) {
        double purity = 0;
        for (int i = 0; i < n_; ++i) purity += results_[results + i];
        results_[1] = purity;
    }
    barrier();
}

// L D L^T, a block of columns at a time; the sum over k of every entry runs in ascending order.
template <class T>
template <bool by_fours>
PYRANK_DEVICE Count Spectrum<T>::factor(double tau, const Matrix<T>& rest) const {
    Pivots pivots;
    for (int block = 0; block < n_; block += block_columns) {
        const int end = smaller(block + block_columns, n_);
        const Left left{block == 0 ? gram_ : rest, block % shifted_columns == 0 ? block + shifted_columns : 0, T(tau)};
        factor_columns(block, left, pivots);
        barrier();
        const auto start = [&](int i, int j) { return left(end + i, end + j); };
        const auto finish = [&](int i, int j, T sum) { rest(end + i, end + j) = sum; };
        if constexpr (by_fours)
            multiply_fours<T>(
                n_ - end, block_columns,
                [&](int i, int k) {
                    const Four<T> u = u_.data.four(k * u_.stride + end + i);
                    return Four<T>{{-u[0], -u[1], -u[2], -u[3]}};
                },
                [&](int k, int j) { return l_.data.four(k * l_.stride + end + j); }, start, finish);
        else
            multiply<Part::lower, T>(
                n_ - end, n_ - end, block_columns, [&](int i, int k) -> T { return -u_(end + i, k); },
                [&](int k, int j) -> T { return l_(end + j, k); }, start, finish);
        barrier();
    }
    if (leader()) {
        double S = pivots.sizes;
        for (int i = 0; i < n_; ++i) S += T(row_sums_[i]);
        results_[2] = pivots.positive;
        results_[3] = S;
    }
    barrier();
    return {results_[2], results_[3]};
}

// Some columns from their diagonal down, a row a lane. Each warp factors the square on the diagonal for itself in its
// first lanes, and takes along rows below it in the others: no warp waits for another. The first one knows the pivots.
template <class T>
PYRANK_DEVICE void Spectrum<T>::factor_columns(int block, const Left& left, Pivots& pivots) const {
    constexpr int strip_rows = warp_size - block_columns;
    const int end = block + block_columns, own_lane = lane();
    const bool below = own_lane >= block_columns;
    for (int strip = warp(); strip == 0 || end + strip * strip_rows < n_; strip += block_size() / warp_size) {
        const int row = block + own_lane + (below ? strip * strip_rows : 0);
        const int entries = row >= n_ ? 0 : below ? block_columns : own_lane + 1;  // up to the diagonal
        const bool own = row < n_ && (below || strip == 0);
        T u[block_columns], l[block_columns];
        PYRANK_UNROLL
        for (int j = 0; j < block_columns; ++j) {
            u[j] = j < entries ? T(left.entries(row, block + j)) : T(0);
            if (j == own_lane && row < left.shifted) u[j] = u[j] - left.tau;
        }
        T sum = own && block > 0 ? T(row_sums_[row]) : T(0);
        PYRANK_UNROLL
        for (int k = 0; k < block_columns; ++k) {
            const T pivot = from_lane(u[k], k);
            l[k] = u[k] * (T(1) / pivot);
            if (strip == 0 && block + k < n_) pivots.take(pivot);
            if (block + k < row) sum = fma(abs(u[k]), abs(l[k]), sum);
            PYRANK_UNROLL
            for (int j = 0; j < block_columns; ++j)
                if (j > k) u[j] = fma(-u[k], from_lane(l[k], j), u[j]);
        }
        if (own) row_sums_[row] = sum;
        if (!below || row >= padded(n_)) continue;
        PYRANK_UNROLL
        for (int k = 0; k < block_columns; ++k) {
            u_(row, k) = u[k];
            l_(row, k) = l[k];
        }
    }
}

}  // namespace pyrank::cuda
