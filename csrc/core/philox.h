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
    PYRANK_HD friend Word operator^(Word a, uint32_t b) { return {a.value ^ b}; }
};

template <class W>
PYRANK_HD inline void philox(W& x, W& y, W& z, W& w, uint64_t seed) {
    uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
        W high0, low0, high1, low1;
        W::multiply(x, 0xD2511F53u, high0, low0);
        W::multiply(z, 0xCD9E8D57u, high1, low1);
        x = high1 ^ y ^ key0;
        y = low1;
        z = high0 ^ w ^ key1;
        w = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

}  // namespace pyrank
