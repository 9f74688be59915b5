// Layers of a chain that is one of the cases, to the same bits as those of tensor_layer.h: each warp keeps its sixteen
// rows in registers from one layer to the next, and shares F(H) alone.
#pragma once
#include <type_traits>

#include "cases.h"
#include "product.h"

namespace pyrank::cuda {

// The keys of the generator in registers, where there is room for them; otherwise they are fetched for every slab.
struct KeysInRegisters {
    RoundKeys keys;
    PYRANK_INLINED explicit KeysInRegisters(const RoundKeys& from) : keys(from) {
        PYRANK_UNROLL
        for (int round = 0; round < 10; ++round)
            for (int word = 0; word < 2; ++word) keys.key[round][word] = fetched_once(from.key[round][word]);
    }
};
struct KeysInParameters {
    const RoundKeys& keys;
    PYRANK_INLINED explicit KeysInParameters(const RoundKeys& from) : keys(from) {}
};

// `operand` lies in the memory of the block; count(rows) where there are rows of zeros.
template <int tiles, class Count>
class ResidentLayers {
    static constexpr bool has_room = tiles <= 4;  // in its registers

public:
    static constexpr int cases = has_room ? cuda::cases : cuda::cases / 2;  // H and a product at once are too much
    using Rows = Strip<tiles>;
    using Keys = std::conditional_t<has_room, KeysInRegisters, KeysInParameters>;
    using State = RowMajor<tiles * tile_columns>;

    PYRANK_DEVICE ResidentLayers(const ChainParams& chain, const Operand<tiles * tile_columns>& operand, const State& h,
                                 const StreamPosition& position, int layers, Count count)
        : chain_(chain), operand_(operand), h_(h), position_(position), layers_(layers), count_(count) {}

    template <int number>
    PYRANK_INLINED void run_case() const {
        const Constants kept{RowParams(chain_), anew(float(chain_.gamma)), position_.layer + uint32_t(layers_),
                             position_.chain};
        const Array<Constants> shared = of_block<Constants>();
        if (!has_room && leader()) shared[0] = kept;
        if (!has_room) barrier();
        const auto constants = [&]() -> Constants {
            if constexpr (has_room) return kept;
            return shared[0];
        };
        const Keys keys(position_.keys);
        Rows rows = load();
        int zeros = 0;
        const int width = int(chain_.width);
        const Place place(chain_);
        leave_mark<number>();
        PYRANK_ROLLED
        for (int left = layers_; left > 0; --left) {
            share<number>(rows, place, constants().of_rows.inverse_batch);
            barrier();
            const Constants now = constants();
            const StreamPosition position{keys.keys, now.end - uint32_t(left), now.chain};
            Rows next =
                product<tiles, case_of(number).law>(position, Standard(), operand_, width, place.strip, 0, place.seat);
            barrier();
            const RowParams params = constants().of_rows;
            next.for_rows(place.row, [&](RowPart<tiles>& part, int row) {
                if constexpr (case_of(number).skip) part.add_to(constants().gamma, rows.half[row != place.row]);
                if constexpr (case_of(number).recentre) recentre(part, place.own, params.inverse_batch);
                PaddedRow<RowPart<tiles>> padded{part};
                zeros += rescale<2>(padded, place.own, params, chain_) == 0 && row < width;
                part.for_all(place.own, [&](float& x, int) { x = row < width ? x : 0.0f; });
            });
            rows = next;
        }
        if (zeros && lane() % 4 == 0) count_(zeros);
        store(rows);
        barrier();
    }

private:
    // Where the entries of a lane are.
    struct Place {
        Seat seat;
        OwnColumns own;
        int strip, row;  // the first of the warp, and of the lane
        PYRANK_DEVICE explicit Place(const ChainParams& chain)
            : seat(Seat::of_lane()), own(seat, int(chain.batch)), strip(warp() * strip_rows), row(strip + seat.row) {}
    };

    // What is asked for once a layer: in registers, or in shared memory.
    struct Constants {
        RowParams of_rows;
        float gamma;
        uint32_t end, chain;  // in the stream: the layer after the last
    };

    // Where the lane's rows and columns are is asked anew before and after the layers, or their addresses would be kept
    // in registers meanwhile.
    template <class Body>
    PYRANK_INLINED void for_own(Rows& rows, Body body) const {
        const Seat seat = Seat::of_lane();
        const OwnColumns own(seat, int(chain_.batch));
        rows.for_rows(warp() * strip_rows + seat.row, [&](RowPart<tiles>& part, int row) {
            part.for_all(own, [&](float& x, int column) { body(x, row, column); });
        });
    }

    // Zeros where H has no rows or columns.
    PYRANK_INLINED Rows load() const {
        Rows rows;
        for_own(rows, [&](float& x, int row, int column) { x = exists(row, column) ? float(h_(row, column)) : 0.0f; });
        return rows;
    }
    PYRANK_INLINED void store(Rows& rows) const {
        for_own(rows, [&](float& x, int row, int column) {
            if (exists(row, column)) h_(row, column) = x;
        });
    }
    PYRANK_DEVICE bool exists(int row, int column) const {
        return row < int(chain_.width) && column < int(chain_.batch);
    }

    // F(H), recentred if H will be.
    template <int number>
    PYRANK_INLINED void share(Rows rows, const Place& place, float inverse_batch) const {
        rows.for_rows(place.row, [&](RowPart<tiles>& part, int row) {
            part.for_all(place.own,
                         [](float& x, int) { x = activate<case_of(number).activation>(Scalar<float>(x)).v; });
            if constexpr (case_of(number).recentre) recentre(part, place.own, inverse_batch);
            part.for_all(place.own, [&](float x, int column) { operand_.set(row, column, x); });
        });
    }

    const ChainParams& chain_;
    Operand<tiles * tile_columns> operand_;
    State h_;
    StreamPosition position_;
    int layers_;
    Count count_;
};

}  // namespace pyrank::cuda
