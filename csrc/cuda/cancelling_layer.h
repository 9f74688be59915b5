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
        : Plain(chain, workspace), noise_(workspace.take<T>(chain.batch)) {}

    template <class Position, class Count>
    PYRANK_DEVICE void advance(Matrix<T>& h, const WeightParams& weights, Position position, Count count) {
        find_noise(Plain::operand(h), weights);
        const auto clear = [&](const Lines<T>& z, int line) { clear_noise(z, line); };
        Plain::advance(h, weights, position, clear, count);
    }

private:
    PYRANK_DEVICE void find_noise(const Matrix<T>& f, const WeightParams& weights) const;
    PYRANK_DEVICE void clear_noise(const Lines<T>& z, int line) const;

    Array<T> noise_;  // what rounding may leave of a sum W F that is zero, in each column
};

// Seen by all threads after the barriers of the product.
template <class T>
PYRANK_DEVICE void CancellingLayer<T>::find_noise(const Matrix<T>& f, const WeightParams& weights) const {
    for_each(0, Plain::batch_, [&](int column) {
        T largest = 0;
        for (int k = 0; k < weights.fan_in; ++k) {
            const T x = abs(T(f(k, column)));
            largest = x > largest ? x : largest;
        }
        noise_[column] = noise_of_column(Scalar<T>(largest), cancellation(Plain::chain_, weights)).v;
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
