// The fused chain: all layers of one chain, from the first product to the last measure, by one block that waits for no
// other. How a layer is computed is the matter of `Layer`.
#pragma once
#include "measurement.h"
#include "normalize.h"
#include "panel.h"

namespace pyrank::cuda {

// Where a block is in its work, and where its state lies: asked for rarely, and in the way of what wants registers.
template <class Layer>
struct Progress {
    typename Layer::State h;
    Array<typename Layer::T> of_threads;
    int index = 0;       // of the chain in the job
    int done = 0;        // layers of this launch
    int stop = 0;        // layers of this launch before the next record
    int64_t sample = 0;  // the number of the next record
    int phase = 0;       // of the period of the weights
    int rows = 0;        // of the present layer: those of the state from there on are zero
};

template <class Layer>
class BlockChain {
public:
    using T = typename Layer::T;
    using State = typename Layer::State;

    PYRANK_HD BlockChain(const Job& job, Workspace& workspace, Progress<Layer>& progress)
        : job_(job), chain_(job.chain), width_(int(chain_.width)), batch_(int(chain_.batch)), at_(progress),
          layer_(chain_, workspace) {
        at_.of_threads = workspace.take<T>(chain_.drifts() ? Layer::max_threads : 0);
        at_.h = Layer::take_state(chain_, workspace);
    }

    // Take as much memory as a block has for it.
    static void count(const Job& job, Workspace& workspace) {
        Progress<Layer> progress;
        const BlockChain counted(job, workspace, progress);
    }

    // Turn to another chain of the job, or to the next of this block; the last is followed by none.
    PYRANK_DEVICE void turn_to(int index) {
        barrier();  // the memory is still in use
        at_.index = index;
        at_.sample = job_.recorded(job_.first_layer);
        at_.phase = int(job_.first_layer % chain_.period);
        at_.rows = int(chain_.weights[at_.phase].fan_in);
    }
    PYRANK_DEVICE void turn_to_next() { turn_to(at_.index + grid_size()); }
    PYRANK_DEVICE bool has_chain() const { return at_.index < job_.chains; }

    PYRANK_DEVICE void load();
    PYRANK_DEVICE void store() const;
    PYRANK_INLINED void advance(const RoundKeys& keys, const Measurement<Layer>& measurement);

    PYRANK_DEVICE Subject<Layer> subject() const { return {at_.h, layer_.scratch(), at_.rows, at_.index, at_.sample}; }

private:
    PYRANK_DEVICE Array<T> state() const {
        const int64_t size = int64_t(width_) * batch_;
        return Array<T>(static_cast<T*>(job_.state) + at_.index * size, size);
    }
    PYRANK_DEVICE StreamPosition position(const RoundKeys& keys) const {
        return {keys, uint32_t(job_.first_layer + at_.done), uint32_t(job_.first_chain + at_.index)};
    }
    PYRANK_INLINED void run(const RoundKeys& keys, int layers);
    PYRANK_DEVICE void step(const RoundKeys& keys);

    const Job& job_;
    const ChainParams& chain_;
    int width_;  // the largest
    int batch_;
    Progress<Layer>& at_;
    Layer layer_;
};

template <class Layer>
PYRANK_DEVICE void BlockChain<Layer>::load() {
    const Array<T> from = state();
    for_entries(width_, batch_, [&](int i, int j) { at_.h(i, j) = T(from[i * batch_ + j]); });
    barrier();
}

template <class Layer>
PYRANK_DEVICE void BlockChain<Layer>::store() const {
    const Array<T> to = state();
    for_entries(width_, batch_, [&](int i, int j) { to[i * batch_ + j] = T(at_.h(i, j)); });
}

template <class Layer>
PYRANK_DEVICE void BlockChain<Layer>::step(const RoundKeys& keys) {
    layer_.prepare(at_.h, at_.rows);
    const WeightParams& weights = chain_.weights[at_.phase];
    at_.rows = int(weights.fan_out);
    at_.phase = at_.phase + 1 < chain_.period ? at_.phase + 1 : 0;
    layer_.advance(at_.h, weights, position(keys), [&] { add_events(job_.degenerate_rows + at_.index, 1); });
    if (chain_.drifts()) take_off_exponent(at_.h, at_.rows, batch_, at_.of_threads, job_.exponent + at_.index);
    if (at_.rows == width_) return;
    for_entries(width_ - at_.rows, batch_, [&](int i, int j) { at_.h(at_.rows + i, j) = T(0); });
    barrier();
}

// Layers of which none but the last is recorded.
template <class Layer>
PYRANK_INLINED void BlockChain<Layer>::run(const RoundKeys& keys, int layers) {
    const auto count = [&](int rows) { add_events(job_.degenerate_rows + at_.index, rows); };
    if (layer_.run(at_.h, position(keys), layers, count)) {
        at_.done += layers;
        return;
    }
    at_.stop = at_.done + layers;
    PYRANK_ROLLED
    for (; at_.done < at_.stop; ++at_.done) step(keys);
}

template <class Layer>
PYRANK_INLINED void BlockChain<Layer>::advance(const RoundKeys& keys, const Measurement<Layer>& measurement) {
    load();
    for (at_.done = 0; at_.done < int(job_.layers);) {
        run(keys, int(job_.stop_after(at_.sample) - job_.first_layer) - at_.done);
        if (!job_.records(job_.first_layer + at_.done - 1, at_.sample)) continue;
        Subject<Layer> now = subject();
        measurement.record(now);
        ++at_.sample;
    }
    store();
}

}  // namespace pyrank::cuda
