// The fused chain: all layers of one group, from the first product to the last measure, without leaving the cache.
#pragma once
#include "../core/activation.h"
#include "../core/moments.h"
#include "gram_factor.h"
#include "kernels.h"
#include "normalize.h"
#include "orthogonal.h"
#include "panel.h"
#include "record.h"
#include "spectrum.h"
#include "whiten.h"

namespace pyrank::PYRANK_ISA {

template <class Layout>
class GroupChain {
public:
    using V = typename Layout::V;
    using T = typename Layout::T;

    GroupChain(const Job& job, Group group, Workspace workspace, cpu::Team& team)
        : team_(team), job_(job), chain_(job.chain), keys_(chain_.seed), group_(group), width_(chain_.width),
          rows_(chain_.weights_of(job.first_layer).fan_in), batch_(chain_.batch), stride_(stride_of<Layout>(width_)),
          vectors_(vectors_of<Layout>(width_)), h_(workspace.take<T>(state_size())),
          next_(workspace.take<T>(state_size())), f_(chain_.needs_f() ? workspace.take<T>(batch_ * stride_) : nullptr),
          panels_(workspace.take<T>(team.size() * panel_size)), r_stride_(stride_of<Layout>(batch_)),
          r_(chain_.law == Law::gram ? workspace.take<T>(batch_ * r_stride_) : nullptr),
          gram_factor_(chain_.law == Law::gram ? width_ : 0, chain_.law == Law::gram ? batch_ : 0, workspace),
          reflections_(chain_.law == Law::orthogonal ? width_ : 0, batch_, workspace),
          noise_(sums_cancel(chain_) ? workspace.take<T>(batch_ * Layout::unit) : nullptr),
          whitening_(chain_, workspace), spectrum_(width_, batch_, workspace, team),
          exact_(width_, batch_, workspace, team),
          exact_room_(workspace.take<double>(Exact::room_size(width_, batch_))),
          record_(job, group, Layout::chains, workspace),
          values_(workspace.take<double>(job.measure_count * Layout::chains)), used_(workspace.used()) {}

    static size_t workspace_size(const Job& job, cpu::Team& team) {
        return GroupChain(job, Group{}, Workspace(nullptr), team).used_;
    }

    void load();
    void store() const;
    void step(int64_t layer);
    const double* measure();        // [measure, Layout::chains]
    const double* measure_given();  // the same of the caller's states
    void advance();

private:
    using PerChain = double[Layout::chains];
    using Exact = Spectrum<Rows<Vec<double>>>;  // redoes one chain's count in double
    struct Seen {                               // what is measured, and the distances of its rows and columns
        const T* entries;
        int64_t row, column;
    };

    bool observes_f() const { return job_.observe_activation && chain_.activation != Activation::linear; }
    int64_t state_size() const {
        const int64_t state = batch_ * stride_, room = Spectrum<Layout>::room_size(width_, batch_);
        return state > room ? state : room;
    }
    T* state_of(int64_t chain) const { return static_cast<T*>(job_.state) + (group_.first + chain) * width_ * batch_; }
    template <Activation activation>
    void activate_all();
    void activate_state();
    const T* activation();
    void apply_weights(const T* f, int64_t layer);
    void multiply_weights(const T* f, int64_t f_stride, int64_t inner, const WeightParams& weights,
                          const StreamPosition<Layout>& position);
    void rotate(const T* f, const WeightParams& weights, const StreamPosition<Layout>& position);
    void clear_below(T* z, int64_t row) const;
    void find_noise(const T* f, const WeightParams& weights);
    void clear_noise_of_rows();
    void settle_counts(const Seen& seen, double tau, const PerChain& trace, const PerChain& purity, const PerChain& S,
                       PerChain& count);
    int64_t certain_count(const Seen& seen, int chain, double tau, const CountRule& rule);
    const double* measure(const Seen& seen);
    template <class N>
    void record(int64_t sample);

    static constexpr int64_t panel_size = panel_depth * row_block * V::size;

    cpu::Team& team_;
    const Job& job_;
    const ChainParams& chain_;
    const RoundKeys keys_;
    Group group_;
    int64_t width_;  // the largest
    int64_t rows_;   // the present one: rows of h_ from there on are zero
    int64_t batch_, stride_, vectors_;
    T *h_, *next_, *f_;  // what next_ holds is done with when a layer ends: measuring works there
    T* panels_;          // one for each member of the team
    int64_t r_stride_;
    T* r_;  // takes the place of F in the law `gram`
    GramFactor gram_factor_;
    Reflections<Layout> reflections_;
    T* noise_;  // [batch]: what rounding may leave of a sum W F that is zero; null where none cancels
    Whitening<Layout> whitening_;
    Spectrum<Layout> spectrum_;
    Exact exact_;
    double* exact_room_;
    GroupRecord record_;
    double* values_;
    int64_t exponent_[Layout::chains] = {};  // powers of two taken off since the chains were loaded
    size_t used_;
};

template <class Layout>
void GroupChain<Layout>::load() {
    for (int64_t p = 0; p < batch_ * stride_; ++p) h_[p] = 0;
    for (int64_t chain = 0; chain < group_.count; ++chain)
        for (int64_t i = 0; i < width_; ++i)
            for (int64_t j = 0; j < batch_; ++j)
                h_[j * stride_ + i * Layout::unit + chain] =
                    state_of(chain)[i * job_.row_step() + j * job_.column_step()];
}

template <class Layout>
void GroupChain<Layout>::store() const {
    for (int64_t chain = 0; chain < group_.count; ++chain) {
        job_.exponent[group_.first + chain] += exponent_[chain];
        for (int64_t i = 0; i < width_; ++i)
            for (int64_t j = 0; j < batch_; ++j)
                state_of(chain)[i * batch_ + j] = h_[j * stride_ + i * Layout::unit + chain];
    }
}

template <class Layout>
template <Activation activation>
void GroupChain<Layout>::activate_all() {
    for (int64_t j = 0; j < batch_; ++j)
        for (int64_t vector = 0; vector < vectors_; ++vector) {
            const int64_t at = j * stride_ + vector * V::size;
            activate<activation>(V::load(h_ + at)).store(f_ + at);
        }
}

// F(H), in f_.
template <class Layout>
void GroupChain<Layout>::activate_state() {
    with_constant_activation(chain_.activation, [&](auto activation) { this->activate_all<activation()>(); });
    clear_below(f_, rows_);
}

// Zero the rows that the present layer does not have.
template <class Layout>
void GroupChain<Layout>::clear_below(T* z, int64_t row) const {
    if (row == width_) return;
    for (int64_t j = 0; j < batch_; ++j)
        for (int64_t p = row * Layout::unit; p < stride_; ++p) z[j * stride_ + p] = 0;
}

// F(H): what the weights multiply, but for its row means.
template <class Layout>
const typename Layout::T* GroupChain<Layout>::activation() {
    if (!chain_.needs_f()) return h_;
    activate_state();
    return f_;
}

// next = H + gamma W F, by what the law of W asks for.
template <class Layout>
void GroupChain<Layout>::apply_weights(const T* f, int64_t layer) {
    const StreamPosition<Layout> position{keys_, uint32_t(layer), uint32_t(job_.first_chain + group_.first)};
    const WeightParams& weights = chain_.weights_of(layer);
    if (chain_.law == Law::orthogonal) return rotate(f, weights, position);
    if (chain_.law != Law::gram) return multiply_weights(f, stride_, weights.fan_in, weights, position);
    for (int64_t chain = 0; chain < group_.count; ++chain)
        gram_factor_.factor(f + chain, weights.fan_in, Layout::unit, stride_, r_ + chain, r_stride_);
    multiply_weights(r_, r_stride_, batch_, weights, position);
}

// One panel of W at a time; the sum over k runs in ascending order whatever the panels.
template <class Layout>
void GroupChain<Layout>::multiply_weights(const T* f, int64_t f_stride, int64_t inner, const WeightParams& weights,
                                          const StreamPosition<Layout>& position) {
    const V gamma = V(T(chain_.gamma));
    share_pieces<Layout, row_block>(
        team_, 0, vectors_of<Layout>(weights.fan_out), [&]<int R>(int64_t vector, int member) {
            T* const w = panels_ + member * panel_size;
            for (int64_t k = 0; k < inner; k += panel_depth) {
                const int64_t depth = inner - k < panel_depth ? inner - k : panel_depth;
                draw_panel<Layout, R>(chain_.law, weights, position, vector, k, depth, w);
                const bool first = k == 0, last = k + depth == inner;
                for_pieces<column_block>(0, batch_, [&]<int C>(int64_t column) {
                    const int64_t corner = column * stride_ + vector * V::size;
                    multiply_block<Layout, R, C>(
                        w, R * V::size, f + column * f_stride + k * Layout::unit, Layout::unit, f_stride, depth,
                        [&](V(&acc)[C][R]) {
                            if (first)
                                fill_block(acc, V(T(0)));
                            else
                                load_block(acc, next_ + corner, stride_);
                        },
                        [&](V(&acc)[C][R]) {
                            if (last && chain_.skip)
                                for_block<C, R>([&](int c, int r) {
                                    const V h = V::load(h_ + corner + c * stride_ + r * V::size);
                                    acc[c][r] = fma(gamma, acc[c][r], h);
                                });
                            store_block(acc, next_ + corner, stride_);
                        });
                });
            }
        });
}

template <class Layout>
void GroupChain<Layout>::rotate(const T* f, const WeightParams& weights, const StreamPosition<Layout>& position) {
    const double side = double(weights.fan_out > weights.fan_in ? weights.fan_out : weights.fan_in);
    reflections_.apply(position, f, next_, stride_, weights.fan_out, weights.fan_in,
                       T(weights.scale * __builtin_sqrt(side)));
    if (!chain_.skip) return;
    const V gamma = V(T(chain_.gamma));
    for (int64_t p = 0; p < batch_ * stride_; p += V::size)
        fma(gamma, V::load(next_ + p), V::load(h_ + p)).store(next_ + p);
}

template <class Layout>
void GroupChain<Layout>::find_noise(const T* f, const WeightParams& weights) {
    V sum = V(T(0));
    for (int64_t j = 0; j < batch_; ++j) {
        const V largest = largest_of_rows<Layout>(largest_of_column<Layout>(f + j * stride_, weights.fan_in));
        typename Layout::Entry(largest).store(noise_ + j * Layout::unit);
        sum = sum + largest;
    }
    const V spread = chain_.centres_f() ? sum / V(T(batch_)) : V(T(0));
    const double roundings = cancellation(chain_, weights);
    for (int64_t j = 0; j < batch_; ++j) {
        T* const noise = noise_ + j * Layout::unit;
        typename Layout::Entry(noise_of_column(V(Layout::spread(noise)) + spread, roundings)).store(noise);
    }
}

// Before whitening, which knows how large a direction is beside the others, but not beside what was added up.
template <class Layout>
void GroupChain<Layout>::clear_noise_of_rows() {
    const BatchLines<Layout> rows(stride_, rows_, batch_);
    if (chain_.recentre) recentre(next_, rows);
    clear_noise(next_, rows, noise_);
}

template <class Layout>
void GroupChain<Layout>::step(int64_t layer) {
    const T* const f = activation();
    if (noise_) find_noise(f, chain_.weights_of(layer));
    if (chain_.centres_f()) recentre(f_, BatchLines<Layout>(stride_, width_, batch_));
    apply_weights(f, layer);
    rows_ = chain_.weights_of(layer).fan_out;
    const int chains = int(group_.count);
    int64_t* const degenerate = job_.degenerate_rows + group_.first;
    if (chain_.whiten) {
        if (noise_) clear_noise_of_rows();
        whitening_.whiten(next_, rows_, chains, degenerate);
    } else if (chain_.over_features)
        normalize<Layout>(next_, FeatureLines<Layout>(stride_, rows_, batch_), chain_, noise_, chains, degenerate);
    else
        normalize<Layout>(next_, BatchLines<Layout>(stride_, rows_, batch_), chain_, noise_, chains, degenerate);
    if (chain_.drifts()) take_off_exponent<Layout>(next_, stride_, rows_, batch_, chains, exponent_);
    clear_below(next_, rows_);
    T* const swapped = h_;
    h_ = next_;
    next_ = swapped;
}

// The count of one chain that was left open: factored in double, then summed in double as well, then on both sides.
template <class Layout>
int64_t GroupChain<Layout>::certain_count(const Seen& seen, int chain, double tau, const CountRule& rule) {
    ++job_.flagged[group_.first + chain];
    double count[1], S[1], upper[1];
    exact_.set(spectrum_, chain, exact_room_);
    exact_.count(tau, count, S);
    if (rule.accepts<T, double>(S[0])) return int64_t(count[0]);
    exact_.set(seen.entries + chain, seen.row, seen.column, exact_room_);
    exact_.count(tau, count, S);
    if (rule.accepts<double, double>(S[0])) return int64_t(count[0]);
    exact_.count(tau * (1 - tie_width), count, S);
    const bool lower_is_certain = rule.accepts<double, double>(S[0]);
    exact_.count(tau * (1 + tie_width), upper, S);
    if (!(lower_is_certain && rule.accepts<double, double>(S[0]) && count[0] == upper[0]))
        ++job_.ambiguous[group_.first + chain];
    return int64_t(count[0]);
}

// Redo the counts that the first factorisation leaves open.
template <class Layout>
void GroupChain<Layout>::settle_counts(const Seen& seen, double tau, const PerChain& trace, const PerChain& purity,
                                       const PerChain& S, PerChain& count) {
    const auto rule = [&](int c) { return CountRule(tau, trace[c], purity[c], spectrum_.inner()); };
    bool settled = true;
    for (int c = 0; c < group_.count; ++c) settled &= rule(c).template accepts<T, T>(S[c]);
    if (settled) return;
    for (int c = 0; c < group_.count; ++c)
        if (!rule(c).template accepts<T, T>(S[c])) count[c] = double(certain_count(seen, c, tau, rule(c)));
}

template <class Layout>
const double* GroupChain<Layout>::measure() {
    if (observes_f()) activate_state();
    return measure({observes_f() ? f_ : h_, Layout::unit, stride_});
}

// What is measured once need not be loaded, where the caller's matrix can be read as it lies.
template <class Layout>
const double* GroupChain<Layout>::measure_given() {
    if constexpr (Layout::chains == 1) return measure({state_of(0), job_.row_step(), job_.column_step()});
    load();
    return measure();
}

template <class Layout>
const double* GroupChain<Layout>::measure(const Seen& seen) {
    PerChain trace, purity, count = {}, S;
    spectrum_.set(seen.entries, seen.row, seen.column, next_);
    spectrum_.moments(trace, purity);
    double counted_tau = __builtin_nan("");
    for (int m = 0; m < job_.measure_count; ++m) {
        const Measure what = job_.measures[m];
        if (what.counts() && what.tau != counted_tau) {
            counted_tau = what.tau;
            spectrum_.count(counted_tau, count, S);
            settle_counts(seen, counted_tau, trace, purity, S, count);
        }
        double* const value = values_ + m * Layout::chains;
        with_constant_kind(what.kind, [&](auto kind) {
            for (int c = 0; c < Layout::chains; ++c)
                value[c] = Moments{trace[c], purity[c]}.template value_of<kind()>(what.tau, count[c]);
        });
    }
    return values_;
}

// Add what was measured to the record, as many chains at a time as N holds.
template <class Layout>
template <class N>
void GroupChain<Layout>::record(int64_t sample) {
    for (int m = 0; m < job_.measure_count; ++m)
        push<N>(record_.view(), m, 0, group_.count, values_ + m * Layout::chains, sample);
}

template <class Layout>
void GroupChain<Layout>::advance() {
    load();
    record_.load();
    int64_t samples = job_.recorded(job_.first_layer);
    for (int64_t layer = job_.first_layer; layer < job_.first_layer + job_.layers; ++layer) {
        step(layer);
        if (!job_.records(layer, samples)) continue;
        measure();
        if (group_.count % Vec<double>::size == 0)
            record<Vec<double>>(samples);
        else
            record<One<double>>(samples);
        ++samples;
    }
    record_.store();
    store();
}

}  // namespace pyrank::PYRANK_ISA
