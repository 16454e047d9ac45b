// Correct kernels, and wrong ones whose errors the emulation must find.

#define KERNEL extern "C" __global__ void

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(0xffffffff, value, distance);
    }
    return value;
}

// Whole warps sum by warp_sum. A last warp that is not whole adds its lanes one by one.
KERNEL __launch_bounds__(1024) block_sum(const float* __restrict__ x, float* __restrict__ y, unsigned count) {
    SHARED_MEMORY(raw);
    float* sums = reinterpret_cast<float*>(raw);
    float sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sum += __ldg(x + i);
    unsigned warp = threadIdx.x / 32, first = warp * 32;
    if (first + 32 <= blockDim.x) {
        sum = warp_sum(sum);
    } else {
        float all = 0;
        for (unsigned lane = 0; first + lane < blockDim.x; lane++) all += __shfl_sync(0xffffffff, sum, lane);
        sum = all;
    }
    if (threadIdx.x == first) sums[warp] = sum;
    __syncthreads();
    if (warp == 0 && threadIdx.x == 0) {
        float all = 0;
        for (unsigned i = 0; i < (blockDim.x + 31) / 32; i++) all += sums[i];
        *y = all;
    }
}
EXPORT(block_sum)

KERNEL indices(unsigned* y) {
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    y[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}
EXPORT(indices)

KERNEL shuffles(const unsigned* x, unsigned* y, unsigned) {
    unsigned value = x[threadIdx.x];
    unsigned* out = y + threadIdx.x * 5;
    out[0] = __shfl_xor_sync(0xffffffff, value, 5);
    out[1] = __shfl_down_sync(0xffffffff, value, 3);
    out[2] = __shfl_up_sync(0xffffffff, value, 2);
    out[3] = __shfl_sync(0xffffffff, value, 7);
    out[4] = __shfl_sync(0xffffffff, value, 1, 8);
    __syncwarp();
}
EXPORT(shuffles)

KERNEL leaves_before_barrier(const float* x, float* y, unsigned) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    y[threadIdx.x] = x[threadIdx.x];
}
EXPORT(leaves_before_barrier)

KERNEL half_shuffles(const float* x, float* y, unsigned) {
    if (threadIdx.x % 2 == 0) y[threadIdx.x] = warp_sum(x[threadIdx.x]);
}
EXPORT(half_shuffles)

KERNEL two_barriers(const float* x, float* y, unsigned) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        y[threadIdx.x] = 1;
        __syncthreads();
    }
}
EXPORT(two_barriers)

KERNEL narrow_mask(const float* x, float* y, unsigned) {
    y[threadIdx.x] = __shfl_xor_sync(0xffff, x[threadIdx.x], 1);
}
EXPORT(narrow_mask)

KERNEL fills_shared(const float*, float*, unsigned) {
    SHARED_MEMORY(raw);
    reinterpret_cast<float*>(raw)[threadIdx.x] = 1;
}
EXPORT(fills_shared)

KERNEL fills_static(const float* x, float* y, unsigned) {
    __shared__ float values[32];
    values[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x];
}
EXPORT(fills_static)

KERNEL reads_unwritten(const float* x, float* y, unsigned count) {
    SHARED_MEMORY(raw);
    __shared__ float values[8];
    float* others = reinterpret_cast<float*>(raw);
    y[threadIdx.x] = values[threadIdx.x];
    y[count + threadIdx.x] = others[threadIdx.x];
    // The next block must not find these values.
    values[threadIdx.x] = others[threadIdx.x] = x[threadIdx.x];
}
EXPORT(reads_unwritten)

KERNEL doubles_all_threads(const float* x, float* y, unsigned) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = 2 * x[i];
}
EXPORT(doubles_all_threads)

KERNEL copies_before(const float* x, float* y, unsigned) { y[-1] = x[-1]; }
EXPORT(copies_before)

KERNEL misaligned(const float*, float* y, unsigned) {
    *reinterpret_cast<float4*>(y + 1) = make_float4(1, 2, 3, 4);
}
EXPORT(misaligned)

template <bool barrier>
__device__ __forceinline__ void turn(const float* x, float* y) {
    SHARED_MEMORY(raw);
    float* values = reinterpret_cast<float*>(raw);
    values[threadIdx.x] = x[threadIdx.x];
    if (barrier) __syncthreads();
    y[threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}
KERNEL turns(const float* x, float* y, unsigned) { turn<true>(x, y); }
EXPORT(turns)
KERNEL turns_without_barrier(const float* x, float* y, unsigned) { turn<false>(x, y); }
EXPORT(turns_without_barrier)

KERNEL widen(const __nv_bfloat16* x, float* y, unsigned) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = __bfloat162float(x[i]);
}
EXPORT(widen)

KERNEL narrow(const float* x, __nv_bfloat16* y, unsigned) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = __float2bfloat16(x[i]);
}
EXPORT(narrow)

KERNEL ten_barriers(const float* __restrict__ x, float* __restrict__ y, unsigned) {
    SHARED_MEMORY(raw);
    float* values = reinterpret_cast<float*>(raw);
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    values[threadIdx.x] = x[i];
    for (int round = 0; round < 5; round++) {
        __syncthreads();
        float next = values[threadIdx.x + 1 < blockDim.x ? threadIdx.x + 1 : 0];
        __syncthreads();
        values[threadIdx.x] = next;
    }
    y[i] = values[threadIdx.x];
}
EXPORT(ten_barriers)
