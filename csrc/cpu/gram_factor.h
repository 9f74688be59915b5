// The triangular R with R^T R = F^T F, in double: W F and G R have the same law for gaussian W and G, and G has as many
// columns as there are samples.
#pragma once
#include <limits>

#include "multiply.h"

namespace pyrank::PYRANK_ISA {

// Works on one chain at a time, whatever the layout of F: single precision would lose every direction of F that is
// smaller than a few thousandths of the largest.
class GramFactor {
public:
    using Layout = Rows<Vec<double>>;
    using V = Layout::V;

    GramFactor(int64_t width, int64_t batch, Workspace& workspace)
        : batch_(batch), vectors_(vectors_of<Layout>(batch)), stride_(stride_of<Layout>(batch)),
          x_(workspace.take<double>(width * stride_)), gram_(workspace.take<double>(batch * stride_)),
          l_(workspace.take<double>(batch * stride_)) {}

    // Entry (i, j) of F lies at f[j * stride + i * unit], and R is written in the same way, `out_stride` apart.
    template <class T>
    void factor(const T* f, int64_t width, int64_t unit, int64_t stride, T* out, int64_t out_stride) {
        for (int64_t k = 0; k < width; ++k) {
            for (int64_t j = 0; j < batch_; ++j) x_[k * stride_ + j] = double(f[j * stride + k * unit]);
            for (int64_t j = batch_; j < vectors_ * V::size; ++j) x_[k * stride_ + j] = 0;
        }
        form_gram(width);
        for (int64_t k = 0; k < batch_; ++k) eliminate(k, double(width));
        for (int64_t j = 0; j < batch_; ++j) {
            const int64_t first = first_like(j);
            for (int64_t q = 0; q < batch_; ++q)
                out[j * out_stride + q * unit] = T(q <= first ? l_[q * stride_ + first] : 0.0);
        }
    }

private:
    void form_gram(int64_t width) {
        for_pieces<column_block>(0, batch_, [&]<int C>(int64_t column) {
            for_pieces<row_block>(column / V::size, vectors_, [&]<int R>(int64_t vector) {
                multiply_block<Layout, R, C>(
                    x_ + vector * V::size, stride_, x_ + column, stride_, 1, width,
                    [](V(&acc)[C][R]) { fill_block(acc, V(0.0)); },
                    [&](V(&acc)[C][R]) { store_block(acc, gram_ + column * stride_ + vector * V::size, stride_); });
            });
        });
    }

    // Column k of L, rows k and below. A pivot within the rounding of its sums counts as zero, and so does its column:
    // that sample is a combination of the ones before it.
    void eliminate(int64_t k, double products) {
        double* const column = l_ + k * stride_;
        for_pieces<row_block>(k / V::size, vectors_, [&]<int R>(int64_t vector) {
            multiply_block<Layout, R, 1>(
                l_ + vector * V::size, stride_, l_ + k, stride_, 1, k,
                [&](V(&acc)[1][R]) {
                    for (int r = 0; r < R; ++r) acc[0][r] = -V::load(gram_ + k * stride_ + (vector + r) * V::size);
                },
                [&](V(&acc)[1][R]) {
                    for (int r = 0; r < R; ++r) (-acc[0][r]).store(column + (vector + r) * V::size);
                });
        });
        const double pivot = column[k],
                     limit = products * std::numeric_limits<double>::epsilon() * gram_[k * stride_ + k];
        const V factor = V(pivot > limit ? 1 / std::sqrt(pivot) : pivot == pivot ? 0.0 : pivot);
        for (int64_t vector = k / V::size; vector < vectors_; ++vector)
            (V::load(column + vector * V::size) * factor).store(column + vector * V::size);
    }

    // The first sample that is equal to sample j: rounding must not part again what has met.
    int64_t first_like(int64_t j) const {
        const double square = gram_[j * stride_ + j];
        for (int64_t i = 0; i < j; ++i)
            if (gram_[i * stride_ + i] == square && gram_[i * stride_ + j] == square) return i;
        return j;
    }

    int64_t batch_, vectors_, stride_;
    double *x_, *gram_, *l_;
};

}  // namespace pyrank::PYRANK_ISA
