// Whitening: H' = M^{-1/2} Z with M = Z Z^T / N. This is sqrt(N) times the polar factor of Z: every singular value of Z
// becomes sqrt(N), and those that are zero stay zero.
//
// The polar factor is the limit of the dynamically weighted Halley iteration (Nakatsukasa, Bai & Gygi 2010)
//     X <- (b/c) X + (a - b/c) (I + c X X^T)^{-1} X,
// with a, b, c from a lower bound of the singular values. Here that is the cut-off, so that all chains take the same
// four steps, and a last one that squares the error. The Gram matrix is formed anew from X in every step, so that
// rounding does not square the condition number of Z.
//
// Directions below the cut-off are found before, and filled: their projector is added to X X^T, or the iteration would
// blow up what rounding left in them.
//
// All of it, recentring too, is done in double.
#pragma once
#include <type_traits>

#include "normalize.h"
#include "symmetric.h"

namespace pyrank::PYRANK_ISA {

// Eigenvalues of M below this, times max(d, N) ||M||_F, count as zero. It is the square of the rounding of a state in
// single precision, and sixteen times the rounding of X X^T in double.
constexpr double whitening_cutoff = 0x1p-48;

// A step takes a singular value x in [lower, 1] to x (a + b x^2) / (1 + c x^2) in [image, 1].
struct HalleyStep {
    double a, b, c, image;
    HalleyStep() = default;
    explicit HalleyStep(double lower) {
        const double x = lower * lower, g = __builtin_cbrt(4 * (1 - x) / (x * x)), root = __builtin_sqrt(1 + g);
        a = root + 0.5 * __builtin_sqrt(8 - 4 * g + 8 * (2 - x) / (x * root));
        b = 0.25 * (a - 1) * (a - 1);
        c = a + b - 1;
        image = lower * (a + b * x) / (1 + c * x);
    }
};

template <class StateLayout>
class Whitening {
public:
    using State = typename StateLayout::T;

    Whitening(const ChainParams& chain, Workspace& workspace);

    // Whiten, in place, `chains` states of `width` rows, recentred before if the chain asks for it. The directions
    // found to be zero, of min(d, N), are added to `degenerate`.
    void whiten(State* z, int64_t width, int chains, int64_t* degenerate);

private:
    using Layout = std::conditional_t<StateLayout::rows == 1, Lanes<Vec<double>>, Rows<Vec<double>>>;
    using V = typename Layout::V;
    using Mask = typename V::Mask;
    static constexpr int unit = Layout::unit;

    void shape(int64_t width);
    template <class Copy>
    void for_entries(State* z, Copy copy);
    void load(State* z);
    void scale();
    V clear_zeros();
    void take(const HalleyStep& step);
    void square_error();
    void multiply_x_by_a();

    const ChainParams& chain_;
    int64_t side_;    // the smaller one of a state, at most
    int64_t column_;  // distance of two columns of a state
    SymmetricMatrix<Layout> a_;
    double *x_, *next_;
    double* fill_;  // added to X X^T; the lower half of a symmetric matrix
    int64_t width_ = 0, n_ = 0, samples_ = 0, columns_ = 0, stride_ = 0;
    bool transposed_ = false;
    double constant_ = 0, cutoff_ = 0;
    HalleyStep step_[4];
};

template <class StateLayout>
Whitening<StateLayout>::Whitening(const ChainParams& chain, Workspace& workspace)
    : chain_(chain), side_(!chain.whiten               ? 0
                           : chain.width < chain.batch ? chain.width
                                                       : chain.batch),
      column_(stride_of<StateLayout>(chain.width)), a_(side_, workspace) {
    const int64_t stride = stride_of<Layout>(side_);
    const int64_t columns = side_ ? chain.width + chain.batch - side_ + (chain.eps > 0 ? side_ : 0) : 0;
    x_ = workspace.take<double>(columns * stride);
    next_ = workspace.take<double>(columns * stride);
    fill_ = workspace.take<double>(side_ * stride);
}

// X is Z or its transpose, so that its rows are the smaller side. M + eps I is the Gram matrix of Z with sqrt(N eps) I
// as further columns. N recentred samples span N - 1 directions at most; the constant one is filled with its projector.
template <class StateLayout>
void Whitening<StateLayout>::shape(int64_t width) {
    if (width == width_) return;
    width_ = width;
    transposed_ = chain_.batch < width + chain_.recentre;
    n_ = transposed_ ? chain_.batch : width;
    samples_ = transposed_ ? width : chain_.batch;
    columns_ = samples_ + (chain_.eps > 0 ? n_ : 0);
    stride_ = stride_of<Layout>(n_);
    constant_ = transposed_ && chain_.recentre && chain_.eps == 0 ? 1 / double(n_) : 0;
    cutoff_ = whitening_cutoff * double(samples_);
    double lower = __builtin_sqrt(cutoff_);
    for (HalleyStep& step : step_) {
        step = HalleyStep(lower);
        lower = step.image;
    }
    a_.resize(n_);
}

template <class StateLayout>
void Whitening<StateLayout>::whiten(State* z, int64_t width, int chains, int64_t* degenerate) {
    shape(width);
    const double root = __builtin_sqrt(double(chain_.batch));
    for (int first = 0; first < chains; first += Layout::chains) {
        load(z + first);
        scale();
        double zeros[V::size];
        clear_zeros().store(zeros);
        for (const HalleyStep& step : step_) take(step);
        square_error();
        for_entries(z + first, [&](State& to, double x) { to = State(root * x); });
        for (int chain = first; chain < chains && chain < first + Layout::chains; ++chain)
            degenerate[chain] += int64_t(zeros[chain - first] + 0.5) + (constant_ > 0);
    }
}

template <class StateLayout>
template <class Copy>
void Whitening<StateLayout>::for_entries(State* z, Copy copy) {
    const int64_t row = StateLayout::unit;
    const int64_t along = transposed_ ? column_ : row, across = transposed_ ? row : column_;
    for (int64_t k = 0; k < samples_; ++k)
        for (int64_t i = 0; i < n_; ++i)
            for (int lane = 0; lane < unit; ++lane)
                copy(z[k * across + i * along + lane], x_[k * stride_ + i * unit + lane]);
}

template <class StateLayout>
void Whitening<StateLayout>::load(State* z) {
    for (int64_t p = 0; p < columns_ * stride_; ++p) x_[p] = 0;
    for_entries(z, [](State& from, double& x) { x = double(from); });
    if (chain_.recentre && transposed_) recentre(x_, FeatureLines<Layout>(stride_, n_, samples_));
    if (chain_.recentre && !transposed_) recentre(x_, BatchLines<Layout>(stride_, n_, samples_));
    const double root = __builtin_sqrt(chain_.eps * double(chain_.batch));
    for (int64_t i = 0; samples_ + i < columns_; ++i)
        for (int lane = 0; lane < unit; ++lane) x_[(samples_ + i) * stride_ + i * unit + lane] = root;
}

// Divide X by the root of ||X X^T||_F, a bound of its largest singular value.
template <class StateLayout>
void Whitening<StateLayout>::scale() {
    for (int64_t p = 0; p < a_.numbers(); ++p) fill_[p] = 0;
    a_.set_gram(x_, columns_, fill_, 1);
    const V size = a_.trace();
    a_.scale_and_shift(V(1.0) / size, V(0.0));
    const V norm = size * sqrt(a_.square_of_norm());
    const V factor = select(size == V(0.0), V(0.0), V(1.0) / sqrt(norm));
    for (int64_t p = 0; p < columns_ * stride_; p += V::size) (V::load(x_ + p) * factor).store(x_ + p);
}

// Make directions below the cut-off zero, and fill them; returns how many there are. An eigenvalue y of X X^T is below
// if q = 1 / (1 + y / cutoff) is above 1/2, and q -> q^2 (3 - 2 q) takes q to 0 or 1 (McWeeny 1960).
template <class StateLayout>
typename Whitening<StateLayout>::V Whitening<StateLayout>::clear_zeros() {
    for (int64_t p = 0; p < a_.numbers(); ++p) fill_[p] = constant_;
    a_.set_gram(x_, columns_, fill_, 1 / cutoff_);
    a_.invert();
    a_.scale_and_shift(V(-1.0), V(0.0));
    V zeros = a_.trace();
    const Mask singular = zeros > V(0.5);
    if (!any(singular)) return V(0.0);
    for (int64_t p = 0; p < a_.numbers(); p += V::size)
        select(singular, V::load(a_.data() + p), V(0.0)).store(fill_ + p);
    Mask open = singular;
    for (int round = 0; round < 64 && any(open); ++round) {
        const V undecided = abs(zeros - a_.square_of_norm());  // sum of q (1 - q)
        a_.multiply(fill_, next_, n_, open);
        a_.scale_and_shift(V(-2.0), V(3.0));
        a_.multiply(next_, fill_, n_, open);
        for (int64_t p = 0; p < a_.numbers(); p += V::size) V::load(fill_ + p).store(a_.data() + p);
        a_.scale_and_shift(V(1.0), V(0.0));
        zeros = a_.trace();
        open = open & (undecided > V(1e-10));  // what was decided that well is exact after one more round
    }
    a_.scale_and_shift(V(-1.0), V(1.0));
    multiply_x_by_a();
    for (int64_t p = 0; p < a_.numbers(); ++p) fill_[p] += constant_;
    return zeros;
}

template <class StateLayout>
void Whitening<StateLayout>::take(const HalleyStep& step) {
    a_.set_gram(x_, columns_, fill_, step.c);
    a_.invert();
    a_.scale_and_shift(V(step.b / step.c - step.a), V(step.b / step.c));
    multiply_x_by_a();
}

// One step of Newton and Schulz, for singular values close to one.
template <class StateLayout>
void Whitening<StateLayout>::square_error() {
    a_.set_gram(x_, columns_, fill_, 1);
    a_.scale_and_shift(V(-0.5), V(1.5));
    multiply_x_by_a();
}

template <class StateLayout>
void Whitening<StateLayout>::multiply_x_by_a() {
    a_.multiply(x_, next_, columns_, Mask{} == Mask{});
    double* const swapped = x_;
    x_ = next_;
    next_ = swapped;
}

}  // namespace pyrank::PYRANK_ISA
