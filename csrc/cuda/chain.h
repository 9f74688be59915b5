// The fused chain: all layers of one chain, from the first product to the last measure, by one block that waits for no
// other. How a layer is computed is the matter of `Layer`.
#pragma once
#include "measurement.h"
#include "normalize.h"
#include "panel.h"

namespace pyrank::cuda {

// Where a block is in its work: asked for rarely, and in the way of what wants registers.
struct Progress {
    int index;       // of the chain in the job
    int done;        // layers of this launch
    int64_t sample;  // the number of the next record
    int64_t first;   // that of this launch
    void* state;     // of the chain, in the job
};

template <class Layer>
class BlockChain {
public:
    using T = typename Layer::T;
    using State = typename Layer::State;

    PYRANK_HD BlockChain(const Job& job, Workspace& workspace, Array<Progress> progress)
        : job_(job), chain_(job.chain), width_(int(chain_.width)), batch_(int(chain_.batch)), progress_(progress),
          layer_(chain_, workspace), h_(Layer::take_state(chain_, workspace)) {}

    // Take as much memory as a block has for it.
    static void count(const Job& job, Workspace& workspace) { const BlockChain counted(job, workspace, {}); }

    // Turn to the first chain of this block, or to the next; the last is followed by none.
    PYRANK_DEVICE void begin() { turn_to(block_index(), job_.recorded(job_.first_layer)); }
    PYRANK_DEVICE void turn_to_next() { turn_to(now().index + grid_size(), now().first); }
    PYRANK_DEVICE bool has_chain() const { return now().index < job_.chains; }

    PYRANK_DEVICE void load();
    PYRANK_DEVICE void store() const;
    PYRANK_INLINED void advance(const RoundKeys& keys, const Measurement<Layer>& measurement);

    PYRANK_DEVICE Subject<Layer> subject() const {
        return {h_, layer_.scratch(), int(chain_.weights_of(layer()).fan_in), now().index, now().sample};
    }

private:
    PYRANK_DEVICE Progress now() const { return progress_[0]; }
    PYRANK_DEVICE void turn_to(int index, int64_t sample) {
        // unsigned, or the signs of the sizes would be kept
        const uint64_t before = wide_product(uint32_t(index), uint32_t(width_)) * uint32_t(batch_);
        T* const state = static_cast<T*>(job_.state) + before;
        barrier();  // the memory is still in use
        if (leader()) progress_[0] = {index, 0, sample, sample, state};
        barrier();
    }
    template <class Change>
    PYRANK_DEVICE void go_on(Change change) const {
        barrier();
        if (leader()) {
            Progress next = now();
            change(next);
            progress_[0] = next;
        }
        barrier();
    }
    // The next one, and how many layers of this launch there are up to the next record.
    PYRANK_DEVICE int64_t layer() const { return job_.first_layer + now().done; }
    PYRANK_DEVICE int stop() const { return int(job_.stop_after(now().sample) - job_.first_layer); }
    PYRANK_DEVICE StreamPosition position(const RoundKeys& keys) const {
        return {keys, uint32_t(layer()), uint32_t(job_.first_chain + now().index)};
    }
    PYRANK_DEVICE Array<T> state() const { return Array<T>(static_cast<T*>(now().state), int64_t(width_) * batch_); }
    PYRANK_INLINED void run(const RoundKeys& keys);
    PYRANK_DEVICE void step(const RoundKeys& keys);

    const Job& job_;
    const ChainParams& chain_;
    int width_;  // the largest
    int batch_;
    Array<Progress> progress_;
    Layer layer_;
    State h_;
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
    layer_.prepare(h_, int(chain_.weights_of(layer()).fan_in));
    layer_.advance(
        h_, chain_.weights_of(layer()), [&] { return position(keys); },
        [&] { add_events(job_.degenerate_rows + now().index, 1); });
    go_on([](Progress& at) { ++at.done; });
    const int rows = int(chain_.weights_of(layer()).fan_in);  // those from there on are zero
    if (chain_.drifts()) take_off_exponent(h_, rows, batch_, layer_.scratch(), job_.exponent + now().index);
    if (rows == width_) return;
    for_entries(width_ - rows, batch_, [&](int i, int j) { h_(rows + i, j) = T(0); });
    barrier();
}

// Layers of which none but the last is recorded.
template <class Layer>
PYRANK_INLINED void BlockChain<Layer>::run(const RoundKeys& keys) {
    const auto count = [&](int rows) { add_events(job_.degenerate_rows + now().index, rows); };
    if (layer_.run(h_, position(keys), stop() - now().done, count))
        return go_on([&](Progress& at) { at.done = stop(); });
    PYRANK_ROLLED
    while (now().done < stop()) step(keys);
}

template <class Layer>
PYRANK_INLINED void BlockChain<Layer>::advance(const RoundKeys& keys, const Measurement<Layer>& measurement) {
    load();
    while (now().done < job_.layers) {
        run(keys);
        if (!job_.records(layer() - 1, now().sample)) continue;
        measurement.record(subject());
        go_on([](Progress& at) { ++at.sample; });
    }
    store();
}

}  // namespace pyrank::cuda
