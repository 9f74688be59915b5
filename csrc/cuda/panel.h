// Weights are born here, a panel at a time, in the block's own memory, and never stored anywhere else.
#pragma once
#include "../core/streams.h"
#include "../core/weights.h"
#include "layout.h"
#include "scalar.h"

namespace pyrank::cuda {

constexpr int panel_rows = 128;
constexpr int panel_depth = 32;  // columns of W: divides what one generator call covers (128 for rademacher)

// Where a chain stands in the stream.
struct StreamPosition {
    uint64_t seed;
    uint32_t layer, chain;

    PYRANK_DEVICE void draw_words(uint32_t row, uint32_t block, Word (&out)[4]) const {
        out[0] = {layer};
        out[1] = {row};
        out[2] = {chain};
        out[3] = {uint32_t(Stream::weights) << 24 | block};
        philox(out[0], out[1], out[2], out[3], RoundKeys(seed));
    }
};

// Columns first .. first + 3 of one row.
template <Law law, class T, class Write>
PYRANK_DEVICE inline void draw_four(const StreamPosition& position, int row, int first, Write write) {
    Word words[4];
    position.draw_words(uint32_t(row), uint32_t(first / 4), words);
    Scalar<T> w[4];
    four_weights<law>(words, w);
    for (int q = 0; q < 4; ++q) write(q, w[q].v);
}

// panel(i, k) = W(first_row + i, first + k) for i < rows, k < depth; `first` is a multiple of panel_depth.
template <class T>
PYRANK_DEVICE inline void draw_panel(Law law, const WeightParams& weights, const StreamPosition& position,
                                     int first_row, int rows, int first, int depth, const Matrix<T>& panel) {
    const T scale = T(weights.scale), mean = T(weights.mean);
    const bool standard = weights.scale == 1 && weights.mean == 0;
    const auto write = [&](int i, int k, T w) {
        if (k < depth) panel(i, k) = standard ? w : w * scale + mean;
    };
    if (law == Law::rademacher) {
        for_each(0, rows, [&](int i) {
            Word words[4];
            position.draw_words(uint32_t(first_row + i), uint32_t(first / 128), words);
            const int part = first / 32 % 4;
            const Word bits = part == 0 ? words[0] : part == 1 ? words[1] : part == 2 ? words[2] : words[3];
            for (int k = 0; k < depth; ++k) write(i, k, sign_of_bit<T>(bits, k));
        });
    } else {
        for_entries(rows, pieces(depth, 4), [&](int i, int call) {
            const auto write_four = [&](int q, T w) { write(i, 4 * call + q, w); };
            if (law == Law::uniform)
                draw_four<Law::uniform, T>(position, first_row + i, first + 4 * call, write_four);
            else
                draw_four<Law::gaussian, T>(position, first_row + i, first + 4 * call, write_four);
        });
    }
    barrier();
}

}  // namespace pyrank::cuda
