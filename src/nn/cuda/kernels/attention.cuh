// Used by the kernels of attention in both types.
#pragma once
#include "common.cuh"

// Rows of a warp.
constexpr int SIDE = 16;

// The sizes and the mask of a launch.
struct Heads {
    int tokens, heads, queries, causal;
    float scale;
    // The number of tokens of each sequence that are not padding. Null if there is no padding.
    const int* lengths;

    __device__ __forceinline__ int length(int sequence) const {
        return lengths ? min(lengths[sequence], tokens) : tokens;
    }
};

// The kernels for heads of D values of type T. BOUNDS: their __launch_bounds__, or nothing.
#define ATTENTION(T, D, BOUNDS)                                                                        \
    KERNEL BOUNDS attention_##D##_##T(const T* qkv, T* out, float* log_sums, int tokens, int heads,    \
                                      int queries, int causal, float scale, const int* lengths,        \
                                      int tile) {                                                      \
        attention<D>(qkv, out, log_sums, Heads{tokens, heads, queries, causal, scale, lengths}, tile); \
    }                                                                                                  \
    EXPORT(attention_##D##_##T)                                                                        \
    KERNEL BOUNDS attention_queries_##D##_##T(                                                         \
        const T* qkv, const T* out, const T* g, const float* log_sums, float* dots, T* d_qkv,          \
        int tokens, int heads, int queries, int causal, float scale, const int* lengths, int tile) {   \
        attention_queries<D>(qkv, out, g, log_sums, dots, d_qkv,                                       \
                             Heads{tokens, heads, queries, causal, scale, lengths}, tile);             \
    }                                                                                                  \
    EXPORT(attention_queries_##D##_##T)                                                                \
    KERNEL BOUNDS attention_keys_##D##_##T(                                                            \
        const T* qkv, const T* g, const float* log_sums, const float* dots, T* d_qkv, int tokens,      \
        int heads, int queries, int causal, float scale, const int* lengths, int tile) {               \
        attention_keys<D>(qkv, g, log_sums, dots, d_qkv,                                               \
                          Heads{tokens, heads, queries, causal, scale, lengths}, tile);                \
    }                                                                                                  \
    EXPORT(attention_keys_##D##_##T)

// The sizes of heads that have kernels, as in attention.rs.
#define OF_EVERY_SIZE(KERNELS) \
    KERNELS(16) KERNELS(32) KERNELS(48) KERNELS(64) KERNELS(80) KERNELS(96) KERNELS(128)
