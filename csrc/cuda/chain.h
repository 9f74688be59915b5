// The fused chain: all layers of one chain, from the first product to the last measure, by one block that waits for no
// other. Every number is the result of the same operations in the same order as in csrc/cpu.
#pragma once
#include "../core/activation.h"
#include "normalize.h"
#include "panel.h"
#include "spectrum.h"

namespace pyrank::cuda {

constexpr int max_threads = 256;

template <class T>
PYRANK_DEVICE inline T activated(Activation activation, T x) {
    switch (activation) {
        case Activation::linear: break;
        case Activation::relu: return activate<Activation::relu>(Scalar<T>(x)).v;
        case Activation::leaky_relu: return activate<Activation::leaky_relu>(Scalar<T>(x)).v;
        case Activation::tanh: return activate<Activation::tanh>(Scalar<T>(x)).v;
        case Activation::sigmoid: return activate<Activation::sigmoid>(Scalar<T>(x)).v;
        case Activation::gelu: return activate<Activation::gelu>(Scalar<T>(x)).v;
    }
    return x;
}

template <class T>
class BlockChain {
public:
    PYRANK_HD BlockChain(const Job& job, int index, Workspace workspace)
        : job_(job), chain_(job.chain), index_(index), width_(int(chain_.width)), batch_(int(chain_.batch)),
          rows_(int(chain_.weights_of(job.first_layer).fan_in)),
          panel_(workspace.take_matrix<T>(smaller(width_, panel_rows), panel_depth)),
          of_threads_(workspace.take<T>(max_threads)), h_{workspace.take<T>(matrix_size()), stride_of(width_)},
          next_{workspace.take<T>(matrix_size()), stride_of(width_)},
          f_{workspace.take<T>(needs_f() ? matrix_size() : 0), stride_of(width_)},
          spectrum_(width_, batch_, Place::shared, workspace), exact_(width_, batch_, Place::global, workspace),
          exact_rotated_(workspace.take<double>(Spectrum<T>::rotated_size(width_, batch_), Place::global)),
          shared_used_(workspace.shared_used()), global_used_(workspace.global_used()) {}

    PYRANK_HD int64_t shared_used() const { return shared_used_; }
    PYRANK_HD int64_t global_used() const { return global_used_; }

    PYRANK_DEVICE void load();
    PYRANK_DEVICE void store() const;
    PYRANK_DEVICE void step(int64_t layer);
    // Call emit(measure, value) in one thread for each measure of the job.
    template <class Emit>
    PYRANK_DEVICE void measure(Emit emit) const;
    PYRANK_DEVICE void advance();

private:
    PYRANK_HD bool centres_f() const { return chain_.recentre && !chain_.over_features; }
    PYRANK_HD bool needs_f() const { return chain_.activation != Activation::linear || centres_f(); }
    PYRANK_HD int64_t matrix_size() const {  // `next` also holds the rotated state of a measurement
        const int64_t state = int64_t(batch_) * stride_of(width_), rotated = Spectrum<T>::rotated_size(width_, batch_);
        return state > rotated ? state : rotated;
    }
    PYRANK_DEVICE bool observes_f() const { return job_.observe_activation && chain_.activation != Activation::linear; }
    PYRANK_DEVICE Array<T> state() const {
        const int64_t size = int64_t(width_) * batch_;
        return Array<T>(static_cast<T*>(job_.state) + index_ * size, size);
    }
    PYRANK_DEVICE void activate_state() const;
    PYRANK_DEVICE void clear_below(const Matrix<T>& z, int row) const;
    PYRANK_DEVICE Matrix<T> centred_activation() const;
    PYRANK_DEVICE void multiply_weights(const Matrix<T>& f, int64_t layer) const;
    PYRANK_DEVICE double certain_count(const Matrix<T>& seen, double tau, const CountRule& rule) const;

    const Job& job_;
    const ChainParams& chain_;
    int index_;  // of the chain in the job
    int width_;  // the largest
    int batch_;
    int rows_;  // of the present layer: those of h_ from there on are zero
    Matrix<T> panel_;
    Array<T> of_threads_;
    Matrix<T> h_, next_, f_;
    Spectrum<T> spectrum_;
    Spectrum<double> exact_;  // redoes counts in double
    Array<double> exact_rotated_;
    int64_t shared_used_, global_used_;
};

template <class T>
PYRANK_DEVICE void BlockChain<T>::load() {
    const Array<T> from = state();
    for_entries(width_, batch_, [&](int i, int j) { h_(i, j) = T(from[i * batch_ + j]); });
    barrier();
}

template <class T>
PYRANK_DEVICE void BlockChain<T>::store() const {
    const Array<T> to = state();
    for_entries(width_, batch_, [&](int i, int j) { to[i * batch_ + j] = T(h_(i, j)); });
}

// F(H), in f_.
template <class T>
PYRANK_DEVICE void BlockChain<T>::activate_state() const {
    for_entries(rows_, batch_, [&](int i, int j) { f_(i, j) = activated(chain_.activation, T(h_(i, j))); });
    clear_below(f_, rows_);
}

// Zero the rows that the present layer does not have.
template <class T>
PYRANK_DEVICE void BlockChain<T>::clear_below(const Matrix<T>& z, int row) const {
    for_entries(width_ - row, batch_, [&](int i, int j) { z(row + i, j) = T(0); });
    barrier();
}

// What the weights multiply: F(H). Before a recentring its row means are taken off, which changes nothing exactly and
// saves the digits that a common offset of all samples would cost.
template <class T>
PYRANK_DEVICE Matrix<T> BlockChain<T>::centred_activation() const {
    if (!needs_f()) return h_;
    activate_state();
    if (centres_f()) {
        const Lines<T> lines = batch_lines(f_, rows_, batch_);
        for_each(0, rows_, [&](int row) { recentre(lines, row); });
        barrier();
    }
    return f_;
}

// next = H + gamma W F, one panel of W at a time; the sum over k runs in ascending order whatever the panels.
template <class T>
PYRANK_DEVICE void BlockChain<T>::multiply_weights(const Matrix<T>& f, int64_t layer) const {
    const WeightParams weights = chain_.weights_of(layer);
    const StreamPosition position{chain_.seed, uint32_t(layer), uint32_t(job_.first_chain + index_)};
    const int fan_out = int(weights.fan_out), fan_in = int(weights.fan_in);
    const T gamma = T(chain_.gamma);
    for (int row = 0; row < fan_out; row += panel_rows)
        for (int first = 0; first < fan_in; first += panel_depth) {
            const int rows = smaller(panel_rows, fan_out - row), depth = smaller(panel_depth, fan_in - first);
            const bool skip = chain_.skip && first + depth == fan_in;
            draw_panel(chain_.law, weights, position, row, rows, first, depth, panel_);
            multiply<Part::all, T>(
                rows, batch_, depth, [&](int i, int k) -> T { return panel_(i, k); },
                [&](int k, int j) -> T { return f(first + k, j); },
                [&](int i, int j) { return first ? T(next_(row + i, j)) : T(0); },
                [&](int i, int j, T sum) { next_(row + i, j) = skip ? fma(gamma, sum, T(h_(row + i, j))) : sum; });
            barrier();
        }
}

template <class T>
PYRANK_DEVICE void BlockChain<T>::step(int64_t layer) {
    multiply_weights(centred_activation(), layer);
    rows_ = int(chain_.weights_of(layer).fan_out);
    normalize(chain_.over_features ? feature_lines(next_, rows_, batch_) : batch_lines(next_, rows_, batch_), chain_,
              job_.degenerate_rows + index_);
    if (chain_.drifts()) take_off_exponent(next_, rows_, batch_, of_threads_, job_.exponent + index_);
    clear_below(next_, rows_);
    const Matrix<T> swapped = h_;
    h_ = next_;
    next_ = swapped;
}

// When a count was left open: factored in double, then summed in double as well, then on both sides.
template <class T>
PYRANK_DEVICE double BlockChain<T>::certain_count(const Matrix<T>& seen, double tau, const CountRule& rule) const {
    const Count single = spectrum_.count(tau);
    if (rule.accepts<T, T>(single.S)) return single.above;
    if (leader()) add_events(job_.flagged + index_, 1);
    exact_.set(spectrum_);
    const Count factored = exact_.count(tau);
    if (rule.accepts<T, double>(factored.S)) return factored.above;
    exact_.set(seen, exact_rotated_);
    const Count summed = exact_.count(tau);
    if (rule.accepts<double, double>(summed.S)) return summed.above;
    const Count below = exact_.count(tau * (1 - tie_width)), above = exact_.count(tau * (1 + tie_width));
    const bool certain =
        rule.accepts<double, double>(below.S) && rule.accepts<double, double>(above.S) && below.above == above.above;
    if (leader() && !certain) add_events(job_.ambiguous + index_, 1);
    return below.above;
}

template <class T>
template <class Emit>
PYRANK_DEVICE void BlockChain<T>::measure(Emit emit) const {
    if (observes_f()) activate_state();
    const Matrix<T> seen = observes_f() ? f_ : h_;
    spectrum_.set(seen, next_.data);
    const Moments moments = spectrum_.moments();
    double counted_tau = __builtin_nan(""), count = 0;
    for (int m = 0; m < job_.measure_count; ++m) {
        const Measure what = job_.measures[m];
        if (what.counts() && what.tau != counted_tau) {
            counted_tau = what.tau;
            count = certain_count(seen, counted_tau,
                                  CountRule(counted_tau, moments.trace, moments.purity, spectrum_.inner()));
        }
        if (leader()) emit(m, moments.value_of(what, count));
    }
}

template <class T>
PYRANK_DEVICE void BlockChain<T>::advance() {
    load();
    for (int64_t layer = job_.first_layer; layer < job_.first_layer + job_.layers; ++layer) {
        step(layer);
        if (!job_.records(layer)) continue;
        const int64_t sample = job_.recorded(layer);
        measure([&](int m, double value) { push<T>(job_.accumulator, m, index_, 1, &value, sample); });
    }
    store();
}

}  // namespace pyrank::cuda
