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

// Some rows of W, four columns at a time: their calls of the generator differ in the column alone.
template <int rows>
class WeightRows {
public:
    // Rows row, row + distance, ...
    PYRANK_DEVICE WeightRows(const StreamPosition& position, int row, int distance = 0)
        : keys_(position.keys), plane_(Word{position.layer}, Word{position.chain}, keys_) {
        for (int r = 0; r < rows; ++r) rows_[r] = plane_.row(Word{uint32_t(row + r * distance)});
    }

    // Columns 4 four .. 4 four + 3 of mean 0 and variance 1, computed with numbers of type N.
    template <Law law, class N>
    PYRANK_DEVICE void draw(int four, typename N::T (&out)[rows][4]) const {
        const uint32_t call = law == Law::rademacher ? uint32_t(four) / 32 : uint32_t(four);
        const auto column = plane_.column(uint32_t(Stream::weights) << 24 | call);
        PYRANK_UNROLL
        for (int r = 0; r < rows; ++r) {
            Word words[4];
            plane_.start(rows_[r], column, words[0], words[1], words[2], words[3]);
            philox_rounds<3>(words[0], words[1], words[2], words[3], keys_);
            if constexpr (law == Law::rademacher)
                take_signs(words, 4 * four, out[r]);
            else
                take_numbers<law, N>(words, out[r]);
        }
    }

private:
    template <Law law, class N>
    PYRANK_DEVICE static void take_numbers(const Word (&words)[4], typename N::T (&out)[4]) {
        N numbers[4];
        four_weights<law>(words, numbers);
        for (int q = 0; q < 4; ++q) out[q] = numbers[q].v;
    }
    template <class T>
    PYRANK_DEVICE static void take_signs(const Word (&words)[4], int first, T (&out)[4]) {
        // an index known only at run time would move the words from registers to memory
        const uint32_t left = first & 64 ? words[2].value : words[0].value;
        const uint32_t right = first & 64 ? words[3].value : words[1].value;
        const Word bits{first & 32 ? right : left};
        for (int q = 0; q < 4; ++q) out[q] = sign_of_bit<T>(bits, first % 32 + q);
    }

    const RoundKeys& keys_;
    PhiloxPlane<Word> plane_;
    PhiloxPlane<Word>::Row rows_[rows];
};

// Call body with the law as a constant, one of those that are drawn here.
template <class Body>
PYRANK_DEVICE inline auto with_constant_law(Law law, Body body) {
    if (law == Law::rademacher) return body(std::integral_constant<Law, Law::rademacher>());
    if (law == Law::uniform) return body(std::integral_constant<Law, Law::uniform>());
    return body(std::integral_constant<Law, Law::gaussian>());
}

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
    with_constant_law(law, [&](auto constant) {
        for_entries(rows, pieces(depth, 4), [&](int i, int call) {
            T w[1][4];
            WeightRows<1>(position, first_row + i).template draw<constant(), Scalar<T>>(first / 4 + call, w);
            for (int q = 0; q < 4; ++q)
                if (4 * call + q < depth) panel(i, 4 * call + q) = affine(w[0][q]);
        });
    });
    barrier();
}

}  // namespace pyrank::cuda
