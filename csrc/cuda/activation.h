// F as a kernel meets it: known when it runs.
#pragma once
#include "../core/activation.h"
#include "primitives.h"
#include "scalar.h"

namespace pyrank::cuda {

template <class T>
PYRANK_DEVICE inline T activated(Activation activation, T x) {
    T f = x;
    with_constant_activation(activation, [&](auto each) { f = activate<each()>(Scalar<T>(x)).v; });
    return f;
}

}  // namespace pyrank::cuda
