// Adds an increment to a weight, changes types, and adds a bias.
#include "common.cuh"

// out = w + scale * transpose(b) a, in out's type: w, out [outputs, inputs], a [rank, inputs],
// b [rank, outputs]. A rank of 0 only changes the type. Each thread has V columns of a row.
template <typename T, int V>
__device__ void fold(const float* w, const float* a, const float* b, float scale, T* out,
                     int outputs, int inputs, int rank) {
    const int across = inputs / V;
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= size_t(outputs) * across) return;
    const int row = at / across, column = at % across * V;
    float sum[V];
#pragma unroll
    for (int i = 0; i < V; i++) sum[i] = 0.f;
    for (int r = 0; r < rank; r++) {
        const float factor = b[size_t(r) * outputs + row];
        float values[V];
        load<V>(values, a + size_t(r) * inputs + column);
#pragma unroll
        for (int i = 0; i < V; i++) sum[i] += factor * values[i];
    }
    float values[V];
    load<V>(values, w + size_t(row) * inputs + column);
#pragma unroll
    for (int i = 0; i < V; i++) values[i] += scale * sum[i];
    store<V>(out + size_t(row) * inputs + column, values);
}

// out += bias for every row of `width` values.
template <typename T>
__device__ void add_bias(T* out, const T* bias, size_t count, int width) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= count) return;
    out[at] = from_float<T>(to_float(out[at]) + to_float(bias[at % width]));
}

#define WEIGHTS(T)                                                                                 \
    KERNEL fold_##T(const float* w, const float* a, const float* b, float scale, T* out,           \
                    int outputs, int inputs, int rank, int vectors) {                              \
        if (vectors)                                                                               \
            fold<T, 4>(w, a, b, scale, out, outputs, inputs, rank);                                \
        else                                                                                       \
            fold<T, 1>(w, a, b, scale, out, outputs, inputs, rank);                                \
    }                                                                                              \
    EXPORT(fold_##T)                                                                               \
    KERNEL add_bias_##T(T* out, const T* bias, size_t count, int width) {                          \
        add_bias<T>(out, bias, count, width);                                                      \
    }                                                                                              \
    EXPORT(add_bias_##T)

WEIGHTS(float)
WEIGHTS(bf16)
