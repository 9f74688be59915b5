// Recentring and rescaling of lines, a few at a time so that their sums overlap. A line is a row over the batch, taken
// by whole vectors of rows, or a column over the features, taken entry by entry.
#pragma once
#include "../core/layer.h"
#include "multiply.h"

namespace pyrank::PYRANK_ISA {

// Where the lines of a matrix lie: entries `step` apart, and neighbouring lines (or vectors of them) `next` apart.
template <class Layout>
struct BatchLines {
    using Number = typename Layout::V;
    static constexpr int rows = Layout::rows, chains = Layout::chains;
    int64_t step, next, count, lines, width;
    BatchLines(int64_t stride, int64_t width_, int64_t batch)
        : step(stride), next(Layout::V::size), count(batch), lines(vectors_of<Layout>(width_)), width(width_) {}
    PYRANK_INLINE static Number read(const typename Layout::T* p) { return Number::load(p); }
    // Of the column of an entry, from a list with one number a column.
    PYRANK_INLINE static Number of_column(const typename Layout::T* list, int64_t /* line */, int64_t k) {
        return Layout::spread(list + k * Layout::unit);
    }
    PYRANK_INLINE static void write(typename Layout::T* p, Number x) { x.store(p); }
};

template <class Layout>
struct FeatureLines {
    using Number = typename Layout::Entry;
    static constexpr int rows = 1, chains = Layout::chains;
    int64_t step, next, count, lines, width;
    FeatureLines(int64_t stride, int64_t width_, int64_t batch)
        : step(Layout::unit), next(stride), count(width_), lines(batch), width(width_) {}
    PYRANK_INLINE static Number read(const typename Layout::T* p) { return Layout::read(p); }
    PYRANK_INLINE static Number of_column(const typename Layout::T* list, int64_t line, int64_t /* k */) {
        return Layout::read(list + line * Layout::unit);
    }
    PYRANK_INLINE static void write(typename Layout::T* p, Number x) { Layout::write(p, x); }
};

// Subtract the mean of each line. Distances from the first entry are averaged, so that equal entries give exactly zero
// and a mean much larger than the spread costs no digits.
template <class Lines, class T>
void recentre(T* z, const Lines& lines) {
    using Number = typename Lines::Number;
    for_pieces<4>(0, lines.lines, [&]<int R>(int64_t line) {
        T* const start = z + line * lines.next;
        Number first[R], mean[R];
        for (int r = 0; r < R; ++r) {
            first[r] = Lines::read(start + r * lines.next);
            mean[r] = Number(T(0));
        }
        for (int64_t k = 0; k < lines.count; ++k)
            for (int r = 0; r < R; ++r)
                mean[r] = mean[r] + (Lines::read(start + k * lines.step + r * lines.next) - first[r]);
        for (int r = 0; r < R; ++r) mean[r] = mean[r] / Number(T(lines.count));
        for (int64_t k = 0; k < lines.count; ++k)
            for (int r = 0; r < R; ++r) {
                T* const p = start + k * lines.step + r * lines.next;
                Lines::write(p, (Lines::read(p) - first[r]) - mean[r]);
            }
    });
}

// Make lines zero that are so but for rounding: those of which no entry is above the noise of its column.
template <class Lines, class T>
void clear_noise(T* z, const Lines& lines, const T* noise) {
    using Number = typename Lines::Number;
    for (int64_t line = 0; line < lines.lines; ++line) {
        T* const start = z + line * lines.next;
        auto zero = abs(Lines::read(start)) <= Lines::of_column(noise, line, 0);
        for (int64_t k = 1; k < lines.count && any(zero); ++k)
            zero = zero & (abs(Lines::read(start + k * lines.step)) <= Lines::of_column(noise, line, k));
        if (!any(zero)) continue;
        for (int64_t k = 0; k < lines.count; ++k) {
            T* const p = start + k * lines.step;
            Lines::write(p, select(zero, Number(T(0)), Lines::read(p)));
        }
    }
}

// Divide each line by its L_p size; `found_zeros(line, sums)` is called with the sums of lines among which one is zero.
template <class V, int order, class Lines, class T, class Found>
void rescale(T* z, const Lines& lines, const ChainParams& chain, Found found_zeros) {
    using Number = typename Lines::Number;
    for_pieces<4>(0, lines.lines, [&]<int R>(int64_t line) {
        T* const start = z + line * lines.next;
        Number sum[R], factor[R];
        for (int r = 0; r < R; ++r) sum[r] = Number(T(0));
        for (int64_t k = 0; k < lines.count; ++k)
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r)
                sum[r] = add_to_size<order>(Lines::read(start + k * lines.step + r * lines.next), sum[r]);
        auto zeros = sum[0] == Number(T(0));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            factor[r] = Number(line_factor<order>(V(sum[r]), lines.count, chain));
            zeros |= sum[r] == Number(T(0));
        }
        if (any(zeros))
            for (int r = 0; r < R; ++r) found_zeros(line + r, sum[r]);
        const Number alpha = Number(T(chain.alpha));
        for (int64_t k = 0; k < lines.count; ++k)
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                T* const p = start + k * lines.step + r * lines.next;
                Lines::write(p, fma(Lines::read(p), factor[r], alpha));
            }
    });
}

// The whole normalisation of a layer, over lines of one kind; zero lines are counted for each chain. `noise` is null
// where no sum cancels.
template <class Layout, class Lines>
void normalize(typename Layout::T* z, const Lines& lines, const ChainParams& chain, const typename Layout::T* noise,
               int chains, int64_t* degenerate) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    if (chain.recentre) recentre(z, lines);
    if (!chain.rescale) return;
    if (noise) clear_noise(z, lines, noise);
    const auto count_zeros = [&](int64_t line, typename Lines::Number sum) {
        T sums[V::size];
        V(sum).store(sums);
        for (int row = 0; row < Lines::rows; ++row)
            for (int of_chain = 0; of_chain < chains; ++of_chain)
                degenerate[of_chain] +=
                    sums[row + of_chain] == 0 && (Lines::rows == 1 || line * Lines::rows + row < lines.width);
    };
    switch (chain.order) {
        case 0: rescale<V, 0>(z, lines, chain, count_zeros); break;
        case 1: rescale<V, 1>(z, lines, chain, count_zeros); break;
        case 2: rescale<V, 2>(z, lines, chain, count_zeros); break;
        case 3: rescale<V, 3>(z, lines, chain, count_zeros); break;
    }
}

// The largest |entry| of a column among its first `rows`, of each row of the vector and each chain.
template <class Layout>
typename Layout::V largest_of_column(const typename Layout::T* column, int64_t rows) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    V largest = V(T(0));
    for (int64_t vector = 0; vector < vectors_of<Layout>(rows); ++vector) {
        V x = abs(V::load(column + vector * V::size));
        if constexpr (Layout::rows > 1) x = select(V::iota() < V(T(rows - vector * Layout::rows)), x, V(T(0)));
        largest = larger(x, largest);
    }
    return largest;
}

// The same of each chain: over the rows of the vector.
template <class Layout>
typename Layout::V largest_of_rows(typename Layout::V x) {
    if constexpr (Layout::rows == 1) return x;
    typename Layout::T largest = 0;
    for (int row = 0; row < Layout::rows; ++row) largest = x.v[row] > largest ? x.v[row] : largest;
    return largest;
}

// Take a power of two off each chain, so that its largest entry is in [1, 2): exact, and the same in any order.
template <class Layout>
void take_off_exponent(typename Layout::T* z, int64_t stride, int64_t width, int64_t batch, int chains,
                       int64_t* exponent) {
    using V = typename Layout::V;
    using T = typename Layout::T;
    V largest = V(T(0));
    for (int64_t j = 0; j < batch; ++j) largest = larger(largest_of_column<Layout>(z + j * stride, width), largest);
    T values[V::size], factors[V::size] = {};
    largest_of_rows<Layout>(largest).store(values);
    for (int chain = 0; chain < chains; ++chain) {
        const int power = removable_exponent(values[chain]);
        factors[chain] = T(__builtin_ldexp(1.0, -power));
        exponent[chain] += power;
    }
    for (int lane = chains; lane < V::size; ++lane) factors[lane] = Layout::chains == 1 ? factors[0] : T(1);
    const V factor = V::load(factors);
    for (int64_t p = 0; p < batch * stride; p += V::size) (V::load(z + p) * factor).store(z + p);
}

}  // namespace pyrank::PYRANK_ISA
