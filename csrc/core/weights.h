// Words to numbers: the laws of the weights, each with mean 0 and variance 1.
#pragma once
#include "elementary.h"
#include "params.h"

namespace pyrank {

// u = (word + 1/2) 2^-32
template <class V, class W>
PYRANK_HD inline V unit_interval(const W& word) {
    using T = typename V::T;
    return fma(V(to_number(word)), V(T(0x1p-32)), V(T(0x1p-33)));
}

// Uniform on [-sqrt 3, sqrt 3].
template <class V, class W>
PYRANK_HD inline V uniform(const W& word) {
    using T = typename V::T;
    return V(T(1.73205080756887729353)) * (V(T(2)) * unit_interval<V>(word) - V(T(1)));
}

// Box & Muller 1958: the first word gives the radius, the second the angle.
template <class V, class W>
PYRANK_HD inline void gaussian_pair(const W& first, const W& second, V& a, V& b) {
    using T = typename V::T;
    const V radius = sqrt(V(T(-2)) * log(unit_interval<V>(first)));
    V cosine, sine;
    cosine_and_sine(unit_interval<V>(second), cosine, sine);
    a = radius * cosine;
    b = radius * sine;
}

// The four weights of one call of the generator.
template <Law law, class V, class W>
PYRANK_HD inline void four_weights(const W (&words)[4], V (&out)[4]) {
    static_assert(law != Law::rademacher, "one call gives 128 of those");
    if constexpr (law == Law::gaussian) {
        gaussian_pair(words[0], words[1], out[0], out[1]);
        gaussian_pair(words[2], words[3], out[2], out[3]);
    } else {
        for (int k = 0; k < 4; ++k) out[k] = uniform<V>(words[k]);
    }
}

}  // namespace pyrank
