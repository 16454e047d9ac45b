// Layer normalisation over rows, one warp per row.
#include "common.cuh"

// y = (x - mean) * rstd * weight + bias. x, y [rows, width]; weight, bias [width].
// mean, rstd [rows] are kept for the backward pass.
template <typename T, int V>
__device__ void layer_norm_row(const T* x, const float* weight, const float* bias, T* y,
                               float* mean, float* rstd, int width, float eps) {
    const int lane = threadIdx.x % WARP;
    float sum = 0.f;
    for (int c = lane * V; c < width; c += WARP * V) {
        float values[V];
        load<V>(values, x + c);
#pragma unroll
        for (int i = 0; i < V; i++) sum += values[i];
    }
    const float average = warp_sum(sum) / width;
    // The row is in cache now, so a second pass is cheap. Subtracting the mean first avoids cancellation.
    float squares = 0.f;
    for (int c = lane * V; c < width; c += WARP * V) {
        float values[V];
        load<V>(values, x + c);
#pragma unroll
        for (int i = 0; i < V; i++) squares += (values[i] - average) * (values[i] - average);
    }
    const float scale = 1.f / sqrtf(warp_sum(squares) / width + eps);
    for (int c = lane * V; c < width; c += WARP * V) {
        float values[V], w[V], b[V];
        load<V>(values, x + c);
        load<V>(w, weight + c);
        load<V>(b, bias + c);
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = (values[i] - average) * scale * w[i] + b[i];
        store<V>(y + c, values);
    }
    if (lane == 0) {
        *mean = average;
        *rstd = scale;
    }
}

template <typename T>
__device__ void layer_norm(const T* x, const float* weight, const float* bias, T* y, float* mean,
                           float* rstd, int rows, int width, float eps, int vectors) {
    const int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    const size_t at = size_t(row) * width;
    if (vectors)
        layer_norm_row<T, Vector<T>::size>(x + at, weight, bias, y + at, mean + row, rstd + row,
                                           width, eps);
    else
        layer_norm_row<T, 1>(x + at, weight, bias, y + at, mean + row, rstd + row, width, eps);
}

// With h = (x - mean) * rstd and s = g * weight: dx = rstd * (s - mean(s) - h * mean(s * h)), plus the
// gradient so far from other uses of x. dweight = sum of g * h over rows, dbias = sum of g. Each block
// writes its part of these sums to partials [blocks, 2, width].
//
// Each lane adds to its own columns. In shared memory they are 32 apart, so that each lane has its own bank:
// column (k * 32 + lane) * V + i is at (k * V + i) * 32 + lane.
template <typename T, int V>
__device__ void layer_norm_backward(const T* x, const float* weight, const float* mean,
                                    const float* rstd, const T* g, const T* so_far, T* dx,
                                    float* partials, int rows, int width) {
    SHARED_MEMORY(memory);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const int padded = (width + WARP * V - 1) / (WARP * V) * (WARP * V);
    float* all = reinterpret_cast<float*>(memory);
    float* d_weight = all + size_t(warp) * 2 * padded;
    float* d_bias = d_weight + padded;
    for (int i = lane; i < 2 * padded; i += WARP) d_weight[i] = 0.f;
    __syncwarp();
    for (int row = blockIdx.x * warps + warp; row < rows; row += gridDim.x * warps) {
        const size_t at = size_t(row) * width;
        const float average = mean[row], scale = rstd[row];
        float sum = 0.f, mixed = 0.f;
        for (int c = lane * V; c < width; c += WARP * V) {
            float xs[V], gs[V], w[V];
            load<V>(xs, x + at + c);
            load<V>(gs, g + at + c);
            load<V>(w, weight + c);
#pragma unroll
            for (int i = 0; i < V; i++) {
                const float s = gs[i] * w[i];
                sum += s;
                mixed += s * (xs[i] - average) * scale;
            }
        }
        sum = warp_sum(sum) / width;
        mixed = warp_sum(mixed) / width;
        for (int c = lane * V, k = 0; c < width; c += WARP * V, k++) {
            float xs[V], gs[V], w[V], other[V];
            load<V>(xs, x + at + c);
            load<V>(gs, g + at + c);
            load<V>(w, weight + c);
            if (so_far) load<V>(other, so_far + at + c);
#pragma unroll
            for (int i = 0; i < V; i++) {
                const float h = (xs[i] - average) * scale;
                const int place = (k * V + i) * WARP + lane;
                d_weight[place] += gs[i] * h;
                d_bias[place] += gs[i];
                xs[i] = scale * (gs[i] * w[i] - sum - h * mixed) + (so_far ? other[i] : 0.f);
            }
            store<V>(dx + at + c, xs);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * padded; i += blockDim.x) {
        float total = 0.f;
        for (int w = 0; w < warps; w++) total += all[size_t(w) * 2 * padded + i];
        const int part = i / padded, place = i % padded;
        const int step = place / WARP;
        const int column = (step / V * WARP + place % WARP) * V + step % V;
        if (column < width)
            partials[(size_t(blockIdx.x) * 2 + part) * width + column] = total;
    }
}

#define LAYER_NORM(T)                                                                              \
    KERNEL layer_norm_##T(const T* x, const float* weight, const float* bias, T* y, float* mean,   \
                          float* rstd, int rows, int width, float eps, int vectors) {              \
        layer_norm<T>(x, weight, bias, y, mean, rstd, rows, width, eps, vectors);                  \
    }                                                                                              \
    EXPORT(layer_norm_##T)                                                                         \
    KERNEL layer_norm_backward_##T(const T* x, const float* weight, const float* mean,             \
                                   const float* rstd, const T* g, const T* so_far, T* dx,          \
                                   float* partials, int rows, int width, int vectors) {            \
        if (vectors)                                                                               \
            layer_norm_backward<T, Vector<T>::size>(x, weight, mean, rstd, g, so_far, dx,          \
                                                    partials, rows, width);                        \
        else                                                                                       \
            layer_norm_backward<T, 1>(x, weight, mean, rstd, g, so_far, dx, partials, rows,        \
                                      width);                                                      \
    }                                                                                              \
    EXPORT(layer_norm_backward_##T)

LAYER_NORM(float)
LAYER_NORM(bf16)
