// The right-hand side of a product on the tensor cores. They read eleven leading bits of a number, so that three
// products of leading and following bits make one of single precision.
#pragma once
#include <bit>

#include "layout.h"
#include "strip.h"

namespace pyrank::cuda {

// x = leading + following, each with few enough bits for the tensor cores; what is lost is the last bit of x,
// sometimes.
struct SplitNumber {
    float leading, following;

    PYRANK_DEVICE explicit SplitNumber(float x) : leading(cut(x, 0x1000)), following(cut(x - leading, 0)) {}

private:
    static constexpr uint32_t seen = 0xffffe000;
    PYRANK_DEVICE static float cut(float x, uint32_t half) {
        return std::bit_cast<float>((std::bit_cast<uint32_t>(x) + half) & seen);
    }
};

constexpr int slab = 16;  // rows that two instructions of depth 8 take together

// Rows lie in fours, because that is what a lane takes of a column at once. The distance of two fours keeps the lanes
// of such an access on different banks of shared memory.
template <int columns>
class Operand {
public:
    PYRANK_HD Operand(int rows, int64_t least_size, Workspace& workspace)
        : leading_(take(rows, least_size, workspace)), following_(take(rows, 0, workspace)) {}

    PYRANK_DEVICE void set(int row, int column, float x) const {
        const SplitNumber split(x);
        leading_[place(row, column)] = split.leading;
        following_[place(row, column)] = split.following;
    }

    // A place to keep a number until it is set.
    PYRANK_DEVICE decltype(auto) kept(int row, int column) const { return leading_[place(row, column)]; }

    // Rows row .. row + 3 of a column; `row` is a multiple of four.
    PYRANK_DEVICE Four<float> leading(int row, int column) const { return leading_.four(place(row, column)); }
    PYRANK_DEVICE Four<float> following(int row, int column) const { return following_.four(place(row, column)); }

    PYRANK_DEVICE const Array<float>& memory() const { return leading_; }

private:
    static constexpr int distance = 4 * columns + 8;
    static_assert(distance % 32 == 8);

    PYRANK_HD static Array<float> take(int rows, int64_t least_size, Workspace& workspace) {
        const int64_t size = int64_t(pieces(rows, slab)) * (slab / 4 * distance);
        return workspace.take<float>(size > least_size ? size : least_size);
    }
    PYRANK_DEVICE static int place(int row, int column) { return row / 4 * distance + column * 4 + row % 4; }

    Array<float> leading_, following_;
};

}  // namespace pyrank::cuda
