// What is measured of a state, by the block that has it.
#pragma once
#include "activation.h"
#include "spectrum.h"

namespace pyrank::cuda {

// What is measured: the state of a chain, of which some rows are not zero, and room for a rotated state.
template <class Layer>
struct Subject {
    typename Layer::State h;
    Array<typename Layer::T> scratch;
    int rows;
    int index;       // of the chain in the job
    int64_t sample;  // number of the record
};

template <class Layer>
class Measurement {
public:
    using T = typename Layer::T;
    using State = typename Layer::State;

    PYRANK_HD Measurement(const Job& job, Workspace& workspace)
        : job_(job), chain_(job.chain), width_(job.measure_count ? int(chain_.width) : 0), batch_(int(chain_.batch)),
          f_(observes_f() ? Layer::take_state(chain_, workspace) : State()),
          spectrum_(width_, batch_, Place::shared, workspace), exact_(width_, batch_, Place::global, workspace),
          exact_work_(workspace.take<double>(rotated_size(width_, batch_), Place::global)),
          counts_(workspace.take<double>(job.measure_count)) {}

    // Call emit(measure, value) for each measure of the job, in a thread of its own. The subject is kept in memory.
    template <class Emit>
    PYRANK_DEVICE void measure(Subject<Layer>& subject, Emit emit) const;
    // Measure, and add to the record.
    PYRANK_DEVICE void record(Subject<Layer>& subject) const;

private:
    PYRANK_HD bool observes_f() const { return job_.observe_activation && chain_.activation != Activation::linear; }
    PYRANK_DEVICE State observed(const State& h, int rows) const;
    PYRANK_DEVICE double certain_count(const Subject<Layer>& subject, double tau) const;
    PYRANK_CALLED double exact_count(const Subject<Layer>& subject, double tau, const CountRule& rule) const;

    const Job& job_;
    const ChainParams& chain_;
    int width_, batch_;
    State f_;  // F(H), if that is measured
    Spectrum<T> spectrum_;
    Spectrum<double> exact_;  // redoes counts in double
    Array<double> exact_work_;
    Array<double> counts_;  // of eigenvalues, for each measure
};

template <class Layer>
PYRANK_DEVICE typename Layer::State Measurement<Layer>::observed(const State& h, int rows) const {
    if (!observes_f()) return h;
    for_entries(width_, batch_,
                [&](int i, int j) { f_(i, j) = i < rows ? activated(chain_.activation, T(h(i, j))) : T(0); });
    barrier();
    return f_;
}

template <class Layer>
PYRANK_DEVICE double Measurement<Layer>::certain_count(const Subject<Layer>& subject, double tau) const {
    const Count single = spectrum_.count(tau, subject.scratch);
    const Moments moments = spectrum_.moments();
    const CountRule rule(tau, moments.trace, moments.purity, spectrum_.inner());
    return rule.template accepts<T, T>(single.S) ? single.above : exact_count(subject, tau, rule);
}

// When a count was left open: factored in double, then summed in double as well, then on both sides.
template <class Layer>
PYRANK_CALLED double Measurement<Layer>::exact_count(const Subject<Layer>& subject, double tau,
                                                     const CountRule& rule) const {
    if (leader()) add_events(job_.flagged + subject.index, 1);
    exact_.set(spectrum_);
    const Count factored = exact_.count(tau, exact_work_);
    if (rule.accepts<T, double>(factored.S)) return factored.above;
    exact_.set(subject.h, exact_work_);
    const Count summed = exact_.count(tau, exact_work_);
    if (rule.accepts<double, double>(summed.S)) return summed.above;
    const Count below = exact_.count(tau * (1 - tie_width), exact_work_);
    const Count above = exact_.count(tau * (1 + tie_width), exact_work_);
    const bool certain =
        rule.accepts<double, double>(below.S) && rule.accepts<double, double>(above.S) && below.above == above.above;
    if (leader() && !certain) add_events(job_.ambiguous + subject.index, 1);
    return below.above;
}

template <class Layer>
template <class Emit>
PYRANK_DEVICE void Measurement<Layer>::measure(Subject<Layer>& subject, Emit emit) const {
    subject.h = observed(subject.h, subject.rows);
    keep_in_memory(subject);
    spectrum_.set(subject.h, subject.scratch);
    spectrum_.find_moments();
    int counted = -1;  // the measure for which eigenvalues were counted last
    double count = 0;
    for (int m = 0; m < job_.measure_count; ++m) {
        const Measure what = job_.measures[m];
        if (what.counts() && (counted < 0 || what.tau != job_.measures[counted].tau)) {
            counted = m;
            count = certain_count(subject, what.tau);
        }
        if (leader()) counts_[m] = count;
    }
    barrier();
    for_each(0, job_.measure_count,
             [&](int m) { emit(m, spectrum_.moments().value_of(job_.measures[m], double(counts_[m]))); });
}

template <class Layer>
PYRANK_DEVICE void Measurement<Layer>::record(Subject<Layer>& subject) const {
    measure(subject, [&](int m, double value) {
        push<double>(job_.accumulator, m, subject.index, 1, &value, subject.sample);
    });
}

}  // namespace pyrank::cuda
