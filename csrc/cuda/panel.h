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
    const RoundKeys& keys;
    uint32_t layer, chain;
};

// One row of W, four columns at a time: its calls of the generator differ in the column alone.
class WeightRow {
public:
    PYRANK_DEVICE WeightRow(const StreamPosition& position, int row)
        : keys_(position.keys), plane_(Word{position.layer}, Word{position.chain}, keys_),
          row_(plane_.row(Word{uint32_t(row)})) {}

    // Columns first .. first + 3 of mean 0 and variance 1; `first` is a multiple of four.
    template <class T>
    PYRANK_DEVICE void draw(Law law, int first, T (&out)[4]) const {
        if (law == Law::rademacher)
            draw_signs(first, out);
        else if (law == Law::uniform)
            draw_numbers<Law::uniform>(first, out);
        else
            draw_numbers<Law::gaussian>(first, out);
    }

private:
    PYRANK_DEVICE void draw_words(int call, Word (&words)[4]) const {
        const auto column = plane_.column(uint32_t(Stream::weights) << 24 | uint32_t(call));
        plane_.start(row_, column, words[0], words[1], words[2], words[3]);
        philox_rounds<3>(words[0], words[1], words[2], words[3], keys_);
    }
    template <Law law, class T>
    PYRANK_DEVICE void draw_numbers(int first, T (&out)[4]) const {
        Word words[4];
        draw_words(first / 4, words);
        Scalar<T> numbers[4];
        four_weights<law>(words, numbers);
        for (int q = 0; q < 4; ++q) out[q] = numbers[q].v;
    }
    template <class T>
    PYRANK_DEVICE void draw_signs(int first, T (&out)[4]) const {
        Word words[4];
        draw_words(first / 128, words);
        // an index known only at run time would move the words from registers to memory
        const uint32_t left = first & 64 ? words[2].value : words[0].value;
        const uint32_t right = first & 64 ? words[3].value : words[1].value;
        const Word bits{first & 32 ? right : left};
        for (int q = 0; q < 4; ++q) out[q] = sign_of_bit<T>(bits, first % 32 + q);
    }

    const RoundKeys& keys_;
    PhiloxPlane<Word> plane_;
    PhiloxPlane<Word>::Row row_;
};

// What mean 0 and variance 1 become.
template <class T>
class Affine {
public:
    PYRANK_DEVICE explicit Affine(const WeightParams& weights)
        : scale_(T(weights.scale)), mean_(T(weights.mean)), standard_(weights.scale == 1 && weights.mean == 0) {}
    PYRANK_DEVICE T operator()(T w) const { return standard_ ? w : w * scale_ + mean_; }

private:
    T scale_, mean_;
    bool standard_;
};

// panel(i, k) = W(first_row + i, first + k) for i < rows, k < depth; `first` is a multiple of panel_depth.
template <class T>
PYRANK_DEVICE inline void draw_panel(Law law, const WeightParams& weights, const StreamPosition& position,
                                     int first_row, int rows, int first, int depth, const Matrix<T>& panel) {
    const Affine<T> affine(weights);
    for_entries(rows, pieces(depth, 4), [&](int i, int call) {
        T w[4];
        WeightRow(position, first_row + i).draw(law, first + 4 * call, w);
        for (int q = 0; q < 4; ++q)
            if (4 * call + q < depth) panel(i, 4 * call + q) = affine(w[q]);
    });
    barrier();
}

}  // namespace pyrank::cuda
