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

// Which of eight rows a lane has a part of, and which of its four parts.
struct Seat {
    int row, quarter;
    PYRANK_DEVICE static Seat of_lane() {
        const uint32_t own = uint32_t(lane());
        return {int(anew(own / 4)),
                int(anew(own % 4))};  // or addresses would be made from the bits of a lane each time
    }
};

// The columns of a row that are a lane's: first, first + 1, first + 8, first + 9, ..., as far as the batch goes.
struct OwnColumns {
    int first, batch;
    PYRANK_DEVICE OwnColumns(Seat seat, int batch) : first(2 * seat.quarter), batch(batch) {}
};

// The part of a row that a lane holds; its entries beyond the batch mean nothing.
template <int tiles>
struct RowPart {
    float z[tiles][2];

    // Its first entry, for all four lanes.
    PYRANK_DEVICE float first() const { return from_first_of_four(z[0][0]); }

    // Become h + gamma z.
    PYRANK_DEVICE void add_to(float gamma, const RowPart& h) {
        PYRANK_UNROLL
        for (int j = 0; j < tiles; ++j)
            for (int c = 0; c < 2; ++c) z[j][c] = fma(gamma, z[j][c], h.z[j][c]);
    }

    // body(z, column) for the entries within the batch, or for all.
    template <class Body>
    PYRANK_DEVICE void for_batch(const OwnColumns& own, Body body) {
        for_all(own, [&](float& x, int column) {
            if (column < own.batch) body(x, column);
        });
    }
    template <class Body>
    PYRANK_DEVICE void for_all(const OwnColumns& own, Body body) {
        PYRANK_UNROLL
        for (int j = 0; j < tiles; ++j)
            for (int c = 0; c < 2; ++c) body(z[j][c], own.first + j * tile_columns + c);
    }
};

// A row that is zero beyond the batch, so that what leaves zeros alone need not ask.
template <class Row>
struct PaddedRow {
    Row& row;
    template <class Body>
    PYRANK_DEVICE void for_batch(const OwnColumns& own, Body body) {
        row.for_all(own, body);
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
        return from_first_of_four(exists && lane() % 4 == 0 ? float(h(row, 0)) : 0.0f);
    }

    template <class Body>
    PYRANK_DEVICE void for_batch(const OwnColumns& own, Body body) {
        for (int pair = own.first; exists && pair < own.batch; pair += tile_columns)
            for (int column = pair; column < smaller(pair + 2, own.batch); ++column) {
                float z = h(row, column);
                body(z, column);
                h(row, column) = z;
            }
    }
};

template <int tiles>
struct Strip {
    RowPart<tiles> half[2];  // of the lane's row, and of the eighth after it

    // body(part, row) for both; `row` is the number of the first.
    template <class Body>
    PYRANK_DEVICE void for_rows(int row, Body body) {
        PYRANK_UNROLL
        for (int h = 0; h < 2; ++h) body(half[h], row + 8 * h);
    }

    // Add a tile of another strip to this one, and leave zeros there.
    PYRANK_DEVICE void take(Strip& other, int tile) {
        PYRANK_UNROLL
        for (int h = 0; h < 2; ++h)
            for (int c = 0; c < 2; ++c) {
                half[h].z[tile][c] += other.half[h].z[tile][c];
                other.half[h].z[tile][c] = 0;
            }
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

// What the normalisation of every row asks for.
struct RowParams {
    float inverse_batch, eps, alpha, beta;
    PYRANK_DEVICE explicit RowParams(const ChainParams& chain)
        : inverse_batch(anew(1.0f / float(chain.batch))), eps(anew(float(chain.eps))), alpha(anew(float(chain.alpha))),
          beta(anew(float(chain.beta))) {}
};

// As in normalize.h: distances from the first entry are averaged.
template <class Row>
PYRANK_DEVICE inline void recentre(Row& row, const OwnColumns& own, float inverse_batch) {
    const float first = row.first();
    float sum = 0;
    row.for_batch(own, [&](float& z, int) { sum += z - first; });
    const float mean = sum_of_row(sum) * inverse_batch;
    row.for_batch(own, [&](float& z, int) { z = (z - first) - mean; });
}

// As line_factor of order 2, by an estimate and one step of Newton's method: neither a root nor a quotient.
PYRANK_DEVICE inline float row_factor(float sum, const RowParams& params) {
    const float power = fma(sum, params.inverse_batch, params.eps), estimate = estimated_inverse_root(power);
    const float inverse = fma(0.5f * estimate, fma(-(power * estimate), estimate, 1.0f), estimate);
    const float factor = power == 0 ? 0.0f : params.beta * inverse;
    return sum < std::numeric_limits<float>::infinity() ? factor : std::numeric_limits<float>::quiet_NaN();
}

// Returns the size of the row: zero if all entries are. `params` is that of `chain`.
template <int order, class Row>
PYRANK_DEVICE inline float rescale(Row& row, const OwnColumns& own, const RowParams& params, const ChainParams& chain) {
    Scalar<float> part = 0.0f;
    row.for_batch(own, [&](float& z, int) { part = add_to_size<order>(Scalar<float>(z), part); });
    const float sum = order == 0 ? largest_of_row(part.v) : sum_of_row(part.v);
    float factor;
    if constexpr (order == 2)
        factor = row_factor(sum, params);
    else
        factor = line_factor<order>(Scalar<float>(sum), own.batch, chain).v;
    row.for_batch(own, [&](float& z, int) { z = fma(z, factor, params.alpha); });
    return sum;
}

// The normalisation of a row over the batch; returns whether it is a row of zeros.
template <class Row>
PYRANK_DEVICE inline bool normalize(Row& row, const OwnColumns& own, const RowParams& params,
                                    const ChainParams& chain) {
    if (chain.recentre) recentre(row, own, params.inverse_batch);
    if (!chain.rescale) return false;
    switch (chain.order) {
        case 0: return rescale<0>(row, own, params, chain) == 0;
        case 1: return rescale<1>(row, own, params, chain) == 0;
        case 3: return rescale<3>(row, own, params, chain) == 0;
        default: return rescale<2>(row, own, params, chain) == 0;
    }
}

}  // namespace pyrank::cuda
