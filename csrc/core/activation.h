// F, elementwise: which there are, and the formula of each.
#pragma once
#include <cstdint>
#include <type_traits>

#include "elementary.h"

namespace pyrank {

enum class Activation : int32_t { linear, relu, leaky_relu, tanh, sigmoid, gelu, softplus, count };

constexpr double leaky_slope = 0.01;

template <Activation activation, class V>
PYRANK_HD inline V activate(V x) {
    using T = typename V::T;
    const V zero = V(T(0)), one = V(T(1));
    if constexpr (activation == Activation::relu) return select(x < zero, zero, x);
    if constexpr (activation == Activation::leaky_relu) return select(x < zero, x * V(T(leaky_slope)), x);
    if constexpr (activation == Activation::tanh) {
        const V t = expm1(select(x > V(T(20)), V(T(40)), x + x));  // 1 to the last bit from 20 on
        return t / (t + V(T(2)));
    }
    if constexpr (activation == Activation::sigmoid) return one / (one + exp(-x));
    if constexpr (activation == Activation::gelu) return x * normal_cdf(x);
    if constexpr (activation == Activation::softplus) return select(x < zero, zero, x) + log1p(exp(-abs(x)));
    return x;
}

// Call body with the activation as a constant.
template <int code = 0, class Body>
PYRANK_HD inline void with_constant_activation(Activation activation, Body body) {
    if (int(activation) == code) return body(std::integral_constant<Activation, Activation(code)>());
    if constexpr (code + 1 < int(Activation::count)) with_constant_activation<code + 1>(activation, body);
}

}  // namespace pyrank
