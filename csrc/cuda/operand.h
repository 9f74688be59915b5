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

    // the following bits need no cut: beyond the leading ones of theirs, nothing is seen
    PYRANK_DEVICE explicit SplitNumber(float x)
        : leading(std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0x1000) & 0xffffe000)), following(x - leading) {}
};

constexpr int slab = 16;  // rows that two instructions of depth 8 take together

// Rows lie in fours, because that is what a lane takes of a column at once, and their following bits beside them. The
// distance of two fours keeps the lanes of such an access on different banks of shared memory.
template <int columns>
class Operand {
public:
    PYRANK_HD Operand(int rows, int64_t least_size, Workspace& workspace)
        : memory_(workspace.take<float>(larger(int64_t(pieces(rows, slab)) * (slab / 4 * distance), least_size))) {}

    PYRANK_DEVICE void set(int row, int column, float x) const {
        const SplitNumber split(x);
        memory_[place(row, column)] = split.leading;
        memory_[place(row, column) + beside] = split.following;
    }

    // The same, known to lie in the memory of the block.
    PYRANK_DEVICE Operand on_chip() const { return Operand(cuda::on_chip(memory_)); }
    PYRANK_DEVICE bool lies_on_chip() const { return cuda::lies_on_chip(memory_); }

    // A place to keep a number until it is set.
    PYRANK_DEVICE decltype(auto) kept(int row, int column) const { return memory_[place(row, column)]; }

    // Rows 4 four .. 4 four + 3 of a column.
    PYRANK_DEVICE Four<float> leading(int four, int column) const { return memory_.four(place_of_four(four, column)); }
    PYRANK_DEVICE Four<float> following(int four, int column) const {
        return memory_.four(place_of_four(four, column) + beside);
    }

    PYRANK_DEVICE const Array<float>& memory() const { return memory_; }

private:
    static constexpr int beside = 4 * columns, distance = 2 * beside + 8;
    static_assert(distance % 32 == 8);

    PYRANK_DEVICE explicit Operand(Array<float> memory) : memory_(memory) {}

    PYRANK_DEVICE static int place_of_four(int four, int column) { return four * distance + column * 4; }
    PYRANK_DEVICE static int place(int row, int column) {
        return place_of_four(int(unsigned(row) / 4), column) + int(unsigned(row) % 4);
    }

    Array<float> memory_;
};

}  // namespace pyrank::cuda
