// Dropout with the program's counter-based streams (src/random.rs): Philox4x32-10, so that the same values
// are dropped as on the CPU.
#include "common.cuh"

struct Four {
    unsigned words[4];
};

__device__ __forceinline__ Four philox(Four c, unsigned key0, unsigned key1) {
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

// y = x * kept, or 0 if the value's random number is below `below`. Each thread has the four values of a
// block of the stream.
template <typename T>
__device__ void dropout(const T* x, T* y, size_t count, unsigned key0, unsigned key1,
                        unsigned name0, unsigned name1, unsigned below, float kept) {
    const size_t block = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (block * 4 >= count) return;
    const Four drawn = philox({{unsigned(block), unsigned(block >> 32), name0, name1}}, key0, key1);
    for (int i = 0; i < 4 && block * 4 + i < count; i++) {
        const size_t at = block * 4 + i;
        y[at] = from_float<T>(drawn.words[i] < below ? 0.f : to_float(x[at]) * kept);
    }
}

#define DROPOUT(T)                                                                                 \
    KERNEL dropout_##T(const T* x, T* y, size_t count, unsigned key0, unsigned key1,               \
                       unsigned name0, unsigned name1, unsigned below, float kept) {               \
        dropout<T>(x, y, count, key0, key1, name0, name1, below, kept);                            \
    }                                                                                              \
    EXPORT(dropout_##T)

DROPOUT(float)
DROPOUT(bf16)
