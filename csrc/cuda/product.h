// Sixteen rows of W F on the tensor cores: weights are born in the registers they are multiplied from.
#pragma once
#include "operand.h"
#include "panel.h"
#include "quick_normals.h"
#include "strip.h"

namespace pyrank::cuda {

// Root of what is zero or normal; all roots of weights are.
struct NormalRoot {
    PYRANK_DEVICE static float of(float a) { return root_of_normal(a); }
};

// What a law is drawn as, and the numbers that it is computed with.
template <Law law>
struct Drawn {
    static constexpr Law as = law;
    using Number = Scalar<float, NormalRoot>;
};
template <>
struct Drawn<Law::quick_gaussian> {
    static constexpr Law as = Law::gaussian;
    using Number = QuickNumber;
};

// Weights as they are drawn.
struct Standard {
    PYRANK_DEVICE float operator()(float w) const { return w; }
};

// Rows `first` .. of W times columns `first_column` .. of the operand, whose rows from `depth` on are zero. Rows that W
// does not have are drawn like others. Products with following bits are summed apart, as far as there are registers
// for it: truncation costs them nothing.
template <int tiles, Law law, class Weight, int columns>
PYRANK_DEVICE inline Strip<tiles> product(const StreamPosition& position, Weight weight,
                                          const Operand<columns>& operand, int depth, int first, int first_column,
                                          Seat seat) {
    constexpr bool apart = tiles <= 4;
    const WeightRows<2> rows(position, first + seat.row, 8);
    Strip<tiles> sum{}, rest{};
    int four = seat.quarter;
    const int end = int(anew(uint32_t(pieces(depth, slab) * (slab / 4))));
    PYRANK_ROLLED
    do {
        // Four columns of W from one call of the generator feed two instructions: any order of k is as good, if the
        // operand has the same.
        float w[2][4], leading[2][4], following[2][4];
        rows.template draw<Drawn<law>::as, typename Drawn<law>::Number>(four, w);
        PYRANK_UNROLL
        for (int h = 0; h < 2; ++h) {
            PYRANK_UNROLL
            for (int q = 0; q < 4; ++q) {
                const SplitNumber split(weight(w[h][q]));
                leading[q / 2][q % 2 * 2 + h] = split.leading;
                following[q / 2][q % 2 * 2 + h] = split.following;
            }
        }
        PYRANK_UNROLL
        for (int j = 0; j < tiles; ++j) {
            const int column = first_column + j * tile_columns + seat.row;
            const Four<float> f = operand.leading(four, column), f_rest = operand.following(four, column);
            float (&upper_sum)[2] = sum.half[0].z[j], (&lower_sum)[2] = sum.half[1].z[j];
            float (&upper_rest)[2] = rest.half[0].z[j], (&lower_rest)[2] = rest.half[1].z[j];
            PYRANK_UNROLL
            for (int s = 0; s < 2; ++s) {
                const float b[2] = {f[2 * s], f[2 * s + 1]}, b_rest[2] = {f_rest[2 * s], f_rest[2 * s + 1]};
                multiply_tile(upper_rest, lower_rest, following[s], b);
                multiply_tile(upper_rest, lower_rest, leading[s], b_rest);
                multiply_tile(upper_sum, lower_sum, leading[s], b);
            }
            if (!apart) sum.take(rest, j);
        }
        four += slab / 4;
    } while (four < end);
    PYRANK_UNROLL
    for (int j = 0; apart && j < tiles; ++j) sum.take(rest, j);
    return sum;
}

}  // namespace pyrank::cuda
