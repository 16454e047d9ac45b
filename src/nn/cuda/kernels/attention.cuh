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
