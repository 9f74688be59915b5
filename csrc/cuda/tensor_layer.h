// One layer on the tensor cores: weights are born in the registers they are multiplied from, and a row is normalised in
// the registers its product ends up in. Three products of eleven bits take the place of one in single precision; sums
// run in an order of their own. For rows over the batch, in single precision, of at most 8 * tiles * panels samples.
#pragma once
#include "activation.h"
#include "product.h"
#include "resident_layers.h"

namespace pyrank::cuda {

// Call body with the law as a constant.
template <class Body>
PYRANK_DEVICE inline auto with_tensor_law(Law law, Body body) {
    if (law == Law::quick_gaussian) return body(std::integral_constant<Law, Law::quick_gaussian>());
    return with_constant_law(law, body);
}

template <int tiles, int panels = 1>
class TensorLayer {
public:
    using T = float;
    static constexpr int panel_columns = tiles * tile_columns, columns = panels * panel_columns;
    using State = RowMajor<columns>;
    static constexpr bool is_compiled = has_tensor_cores, has_cases = tiles <= 8;
    // The registers of the largest hold nothing but sums, where the compiler cannot spare any.
    static constexpr bool kept_in_memory = !has_cases && !spares_registers;
    // Room in the registers for the sums, and in shared memory for a measured state of as many rows as columns.
    static constexpr int max_threads = tiles > 8 ? 256 : 128;
    static constexpr int blocks_abreast = tiles > 8 ? 1 : tiles == 2 && spares_registers ? 4 : 3;

    // One warp for each strip, if that is not too many.
    static int threads(const ChainParams& chain) { return pieces(int(chain.width), strip_rows) * warp_size; }

    PYRANK_HD TensorLayer(const ChainParams& chain, Workspace& workspace)
        : chain_(chain), batch_(int(chain.batch)),
          operand_(int(chain.width), larger(rotated_size(int(chain.width), batch_), room_for_measuring()), workspace) {}

    PYRANK_HD static State take_state(const ChainParams& chain, Workspace& workspace) {
        return {workspace.take<T>(chain.width * State::distance)};
    }

    // F(H), as `advance` needs it.
    PYRANK_DEVICE void prepare(const State& h, int rows) const;
    // From H to H'. Rows that it does not have are left as they are; count() for each row of zeros.
    template <class Position, class Count>
    PYRANK_DEVICE void advance(const State& h, const WeightParams& weights, Position position, Count count);
    PYRANK_DEVICE Array<T> scratch() const { return operand_.memory(); }

    // Whether there is faster code that gives the same bits, and took `layers` layers.
    template <class Count>
    PYRANK_INLINED bool run(const State& h, const StreamPosition& position, int layers, Count count) const;

private:
    // For what is measured of a small layer.
    PYRANK_HD int64_t room_for_measuring() const { return has_cases ? Turned<columns>::size(columns) : 0; }
    // body(first row) for the strips of this warp.
    template <class Body>
    PYRANK_DEVICE void for_strips(int rows, Body body) const {
        for (int first = warp() * strip_rows; first < rows; first += block_size() / warp_size * strip_rows) body(first);
    }
    // body(column) for the columns of this lane in a strip.
    template <class Body>
    PYRANK_DEVICE void for_columns(Body body) const {
        for (int column = lane() % 4 * 2; column < columns; column += tile_columns) {
            body(column);
            body(column + 1);
        }
    }
    const ChainParams& chain_;
    int batch_;
    Operand<columns> operand_;
};

template <int tiles, int panels>
template <class Position, class Count>
PYRANK_DEVICE void TensorLayer<tiles, panels>::advance(const State& h, const WeightParams& weights, Position position,
                                                       Count count) {
    const int rows = int(weights.fan_out), depth = int(weights.fan_in);
    const Affine<float> affine(weights);
    const Operand<columns> operand = operand_;  // copies: to the compiler, a matrix instruction may write anywhere
    const auto count_if = [&](bool zeros) {
        if (zeros && lane() % 4 == 0) count();
    };
    for_strips(rows, [&](int first) {
        for (int start = 0; start < columns; start += panel_columns) {
            Strip<tiles> z = with_tensor_law(chain_.law, [&](auto law) {
                return product<tiles, law()>(position(), affine, operand, depth, first, start, Seat::of_lane());
            });
            const Seat seat = Seat::of_lane();
            const OwnColumns own(seat, batch_ - start);
            const RowParams params(chain_);
            z.for_rows(first + seat.row, [&](RowPart<tiles>& part, int row) {
                const bool exists = row < rows;
                if (chain_.skip && exists) {
                    const float gamma = float(chain_.gamma);
                    part.for_batch(own,
                                   [&](float& x, int column) { x = fma(gamma, x, float(h(row, start + column))); });
                }
                if constexpr (panels == 1) count_if(normalize(part, own, params, chain_) && exists);
                if (exists) part.for_batch(own, [&](float& x, int column) { h(row, start + column) = x; });
            });
        }
        if constexpr (panels > 1) {
            const RowParams params(chain_);
            for (int row = first + lane() / 4; row < first + strip_rows; row += strip_rows / 2) {
                RowInMemory<State> whole{h, row, row < rows};
                count_if(normalize(whole, OwnColumns(Seat::of_lane(), batch_), params, chain_) && whole.exists);
            }
        }
    });
    barrier();
}

// F(H), with its row means taken off if that changes nothing exactly; zeros beyond the edges. As in normalize.h,
// distances from the first entry are averaged.
template <int tiles, int panels>
PYRANK_DEVICE void TensorLayer<tiles, panels>::prepare(const State& h, int rows) const {
    // copies: to the compiler, what is written may be what these are read from
    const State from = h;
    const Operand<columns> operand = operand_;
    const Activation activation = chain_.activation;
    const bool centres = chain_.centres_f();
    const int batch = batch_;
    const float inverse_batch = RowParams(chain_).inverse_batch;
    for_strips(rows, [&](int strip) {
        for (int row = strip + lane() / 4; row < strip + strip_rows; row += strip_rows / 2) {
            const auto f = [&](int column) {
                const bool exists = row < rows && column < batch;
                const float x = exists ? float(from(row, column)) : 0.0f;
                return exists && activation != Activation::linear ? activated(activation, x) : x;
            };
            const float first = centres ? f(0) : 0.0f;
            float sum = 0;
            // one loop for both: each copy of F in the code takes registers
            for_columns([&](int column) {
                const float x = f(column);
                if (!centres) return operand.set(row, column, x);
                operand.kept(row, column) = x;
                if (column < batch) sum += x - first;
            });
            if (!centres) continue;
            const float mean = sum_of_row(sum) * inverse_batch;
            for_columns([&](int column) {
                const float x = operand.kept(row, column);
                operand.set(row, column, column < batch ? (x - first) - mean : 0.0f);
            });
        }
    });
    barrier();
}

template <int tiles, int panels>
template <class Count>
PYRANK_INLINED bool TensorLayer<tiles, panels>::run(const State& h, const StreamPosition& position, int layers,
                                                    Count count) const {
    if constexpr (!has_cases) {
        return false;
    } else {
        const bool one_strip_a_warp = chain_.width <= max_threads / warp_size * strip_rows;
        if (!one_strip_a_warp || !may_be_a_case(chain_) || !operand_.lies_on_chip()) return false;
        using Layers = ResidentLayers<tiles, Count>;
        return run_case_of(chain_, Layers(chain_, operand_.on_chip(), h, position, layers, count),
                           std::make_integer_sequence<int, Layers::cases>());
    }
}

}  // namespace pyrank::cuda
