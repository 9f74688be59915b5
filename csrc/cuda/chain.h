// The fused chain: all layers of one chain, from the first product to the last measure, by one block that waits for no
// other. How a layer is computed is the matter of `Layer`.
#pragma once
#include "activation.h"
#include "normalize.h"
#include "panel.h"
#include "spectrum.h"

namespace pyrank::cuda {

template <class Layer>
class BlockChain {
public:
    using T = typename Layer::T;
    using State = typename Layer::State;

    PYRANK_HD BlockChain(const Job& job, Workspace workspace)
        : job_(job), chain_(job.chain), width_(int(chain_.width)), batch_(int(chain_.batch)), layer_(chain_, workspace),
          of_threads_(workspace.take<T>(chain_.drifts() ? Layer::max_threads : 0)),
          h_(Layer::take_state(chain_, workspace)), f_(observes_f() ? Layer::take_state(chain_, workspace) : h_),
          spectrum_(measured_width(), batch_, Place::shared, workspace),
          exact_(measured_width(), batch_, Place::global, workspace),
          exact_work_(workspace.take<double>(rotated_size(measured_width(), batch_), Place::global)),
          values_(workspace.take<double>(job.measure_count)), shared_used_(workspace.shared_used()),
          global_used_(workspace.global_used()) {}

    PYRANK_HD int64_t shared_used() const { return shared_used_; }
    PYRANK_HD int64_t global_used() const { return global_used_; }

    // Turn to another chain of the job; the last is followed by none.
    PYRANK_DEVICE void turn_to(int index) {
        barrier();  // the memory is still in use
        index_ = index;
        next_layer_ = job_.first_layer;
        phase_ = int(next_layer_ % chain_.period);
        samples_ = job_.recorded(next_layer_);
        rows_ = int(chain_.weights[phase_].fan_in);
    }
    PYRANK_DEVICE int index() const { return index_; }
    PYRANK_DEVICE bool has_chain() const { return index_ < job_.chains; }

    PYRANK_DEVICE void load();
    PYRANK_DEVICE void store() const;
    PYRANK_DEVICE void step(const RoundKeys& keys);
    // Call emit(measure, value) in one thread for each measure of the job.
    template <class Emit>
    PYRANK_DEVICE void measure(Emit emit) const;
    PYRANK_DEVICE void advance(const RoundKeys& keys);

private:
    PYRANK_HD int measured_width() const { return job_.measure_count ? width_ : 0; }
    PYRANK_HD bool observes_f() const { return job_.observe_activation && chain_.activation != Activation::linear; }
    PYRANK_DEVICE Array<T> state() const {
        const int64_t size = int64_t(width_) * batch_;
        return Array<T>(static_cast<T*>(job_.state) + index_ * size, size);
    }
    PYRANK_DEVICE State observed() const;
    PYRANK_DEVICE void record();
    PYRANK_CALLED double exact_count(const State& seen, double tau, const CountRule& rule) const;
    PYRANK_DEVICE double certain_count(const State& seen, double tau, const CountRule& rule) const;

    const Job& job_;
    const ChainParams& chain_;
    int width_;  // the largest
    int batch_;
    int index_ = 0;  // of the chain in the job
    // volatile: fetched when they are needed, not kept in registers from layer to layer
    volatile int64_t next_layer_ = 0;
    volatile int64_t samples_ = 0;  // recorded so far
    int phase_ = 0;                 // of the period of the weights
    int rows_ = 0;                  // of the present layer: those of h_ from there on are zero
    Layer layer_;
    Array<T> of_threads_;
    State h_;
    State f_;  // F(H), if that is measured
    Spectrum<T> spectrum_;
    Spectrum<double> exact_;  // redoes counts in double
    Array<double> exact_work_;
    Array<double> values_;  // of the measures, to be recorded by a thread for each
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
PYRANK_DEVICE void BlockChain<Layer>::step(const RoundKeys& keys) {
    layer_.prepare(h_, rows_);
    const StreamPosition position{keys, uint32_t(next_layer_), uint32_t(job_.first_chain + index_)};
    const WeightParams& weights = chain_.weights[phase_];
    rows_ = int(weights.fan_out);
    next_layer_ = next_layer_ + 1;
    phase_ = phase_ + 1 < chain_.period ? phase_ + 1 : 0;
    layer_.advance(h_, weights, position, [&] { add_events(job_.degenerate_rows + index_, 1); });
    if (chain_.drifts()) take_off_exponent(h_, rows_, batch_, of_threads_, job_.exponent + index_);
    if (rows_ == width_) return;
    for_entries(width_ - rows_, batch_, [&](int i, int j) { h_(rows_ + i, j) = T(0); });
    barrier();
}

template <class Layer>
PYRANK_DEVICE typename Layer::State BlockChain<Layer>::observed() const {
    if (!observes_f()) return h_;
    for_entries(width_, batch_,
                [&](int i, int j) { f_(i, j) = i < rows_ ? activated(chain_.activation, T(h_(i, j))) : T(0); });
    barrier();
    return f_;
}

template <class Layer>
PYRANK_DEVICE double BlockChain<Layer>::certain_count(const State& seen, double tau, const CountRule& rule) const {
    const Count single = spectrum_.count(tau, layer_.scratch());
    return rule.accepts<T, T>(single.S) ? single.above : exact_count(seen, tau, rule);
}

// When a count was left open: factored in double, then summed in double as well, then on both sides.
template <class Layer>
PYRANK_CALLED double BlockChain<Layer>::exact_count(const State& seen, double tau, const CountRule& rule) const {
    if (leader()) add_events(job_.flagged + index_, 1);
    exact_.set(spectrum_);
    const Count factored = exact_.count(tau, exact_work_);
    if (rule.accepts<T, double>(factored.S)) return factored.above;
    exact_.set(seen, exact_work_);
    const Count summed = exact_.count(tau, exact_work_);
    if (rule.accepts<double, double>(summed.S)) return summed.above;
    const Count below = exact_.count(tau * (1 - tie_width), exact_work_);
    const Count above = exact_.count(tau * (1 + tie_width), exact_work_);
    const bool certain =
        rule.accepts<double, double>(below.S) && rule.accepts<double, double>(above.S) && below.above == above.above;
    if (leader() && !certain) add_events(job_.ambiguous + index_, 1);
    return below.above;
}

template <class Layer>
template <class Emit>
PYRANK_DEVICE void BlockChain<Layer>::measure(Emit emit) const {
    const State seen = observed();
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
PYRANK_DEVICE void BlockChain<Layer>::record() {
    measure([&](int m, double value) { values_[m] = value; });
    barrier();
    for_each(0, job_.measure_count, [&](int m) {
        const double value = values_[m];
        push<double>(job_.accumulator, m, index_, 1, &value, samples_);
    });
    samples_ = samples_ + 1;
}

template <class Layer>
PYRANK_DEVICE void BlockChain<Layer>::advance(const RoundKeys& keys) {
    load();
    while (next_layer_ < job_.first_layer + job_.layers) {
        step(keys);
        if (job_.records(next_layer_ - 1, samples_)) record();
    }
    store();
}

}  // namespace pyrank::cuda
