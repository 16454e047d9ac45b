// Sums over rows, and GELU. Sums have two stages of fixed order and no atomics, so the same input gives
// the same bits.
#include "common.cuh"

constexpr int COLUMN_ROWS = 8;

// The normal distribution's function, and e^(-x^2 / 2).
struct Normal {
    float below, power;
};

template <typename T>
__device__ __forceinline__ Normal normal(float x);

template <>
__device__ __forceinline__ Normal normal<float>(float x) {
    return {0.5f * (1.f + erff(x * 0.70710678118654752f)), expf(-0.5f * x * x)};
}

// The same with an absolute error of 2e-7, which is far below bf16's, from one exponential: erf by formula
// 7.1.26 of Abramowitz and Stegun.
template <>
__device__ __forceinline__ Normal normal<bf16>(float x) {
    const float power = __expf(-0.5f * x * x);
    const float t = __fdividef(1.f, fmaf(0.3275911f * 0.70710678118654752f, fabsf(x), 1.f));
    float tail = fmaf(1.061405429f, t, -1.453152027f);
    tail = fmaf(tail, t, 1.421413741f);
    tail = fmaf(tail, t, -0.284496736f);
    tail = fmaf(tail, t, 0.254829592f) * t * power;
    return {0.5f * (1.f + copysignf(1.f - tail, x)), power};
}

// (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), which approximates the normal distribution's
// function. It is the logistic function of 2u.
constexpr float TWICE_FACTOR = 1.5957691216057308f, CUBIC = 0.044715f;

__device__ __forceinline__ float logistic(float x) {
    return 1.f / (1.f + expf(-TWICE_FACTOR * x * (CUBIC * x * x + 1.f)));
}

// `by_tanh` chooses the approximation.
template <typename T>
__device__ __forceinline__ float gelu_of(float x, int by_tanh) {
    return x * (by_tanh ? logistic(x) : normal<T>(x).below);
}

template <typename T>
__device__ __forceinline__ float gelu_derivative(float x, int by_tanh) {
    if (by_tanh) {
        const float at = logistic(x);
        return at + x * TWICE_FACTOR * (3.f * CUBIC * x * x + 1.f) * at * (1.f - at);
    }
    const Normal at = normal<T>(x);
    return at.below + x * 0.39894228040143268f * at.power;
}

// Sums g or, if `z` is given, dz = g * gelu'(z), which is also written.
// g, z, dz [rows, width] -> partials [chunks, width]. A chunk has `each` rows. Blocks of (32, 8) threads,
// grid (panels of 32 * V columns, chunks).
template <typename T, int V>
__device__ void column_sums(const T* g, const T* z, T* dz, float* partials, int rows, int width,
                            int each, int by_tanh) {
    __shared__ float sums[COLUMN_ROWS][WARP * V + 1];
    const int column = (blockIdx.x * WARP + threadIdx.x) * V;
    const int end = min(rows, (int(blockIdx.y) + 1) * each);
    float total[V];
#pragma unroll
    for (int i = 0; i < V; i++) total[i] = 0.f;
    if (column < width) {
#pragma unroll 4
        for (int row = blockIdx.y * each + threadIdx.y; row < end; row += COLUMN_ROWS) {
            const size_t at = size_t(row) * width + column;
            float values[V];
            load<V>(values, g + at);
            if (z) {
                float before[V];
                load<V>(before, z + at);
#pragma unroll
                for (int i = 0; i < V; i++) values[i] *= gelu_derivative<T>(before[i], by_tanh);
                store<V>(dz + at, values);
            }
#pragma unroll
            for (int i = 0; i < V; i++) total[i] += values[i];
        }
    }
#pragma unroll
    for (int i = 0; i < V; i++) sums[threadIdx.y][i * WARP + threadIdx.x] = total[i];
    __syncthreads();
    for (int i = threadIdx.y; i < V; i += COLUMN_ROWS) {
        float sum = 0.f;
#pragma unroll
        for (int y = 0; y < COLUMN_ROWS; y++) sum += sums[y][i * WARP + threadIdx.x];
        if (column < width) partials[size_t(blockIdx.y) * width + column + i] = sum;
    }
}

// The sum of `count` rows: partials [count, width] -> out [width]. Blocks of (32, 8) threads.
KERNEL sum_rows(const float* partials, float* out, int count, int width) {
    __shared__ float sums[COLUMN_ROWS][WARP + 1];
    const int column = blockIdx.x * WARP + threadIdx.x;
    float total = 0.f;
    if (column < width) {
#pragma unroll 8
        for (int row = threadIdx.y; row < count; row += COLUMN_ROWS)
            total += partials[size_t(row) * width + column];
    }
    sums[threadIdx.y][threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
        total = 0.f;
#pragma unroll
        for (int y = 0; y < COLUMN_ROWS; y++) total += sums[y][threadIdx.x];
        out[column] = total;
    }
}
EXPORT(sum_rows)

template <typename T, int V>
__device__ void gelu(const T* z, T* y, size_t count, int by_tanh) {
    const size_t at = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * V;
    if (at >= count) return;
    float values[V];
    load<V>(values, z + at);
#pragma unroll
    for (int i = 0; i < V; i++) values[i] = gelu_of<T>(values[i], by_tanh);
    store<V>(y + at, values);
}

#define COLUMNS(T)                                                                                 \
    KERNEL column_sums_##T(const T* g, const T* z, T* dz, float* partials, int rows, int width,    \
                           int each, int by_tanh, int vectors) {                                   \
        if (vectors)                                                                               \
            column_sums<T, Vector<T>::size>(g, z, dz, partials, rows, width, each, by_tanh);       \
        else                                                                                       \
            column_sums<T, 1>(g, z, dz, partials, rows, width, each, by_tanh);                     \
    }                                                                                              \
    EXPORT(column_sums_##T)                                                                        \
    KERNEL gelu_##T(const T* z, T* y, size_t count, int by_tanh, int vectors) {                    \
        if (vectors)                                                                               \
            gelu<T, Vector<T>::size>(z, y, count, by_tanh);                                        \
        else                                                                                       \
            gelu<T, 1>(z, y, count, by_tanh);                                                      \
    }                                                                                              \
    EXPORT(gelu_##T)

COLUMNS(float)
COLUMNS(bf16)
