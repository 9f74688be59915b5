// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): four random words as a pure function of a counter and a key.
#pragma once
#include <cstdint>

#include "host_device.h"

namespace pyrank {

// One 32-bit word; a vector of words offers the same four operations.
struct Word {
    uint32_t value;
    PYRANK_HD static void multiply(Word a, uint32_t m, Word& high, Word& low) {
        const uint64_t product = wide_product(a.value, m);
        high = {uint32_t(product >> 32)};
        low = {uint32_t(product)};
    }
    PYRANK_HD friend Word operator^(Word a, Word b) { return {a.value ^ b.value}; }
    PYRANK_HD friend Word operator^(Word a, uint64_t b) { return {a.value ^ uint32_t(b)}; }
};

PYRANK_HD inline uint32_t to_number(Word word) { return word.value; }

constexpr uint32_t multiplier_x = 0xD2511F53u, multiplier_z = 0xCD9E8D57u;

// The key of every round: the seed's two words, each advanced by its own constant. Kept as 64-bit numbers, the form in
// which vectors of words take them.
struct RoundKeys {
    uint64_t key[10][2];
    PYRANK_HD explicit RoundKeys(uint64_t seed) {
        for (uint32_t round = 0; round < 10; ++round) {
            key[round][0] = uint32_t(uint32_t(seed) + round * 0x9E3779B9u);
            key[round][1] = uint32_t(uint32_t(seed >> 32) + round * 0xBB67AE85u);
        }
    }
};

// Rounds first .. 9.
template <int first, class W>
PYRANK_HD inline void philox_rounds(W& x, W& y, W& z, W& w, const RoundKeys& keys) {
    PYRANK_UNROLL
    for (int round = first; round < 10; ++round) {
        W high0, low0, high1, low1;
        W::multiply(x, multiplier_x, high0, low0);
        W::multiply(z, multiplier_z, high1, low1);
        x = high1 ^ y ^ keys.key[round][0];
        y = low1;
        z = high0 ^ w ^ keys.key[round][1];
        w = low0;
    }
}

template <class W>
PYRANK_HD inline void philox(W& x, W& y, W& z, W& w, const RoundKeys& keys) {
    philox_rounds<0>(x, y, z, w, keys);
}

// The calls of one x and one z, where x is a plain number: of their first three rounds, most depends on y alone or on w
// alone, and is shared by the calls that have it in common.
template <class W>
class PhiloxPlane {
public:
    struct Row {  // what depends on y
        W x3, y3, w2;
    };
    struct Column {  // what depends on w
        Word low;
        W high, w3;
    };

    PYRANK_HD PhiloxPlane(Word x, W z, const RoundKeys& keys) : keys_(keys) {
        W low;
        W::multiply(z, multiplier_z, high_z_, low);
        y1_ = low ^ keys.key[1][0];
        Word::multiply(x, multiplier_x, high_x_, low_x_);
        high_x_ = high_x_ ^ keys.key[0][1];
    }

    PYRANK_HD Row row(W y) const {
        Row row;
        W high, low;
        W::multiply(high_z_ ^ y ^ keys_.key[0][0], multiplier_x, high, low);
        row.w2 = low ^ keys_.key[2][1];
        W::multiply(high ^ W(low_x_.value) ^ keys_.key[1][1], multiplier_z, high, row.y3);
        row.x3 = high ^ keys_.key[2][0];
        return row;
    }

    PYRANK_HD Column column(uint32_t w) const {
        Column column;
        Word high;
        Word::multiply(high_x_ ^ Word{w}, multiplier_z, high, column.low);
        W::multiply(y1_ ^ W(high.value), multiplier_x, column.high, column.w3);
        return column;
    }

    // The four words after the first three rounds.
    PYRANK_HD static void start(const Row& row, const Column& column, W& x, W& y, W& z, W& w) {
        x = row.x3 ^ W(column.low.value);
        y = row.y3;
        z = column.high ^ row.w2;
        w = column.w3;
    }

private:
    const RoundKeys& keys_;
    Word high_x_, low_x_;
    W high_z_, y1_;
};

}  // namespace pyrank
