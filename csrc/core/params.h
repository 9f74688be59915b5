// What crosses every boundary: plain structs of sizes, switches and pointers.
#pragma once
#include <cstdint>

#include "accumulator.h"
#include "activation.h"
#include "host_device.h"

namespace pyrank {

enum class Precision : int32_t { single, twice };
// The last is no law of its own, and asked for by no caller: gaussian weights as a GPU's special functions give them.
enum class Law : int32_t { gaussian, uniform, rademacher, orthogonal, gram, quick_gaussian };
enum class MeasureKind : int32_t { participation_ratio, frobenius_norm, trace, soft_rank, rank_bound_margin };

struct Measure {
    MeasureKind kind;
    double tau;  // of soft_rank and rank_bound_margin

    PYRANK_HD bool counts() const { return kind == MeasureKind::soft_rank || kind == MeasureKind::rank_bound_margin; }
};

// W of one layer: its shape, and the mean and the standard deviation of its entries.
struct WeightParams {
    int64_t fan_out, fan_in;
    double mean, scale;
};

// H' = Normalise(H + gamma W F(H)); without a skip connection, Normalise(W F(H)).
struct ChainParams {
    int64_t width;  // d, or the largest of several
    int64_t batch;  // N
    double gamma;
    bool skip;
    Law law;
    const WeightParams* weights;  // [period]: those of layers 0, period, 2 period, ...; 1, period + 1, ...
    int64_t period;
    Activation activation;
    bool over_features;  // normalise columns over the features instead of rows over the batch
    bool recentre, rescale, whiten;
    int32_t order;  // p of the L_p size: 1, 2 or 3; 0 for the largest entry
    double eps, alpha, beta;
    uint64_t seed;

    PYRANK_HD const WeightParams& weights_of(int64_t layer) const { return weights[period == 1 ? 0 : layer % period]; }

    // Whether the row means of F(H) are taken off before the product: a recentring of its result would do it anyway,
    // and it saves the digits that a common offset of all samples would cost.
    PYRANK_HD bool centres_f() const { return recentre && !over_features; }

    // Whether the weights multiply something else than H.
    PYRANK_HD bool needs_f() const { return activation != Activation::linear || centres_f(); }

    // True if the state may grow or vanish without bound, and a positive factor of it is a factor of the next one.
    PYRANK_HD bool drifts() const {
        return !rescale && !whiten &&
               (activation == Activation::linear || activation == Activation::relu ||
                activation == Activation::leaky_relu);
    }
};

// One call: layers first_layer .. first_layer + layers - 1 of chains first_chain .. first_chain + chains - 1.
struct Job {
    ChainParams chain;
    int64_t first_layer, layers;
    int64_t first_chain, chains;
    bool observe_activation;  // measure F(H) instead of H
    int64_t burn_in, every;   // layer l is recorded if l >= burn_in and (l - burn_in) % every == 0
    const Measure* measures;
    int32_t measure_count;
    void* state;         // [chains, d, N], float or double
    bool samples_first;  // [chains, N, d] instead, to be measured alone
    AccumulatorView accumulator;
    int64_t* degenerate_rows;  // [chains]
    int64_t* flagged;          // [chains]
    int64_t* ambiguous;        // [chains]
    int64_t* exponent;         // [chains], powers of two taken off a drifting state

    // Distances of two rows and of two columns of a state.
    PYRANK_HD int64_t row_step() const { return samples_first ? 1 : chain.batch; }
    PYRANK_HD int64_t column_step() const { return samples_first ? chain.width : 1; }
    // Whether a layer is recorded, of which `samples` were before it.
    PYRANK_HD bool records(int64_t layer, int64_t samples) const {
        return measure_count && layer == burn_in + samples * every;
    }
    // The layer after the next one that is recorded, of which `samples` were before it, or after the last.
    PYRANK_HD int64_t stop_after(int64_t samples) const {
        const int64_t next = burn_in + samples * every + 1, end = first_layer + layers;
        return measure_count && next < end ? next : end;
    }
    PYRANK_HD int64_t recorded(int64_t depth) const {
        return depth <= burn_in ? 0 : (depth - burn_in + every - 1) / every;
    }
};

}  // namespace pyrank
