// Weights are born here, a cache-sized panel at a time, and never stored anywhere else.
#pragma once
#include "../core/philox.h"
#include "../core/streams.h"
#include "../core/weights.h"
#include "layout.h"

namespace pyrank::PYRANK_ISA {

constexpr int64_t panel_depth = 128;  // columns of W in a panel: what one generator call covers at most (rademacher)

// Where the chain or chains of a layout stand in the stream.
template <class Layout>
struct StreamPosition {
    RoundKeys keys;
    uint32_t layer, chain;

    // The words of one generator call are a function of its block: counters that stay are set once.
    PYRANK_INLINE auto words_of(int64_t vector) const {
        using W = Words<typename Layout::T>;
        constexpr bool lanes = Layout::rows == 1;
        const W x(layer);
        const W y = lanes ? W(uint32_t(vector)) : W::counting_from(uint32_t(vector * Layout::rows));
        const W z = lanes ? W::counting_from(chain) : W(chain);
        return [x, y, z, keys = keys](uint32_t block, W(&out)[4]) {
            out[0] = x;
            out[1] = y;
            out[2] = z;
            out[3] = W(uint32_t(Stream::weights) << 24 | block);
            philox(out[0], out[1], out[2], out[3], keys);
        };
    }
};

// Columns first .. first + count - 1 of one vector of rows, to out[k * step]. Writes whole generator calls, up to
// panel_depth columns; `first` is a multiple of panel_depth.
template <Law law, class Layout>
void draw_columns(const StreamPosition<Layout>& position, int64_t vector, int64_t first, int64_t count,
                  typename Layout::T* out, int64_t step) {
    using V = typename Layout::V;
    Words<typename Layout::T> words[4];
    const auto draw_words = position.words_of(vector);
    if constexpr (law == Law::rademacher) {
        draw_words(uint32_t(first / 128), words);
        for (int64_t k = 0; k < count; ++k) sign_of_bit(words[k / 32], int(k % 32)).store(out + k * step);
    } else {
        for (int64_t k = 0; k < count; k += 4) {
            draw_words(uint32_t((first + k) / 4), words);
            V w[4];
            four_weights<law>(words, w);
            for (int q = 0; q < 4; ++q) w[q].store(out + (k + q) * step);
        }
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
