// Recentring and rescaling of lines; each line is the work of one thread, so that its sums have one order. A line is a
// row over the batch or a column over the features.
#pragma once
#include "../core/layer.h"
#include "layout.h"
#include "scalar.h"

namespace pyrank::cuda {

// Where the lines of a matrix lie: entries `step` apart, and neighbouring lines `next` apart.
template <class T>
struct Lines {
    Array<T> data;
    int step, next, count, lines;
    PYRANK_DEVICE decltype(auto) operator()(int line, int k) const { return data[line * next + k * step]; }
};

template <class T>
PYRANK_DEVICE inline Lines<T> batch_lines(const Matrix<T>& z, int rows, int batch) {
    return {z.data, z.stride, 1, batch, rows};
}
template <class T>
PYRANK_DEVICE inline Lines<T> feature_lines(const Matrix<T>& z, int rows, int batch) {
    return {z.data, 1, z.stride, rows, batch};
}

// Distances from the first entry are averaged, so that equal entries give exactly zero and a mean much larger than the
// spread costs no digits.
template <class T>
PYRANK_DEVICE inline void recentre(const Lines<T>& z, int line) {
    const T first = z(line, 0);
    T mean = 0;
    for (int k = 0; k < z.count; ++k) mean = mean + (T(z(line, k)) - first);
    mean = mean / T(z.count);
    for (int k = 0; k < z.count; ++k) z(line, k) = (T(z(line, k)) - first) - mean;
}

template <int order, class T, class Count>
PYRANK_DEVICE inline void rescale(const Lines<T>& z, int line, const ChainParams& chain, Count count) {
    Scalar<T> sum = T(0);
    for (int k = 0; k < z.count; ++k) sum = add_to_size<order>(Scalar<T>(T(z(line, k))), sum);
    if (sum.v == 0) count();
    const T factor = line_factor<order>(sum, z.count, chain).v, alpha = T(chain.alpha);
    for (int k = 0; k < z.count; ++k) z(line, k) = fma(T(z(line, k)), factor, alpha);
}

// The whole normalisation of a layer, over lines of one kind; clear(lines, line) for each that is to be rescaled, and
// count() for each line of zeros.
template <class T, class Clear, class Count>
PYRANK_DEVICE inline void normalize(const Lines<T>& z, const ChainParams& chain, Clear clear, Count count) {
    for_each(0, z.lines, [&](int line) {
        if (chain.recentre) recentre(z, line);
        if (!chain.rescale) return;
        clear(z, line);
        switch (chain.order) {
            case 0: rescale<0>(z, line, chain, count); break;
            case 1: rescale<1>(z, line, chain, count); break;
            case 2: rescale<2>(z, line, chain, count); break;
            case 3: rescale<3>(z, line, chain, count); break;
        }
    });
    barrier();
}

// Take a power of two off the state, so that its largest entry is in [1, 2): exact, and the same in any order.
template <class State, class T>
PYRANK_DEVICE inline void take_off_exponent(const State& z, int rows, int batch, const Array<T>& of_threads,
                                            int64_t* exponent) {
    T largest = 0;
    for_entries(rows, batch, [&](int i, int j) {
        const T x = abs(T(z(i, j)));
        largest = x > largest ? x : largest;
    });
    of_threads[thread_index()] = largest;
    barrier();
    for (int thread = 0; thread < block_size(); ++thread) {
        const T x = of_threads[thread];
        largest = x > largest ? x : largest;
    }
    const int power = removable_exponent(largest);
    const T factor = T(__builtin_ldexp(1.0, -power));
    for_entries(rows, batch, [&](int i, int j) { z(i, j) = T(z(i, j)) * factor; });
    if (leader()) add_events(exponent, power);
    barrier();
}

}  // namespace pyrank::cuda
