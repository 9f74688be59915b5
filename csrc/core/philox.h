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

template <class W>
PYRANK_HD inline void philox(W& x, W& y, W& z, W& w, const RoundKeys& keys) {
    PYRANK_UNROLL
    for (int round = 0; round < 10; ++round) {
        W high0, low0, high1, low1;
        W::multiply(x, 0xD2511F53u, high0, low0);
        W::multiply(z, 0xCD9E8D57u, high1, low1);
        x = high1 ^ y ^ keys.key[round][0];
        y = low1;
        z = high0 ^ w ^ keys.key[round][1];
        w = low0;
    }
}

}  // namespace pyrank
