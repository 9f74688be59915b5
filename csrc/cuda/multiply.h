// The one matrix product: out(i, j) = sum over k, in ascending order, of a(i, k) b(k, j).
// The layer, the Gram matrix and the factorisation are this product with different sources.
#pragma once
#include <type_traits>

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
    const int column_tiles = pieces(columns, tile);
    const bool whole = rows % block == 0 && columns % tile == 0;  // then addresses are simpler
    // one block of rows after the other, so that whole warps skip what lies above the diagonal
    for_entries(step, column_tiles * pieces(rows, block), [&](int row_tile, int place) {
        const int row = int(unsigned(place) / unsigned(column_tiles)) * block + row_tile;
        const int column = int(unsigned(place) % unsigned(column_tiles)) * tile;
        if (row >= rows || (part == Part::lower && row + (tile - 1) * step < column)) return;
        const auto asked_for = [&](int r, int c) {
            return row + r * step < rows && column + c < columns && (part == Part::all || row + r * step >= column + c);
        };
        T sum[tile][tile];
        for (int c = 0; c < tile; ++c)
            for (int r = 0; r < tile; ++r) sum[c][r] = asked_for(r, c) ? T(start(row + r * step, column + c)) : T(0);
        const auto add_products = [&](auto without_edges) {
            const auto row_of = [&](int r) {
                return without_edges() ? row + r * step : smaller(row + r * step, rows - 1);
            };
            const auto column_of = [&](int c) {
                return without_edges() ? column + c : smaller(column + c, columns - 1);
            };
            PYRANK_ROLLED
            for (int k = 0; k < depth; ++k) {
                T x[tile], y[tile];  // beyond an edge, the last row or column once more
                for (int r = 0; r < tile; ++r) x[r] = a(row_of(r), k);
                for (int c = 0; c < tile; ++c) y[c] = b(k, column_of(c));
                for (int c = 0; c < tile; ++c)
                    for (int r = 0; r < tile; ++r) sum[c][r] = fma(x[r], y[c], sum[c][r]);
            }
        };
        whole ? add_products(std::true_type()) : add_products(std::false_type());
        for (int c = 0; c < tile; ++c)
            for (int r = 0; r < tile; ++r)
                if (asked_for(r, c)) finish(row + r * step, column + c, sum[c][r]);
    });
}

// The lower part of a product whose sources give four rows, or columns, at once; beyond the last there has to be room
// for them. Row tiles p and `even` - 1 - p have even + 1 tiles together, so that no thread is without work.
template <class T, class A, class B, class Start, class Finish>
PYRANK_DEVICE inline void multiply_fours(int rows, int depth, A a, B b, Start start, Finish finish) {
    const int row_tiles = pieces(rows, tile), even = row_tiles + row_tiles % 2;
    for_entries(even + 1, even / 2, [&](int place, int pair) {
        const int row_tile = place < even - pair ? even - 1 - pair : pair;
        const int row = row_tile * tile, column = (place < even - pair ? place : place - (even - pair)) * tile;
        if (row >= rows) return;
        const auto asked_for = [&](int r, int c) { return row + r < rows && row + r >= column + c; };
        T sum[tile][tile];
        for (int c = 0; c < tile; ++c)
            for (int r = 0; r < tile; ++r) sum[c][r] = asked_for(r, c) ? T(start(row + r, column + c)) : T(0);
        PYRANK_ROLLED
        for (int k = 0; k < depth; ++k) {
            const Four<T> x = a(row, k), y = b(k, column);
            for (int c = 0; c < tile; ++c)
                for (int r = 0; r < tile; ++r) sum[c][r] = fma(x[r], y[c], sum[c][r]);
        }
        for (int c = 0; c < tile; ++c)
            for (int r = 0; r < tile; ++r)
                if (asked_for(r, c)) finish(row + r, column + c, sum[c][r]);
    });
}

}  // namespace pyrank::cuda
