// The program's counter-based random streams (src/random.rs): Philox4x32-10, so that the same values are
// dropped as on the CPU.
#pragma once
#include "common.cuh"

struct PhiloxBlock {
    unsigned words[4];
};

__device__ __forceinline__ PhiloxBlock philox(PhiloxBlock c, unsigned key0, unsigned key1) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned low0 = c.words[0] * 0xD2511F53u, high0 = __umulhi(c.words[0], 0xD2511F53u);
        const unsigned low2 = c.words[2] * 0xCD9E8D57u, high2 = __umulhi(c.words[2], 0xCD9E8D57u);
        c = {{high2 ^ c.words[1] ^ key0, low2, high0 ^ c.words[3] ^ key1, low0}};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return c;
}
