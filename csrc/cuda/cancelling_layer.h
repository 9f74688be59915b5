// The plain layer for weights of which sums may cancel: lines that are zero but for rounding are made zero before they
// are rescaled. A kernel of its own, because the others have no registers to spare for it.
#pragma once
#include "plain_layer.h"

namespace pyrank::cuda {

template <class T>
class CancellingLayer : public PlainLayer<T> {
    using Plain = PlainLayer<T>;

public:
    PYRANK_HD CancellingLayer(const ChainParams& chain, Workspace& workspace)
        : Plain(chain, workspace), largest_(workspace.take<T>(chain.batch)), noise_(workspace.take<T>(chain.batch)) {}

    PYRANK_DEVICE void prepare(const Matrix<T>& h, int rows) const {
        Plain::activate(h, rows);
        find_largest(Plain::operand(h), rows);
        Plain::centre(rows);
    }

    template <class Position, class Count>
    PYRANK_DEVICE void advance(Matrix<T>& h, const WeightParams& weights, Position position, Count count) {
        find_noise(weights);
        const auto clear = [&](const Lines<T>& z, int line) { clear_noise(z, line); };
        Plain::advance(h, weights, position, clear, count);
    }

private:
    PYRANK_DEVICE void find_largest(const Matrix<T>& f, int rows) const;
    PYRANK_DEVICE void find_noise(const WeightParams& weights) const;
    PYRANK_DEVICE void clear_noise(const Lines<T>& z, int line) const;

    Array<T> largest_;  // |f| in each column
    Array<T> noise_;    // what rounding may leave of a sum W F that is zero, in each column
};

template <class T>
PYRANK_DEVICE void CancellingLayer<T>::find_largest(const Matrix<T>& f, int rows) const {
    for_each(0, Plain::batch_, [&](int column) {
        T largest = 0;
        for (int k = 0; k < rows; ++k) {
            const T x = abs(T(f(k, column)));
            largest = x > largest ? x : largest;
        }
        largest_[column] = largest;
    });
    barrier();
}

// Seen by all threads after the barriers of the product.
template <class T>
PYRANK_DEVICE void CancellingLayer<T>::find_noise(const WeightParams& weights) const {
    T sum = 0;
    for (int column = 0; column < Plain::batch_; ++column) sum += T(largest_[column]);
    const T spread = Plain::chain_.centres_f() ? sum / T(Plain::batch_) : T(0);
    const double roundings = cancellation(Plain::chain_, weights);
    for_each(0, Plain::batch_, [&](int column) {
        noise_[column] = noise_of_column(Scalar<T>(T(largest_[column]) + spread), roundings).v;
    });
}

// A line of which no entry is above the noise of its column is zero but for rounding.
template <class T>
PYRANK_DEVICE void CancellingLayer<T>::clear_noise(const Lines<T>& z, int line) const {
    const bool over_features = Plain::chain_.over_features;
    for (int k = 0; k < z.count; ++k)
        if (!(abs(T(z(line, k))) <= T(noise_[over_features ? line : k]))) return;
    for (int k = 0; k < z.count; ++k) z(line, k) = T(0);
}

}  // namespace pyrank::cuda
