// What is measured of a state, by the block that has it.
#pragma once
#include <type_traits>

#include "activation.h"
#include "spectrum.h"

namespace pyrank::cuda {

// What is measured: the state of a chain, of which some rows are not zero, and room for a rotated state.
template <class Layer>
struct Subject {
    typename Layer::State h;
    Array<typename Layer::T> scratch;
    int rows;
    int index;             // of the chain in the job
    int64_t sample;        // number of the record
    bool on_chip = false;  // that is known of all that is needed, but for what is redone in double
};

template <class Layer>
class Measurement {
public:
    using T = typename Layer::T;
    using State = typename Layer::State;

    // The most samples of a small layer; 0 for others.
    static constexpr int most = [] {
        if constexpr (requires { requires Layer::has_cases; }) return Layer::columns;
        return 0;
    }();

    PYRANK_HD Measurement(const Job& job, Workspace& workspace)
        : job_(&job), width_(job.measure_count ? int(job.chain.width) : 0), batch_(int(job.chain.batch)),
          f_(observes_f() ? Layer::take_state(job.chain, workspace) : State()),
          spectrum_(width_, batch_, job.measure_count ? most : 0, Place::shared, workspace),
          exact_(width_, batch_, 0, Place::global, workspace),
          exact_work_(workspace.take<double>(rotated_size(width_, batch_), Place::global)),
          counts_(workspace.take<double>(job.measure_count)) {}

    // The one of this block, seen by all threads after a barrier.
    PYRANK_DEVICE static Array<Measurement> of_this_block(const Job& job, Workspace& workspace) {
        const Array<Measurement> place = of_block<Measurement>();
        if (leader()) place[0] = Measurement(job, workspace);
        return place;
    }

    // Call emit(measure, value) for each measure of the job, in a thread of its own.
    template <class Emit>
    PYRANK_DEVICE void measure(const Subject<Layer>& subject, Emit emit) const;
    // Measure, and add to the record.
    PYRANK_DEVICE void record(const Subject<Layer>& subject) const;

private:
    PYRANK_HD bool observes_f() const {
        return job_->observe_activation && job_->chain.activation != Activation::linear;
    }
    PYRANK_DEVICE State observed(const State& h, int rows) const;
    template <int known>
    PYRANK_DEVICE void form() const;
    PYRANK_DEVICE double certain_count(double tau) const;
    PYRANK_CALLED double exact_count(double tau) const;
    PYRANK_DEVICE CountRule rule(double tau) const;
    // Whether M is formed on the tensor cores: where weights need not be those of a CPU, measures need not be, either.
    PYRANK_DEVICE bool is_quick() const { return most > 0 && job_->chain.law == Law::quick_gaussian; }
    // Whether a count from M as it is formed here, factored in a precision, may be believed.
    template <class Factor>
    PYRANK_DEVICE bool accepts(double tau, double S) const {
        const CountRule found = rule(tau);
        return is_quick() ? found.template accepts<TensorSum, Factor>(S) : found.template accepts<T, Factor>(S);
    }
    // body(the `most` of the spectrum), or body(0) where not all that is needed lies in the memory of the block.
    template <class Body>
    PYRANK_DEVICE auto where_it_lies(Body body) const {
        if constexpr (most > 0)
            if (present().on_chip) return body(std::integral_constant<int, most>());
        return body(std::integral_constant<int, 0>());
    }
    // What is measured at present: the subject, or F of it.
    PYRANK_DEVICE Subject<Layer> present() const { return of_block<Subject<Layer>>()[0]; }

    const Job* job_;
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
                [&](int i, int j) { f_(i, j) = i < rows ? activated(job_->chain.activation, T(h(i, j))) : T(0); });
    barrier();
    return f_;
}

template <class Layer>
PYRANK_DEVICE CountRule Measurement<Layer>::rule(double tau) const {
    const Moments moments = spectrum_.moments();
    return CountRule(tau, moments.trace, moments.purity, spectrum_.inner());
}

template <class Layer>
PYRANK_DEVICE double Measurement<Layer>::certain_count(double tau) const {
    const Count single =
        where_it_lies([&](auto known) { return spectrum_.template count<known()>(tau, present().scratch); });
    return accepts<T>(tau, single.S) ? single.above : exact_count(tau);
}

// When a count was left open: factored in double, then summed in double as well, then on both sides.
template <class Layer>
PYRANK_CALLED double Measurement<Layer>::exact_count(double tau) const {
    if (leader()) add_events(job_->flagged + present().index, 1);
    exact_.set(spectrum_);
    const Count factored = exact_.template count<0>(tau, exact_work_);
    if (accepts<double>(tau, factored.S)) return factored.above;
    exact_.template set<0>(present().h, exact_work_);
    const Count summed = exact_.template count<0>(tau, exact_work_);
    if (rule(tau).template accepts<double, double>(summed.S)) return summed.above;
    const Count below = exact_.template count<0>(tau * (1 - tie_width), exact_work_);
    const Count above = exact_.template count<0>(tau * (1 + tie_width), exact_work_);
    const CountRule both = rule(tau);
    const bool certain =
        both.accepts<double, double>(below.S) && both.accepts<double, double>(above.S) && below.above == above.above;
    if (leader() && !certain) add_events(job_->ambiguous + present().index, 1);
    return below.above;
}

template <class Layer>
template <int known>
PYRANK_DEVICE void Measurement<Layer>::form() const {
    if constexpr (most > 0)
        if (is_quick())
            return spectrum_.template set_on_tensor_cores<most, (known > 0)>(present().h, present().scratch);
    spectrum_.template set<known>(present().h, present().scratch);
}

template <class Layer>
template <class Emit>
PYRANK_DEVICE void Measurement<Layer>::measure(const Subject<Layer>& subject, Emit emit) const {
    const State seen = observed(subject.h, subject.rows);
    if (leader()) {
        const bool on_chip = spectrum_.lies_on_chip() && lies_on_chip(seen.data) && lies_on_chip(subject.scratch);
        of_block<Subject<Layer>>()[0] = {seen, subject.scratch, subject.rows, subject.index, subject.sample, on_chip};
    }
    barrier();
    where_it_lies([&](auto known) {
        form<known()>();
        spectrum_.template find_moments<known()>();
    });
    int counted = -1;  // the measure for which eigenvalues were counted last
    double count = 0;
    for (int m = 0; m < job_->measure_count; ++m) {
        const Measure what = job_->measures[m];
        if (what.counts() && (counted < 0 || what.tau != job_->measures[counted].tau)) {
            counted = m;
            count = certain_count(what.tau);
        }
        if (leader()) counts_[m] = count;
    }
    barrier();
    for_each(0, job_->measure_count,
             [&](int m) { emit(m, spectrum_.moments().value_of(job_->measures[m], double(counts_[m]))); });
}

template <class Layer>
PYRANK_DEVICE void Measurement<Layer>::record(const Subject<Layer>& subject) const {
    measure(subject, [&](int m, double value) {
        push<double>(job_->accumulator, m, present().index, 1, &value, present().sample);
    });
}

}  // namespace pyrank::cuda
