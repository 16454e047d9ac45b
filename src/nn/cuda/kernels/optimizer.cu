// AdamW with clipping, over all parameters at once: a fixed number of launches for any number of
// parameters. Nothing waits for the host.
#include "common.cuh"

// A parameter with its moments. `copy` is its copy in bf16, or null. `group` is 0 without weight decay, 1 with
// it, and 2 for an increment, which may have another one, and another rate.
struct Parameter {
    float *value, *first, *second;
    bf16* copy;
    unsigned long long count;
    int group, unused;
};

// A block's part: the values of parameter `which` from part * PART on.
struct Part {
    int which, part;
};

constexpr int PART = 4096;

// squares[block] = the sum of squares of a part of the gradients. Blocks of 256 threads.
KERNEL square_sums(const Parameter* parameters, const Part* parts, const float* const* gradients,
                   float* squares) {
    __shared__ float sums[256 / WARP];
    const Part part = parts[blockIdx.x];
    const float* g = gradients[part.which];
    const unsigned long long count = parameters[part.which].count;
    const unsigned long long from = (unsigned long long)(part.part) * PART;
    float sum = 0.f;
    for (int i = threadIdx.x; i < PART && from + i < count; i += blockDim.x) {
        const float v = g ? g[from + i] : 0.f;
        sum += v * v;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0.f;
        for (int w = 0; w < int(blockDim.x) / WARP; w++) sum += sums[w];
        squares[blockIdx.x] = sum;
    }
}
EXPORT(square_sums)

// norm[0] = sqrt(sum of squares). One block of 256 threads.
KERNEL norm_of_squares(const float* squares, int count, float* norm) {
    __shared__ double sums[256];
    double sum = 0.;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += squares[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (int(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) norm[0] = float(sqrt(sums[0]));
}
EXPORT(norm_of_squares)

// The update of src/nn/cpu/adamw.rs. `limit` clips like PyTorch's clip_grad_norm_; 0 means no clipping.
KERNEL adamw(const Parameter* parameters, const Part* parts, const float* const* gradients,
             const float* norm, float limit, float beta1, float beta2, float epsilon,
             float decay_factor, float step_size, float inverse_bias_correction2,
             float increment_decay_factor, float increment_step_size) {
    const Part part = parts[blockIdx.x];
    const Parameter p = parameters[part.which];
    const float* g = gradients[part.which];
    if (!g) return;
    const float grad_scale = limit > 0.f ? fminf(1.f, limit / (norm[0] + 1e-6f)) : 1.f;
    // The factors of the parameter's group.
    const float decay = p.group == 2   ? increment_decay_factor
                        : p.group == 1 ? decay_factor
                                       : 1.f;
    const float size = p.group == 2 ? increment_step_size : step_size;
    const unsigned long long from = (unsigned long long)(part.part) * PART;
    for (int i = threadIdx.x; i < PART && from + i < p.count; i += blockDim.x) {
        const unsigned long long at = from + i;
        const float gradient = g[at] * grad_scale;
        const float m = beta1 * p.first[at] + (1.f - beta1) * gradient;
        const float v = beta2 * p.second[at] + (1.f - beta2) * gradient * gradient;
        const float spread = sqrtf(v * inverse_bias_correction2) + epsilon;
        const float value = decay * p.value[at] - size * m / spread;
        p.first[at] = m;
        p.second[at] = v;
        p.value[at] = value;
        if (p.copy) p.copy[at] = __float2bfloat16(value);
    }
}
EXPORT(adamw)
