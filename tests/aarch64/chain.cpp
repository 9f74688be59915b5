// The kernels without Python, for processors that are only emulated: reads chains, one a line, takes three states of
// each through five layers, and writes the bits of what comes out.
#include <cstdio>
#include <cstring>
#include <iostream>
#include <vector>

#include "../../csrc/cpu/backend.h"

namespace {

constexpr int64_t chains = 3, layers = 5;

template <class T, class Bits>
void run(pyrank::ChainParams chain, pyrank::Precision precision) {
    std::vector<T> state(size_t(chains * chain.width * chain.batch));
    for (size_t k = 0; k < state.size(); ++k) state[k] = T(int64_t(k * 37 % 101) - 50) / 64;
    std::vector<int64_t> counts(4 * chains);
    pyrank::Job job{};
    job.chain = chain;
    job.layers = layers;
    job.chains = chains;
    job.every = 1;
    job.state = state.data();
    job.degenerate_rows = counts.data();
    job.flagged = counts.data() + chains;
    job.ambiguous = counts.data() + 2 * chains;
    job.exponent = counts.data() + 3 * chains;
    job.accumulator.chains = job.accumulator.trace_chains = chains;
    pyrank::cpu::advance(job, precision, {"", pyrank::LayoutChoice::automatic, 2});
    for (const T& entry : state) {
        Bits bits;
        std::memcpy(&bits, &entry, sizeof entry);
        std::printf("%llx ", static_cast<unsigned long long>(bits));
    }
    std::printf("\n");
}

}  // namespace

int main() {
    pyrank::ChainParams chain{};
    pyrank::WeightParams weights{};
    int32_t law, activation;
    bool twice;
    while (std::cin >> twice >> chain.width >> chain.batch >> chain.skip >> chain.gamma >> law >> weights.mean >>
           weights.scale >> activation >> chain.over_features >> chain.recentre >> chain.rescale >> chain.whiten >>
           chain.order >> chain.seed) {
        weights.fan_in = weights.fan_out = chain.width;
        chain.beta = 1;
        chain.law = pyrank::Law(law);
        chain.activation = pyrank::Activation(activation);
        chain.weights = &weights;
        chain.period = 1;
        if (twice)
            run<double, uint64_t>(chain, pyrank::Precision::twice);
        else
            run<float, uint32_t>(chain, pyrank::Precision::single);
    }
}
