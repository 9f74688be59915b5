// Layers of a chain that is one of the cases, to the same bits as those of tensor_layer.h: each warp keeps its sixteen
// rows in registers from the first layer to the last, and shares F(H) alone.
#pragma once
#include "cases.h"
#include "product.h"

namespace pyrank::cuda {

// `operand` lies in the memory of the block; count(rows) where there are rows of zeros.
template <int tiles, class Count>
class ResidentLayers {
public:
    using Rows = Strip<tiles>;
    using State = RowMajor<tiles * tile_columns>;

    PYRANK_DEVICE ResidentLayers(const ChainParams& chain, const Operand<tiles * tile_columns>& operand, const State& h,
                                 const StreamPosition& position, int layers, Count count)
        : chain_(chain), operand_(operand), h_(h), position_(position), layers_(layers), count_(count) {}

    template <int number>
    PYRANK_INLINED void run_case() const {
        const Seat seat = Seat::of_lane();
        const OwnColumns own(seat, int(chain_.batch));
        const RowParams params(chain_);
        const float gamma = anew(float(chain_.gamma));
        const int width = int(chain_.width), first = warp() * strip_rows, row = first + seat.row;
        RoundKeys keys = position_.keys;
        keep(keys, position_.keys);
        StreamPosition position{keys, position_.layer, position_.chain};
        Rows rows = load();
        int zeros = 0;
        leave_mark<number>();
        PYRANK_ROLLED
        for (int left = layers_; left > 0; --left, ++position.layer) {
            share<number>(rows, row, own, params);
            barrier();
            Rows next = product<tiles, case_of(number).law>(position, Standard(), operand_, width, first, 0, seat);
            barrier();
            next.for_rows(row, [&](RowPart<tiles>& part, int at) {
                if constexpr (case_of(number).skip) part.add_to(gamma, rows.half[at != row]);
                if constexpr (case_of(number).recentre) recentre(part, own, params.inverse_batch);
                PaddedRow<RowPart<tiles>> padded{part};
                zeros += rescale<2>(padded, own, params, chain_) == 0 && at < width;
                part.for_all(own, [&](float& x, int) { x = at < width ? x : 0.0f; });
            });
            rows = next;
        }
        if (zeros && own.first == 0) count_(zeros);
        store(rows);
        barrier();
    }

private:
    // In registers; otherwise they are fetched for every slab.
    PYRANK_INLINED static void keep(RoundKeys& keys, const RoundKeys& from) {
        PYRANK_UNROLL
        for (int round = 0; round < 10; ++round)
            for (int word = 0; word < 2; ++word) keys.key[round][word] = fetched_once(from.key[round][word]);
    }

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
    PYRANK_INLINED void share(Rows rows, int first, const OwnColumns& own, const RowParams& params) const {
        rows.for_rows(first, [&](RowPart<tiles>& part, int row) {
            part.for_all(own, [](float& x, int) { x = activate<case_of(number).activation>(Scalar<float>(x)).v; });
            if constexpr (case_of(number).recentre) recentre(part, own, params.inverse_batch);
            part.for_all(own, [&](float x, int column) { operand_.set(row, column, x); });
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
