// What one instruction set offers: the table through which the rest of the backend calls it.
#pragma once
#include <cstddef>

#include "../core/params.h"
#include "../core/streams.h"
#include "team.h"

namespace pyrank {

enum class LayoutChoice : int32_t { automatic, lanes, rows };

// Chains first .. first + count - 1 of a job (counted from the job's first), worked on together by one team.
struct Group {
    int64_t first, count;
    LayoutChoice layout;  // lanes or rows
};

// A matrix of independent entries from the stream.
struct Draw {
    uint64_t seed;
    Stream stream;
    int64_t layer, chain;
    Law law;
    WeightParams entries;
};

struct Kernels {
    const char* name;
    int lanes[2];  // chains that fit in a register, by precision
    size_t (*workspace)(const Job&, Precision, LayoutChoice, cpu::Team&);
    void (*advance)(const Job&, Precision, Group, void* workspace, cpu::Team&);
    void (*measure)(const Job&, Precision, Group, double* values, void* workspace, cpu::Team&);  // [measure, chain]
    void (*draw)(const Draw&, Precision, void* out, void* workspace);                            // [row, column]
};

extern const Kernels kernels_baseline;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;

}  // namespace pyrank
