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
    using W = Words<typename Layout::T>;
    const RoundKeys& keys;
    uint32_t layer, chain;
    Stream stream = Stream::weights;

    PYRANK_INLINE PhiloxPlane<W> plane() const {
        return {{layer}, Layout::rows == 1 ? W::counting_from(chain) : W(chain), keys};
    }
    PYRANK_INLINE static W row(int64_t vector) {
        return Layout::rows == 1 ? W(uint32_t(vector)) : W::counting_from(uint32_t(vector * Layout::rows));
    }
    PYRANK_INLINE uint32_t call(int64_t block) const { return uint32_t(stream) << 24 | uint32_t(block); }
};

// One generator call for each of R vectors of rows: the words of four columns, or 32 times as many bits.
template <int R, class W>
PYRANK_INLINE void draw_words(const PhiloxPlane<W>& plane, const typename PhiloxPlane<W>::Row* rows,
                              const RoundKeys& keys, uint32_t call, Pack<W, R> (&out)[4]) {
    const auto column = plane.column(call);
    for (int r = 0; r < R; ++r)
        plane.start(rows[r], column, out[0].part[r], out[1].part[r], out[2].part[r], out[3].part[r]);
    philox_rounds<3>(out[0], out[1], out[2], out[3], keys);
}

template <int R, class W>
PYRANK_INLINE void write_words(const PhiloxPlane<W>& plane, const typename PhiloxPlane<W>::Row* rows,
                               const RoundKeys& keys, uint32_t call, typename W::T* at, int64_t step) {
    Pack<W, R> words[4];
    draw_words<R>(plane, rows, keys, call, words);
    for (int q = 0; q < 4; ++q)
        for (int r = 0; r < R; ++r) packed(words[q].part[r]).store(at + q * step + r * Vec<typename W::T>::size);
}

// Four columns of R vectors of words become weights, in place.
template <Law law, int R, class V>
PYRANK_INLINE void turn_into_weights(typename V::T* at, int64_t step) {
    using T = typename V::T;
    using P = PackedWords<T>;
    if constexpr (law == Law::gaussian) {
        constexpr int pairs = 2 * R;
        const auto place = [&](int i) { return at + 2 * (i / R) * step + i % R * V::size; };
        Pack<P, pairs> first, second;
        for (int i = 0; i < pairs; ++i) {
            first.part[i] = P::load(place(i));
            second.part[i] = P::load(place(i) + step);
        }
        Pack<V, pairs> a, b;
        gaussian_pair(first, second, a, b);
        for (int i = 0; i < pairs; ++i) {
            a.part[i].store(place(i));
            b.part[i].store(place(i) + step);
        }
    } else {
        for (int q = 0; q < 4; ++q)
            for (int r = 0; r < R; ++r) {
                T* const p = at + q * step + r * V::size;
                uniform<V>(P::load(p)).store(p);
            }
    }
}

// Columns first .. first + count - 1 of R vectors of rows, to out[k * step]. Writes whole generator calls, up to
// panel_depth columns; `first` is a multiple of panel_depth. First the words are written, then in their place what they
// mean: each half keeps the processor busy by doing the same for many vectors.
template <Law law, int R, class Layout>
void draw_columns(const StreamPosition<Layout>& position, int64_t vector, int64_t first, int64_t count,
                  typename Layout::T* out, int64_t step) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    using W = Words<T>;
    const auto plane = position.plane();
    typename PhiloxPlane<W>::Row rows[R];
    for (int r = 0; r < R; ++r) rows[r] = plane.row(position.row(vector + r));
    if constexpr (law == Law::rademacher) {
        for (int r = 0; r < R; ++r) {
            Pack<W, 1> words[4];
            draw_words<1>(plane, rows + r, position.keys, position.call(first / 128), words);
            for (int64_t k = 0; k < count; ++k)
                sign_of_bit(packed(words[k / 32].part[0]), int(k % 32)).store(out + k * step + r * V::size);
        }
    } else {
        const int64_t blocks = (count + 3) / 4;
        for (int64_t block = 0; block < blocks; ++block) {
            const uint32_t call = position.call(first / 4 + block);
            T* const at = out + 4 * block * step;
            constexpr int left = R % calls_at_once;
#pragma GCC unroll 4
            for (int r = 0; r < R - left; r += calls_at_once)
                write_words<calls_at_once>(plane, rows + r, position.keys, call, at + r * V::size, step);
            if constexpr (left > 0)
                write_words<left>(plane, rows + R - left, position.keys, call, at + (R - left) * V::size, step);
        }
        for (int64_t block = 0; block < blocks; ++block) turn_into_weights<law, R, V>(out + 4 * block * step, step);
    }
}

template <class Layout, int R>
void draw_panel(Law law, const WeightParams& weights, const StreamPosition<Layout>& position, int64_t vector,
                int64_t first, int64_t count, typename Layout::T* out) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    constexpr int64_t step = R * V::size;
    switch (law) {
        case Law::orthogonal:
        case Law::gram:
        case Law::quick_gaussian:
        case Law::gaussian: draw_columns<Law::gaussian, R>(position, vector, first, count, out, step); break;
        case Law::uniform: draw_columns<Law::uniform, R>(position, vector, first, count, out, step); break;
        case Law::rademacher: draw_columns<Law::rademacher, R>(position, vector, first, count, out, step); break;
    }
    if (weights.scale == 1 && weights.mean == 0) return;
    const V scale = V(T(weights.scale)), mean = V(T(weights.mean));
    for (int64_t k = 0; k < count * R; ++k) (V::load(out + k * V::size) * scale + mean).store(out + k * V::size);
}

}  // namespace pyrank::PYRANK_ISA
