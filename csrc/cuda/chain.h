// The fused chain: all layers of one chain, from the first product to the last measure, by one block that waits for no
// other. How a layer is computed is the matter of `Layer`.
#pragma once
#include "activation.h"
#include "normalize.h"
#include "panel.h"
#include "spectrum.h"

namespace pyrank::cuda {

constexpr int max_threads = 256;

template <class Layer>
class BlockChain {
public:
    using T = typename Layer::T;

    PYRANK_HD BlockChain(const Job& job, int index, Workspace workspace)
        : job_(job), chain_(job.chain), index_(index), width_(int(chain_.width)), batch_(int(chain_.batch)),
          rows_(int(chain_.weights_of(job.first_layer).fan_in)), layer_(chain_, workspace),
          of_threads_(workspace.take<T>(max_threads)), h_(Layer::take_state(chain_, workspace)),
          f_(workspace.take_matrix<T>(observes_f() ? width_ : 0, batch_)),
          spectrum_(width_, batch_, Place::shared, workspace), exact_(width_, batch_, Place::global, workspace),
          exact_rotated_(workspace.take<double>(rotated_size(width_, batch_), Place::global)),
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
    PYRANK_HD bool observes_f() const { return job_.observe_activation && chain_.activation != Activation::linear; }
    PYRANK_DEVICE Array<T> state() const {
        const int64_t size = int64_t(width_) * batch_;
        return Array<T>(static_cast<T*>(job_.state) + index_ * size, size);
    }
    PYRANK_DEVICE Matrix<T> observed() const;
    PYRANK_DEVICE double certain_count(const Matrix<T>& seen, double tau, const CountRule& rule) const;

    const Job& job_;
    const ChainParams& chain_;
    int index_;  // of the chain in the job
    int width_;  // the largest
    int batch_;
    int rows_;  // of the present layer: those of h_ from there on are zero
    Layer layer_;
    Array<T> of_threads_;
    Matrix<T> h_;
    Matrix<T> f_;  // F(H), if that is what is measured
    Spectrum<T> spectrum_;
    Spectrum<double> exact_;  // redoes counts in double
    Array<double> exact_rotated_;
    int64_t shared_used_, global_used_;
};

template <class Layer>
PYRANK_DEVICE void BlockChain<Layer>::load() {
    const Array<T> from = state();
    for_entries(width_, batch_, [&](int i, int j) { h_(i, j) = T(from[i * batch_ + j]); });
    barrier();
}

template <class Layer>
PYRANK_DEVICE void BlockChain<Layer>::store() const {
    const Array<T> to = state();
    for_entries(width_, batch_, [&](int i, int j) { to[i * batch_ + j] = T(h_(i, j)); });
}

template <class Layer>
PYRANK_DEVICE void BlockChain<Layer>::step(int64_t layer) {
    const StreamPosition position{chain_.seed, uint32_t(layer), uint32_t(job_.first_chain + index_)};
    layer_.advance(h_, position, job_.degenerate_rows + index_);
    rows_ = int(chain_.weights_of(layer).fan_out);
    if (chain_.drifts()) take_off_exponent(h_, rows_, batch_, of_threads_, job_.exponent + index_);
    if (rows_ == width_) return;
    for_entries(width_ - rows_, batch_, [&](int i, int j) { h_(rows_ + i, j) = T(0); });
    barrier();
}

template <class Layer>
PYRANK_DEVICE Matrix<typename Layer::T> BlockChain<Layer>::observed() const {
    if (!observes_f()) return h_;
    for_entries(width_, batch_,
                [&](int i, int j) { f_(i, j) = i < rows_ ? activated(chain_.activation, T(h_(i, j))) : T(0); });
    barrier();
    return f_;
}

// When a count was left open: factored in double, then summed in double as well, then on both sides.
template <class Layer>
PYRANK_DEVICE double BlockChain<Layer>::certain_count(const Matrix<T>& seen, double tau, const CountRule& rule) const {
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

template <class Layer>
template <class Emit>
PYRANK_DEVICE void BlockChain<Layer>::measure(Emit emit) const {
    const Matrix<T> seen = observed();
    spectrum_.set(seen, layer_.scratch());
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

template <class Layer>
PYRANK_DEVICE void BlockChain<Layer>::advance() {
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
