// Sixteen rows of a state in the registers of a warp, as the tensor cores leave a product: a row is in the hands of
// four lanes, which hold every fourth pair of its columns.
#pragma once
#include "../core/layer.h"
#include "layout.h"
#include "scalar.h"

namespace pyrank::cuda {

constexpr int strip_rows = 16, tile_columns = 8;

// A state row by row. Their distance is known when the kernel is compiled, so that a lane reaches all its columns from
// one address. It is odd, so that the rows of a column lie on different banks of shared memory; with 3 in excess no
// more than two lanes of a strip meet, which a larger excess would not change.
template <int columns>
struct RowMajor {
    using T = float;
    static constexpr int distance = columns + 3;
    Array<float> data;
    PYRANK_DEVICE decltype(auto) operator()(int row, int column) const { return data[row * distance + column]; }
};

// The part of a row that a lane holds; its entries beyond the batch mean nothing.
template <int tiles>
struct RowPart {
    float z[tiles][2];

    // Its first entry, for all four lanes.
    PYRANK_DEVICE float first() const { return from_lane(z[0][0], lane() & ~3); }

    // body(z, column) for the entries within the batch.
    template <class Body>
    PYRANK_DEVICE void for_batch(int batch, Body body) {
        const int first = lane() % 4 * 2;
        PYRANK_UNROLL
        for (int j = 0; j < tiles; ++j)
            for (int c = 0; c < 2; ++c) {
                const int column = first + j * tile_columns + c;
                if (column < batch) body(z[j][c], column);
            }
    }
};

// The same of a row that is too long for the registers, where a lane finds what it has put there itself. A row that
// does not exist is touched by none.
template <class State>
struct RowInMemory {
    const State& h;
    int row;
    bool exists;

    PYRANK_DEVICE float first() const {
        return from_lane(exists && lane() % 4 == 0 ? float(h(row, 0)) : 0.0f, lane() & ~3);
    }

    template <class Body>
    PYRANK_DEVICE void for_batch(int batch, Body body) {
        for (int pair = lane() % 4 * 2; exists && pair < batch; pair += tile_columns)
            for (int column = pair; column < smaller(pair + 2, batch); ++column) {
                float z = h(row, column);
                body(z, column);
                h(row, column) = z;
            }
    }
};

template <int tiles>
struct Strip {
    RowPart<tiles> half[2];  // of rows lane / 4 and lane / 4 + 8

    // body(part, row) for both; `first` is the number of the strip's first row.
    template <class Body>
    PYRANK_DEVICE void for_rows(int first, Body body) {
        PYRANK_UNROLL
        for (int h = 0; h < 2; ++h) body(half[h], first + lane() / 4 + 8 * h);
    }
};

// Over the four lanes of a row: the same number for each of them, in the same order.
PYRANK_DEVICE inline float sum_of_row(float x) {
    x = x + from_neighbour(x, 1);
    return x + from_neighbour(x, 2);
}
PYRANK_DEVICE inline float largest_of_row(float x) {
    x = larger(Scalar<float>(x), Scalar<float>(from_neighbour(x, 1))).v;
    return larger(Scalar<float>(x), Scalar<float>(from_neighbour(x, 2))).v;
}

// As in normalize.h: distances from the first entry are averaged.
template <class Row>
PYRANK_DEVICE inline void recentre(Row& row, int batch) {
    const float first = row.first();
    float sum = 0;
    row.for_batch(batch, [&](float& z, int) { sum += z - first; });
    const float mean = sum_of_row(sum) / float(batch);
    row.for_batch(batch, [&](float& z, int) { z = (z - first) - mean; });
}

// Returns whether all entries are zero.
template <int order, class Row>
PYRANK_DEVICE inline bool rescale(Row& row, int batch, const ChainParams& chain) {
    Scalar<float> part = 0.0f;
    row.for_batch(batch, [&](float& z, int) { part = add_to_size<order>(Scalar<float>(z), part); });
    const float sum = order == 0 ? largest_of_row(part.v) : sum_of_row(part.v);
    const float factor = line_factor<order>(Scalar<float>(sum), batch, chain).v, alpha = float(chain.alpha);
    row.for_batch(batch, [&](float& z, int) { z = fma(z, factor, alpha); });
    return sum == 0;
}

// The normalisation of a row over the batch; returns whether it is a row of zeros.
template <class Row>
PYRANK_DEVICE inline bool normalize(Row& row, int batch, const ChainParams& chain) {
    if (chain.recentre) recentre(row, batch);
    if (!chain.rescale) return false;
    switch (chain.order) {
        case 0: return rescale<0>(row, batch, chain);
        case 1: return rescale<1>(row, batch, chain);
        case 3: return rescale<3>(row, batch, chain);
        default: return rescale<2>(row, batch, chain);
    }
}

}  // namespace pyrank::cuda
