// The gradients of an increment's factors from the gradient of the whole weight.
#include "common.cuh"

// Rows of the factors that a thread sums at once.
constexpr int RANKS = 8;

// Adds the products of V values with those below them in the rows of a factor from `first` on. The rows are
// `across` apart. Where there are fewer than RANKS left, the last one is read again: a branch would keep loads
// waiting for each other.
template <int V>
__device__ __forceinline__ void add_products(float (&sum)[RANKS], const float (&values)[V],
                                             const float* factor, int across, int first, int rank) {
#pragma unroll
    for (int r = 0; r < RANKS; r++) {
        float factors[V];
        load<V>(factors, factor + size_t(min(first + r, rank - 1)) * across);
#pragma unroll
        for (int i = 0; i < V; i++) sum[r] = fmaf(factors[i], values[i], sum[r]);
    }
}

// d [outputs, inputs] is the gradient of scale * transpose(b) a, with a [rank, inputs] and b [rank,
// outputs]: da = scale * b d and db = scale * a transpose(d). Blocks of 32 warps: the first ones each have
// 32 columns of d for da, the others 32 rows for db. V values are loaded at once.
//
// `sums` is the kernel's, since each instance of this template would have shared memory of its own.
template <int V>
__device__ void projected(float (*sums)[WARP][WARP + 1], const float* d, const float* a, const float* b,
                          float scale, float* da, float* db, int outputs, int inputs, int rank) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int panels = (inputs + WARP - 1) / WARP;
    if (int(blockIdx.x) < panels) {
        const int column = blockIdx.x * WARP + lane;
        for (int first = 0; first < rank; first += RANKS) {
            float sum[RANKS] = {};
            for (int row = warp * V; row < outputs; row += WARP * V) {
                float values[V];
#pragma unroll
                for (int i = 0; i < V; i++)
                    values[i] = column < inputs ? d[size_t(row + i) * inputs + column] : 0.f;
                add_products<V>(sum, values, b + row, outputs, first, rank);
            }
            // The sums of the turn before have been read.
            __syncthreads();
#pragma unroll
            for (int r = 0; r < RANKS; r++) sums[r][warp][lane] = sum[r];
            __syncthreads();
            if (warp < RANKS && first + warp < rank && column < inputs) {
                float total = 0.f;
                for (int w = 0; w < WARP; w++) total += sums[warp][w][lane];
                da[size_t(first + warp) * inputs + column] = scale * total;
            }
        }
        return;
    }
    const int row = (blockIdx.x - panels) * WARP + warp;
    if (row >= outputs) return;
    for (int first = 0; first < rank; first += RANKS) {
        float sum[RANKS] = {};
        for (int column = lane * V; column < inputs; column += WARP * V) {
            float values[V];
            load<V>(values, d + size_t(row) * inputs + column);
            add_products<V>(sum, values, a + column, inputs, first, rank);
        }
#pragma unroll
        for (int r = 0; r < RANKS; r++) {
            const float total = warp_sum(sum[r]);
            if (lane == 0 && first + r < rank) db[size_t(first + r) * outputs + row] = scale * total;
        }
    }
}

KERNEL __launch_bounds__(1024)
    project(const float* d, const float* a, const float* b, float scale, float* da, float* db, int outputs,
            int inputs, int rank, int vectors) {
    __shared__ float sums[RANKS][WARP][WARP + 1];
    if (vectors)
        projected<4>(sums, d, a, b, scale, da, db, outputs, inputs, rank);
    else
        projected<1>(sums, d, a, b, scale, da, db, outputs, inputs, rank);
}
EXPORT(project)
