// The CPU backend as the bindings see it.
#pragma once
#include <string>
#include <vector>

#include "kernels.h"

namespace pyrank::cpu {

struct Options {
    std::string isa;  // empty: the best that this machine has
    LayoutChoice layout = LayoutChoice::automatic;
    int threads = 1;
};

// Instruction sets that were built and that this machine can run, best first.
std::vector<std::string> available_isas();

// Each throws std::invalid_argument for an unknown instruction set.
void advance(const Job& job, Precision precision, const Options& options);
void measure(const Job& job, Precision precision, const Options& options, double* values);
void weights(const ChainParams& chain, Precision precision, const Options& options, int64_t layer, int64_t index,
             void* out);

// Standard normals of the stream of initial states, in double precision: [chain, row, column].
void initial_normals(uint64_t seed, int64_t layer, int64_t chains, int64_t rows, int64_t columns,
                     const Options& options, double* out);

}  // namespace pyrank::cpu
