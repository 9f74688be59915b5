// What is launched: blocks take chains in turn, as many blocks as the device holds.
#pragma once
#include "cancelling_layer.h"
#include "chain.h"
#include "plain_layer.h"
#include "tensor_layer.h"

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

template <class Layer>
PYRANK_KERNEL(Layer::max_threads, Layer::blocks_abreast)
advance_kernel(PYRANK_PARAMETER Job job, const BlockMemory memory, PYRANK_PARAMETER RoundKeys keys) {
    if constexpr (Layer::is_compiled) {
        Workspace workspace = memory.of_this_block();
        BlockChain<Layer> block(job, workspace, of_block<Progress>());
        if constexpr (Layer::kept_in_memory) keep_in_memory(block);
        const auto measurement = Measurement<Layer>::of_this_block(job, workspace);
        for (block.begin(); block.has_chain(); block.turn_to_next()) block.advance(keys, measurement[0]);
    }
}

template <class T>
PYRANK_KERNEL(PlainLayer<T>::max_threads, PlainLayer<T>::blocks_abreast)
measure_kernel(PYRANK_PARAMETER Job job, const BlockMemory memory, double* values) {  // values: [measure, chain]
    const Array<double> out(values, job.measure_count * job.chains);
    Workspace workspace = memory.of_this_block();
    BlockChain<PlainLayer<T>> block(job, workspace, of_block<Progress>());
    const auto measurement = Measurement<PlainLayer<T>>::of_this_block(job, workspace);
    for (block.begin(); block.has_chain(); block.turn_to_next()) {
        block.load();
        const auto subject = block.subject();
        const Measurement<PlainLayer<T>>& here = measurement[0];
        here.measure(subject, [&](int m, double value) { out[m * int(job.chains) + subject.index] = value; });
    }
}

// The (fan_out, fan_in) weights of one layer of one chain, by the code that the chain itself draws them with.
template <class T>
PYRANK_KERNEL(PlainLayer<T>::max_threads, PlainLayer<T>::blocks_abreast)
weights_kernel(const ChainParams chain, const int64_t layer, const int64_t index, const BlockMemory memory,
               PYRANK_PARAMETER RoundKeys keys, T* weights_of_layer) {
    const WeightParams weights = chain.weights_of(layer);
    const StreamPosition position{keys, uint32_t(layer), uint32_t(index)};
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
