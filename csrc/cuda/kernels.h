// What is launched: blocks take chains in turn, as many blocks as the device holds.
#pragma once
#include "chain.h"
#include "plain_layer.h"

namespace pyrank::cuda {

// The memories of the blocks of a launch.
struct BlockMemory {
    int64_t shared_bytes;
    char* global;  // [grid, global_bytes]
    int64_t global_bytes;

    PYRANK_DEVICE Workspace of_this_block() const {
        return Workspace(shared_memory(), shared_bytes, global + block_index() * global_bytes);
    }
};

template <class T>
PYRANK_KERNEL(max_threads, 2)
advance_kernel(PYRANK_PARAMETER Job job, const BlockMemory memory) {
    for (int chain = block_index(); chain < job.chains; chain += grid_size()) {
        BlockChain<PlainLayer<T>>(job, chain, memory.of_this_block()).advance();
        barrier();  // before another chain takes over the memory
    }
}

template <class T>
PYRANK_KERNEL(max_threads, 2)
measure_kernel(PYRANK_PARAMETER Job job, const BlockMemory memory, double* values) {  // values: [measure, chain]
    const Array<double> out(values, job.measure_count * job.chains);
    for (int chain = block_index(); chain < job.chains; chain += grid_size()) {
        BlockChain<PlainLayer<T>> block(job, chain, memory.of_this_block());
        block.load();
        block.measure([&](int m, double value) { out[m * int(job.chains) + chain] = value; });
        barrier();  // before another chain takes over the memory
    }
}

// The (fan_out, fan_in) weights of one layer of one chain, by the code that the chain itself draws them with.
template <class T>
PYRANK_KERNEL(max_threads, 2)
weights_kernel(const ChainParams chain, const StreamPosition position, const BlockMemory memory, T* weights_of_layer) {
    const WeightParams weights = chain.weights_of(position.layer);
    const int fan_out = int(weights.fan_out), fan_in = int(weights.fan_in);
    const Array<T> out(weights_of_layer, weights.fan_out * weights.fan_in);
    const Matrix<T> panel = memory.of_this_block().take_matrix<T>(panel_rows, panel_depth);
    for (int row = 0; row < fan_out; row += panel_rows)
        for (int first = 0; first < fan_in; first += panel_depth) {
            const int rows = smaller(panel_rows, fan_out - row), depth = smaller(panel_depth, fan_in - first);
            draw_panel(chain.law, weights, position, row, rows, first, depth, panel);
            for_entries(rows, depth, [&](int i, int k) { out[(row + i) * fan_in + first + k] = T(panel(i, k)); });
            barrier();
        }
}

}  // namespace pyrank::cuda
