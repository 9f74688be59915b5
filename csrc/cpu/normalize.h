// Recentring and rescaling of rows, a few vectors of rows at a time so that the sums overlap.
#pragma once
#include "../core/layer.h"
#include "multiply.h"

namespace pyrank::PYRANK_ISA {

// Subtract the mean of each row. Distances from the first sample are averaged, so that equal samples give exactly zero
// and a mean much larger than the spread costs no digits.
template <class Layout, int R>
PYRANK_INLINE void recentre_rows(typename Layout::T* z, int64_t stride, int64_t batch) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    V first[R], mean[R];
    for (int r = 0; r < R; ++r) {
        first[r] = V::load(z + r * V::size);
        mean[r] = V(T(0));
    }
    for (int64_t j = 0; j < batch; ++j)
        for (int r = 0; r < R; ++r) mean[r] = mean[r] + (V::load(z + j * stride + r * V::size) - first[r]);
    for (int r = 0; r < R; ++r) mean[r] = mean[r] / V(T(batch));
    for (int64_t j = 0; j < batch; ++j)
        for (int r = 0; r < R; ++r) {
            T* p = z + j * stride + r * V::size;
            ((V::load(p) - first[r]) - mean[r]).store(p);
        }
}

template <class Layout>
void recentre(typename Layout::T* z, int64_t stride, int64_t width, int64_t batch) {
    for_pieces<4>(0, vectors_of<Layout>(width), [&]<int R>(int64_t vector) {
        recentre_rows<Layout, R>(z + vector * Layout::V::size, stride, batch);
    });
}

// Divide each row by its size; rows found to be zero are counted for each chain.
template <class Layout>
void rescale(typename Layout::T* z, int64_t stride, const ChainParams& chain, int chains, int64_t* degenerate_rows) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    for_pieces<6>(0, vectors_of<Layout>(chain.width), [&]<int R>(int64_t vector) {
        T* rows = z + vector * V::size;
        V sum[R], factor[R];
        for (int r = 0; r < R; ++r) sum[r] = V(T(0));
        for (int64_t j = 0; j < chain.batch; ++j)
            for (int r = 0; r < R; ++r) {
                const V x = V::load(rows + j * stride + r * V::size);
                sum[r] = fma(x, x, sum[r]);
            }
        for (int r = 0; r < R; ++r) {
            factor[r] = row_factor(sum[r], chain);
            if (!any(sum[r] == V(T(0)))) continue;
            T sums[V::size];
            sum[r].store(sums);
            for (int lane = 0; lane < V::size; ++lane) {
                const int64_t row = Layout::rows == 1 ? vector + r : (vector + r) * V::size + lane;
                const int of_chain = Layout::rows == 1 ? lane : 0;
                if (sums[lane] == 0 && row < chain.width && of_chain < chains) ++degenerate_rows[of_chain];
            }
        }
        const V alpha = V(T(chain.alpha));
        for (int64_t j = 0; j < chain.batch; ++j)
            for (int r = 0; r < R; ++r) {
                T* p = rows + j * stride + r * V::size;
                fma(V::load(p), factor[r], alpha).store(p);
            }
    });
}

}  // namespace pyrank::PYRANK_ISA
