// Used by every kernel: types, vectors of values, sums over a warp.
//
// Tests compile the same sources for the host and compare every kernel with an oracle. Then
// emulation/cuda_on_host.h replaces CUDA's headers.
#pragma once

#ifndef VLORA_EMULATE
#include <cuda_bf16.h>
// Only the emulation needs a list of kernels.
#define EXPORT(name)
#define SHARED_MEMORY(name) extern __shared__ __align__(128) char name[]
#endif
#define KERNEL extern "C" __global__ void

typedef __nv_bfloat16 bf16;

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(bf16 v) { return __bfloat162float(v); }

template <typename T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ float from_float<float>(float v) { return v; }
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float v) { return __float2bfloat16(v); }

// Values of T per load of 16 bytes.
template <typename T>
struct Vector {
    static constexpr int size = 16 / sizeof(T);
};

// V values that are loaded and stored at once. Eight float32, as many as a vector of bf16, take two loads.
template <typename T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Pack {
    T values[V];
};

template <int V, typename T>
__device__ __forceinline__ void load(float (&to)[V], const T* from) {
    const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(from);
#pragma unroll
    for (int i = 0; i < V; i++) to[i] = to_float(pack.values[i]);
}

template <int V, typename T>
__device__ __forceinline__ void store(T* to, const float (&from)[V]) {
    Pack<T, V> pack;
#pragma unroll
    for (int i = 0; i < V; i++) pack.values[i] = from_float<T>(from[i]);
    *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

// The sum over a warp. Every lane gets the same bits.
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        v += __shfl_xor_sync(ALL_LANES, v, distance);
    return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, distance));
    return v;
}
