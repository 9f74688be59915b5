// The chains whose layers have machine code of their own, with all that can be chosen known when it is compiled. Signs
// are not among them: rescaled sums of signs may cancel, which is the matter of cancelling_layer.h.
#pragma once
#include <utility>

#include "../core/params.h"
#include "primitives.h"

namespace pyrank::cuda {

struct Case {
    Law law;
    Activation activation;
    bool recentre, skip;  // rescaled in any case, by the root of the mean square

    PYRANK_HD constexpr bool is(const ChainParams& chain) const {
        return chain.law == law && chain.activation == activation && chain.recentre == recentre && chain.skip == skip;
    }
};

// Every combination, first those without a skip connection; the number of a case is what its machine code is marked
// with.
constexpr int cases = 16;
PYRANK_HD constexpr Case case_of(int number) {
    return {number & 1 ? Law::uniform : Law::quick_gaussian, number & 2 ? Activation::relu : Activation::linear,
            (number & 4) != 0, (number & 8) != 0};
}

// What all of them have in common: weights as they are drawn, one width, lines over the batch of the usual size.
PYRANK_HD inline bool may_be_a_case(const ChainParams& chain) {
    const WeightParams& weights = chain.weights[0];
    return chain.period == 1 && weights.scale == 1 && weights.mean == 0 && chain.rescale && !chain.over_features &&
           chain.order == 2 && chain.alpha == 0;
}

// Call layers.run_case<number>() for the chain's case; false if it is none of these. One after the other in one
// expression: a function for each that calls the next is what the compiler would optimise over and over.
template <class Layers, int... numbers>
PYRANK_INLINED bool run_case_of(const ChainParams& chain, const Layers& layers,
                                std::integer_sequence<int, numbers...>) {
    return ((case_of(numbers).is(chain) && (layers.template run_case<numbers>(), true)) || ...);
}

}  // namespace pyrank::cuda
