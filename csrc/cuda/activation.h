// F as a kernel meets it: known when it runs.
#pragma once
#include "../core/activation.h"
#include "primitives.h"
#include "scalar.h"

namespace pyrank::cuda {

template <class T>
PYRANK_DEVICE inline T activated(Activation activation, T x) {
    switch (activation) {
        case Activation::linear: break;
        case Activation::relu: return activate<Activation::relu>(Scalar<T>(x)).v;
        case Activation::leaky_relu: return activate<Activation::leaky_relu>(Scalar<T>(x)).v;
        case Activation::tanh: return activate<Activation::tanh>(Scalar<T>(x)).v;
        case Activation::sigmoid: return activate<Activation::sigmoid>(Scalar<T>(x)).v;
        case Activation::gelu: return activate<Activation::gelu>(Scalar<T>(x)).v;
        case Activation::softplus: return activate<Activation::softplus>(Scalar<T>(x)).v;
    }
    return x;
}

}  // namespace pyrank::cuda
