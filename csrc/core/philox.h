// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): four random words as a pure function of a counter and a key.
#pragma once
#include <cstdint>

#include "host_device.h"

namespace pyrank {

// One 32-bit word; a vector of words offers the same four operations.
struct Word {
    uint32_t value;
    PYRANK_HD static void multiply(Word a, uint32_t m, Word& high, Word& low) {
        const uint64_t product = uint64_t(a.value) * m;
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

// Calls that differ in w alone, where x and w are plain numbers: most of the first three rounds is the same for all.
template <class W>
class PhiloxRow {
public:
    PYRANK_HD PhiloxRow(Word x, W y, W z, const RoundKeys& keys) {
        W high, low, x1;
        Word low_x;
        W::multiply(z, multiplier_z, high, low);
        Word::multiply(x, multiplier_x, high_x_, low_x);
        high_x_ = high_x_ ^ keys.key[0][1];
        x1 = high ^ y ^ keys.key[0][0];
        y1_ = low ^ keys.key[1][0];
        W::multiply(x1, multiplier_x, high, low);
        w2_ = low ^ keys.key[2][1];
        W::multiply(high ^ W(low_x.value) ^ keys.key[1][1], multiplier_z, high, low);
        x3_ = high ^ keys.key[2][0];
        y3_ = low;
    }

    // The four words after the first three rounds.
    PYRANK_HD void start(uint32_t w, W& x, W& y, W& z, W& w3) const {
        Word high, low;
        W high_x;
        Word::multiply(high_x_ ^ Word{w}, multiplier_z, high, low);
        W::multiply(y1_ ^ W(high.value), multiplier_x, high_x, w3);
        x = x3_ ^ W(low.value);
        y = y3_;
        z = high_x ^ w2_;
    }

private:
    Word high_x_;
    W y1_, w2_, x3_, y3_;
};

}  // namespace pyrank
