// X X^T of a small state on the tensor cores: three products of eleven bits for one, as in a layer.
#pragma once
#include "../core/inertia.h"
#include "operand.h"
#include "strip.h"

namespace pyrank::cuda {

constexpr int tile_depth = 8;

// X, the state with its smaller side first, column by column. The distance of two columns keeps the lanes of a warp on
// different banks of shared memory, where four columns of eight rows are asked for.
template <int most>
struct Turned {
    static constexpr int distance = most + 8;
    PYRANK_HD static int size(int columns) { return pieces(columns, tile_depth) * tile_depth * distance; }
    static_assert(distance % 16 == 8);

    Array<float> data;
    PYRANK_DEVICE decltype(auto) operator()(int row, int column) const { return data[column * distance + row]; }

    // Pairs of rows (i, i + n/2) turned by a fixed angle, as in spectrum.h; zeros beyond, as far as tiles reach.
    template <class Entry>
    PYRANK_DEVICE void fill(int n, int inner, Entry entry) const {
        constexpr float c = float(rotation_cosine), s = float(rotation_sine);
        constexpr unsigned abreast = most / 2;
        const int half = n / 2, rows = pieces(n, strip_rows) * strip_rows;
        const int own = int(unsigned(thread_index()) % abreast), step = int(unsigned(block_size()) / abreast);
        const auto for_columns = [&](int first, int last, auto body) {
            PYRANK_ROLLED
            for (int k = first + int(unsigned(thread_index()) / abreast); k < last; k += step) body(k);
        };
        const auto for_rows = [&](int first, auto body) {
            PYRANK_ROLLED
            for (int i = first + own; i < rows; i += int(abreast)) body(i);
        };
        if (own < half)
            for_columns(0, inner, [&](int k) {
                const float a = entry(own, k), b = entry(own + half, k);
                (*this)(own, k) = fma(s, b, c * a);
                (*this)(own + half, k) = fma(-s, a, c * b);
            });
        if (2 * half < rows)
            for_columns(0, inner,
                        [&](int k) { for_rows(2 * half, [&](int i) { (*this)(i, k) = i < n ? entry(i, k) : 0.0f; }); });
        for_columns(inner, pieces(inner, tile_depth) * tile_depth,
                    [&](int k) { for_rows(0, [&](int i) { (*this)(i, k) = 0.0f; }); });
    }

    // take(i, j, sum) for each i < n, j <= i. A warp has a strip of rows at a time, and the strips of columns up to it.
    template <class Take>
    PYRANK_DEVICE void multiply_by_itself(int n, int inner, Take take) const {
        const Seat seat = Seat::of_lane();
        for (int first = warp() * strip_rows; first < n; first += block_size() / warp_size * strip_rows) {
            Sums on_diagonal{}, before[strips]{};
            int at = seat.quarter * distance + seat.row;  // of the lane's first entry in these columns
            const int end = at + inner * distance;
            PYRANK_ROLLED
            for (; at < end; at += tile_depth * distance) {
                const Factor own(data, at + first);
                on_diagonal.add(own, own);
                PYRANK_UNROLL
                for (int strip = 0; strip < strips - 1; ++strip)
                    if (strip * strip_rows < first) before[strip].add(own, Factor(data, at + strip * strip_rows));
            }
            const auto give = [&](Sums& sums, int column) {
                sums.for_all(seat, [&](float x, int i, int j) {
                    const int row = first + i;
                    if (row < n && column + j <= row) take(row, column + j, x);
                });
            };
            PYRANK_UNROLL
            for (int strip = 0; strip < strips - 1; ++strip)
                if (strip * strip_rows < first) give(before[strip], strip * strip_rows);
            give(on_diagonal, first);
        }
    }

private:
    static constexpr int strips = most / strip_rows, tiles = strip_rows / tile_columns;

    // Sixteen rows of eight columns of X. What a lane holds of them on the left is what it holds of them on the right.
    struct Factor {
        float leading[4], following[4];  // rows 0 and 8 after the lane's, and the same of the fourth column after it
        PYRANK_DEVICE Factor(const Array<float>& entries, int at) {
            PYRANK_UNROLL
            for (int q = 0; q < 4; ++q) {
                const SplitNumber split(entries[at + q % 2 * tile_columns + q / 2 * 4 * distance]);
                leading[q] = split.leading;
                following[q] = split.following;
            }
        }
    };

    struct Sums {
        Strip<tiles> sum, rest;
        PYRANK_DEVICE void add(const Factor& a, const Factor& b) {
            PYRANK_UNROLL
            for (int j = 0; j < tiles; ++j) {
                const float leading[2] = {b.leading[j], b.leading[j + 2]};
                const float following[2] = {b.following[j], b.following[j + 2]};
                multiply_tile(rest.half[0].z[j], rest.half[1].z[j], a.following, leading);
                multiply_tile(rest.half[0].z[j], rest.half[1].z[j], a.leading, following);
                multiply_tile(sum.half[0].z[j], sum.half[1].z[j], a.leading, leading);
            }
        }
        // body(x, row, column)
        template <class Body>
        PYRANK_DEVICE void for_all(Seat seat, Body body) {
            PYRANK_UNROLL
            for (int j = 0; j < tiles; ++j) sum.take(rest, j);
            sum.for_rows(seat.row, [&](RowPart<tiles>& part, int row) {
                part.for_all(OwnColumns(seat, 0), [&](float x, int column) { body(x, row, column); });
            });
        }
    };
};

}  // namespace pyrank::cuda
