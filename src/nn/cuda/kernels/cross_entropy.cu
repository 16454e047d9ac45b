// Softmax cross-entropy with label smoothing, one warp per row. Sums are float32.
#include "common.cuh"

// losses[row] = (1 - s) (log_sum - x[label]) + s (log_sum - mean(x)). A label that is not a class
// gives NaN, which training reports.
template <typename T>
__device__ void cross_entropy(const T* logits, const unsigned* labels, float* losses,
                              float* log_sums, int rows, int classes, float smoothing) {
    const int lane = threadIdx.x % WARP;
    const int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    const T* x = logits + size_t(row) * classes;
    float largest = -INFINITY, sum = 0.f;
    for (int c = lane; c < classes; c += WARP) {
        const float v = to_float(x[c]);
        largest = fmaxf(largest, v);
        sum += v;
    }
    largest = warp_max(largest);
    sum = warp_sum(sum);
    float exponentials = 0.f;
    for (int c = lane; c < classes; c += WARP) exponentials += expf(to_float(x[c]) - largest);
    const float log_sum = largest + logf(warp_sum(exponentials));
    if (lane == 0) {
        const unsigned label = labels[row];
        const float hit = label < unsigned(classes) ? to_float(x[label]) : NAN;
        losses[row] = (1.f - smoothing) * (log_sum - hit) + smoothing * (log_sum - sum / classes);
        log_sums[row] = log_sum;
    }
}

// dx = g[row] (softmax(x) - (1 - s) [c = label] - s / classes).
template <typename T>
__device__ void cross_entropy_backward(const T* logits, const unsigned* labels,
                                       const float* log_sums, const float* g, T* dx, int rows,
                                       int classes, float smoothing) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= size_t(rows) * classes) return;
    const int row = at / classes;
    const unsigned c = at % classes;
    const float p = expf(to_float(logits[at]) - log_sums[row]);
    const float wanted = (c == labels[row] ? 1.f - smoothing : 0.f) + smoothing / classes;
    dx[at] = from_float<T>(g[row] * (p - wanted));
}

#define CROSS_ENTROPY(T)                                                                           \
    KERNEL cross_entropy_##T(const T* logits, const unsigned* labels, float* losses,               \
                             float* log_sums, int rows, int classes, float smoothing) {            \
        cross_entropy<T>(logits, labels, losses, log_sums, rows, classes, smoothing);              \
    }                                                                                              \
    EXPORT(cross_entropy_##T)                                                                      \
    KERNEL cross_entropy_backward_##T(const T* logits, const unsigned* labels,                     \
                                      const float* log_sums, const float* g, T* dx, int rows,      \
                                      int classes, float smoothing) {                              \
        cross_entropy_backward<T>(logits, labels, log_sums, g, dx, rows, classes, smoothing);      \
    }                                                                                              \
    EXPORT(cross_entropy_backward_##T)

CROSS_ENTROPY(float)
CROSS_ENTROPY(bf16)
