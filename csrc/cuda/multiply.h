// The one matrix product: out(i, j) = sum over k, in ascending order, of a(i, k) b(k, j).
// The layer, the Gram matrix and the factorisation are this product with different sources.
#pragma once
#include "layout.h"
#include "scalar.h"

namespace pyrank::cuda {

constexpr int tile = 4;           // a thread keeps tile x tile sums in registers
constexpr int tiles_abreast = 8;  // their rows are interleaved: neighbouring threads read neighbouring rows

enum class Part { all, lower };

// The tiles are shared out among the threads. `start(i, j)` gives the first value of a sum, `finish(i, j, sum)` takes
// the last one; of the lower part only entries with i >= j are asked for. Nothing waits for the other threads.
template <Part part, class T, class A, class B, class Start, class Finish>
PYRANK_DEVICE inline void multiply(int rows, int columns, int depth, A a, B b, Start start, Finish finish) {
    if (rows == 0) return;
    const int step = smaller(tiles_abreast, pieces(rows, tile)), block = step * tile;
    const int row_tiles = pieces(rows, block) * step;
    for_entries(row_tiles, pieces(columns, tile), [&](int row_tile, int column_tile) {
        const int row = row_tile / step * block + row_tile % step, column = column_tile * tile;
        if (row >= rows || (part == Part::lower && row + (tile - 1) * step < column)) return;
        const auto asked_for = [&](int r, int c) {
            return row + r * step < rows && column + c < columns && (part == Part::all || row + r * step >= column + c);
        };
        T sum[tile][tile];
        for (int c = 0; c < tile; ++c)
            for (int r = 0; r < tile; ++r) sum[c][r] = asked_for(r, c) ? T(start(row + r * step, column + c)) : T(0);
        PYRANK_ROLLED
        for (int k = 0; k < depth; ++k) {
            T x[tile], y[tile];  // beyond the edge, the last row or column once more
            for (int r = 0; r < tile; ++r) x[r] = a(smaller(row + r * step, rows - 1), k);
            for (int c = 0; c < tile; ++c) y[c] = b(k, smaller(column + c, columns - 1));
            for (int c = 0; c < tile; ++c)
                for (int r = 0; r < tile; ++r) sum[c][r] = fma(x[r], y[c], sum[c][r]);
        }
        for (int c = 0; c < tile; ++c)
            for (int r = 0; r < tile; ++r)
                if (asked_for(r, c)) finish(row + r * step, column + c, sum[c][r]);
    });
}

}  // namespace pyrank::cuda
