// Logarithm, sine, cosine, exponential and error function, written once over numbers and vectors alike.
// The coefficients are Chebyshev interpolants computed in 60-digit arithmetic; the relative error of each polynomial
// is stated beside it and stays below the rounding error of the type it is used for.
#pragma once
#include "host_device.h"

namespace pyrank {

// Coefficients by value: device code may not refer to a host's array, be it constant.
template <class T, int n>
struct Series {
    T c[n];
};
template <class T, class... More>
Series(T, More...) -> Series<T, 1 + int(sizeof...(More))>;

template <class V, class T, int n>
PYRANK_HD inline V polynomial(V x, Series<T, n> series) {
    V sum = V(series.c[n - 1]);
    for (int k = n - 2; k >= 0; --k) sum = fma(sum, x, V(series.c[k]));
    return sum;
}

template <class V, class T, int n>
PYRANK_HD inline V chebyshev_series(V x, Series<T, n> series) {
    V b1 = V(T(0)), b2 = V(T(0));
    for (int k = n - 1; k > 0; --k) {
        const V b0 = fma(x + x, b1, V(series.c[k]) - b2);
        b2 = b1;
        b1 = b0;
    }
    return fma(x, b1, V(series.c[0]) - b2);
}

// clang-format off
template <class T>
struct Coefficients;

template <>
struct Coefficients<float> {
    // log(1 + f) = f - f^2/2 + f^3 P(f) on [sqrt(1/2) - 1, sqrt(2) - 1]: 2.0e-8
    PYRANK_HD static constexpr auto log() {
        return Series{0.33333330728f, -0.25000306422f, 0.20001045095f, -0.16641281463f,
                                    0.14214495924f, -0.12998183764f, 0.12622319850f, -0.07902743772f};
    }
    // sin(pi t) / t and -2 cos(pi t) in t^2 on [0, 1/4]: 6.7e-9, 4.4e-10
    PYRANK_HD static constexpr auto sine() {
        return Series{3.1415926401f, -5.1677100767f, 2.5500773865f, -0.59829041128f, 0.077655912276f};
    }
    PYRANK_HD static constexpr auto cosine() {
        return Series{-1.9999999996f, 9.8696042739f,   -8.1174183095f,
                                       2.6704238988f,  -0.46987413719f, 0.048791864195f};
    }
    // (exp(r) - 1) / r on [-log(2)/2, log(2)/2]: 2.7e-10
    PYRANK_HD static constexpr auto exp() {
        return Series{1.0f, 0.50000000471f, 0.16666666719f, 0.041666352897f,
                                    0.0083332984838f, 0.0013941108434f, 0.00019899273959f};
    }
    // (1 + 2 x) exp(x^2) erfc(x), Chebyshev in (x - 3.75) / (x + 3.75) (Shepherd & Laframboise 1981): 1.6e-8
    PYRANK_HD static constexpr auto erfc() {
        return Series{1.1775789346f, -0.0045900545806f, -0.084249133367f, 0.059209939998f,
                                     -0.026658668435f, 0.0090749976707f, -0.0024131635395f, 0.00049077583633f,
                                     -6.9169761712e-05f, 4.1390911670e-06f, 7.7481374664e-07f, -2.2338597030e-07f};
    }
    static constexpr float exp_limit = 87.0f, log2_high = 0x1.62ep-1f, log2_low = 0x1.0bfbe8p-15f;
};

template <>
struct Coefficients<double> {
    // log((1 + s) / (1 - s)) = 2 s + s^3 Q(s^2): 3.1e-18
    PYRANK_HD static constexpr auto log() {
        return Series{0.66666666666666666465, 0.40000000000000876983, 0.28571428570803611811,
                                     0.22222222391713917442, 0.18181795640132906276, 0.15386239702814658188,
                                     0.13268773138656885185, 0.13086626147840102138};
    }
    // 4.8e-22, 1.7e-23
    PYRANK_HD static constexpr auto sine() {
        return Series{3.1415926535897932385,     -5.1677127800499700285,     2.5501640398773453428,
                                      -0.59926452932078689914,   0.082145886610993557444,    -0.0073704309437021358482,
                                      0.00046630278745932727291, -0.000021915250301851374269, 7.9485390373723208439e-7,
                                      -2.2283712160696968871e-8};
    }
    PYRANK_HD static constexpr auto cosine() {
        return Series{-2.0,
                                        9.8696044010893586188,
                                        -8.1174242528335364337,
                                        2.6705255377091788266,
                                        -0.47066126071778112265,
                                        0.051613782779929400412,
                                        -0.003859148617658441259,
                                        0.00020927620125334627234,
                                        -8.6060978563821768023e-6,
                                        2.7745562489096889376e-7,
                                        -7.0006241474075244025e-9};
    }
    // 2.7e-19
    PYRANK_HD static constexpr auto exp() {
        return Series{1.0, 0.49999999999999999998, 0.16666666666666680806, 0.041666666666666676764,
                                     0.0083333333333196006109, 0.0013888888888879081845, 0.00019841269890047113707,
                                     0.000024801587336421322573, 2.7557240918578969823e-6, 2.7557263301474754518e-7,
                                     2.5110037605963777712e-8, 2.0918129454967065736e-9};
    }
    // 1.9e-19
    PYRANK_HD static constexpr auto erfc() {
        return Series{
        1.1775789345674017541, -0.0045900545806464773309, -0.084249133366517915584, 0.059209939998191890498,
        -0.026658668435305752277, 0.0090749976707052650939, -0.0024131635404176081909, 0.00049077583652580863229,
        -0.000069169733025012063671, 4.1390279860730101675e-6, 7.7403830661984906686e-7, -2.1886401049234395661e-7,
        1.0764999465670910377e-8, 4.5219598112182868977e-9, -7.7544002088313510963e-10, -6.318088340886683903e-11,
        2.868795010930669243e-11, 1.9455868545764956309e-13, -9.6546967484345915304e-13, 3.2525481483663840945e-14,
        3.3478119488998200495e-14, -1.8645629133902647458e-15, -1.2507952300125244106e-15, 7.4182765994175394933e-17,
        5.0685779334669014495e-17, -2.2403781435265097274e-18, -2.2847085583204321727e-18};
    }
    static constexpr double exp_limit = 708.0, log2_high = 0x1.62e42fefa38p-1, log2_low = 0x1.ef35793c7673p-45;
};

// clang-format on

// log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1]
template <class V>
PYRANK_HD inline V log_near_one(V f, float) {
    const V f2 = f * f;
    return fma(f2, fma(f, polynomial(f, Coefficients<float>::log()), V(-0.5f)), f);
}
template <class V>
PYRANK_HD inline V log_near_one(V f, double) {
    const V s = f / (f + V(2.0)), s2 = s * s;
    return fma(s * s2, polynomial(s2, Coefficients<double>::log()), s + s);
}

// log x for positive normal x
template <class V>
PYRANK_HD inline V log(V x) {
    using T = typename V::T;
    V m;
    const V e = split_exponent(x, m);
    return fma(e, V(T(0.693147180559945309417)), log_near_one(m - V(T(1)), T()));
}

// log(1 + t) for t in [0, 1], to the last digits of a small t as well
template <class V>
PYRANK_HD inline V log1p(V t) {
    using T = typename V::T;
    const auto far = t > V(T(0.414213562373095048802));  // there, log 2 + log(1 + (t - 1) / 2)
    const V f = select(far, (t - V(T(1))) * V(T(0.5)), t);
    return log_near_one(f, T()) + select(far, V(T(0.693147180559945309417)), V(T(0)));
}

// (cos, sin) of 2 pi u for u in [0, 1], by half the angle: with t = u - 1/2, cos 2 pi u = 2 sin^2 pi t - 1 and
// sin 2 pi u = -2 sin pi t cos pi t, so that no quadrant has to be told from another.
template <class V>
PYRANK_HD inline void cosine_and_sine(V u, V& cosine, V& sine) {
    using T = typename V::T;
    const V t = u - V(T(0.5)), t2 = t * t;
    const V s = t * polynomial(t2, Coefficients<T>::sine());
    cosine = fma(s + s, s, V(T(-1)));
    sine = s * polynomial(t2, Coefficients<T>::cosine());
}

// exp(x) - 1 = scale * p + (scale - 1), and exp(x) = scale * p + scale
template <class V>
PYRANK_HD inline void split_exp(V x, V& scale, V& p) {
    using T = typename V::T;
    using C = Coefficients<T>;
    x = select(x < V(-C::exp_limit), V(-C::exp_limit), x);
    x = select(x > V(C::exp_limit), V(C::exp_limit), x);
    typename V::Mask power;
    const V n = round_to_integer(x * V(T(1.44269504088896340736)), power);
    const V r = fma(n, V(-C::log2_low), fma(n, V(-C::log2_high), x));
    p = r * polynomial(r, C::exp());
    scale = power_of_two(power, x);
}

template <class V>
PYRANK_HD inline V exp(V x) {
    V scale, p;
    split_exp(x, scale, p);
    return fma(scale, p, scale);
}

template <class V>
PYRANK_HD inline V expm1(V x) {
    V scale, p;
    split_exp(x, scale, p);
    return fma(scale, p, scale - V(typename V::T(1)));
}

// x^(1/3) for x >= 0: through the logarithm, then one step of Newton's method.
template <class V>
PYRANK_HD inline V cube_root(V x) {
    using T = typename V::T;
    const V third = V(T(0.333333333333333333333));
    const V y = exp(log(x) * third), y2 = y * y;
    return select(x == V(T(0)), V(T(0)), y - (y - x / y2) * third);
}

// The standard normal distribution function, accurate in the lower tail as well.
template <class V>
PYRANK_HD inline V normal_cdf(V x) {
    using T = typename V::T;
    const V a = abs(x) * V(T(0.707106781186547524401));
    const V t = (a - V(T(3.75))) / (a + V(T(3.75)));
    const V tail = exp(V(T(-0.5)) * x * x) * chebyshev_series(t, Coefficients<T>::erfc()) / (V(T(2)) + V(T(4)) * a);
    return select(x < V(T(0)), tail, V(T(1)) - tail);
}

}  // namespace pyrank
