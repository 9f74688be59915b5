// Weights are born here, a cache-sized panel at a time, and never stored anywhere else.
#pragma once
#include "../core/philox.h"
#include "../core/streams.h"
#include "../core/weights.h"
#include "multiply.h"
#include "pack.h"

namespace pyrank::PYRANK_ISA {

constexpr int64_t panel_depth = 128;  // columns of W in a panel: what one generator call covers at most (rademacher)
constexpr int calls_at_once = registers == 32 ? 2 : 1;

// Where the chain or chains of a layout stand in the stream.
template <class Layout>
struct StreamPosition {
    RoundKeys keys;
    uint32_t layer, chain;

    // The generator calls of a vector of rows.
    PYRANK_INLINE auto row(int64_t vector) const {
        using W = Words<typename Layout::T>;
        constexpr bool lanes = Layout::rows == 1;
        const W y = lanes ? W(uint32_t(vector)) : W::counting_from(uint32_t(vector * Layout::rows));
        const W z = lanes ? W::counting_from(chain) : W(chain);
        return PhiloxRow<W>({layer}, y, z, keys);
    }
};

// The words of n generator calls: those of columns 4 block .. 4 (block + n) - 1, or 32 times as many bits.
template <int n, class W>
PYRANK_INLINE void draw_words(const PhiloxRow<W>& row, const RoundKeys& keys, int64_t block, Pack<W, n> (&out)[4]) {
    for (int i = 0; i < n; ++i)
        row.start(uint32_t(Stream::weights) << 24 | uint32_t(block + i), out[0].part[i], out[1].part[i], out[2].part[i],
                  out[3].part[i]);
    philox_rounds<3>(out[0], out[1], out[2], out[3], keys);
}

// Columns first .. first + count - 1 of one vector of rows, to out[k * step]. Writes whole generator calls, up to
// panel_depth columns; `first` is a multiple of panel_depth.
template <Law law, class Layout>
void draw_columns(const StreamPosition<Layout>& position, int64_t vector, int64_t first, int64_t count,
                  typename Layout::T* out, int64_t step) {
    using V = typename Layout::V;
    using W = Words<typename Layout::T>;
    const auto row = position.row(vector);
    if constexpr (law == Law::rademacher) {
        Pack<W, 1> words[4];
        draw_words(row, position.keys, first / 128, words);
        for (int64_t k = 0; k < count; ++k) sign_of_bit(words[k / 32].part[0], int(k % 32)).store(out + k * step);
    } else {
        for_pieces<calls_at_once>(first / 4, (first + count + 3) / 4, [&]<int n>(int64_t block) {
            Pack<W, n> words[4];
            draw_words(row, position.keys, block, words);
            Pack<V, n> w[4];
            four_weights<law>(words, w);
            for (int i = 0; i < n; ++i)
                for (int q = 0; q < 4; ++q) w[q].part[i].store(out + (4 * (block + i) - first + q) * step);
        });
    }
}

template <class Layout>
void draw_panel(Law law, const WeightParams& weights, const StreamPosition<Layout>& position, int64_t vector,
                int count_of_vectors, int64_t first, int64_t count, typename Layout::T* out) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    const int64_t step = int64_t(count_of_vectors) * V::size;
    for (int r = 0; r < count_of_vectors; ++r) {
        T* column = out + r * V::size;
        switch (law) {
            case Law::orthogonal:
            case Law::gram:
            case Law::gaussian: draw_columns<Law::gaussian>(position, vector + r, first, count, column, step); break;
            case Law::uniform: draw_columns<Law::uniform>(position, vector + r, first, count, column, step); break;
            case Law::rademacher:
                draw_columns<Law::rademacher>(position, vector + r, first, count, column, step);
                break;
        }
    }
    if (weights.scale == 1 && weights.mean == 0) return;
    const V scale = V(T(weights.scale)), mean = V(T(weights.mean));
    for (int64_t k = 0; k < count * count_of_vectors; ++k)
        (V::load(out + k * V::size) * scale + mean).store(out + k * V::size);
}

}  // namespace pyrank::PYRANK_ISA
