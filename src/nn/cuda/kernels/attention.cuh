// Used by the kernels of attention in both types.
#pragma once
#include "philox.cuh"

// Rows of a warp.
constexpr int SIDE = 16;

// Dropout of attention's weights. Four neighbouring keys of a query share a block of random numbers, as in
// `row_mask` (src/nn/cpu/dropout.rs). `head` counts the heads of all sequences.
struct DropoutStream {
    unsigned key0, key1, name0, name1;
    // A weight is dropped if its number is below this.
    unsigned below;
    // The factor of weights that are kept.
    float scale;

    // Bit i is set if the weight of key + i is dropped. `key` is a multiple of 4.
    __device__ __forceinline__ unsigned dropped_bits(int head, int query, int key) const {
        // A query's numbers begin at 2^17 times its index, four a block.
        const unsigned block = (unsigned(query) << 15) + (unsigned(key) >> 2);
        const PhiloxBlock numbers = philox({{block, unsigned(head), name0, name1}}, key0, key1);
        unsigned bits = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) bits |= unsigned(numbers.words[i] < below) << i;
        return bits;
    }

    // The factor of one weight. It draws four numbers and uses one.
    __device__ __forceinline__ float factor(int head, int query, int key) const {
        return dropped_bits(head, query, key) >> (key & 3) & 1 ? 0.f : scale;
    }
};

// The sizes, the mask and the dropout of a launch.
struct Heads {
    int tokens, heads, queries, causal;
    float scale;
    // The number of tokens of each sequence that are not padding. Null if there is no padding.
    const int* lengths;
    DropoutStream dropout;

    __device__ __forceinline__ int length(int sequence) const {
        return lengths ? min(lengths[sequence], tokens) : tokens;
    }
};

// The parameters that all kernels end with, and the struct of them.
#define COMMON_PARAMETERS                                                                           \
    int tokens, int heads, int queries, int causal, float scale, const int *lengths, unsigned key0, \
        unsigned key1, unsigned name0, unsigned name1, unsigned below, float kept_scale, int tile
#define HEADS \
    Heads { tokens, heads, queries, causal, scale, lengths, { key0, key1, name0, name1, below, kept_scale } }

// The kernels for heads of D values of type T, without and with dropout. BOUNDS: their __launch_bounds__, or
// nothing.
#define ATTENTION(T, D, BOUNDS)              \
    ATTENTION_KERNELS(T, D, , false, BOUNDS) \
    ATTENTION_KERNELS(T, D, _dropped, true, BOUNDS)

#define ATTENTION_KERNELS(T, D, SUFFIX, DROPPED, BOUNDS)                                                    \
    KERNEL BOUNDS attention##SUFFIX##_##D##_##T(const T* qkv, T* out, float* log_sums, COMMON_PARAMETERS) { \
        attention<D, DROPPED>(qkv, out, log_sums, HEADS, tile);                                             \
    }                                                                                                       \
    EXPORT(attention##SUFFIX##_##D##_##T)                                                                   \
    KERNEL BOUNDS attention_queries##SUFFIX##_##D##_##T(const T* qkv, const T* out, const T* g,             \
                                                        const float* log_sums, float* dots, T* d_qkv,       \
                                                        COMMON_PARAMETERS) {                                \
        attention_queries<D, DROPPED>(qkv, out, g, log_sums, dots, d_qkv, HEADS, tile);                     \
    }                                                                                                       \
    EXPORT(attention_queries##SUFFIX##_##D##_##T)                                                           \
    KERNEL BOUNDS attention_keys##SUFFIX##_##D##_##T(const T* qkv, const T* g, const float* log_sums,       \
                                                     const float* dots, T* d_qkv, COMMON_PARAMETERS) {      \
        attention_keys<D, DROPPED>(qkv, g, log_sums, dots, d_qkv, HEADS, tile);                             \
    }                                                                                                       \
    EXPORT(attention_keys##SUFFIX##_##D##_##T)

// The sizes of heads that have kernels, as in attention.rs.
#define OF_EVERY_SIZE(KERNELS) \
    KERNELS(16) KERNELS(32) KERNELS(48) KERNELS(64) KERNELS(80) KERNELS(96) KERNELS(128)
