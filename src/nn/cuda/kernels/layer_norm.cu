// Layer normalisation over rows. A row belongs to one warp.
#include "common.cuh"

// y = (x - mean) * rstd * weight + bias. x, y [rows, width]; weight, bias [width].
// mean, rstd [rows] are kept for the backward pass. Each warp has R rows.
//
// A lane has V columns of every 32 * V. It keeps them in registers, in K parts.
template <typename T, int V, int K, int R>
__device__ void layer_norm(const T* x, const float* weight, const float* bias, T* y, float* mean,
                           float* rstd, int rows, int width, float eps) {
    const int lane = threadIdx.x % WARP;
    const int first = (blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP) * R;
    if (first >= rows) return;
    float values[R][K][V], average[R], scale[R];
#pragma unroll
    for (int r = 0; r < R; r++) {
        average[r] = 0.f;
#pragma unroll
        for (int k = 0; k < K; k++) {
            const int c = (k * WARP + lane) * V;
#pragma unroll
            for (int i = 0; i < V; i++) values[r][k][i] = 0.f;
            if (first + r < rows && c < width) load<V>(values[r][k], x + size_t(first + r) * width + c);
#pragma unroll
            for (int i = 0; i < V; i++) average[r] += values[r][k][i];
        }
    }
    // Subtracting the mean before squaring avoids cancellation.
#pragma unroll
    for (int r = 0; r < R; r++) average[r] = warp_sum(average[r]) / width;
#pragma unroll
    for (int r = 0; r < R; r++) {
        scale[r] = 0.f;
#pragma unroll
        for (int k = 0; k < K; k++) {
            if ((k * WARP + lane) * V >= width) break;
#pragma unroll
            for (int i = 0; i < V; i++) {
                const float distance = values[r][k][i] - average[r];
                scale[r] += distance * distance;
            }
        }
    }
#pragma unroll
    for (int r = 0; r < R; r++) scale[r] = 1.f / sqrtf(warp_sum(scale[r]) / width + eps);
#pragma unroll
    for (int k = 0; k < K; k++) {
        const int c = (k * WARP + lane) * V;
        if (c >= width) break;
        float w[V], b[V];
        load<V>(w, weight + c);
        load<V>(b, bias + c);
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (first + r >= rows) break;
            float out[V];
#pragma unroll
            for (int i = 0; i < V; i++) out[i] = (values[r][k][i] - average[r]) * scale[r] * w[i] + b[i];
            store<V>(y + size_t(first + r) * width + c, out);
        }
    }
    // Arrays with an index that is not constant would not be in registers.
    if (lane < R && first + lane < rows) {
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (lane != r) continue;
            mean[first + r] = average[r];
            rstd[first + r] = scale[r];
        }
    }
}

// A row that is too wide for registers, which is read again and again.
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

template <typename T, int V>
__device__ void layer_norm_wide(const T* x, const float* weight, const float* bias, T* y, float* mean,
                                float* rstd, int rows, int width, float eps) {
    const int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    const size_t at = size_t(row) * width;
    layer_norm_row<T, V>(x + at, weight, bias, y + at, mean + row, rstd + row, width, eps);
}

// With h = (x - mean) * rstd and s = g * weight: dx = rstd * (s - mean(s) - h * mean(s * h)), plus the
// gradient so far from other uses of x. dweight = sum of g * h over rows, dbias = sum of g. Each block
// writes its part of these sums to partials [blocks, 2, width].
//
// A lane has V columns of every 32 * V. It keeps a row, as it was loaded, and its own sums in registers, in K
// parts.
template <typename T, int V, int K>
__device__ void layer_norm_backward(const T* x, const float* weight, const float* mean,
                                    const float* rstd, const T* g, const T* so_far, T* dx,
                                    float* partials, int rows, int width) {
    SHARED_MEMORY(memory);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    // There are registers to load all of a row at once.
    constexpr bool EARLY = K <= 2;
    float d_weight[K][V], d_bias[K][V];
#pragma unroll
    for (int k = 0; k < K; k++) {
#pragma unroll
        for (int i = 0; i < V; i++) d_weight[k][i] = d_bias[k][i] = 0.f;
    }
    for (int row = blockIdx.x * warps + warp; row < rows; row += gridDim.x * warps) {
        const size_t at = size_t(row) * width;
        const float average = mean[row], scale = rstd[row];
        Pack<T, V> xs[K], gs[K], others[K];
        float sum = 0.f, mixed = 0.f;
#pragma unroll
        for (int k = 0; k < K; k++) {
            const int c = (k * WARP + lane) * V;
            if (c >= width) break;
            xs[k] = *reinterpret_cast<const Pack<T, V>*>(x + at + c);
            gs[k] = *reinterpret_cast<const Pack<T, V>*>(g + at + c);
            if (EARLY && so_far) others[k] = *reinterpret_cast<const Pack<T, V>*>(so_far + at + c);
        }
#pragma unroll
        for (int k = 0; k < K; k++) {
            const int c = (k * WARP + lane) * V;
            if (c >= width) break;
            float w[V];
            load<V>(w, weight + c);
#pragma unroll
            for (int i = 0; i < V; i++) {
                const float gradient = to_float(gs[k].values[i]);
                const float h = (to_float(xs[k].values[i]) - average) * scale;
                d_weight[k][i] += gradient * h;
                d_bias[k][i] += gradient;
                sum += gradient * w[i];
                mixed += gradient * w[i] * h;
            }
        }
        sum = warp_sum(sum) / width;
        mixed = warp_sum(mixed) / width;
#pragma unroll
        for (int k = 0; k < K; k++) {
            const int c = (k * WARP + lane) * V;
            if (c >= width) break;
            float w[V], result[V];
            load<V>(w, weight + c);
            if (!EARLY && so_far) others[k] = *reinterpret_cast<const Pack<T, V>*>(so_far + at + c);
#pragma unroll
            for (int i = 0; i < V; i++) {
                const float h = (to_float(xs[k].values[i]) - average) * scale;
                const float s = to_float(gs[k].values[i]) * w[i];
                const float other = so_far ? to_float(others[k].values[i]) : 0.f;
                result[i] = scale * (s - sum - h * mixed) + other;
            }
            store<V>(dx + at + c, result);
        }
    }
    // The sums of the block's warps. The values of a lane are 32 apart, so that each lane has its own bank.
    float* all = reinterpret_cast<float*>(memory);
    constexpr int PLACES = K * V * WARP;
#pragma unroll
    for (int k = 0; k < K; k++) {
#pragma unroll
        for (int i = 0; i < V; i++) {
            const int place = (k * V + i) * WARP + lane;
            all[(size_t(warp) * 2) * PLACES + place] = d_weight[k][i];
            all[(size_t(warp) * 2 + 1) * PLACES + place] = d_bias[k][i];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * PLACES; i += blockDim.x) {
        float total = 0.f;
        for (int w = 0; w < warps; w++) total += all[size_t(w) * 2 * PLACES + i];
        const int part = i / PLACES, place = i % PLACES, step = place / WARP;
        const int column = (step / V * WARP + place % WARP) * V + step % V;
        if (column < width)
            partials[(size_t(blockIdx.x) * 2 + part) * width + column] = total;
    }
}

// The same for rows that are too wide for registers.
//
// Each lane adds to its own columns in shared memory. There they are 32 apart, so that each lane has its own
// bank:
// column (k * 32 + lane) * V + i is at (k * V + i) * 32 + lane.
template <typename T, int V>
__device__ void layer_norm_backward_wide(const T* x, const float* weight, const float* mean,
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

#define LAYER_NORM_FORWARD(T, K, KERNEL_OF)                                                        \
    KERNEL layer_norm_##K##_##T(const T* x, const float* weight, const float* bias, T* y,          \
                                float* mean, float* rstd, int rows, int width, float eps) {        \
        KERNEL_OF(x, weight, bias, y, mean, rstd, rows, width, eps);                               \
    }                                                                                              \
    EXPORT(layer_norm_##K##_##T)

// At least BLOCKS blocks fit the registers of a multiprocessor; layer_norm.rs has the number, too.
#define LAYER_NORM_BACKWARD(T, K, BLOCKS, KERNEL_OF)                                               \
    KERNEL __launch_bounds__(256, BLOCKS)                                                          \
        layer_norm_backward_##K##_##T(const T* x, const float* weight, const float* mean,          \
                                      const float* rstd, const T* g, const T* so_far, T* dx,       \
                                      float* partials, int rows, int width) {                      \
        KERNEL_OF(x, weight, mean, rstd, g, so_far, dx, partials, rows, width);                    \
    }                                                                                              \
    EXPORT(layer_norm_backward_##K##_##T)

#define IN_REGISTERS(T, K, R, BLOCKS)                                                              \
    LAYER_NORM_FORWARD(T, K, (layer_norm<T, Vector<T>::size, K, R>))                               \
    LAYER_NORM_BACKWARD(T, K, BLOCKS, (layer_norm_backward<T, Vector<T>::size, K>))

// Kernels by the number of parts, and for rows of any width, in vectors and not. The number of rows of a warp
// is also in layer_norm.rs.
#define LAYER_NORM(T)                                                                              \
    IN_REGISTERS(T, 1, 4, 4)                                                                       \
    IN_REGISTERS(T, 2, 2, 2)                                                                       \
    IN_REGISTERS(T, 3, 1, 2)                                                                       \
    IN_REGISTERS(T, 4, 1, 1)                                                                       \
    LAYER_NORM_FORWARD(T, wide, (layer_norm_wide<T, Vector<T>::size>))                             \
    LAYER_NORM_FORWARD(T, plain, (layer_norm_wide<T, 1>))                                          \
    LAYER_NORM_BACKWARD(T, wide, 2, (layer_norm_backward_wide<T, Vector<T>::size>))                \
    LAYER_NORM_BACKWARD(T, plain, 2, (layer_norm_backward_wide<T, 1>))

LAYER_NORM(float)
LAYER_NORM(bf16)
