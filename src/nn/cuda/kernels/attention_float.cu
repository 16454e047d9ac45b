// Multi-head self-attention in float32, which reads the heads in place and never writes its weights to global
// memory.
//
// qkv [batch, tokens, 3, heads, D]. Each warp has 16 rows. These are queries in the forward pass and for
// the gradient of queries, and keys for the gradients of keys and values. The warps of a block share the
// other rows, which are read in tiles through shared memory. Each warp's scores are also in shared memory.
// The backward pass computes the weights again from one number per row. Every sum has one writer and a
// fixed order, so the same input gives the same bits.
#include "attention.cuh"

// A 16 x 16 tile of float32 sums, to which products of matrices in shared memory are added. Each lane has
// eight values of a row.
struct Tile {
    float values[8];

    __device__ __forceinline__ void zero() {
#pragma unroll
        for (int i = 0; i < 8; i++) values[i] = 0.f;
    }

    // += a b. a [16, 16] is row-major, b too, or column-major if TRANSPOSED.
    template <bool TRANSPOSED>
    __device__ __forceinline__ void add_product(const float* a, int across_a, const float* b, int across_b) {
        const int row = threadIdx.x % WARP / 2, from = threadIdx.x % 2 * 8;
#pragma unroll 4
        for (int k = 0; k < SIDE; k++) {
            const float left = a[row * across_a + k];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const float* right =
                    TRANSPOSED ? b + (from + i) * across_b + k : b + k * across_b + from + i;
                values[i] = fmaf(left, *right, values[i]);
            }
        }
    }

    __device__ __forceinline__ void store(float* to, int across) const {
        const int row = threadIdx.x % WARP / 2, from = threadIdx.x % 2 * 8;
#pragma unroll
        for (int i = 0; i < 8; i++) to[row * across + from + i] = values[i];
    }
};

// sum += own * transpose(others), both [16, D] row-major.
template <int D>
__device__ __forceinline__ void add_dots(Tile& sum, const float* own, const float* others, int across) {
#pragma unroll
    for (int part = 0; part < D / SIDE; part++)
        sum.add_product<true>(own + part * SIDE, across, others + part * SIDE, across);
}

// sums[16, D] += p [16, 16] * others [16, D].
template <int D>
__device__ __forceinline__ void add_mixed(Tile (&sums)[D / SIDE], const float* p, int across_p,
                                          const float* others, int across) {
#pragma unroll
    for (int part = 0; part < D / SIDE; part++)
        sums[part].template add_product<false>(p, across_p, others + part * SIDE, across);
}

// Whether a query sees a key.
__device__ __forceinline__ bool sees(const Heads& at, int query, int key, int length) {
    return key < length && (!at.causal || key <= query);
}

// The dropout factor of a weight: 0 if it is dropped, 1 without dropout.
template <bool DROPPED>
__device__ __forceinline__ float dropout_factor(const Heads& at, int query, int key) {
    return DROPPED ? at.dropout.factor(blockIdx.z * at.heads + blockIdx.y, query, key) : 1.f;
}

// Divides a block's shared memory into arrays.
struct Carver {
    char* next;

    __device__ __forceinline__ float* take(int count) {
        float* part = reinterpret_cast<float*>(next);
        next += (count * sizeof(float) + 127) / 128 * 128;
        return part;
    }
};

// Copies `count` rows of D values with stride `stride` to shared memory, with stride D + 8. Rows from
// `valid` on become zeros. `threads` threads take part; this is number `thread`.
template <int D>
__device__ __forceinline__ void fetch(float* to, const float* from, size_t stride, int count, int valid,
                                      int thread, int threads) {
    constexpr int V = Vector<float>::size;
    static_assert(D % V == 0, "rows are copied in whole vectors");
    for (int i = thread; i < count * (D / V); i += threads) {
        const int row = i / (D / V), column = i % (D / V) * V;
        const float4 values = row < valid
                                  ? *reinterpret_cast<const float4*>(from + row * stride + column)
                                  : make_float4(0.f, 0.f, 0.f, 0.f);
        *reinterpret_cast<float4*>(to + row * (D + 8) + column) = values;
    }
}

// Half of the dot product of two rows of D values. Two lanes share a row; this is number `half`. Each adds
// up every other vector.
template <int D>
__device__ __forceinline__ float half_dot(const float* a, const float* b, int half) {
    constexpr int V = Vector<float>::size;
    static_assert(D % (2 * V) == 0, "each lane has whole vectors");
    float dot = 0.f;
#pragma unroll
    for (int c = half * V; c < D; c += 2 * V) {
        float left[V], right[V];
        load<V>(left, a + c);
        load<V>(right, b + c);
#pragma unroll
        for (int i = 0; i < V; i++) dot = fmaf(left[i], right[i], dot);
    }
    return dot;
}

// Writes a warp's 16 x D sums to rows of global memory, through shared memory [16, 20].
template <int D>
__device__ __forceinline__ void write(Tile (&sums)[D / SIDE], float scale, float* scratch, float* to,
                                      size_t stride, int valid) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) {
        __syncwarp();
        sums[part].store(scratch, SIDE + 4);
        __syncwarp();
        const int row = lane / 2, from = lane % 2 * 8;
        if (row < valid) {
            float values[8];
#pragma unroll
            for (int i = 0; i < 8; i++) values[i] = scale * scratch[row * (SIDE + 4) + from + i];
            store<8>(to + row * stride + part * SIDE + from, values);
        }
    }
}

// out [batch, queries, heads, D] = dropout(softmax(scale q k^T)) v; log_sums [batch, heads, queries], or null.
// Grid (blocks of queries, heads, batch).
template <int D, bool DROPPED>
__device__ void attention(const float* qkv, float* out, float* log_sums, Heads at, int tile) {
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D;
    const float* q = qkv + size_t(sequence) * at.tokens * stride + head * D;
    const float *k = q + at.heads * D, *v = k + at.heads * D;
    const int first = (blockIdx.x * warps + warp) * SIDE;

    constexpr int across = D + 8;
    const int across_s = tile + 4, across_p = tile + 8;
    Carver carver{memory};
    float* keys = carver.take(tile * across);
    float* values = carver.take(tile * across);
    float* queries = carver.take(warps * SIDE * across) + warp * SIDE * across;
    float* s = carver.take(warps * SIDE * across_s) + warp * SIDE * across_s;
    float* p = carver.take(warps * SIDE * across_p) + warp * SIDE * across_p;

    const int valid = max(0, min(SIDE, at.queries - first));
    fetch<D>(queries, q + first * stride, stride, SIDE, valid, lane, WARP);
    __syncwarp();

    // How many groups of 16 keys a tile has.
    auto sides = [&](int from) { return (min(tile, at.tokens - from) + SIDE - 1) / SIDE; };
    auto scores = [&](int from) {
        __syncwarp();
        for (int side = 0; side < sides(from); side++) {
            Tile sum;
            sum.zero();
            add_dots<D>(sum, queries, keys + side * SIDE * across, across);
            sum.store(s + side * SIDE, across_s);
        }
        __syncwarp();
    };
    // Two lanes share a row. Each takes every other column.
    const int row = lane / 2, query = first + row;
    const float* own = s + row * across_s;
    float largest = -INFINITY, total = 0.f;
    const bool once = at.tokens <= tile;
    for (int from = 0; from < at.tokens; from += tile) {
        __syncthreads();
        const int here = min(tile, at.tokens - from);
        const int whole = sides(from) * SIDE;
        fetch<D>(keys, k + from * stride, stride, whole, here, threadIdx.x, blockDim.x);
        if (once)
            fetch<D>(values, v + from * stride, stride, whole, here, threadIdx.x, blockDim.x);
        __syncthreads();
        scores(from);
        float most = largest;
        for (int c = lane % 2; c < here; c += 2)
            if (sees(at, query, from + c, length)) most = fmaxf(most, at.scale * own[c]);
        if (most > -INFINITY) {
            total *= expf(largest - most);
            for (int c = lane % 2; c < here; c += 2)
                if (sees(at, query, from + c, length)) total += expf(at.scale * own[c] - most);
            largest = most;
        }
        __syncwarp();
    }
    const float both = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
    total = largest > -INFINITY ? total * expf(largest - both) : 0.f;
    total += __shfl_xor_sync(ALL_LANES, total, 1);
    const float log_sum = both + logf(total);
    if (log_sums && lane % 2 == 0 && query < at.queries)
        log_sums[(size_t(sequence) * at.heads + head) * at.queries + query] = log_sum;

    Tile sums[D / SIDE];
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) sums[part].zero();
    for (int from = 0; from < at.tokens; from += tile) {
        const int here = min(tile, at.tokens - from), whole = sides(from) * SIDE;
        if (!once) {
            __syncthreads();
            fetch<D>(keys, k + from * stride, stride, whole, here, threadIdx.x, blockDim.x);
            fetch<D>(values, v + from * stride, stride, whole, here, threadIdx.x, blockDim.x);
            __syncthreads();
            scores(from);
        }
        for (int c = lane % 2; c < whole; c += 2) {
            const bool seen = c < here && sees(at, query, from + c, length);
            const float weight = seen ? expf(at.scale * own[c] - log_sum) : 0.f;
            p[row * across_p + c] = weight * dropout_factor<DROPPED>(at, query, from + c);
        }
        __syncwarp();
        for (int side = 0; side < whole / SIDE; side++)
            add_mixed<D>(sums, p + side * SIDE, across_p, values + side * SIDE * across, across);
        __syncwarp();
    }
    const size_t width = size_t(at.heads) * D;
    write<D>(sums, 1.f, s, out + (size_t(sequence) * at.queries + first) * width + head * D, width,
             valid);
}

// The gradient of queries, and dots[batch, heads, queries] = sum of out * g, which attention_keys also
// needs. With the weights P, the dropout mask M and dP = M (g v^T): dS = P (dP - dots), dq = scale dS k. Rows
// of qkv that are not a query get zeros. Grid (blocks of tokens, heads, batch).
template <int D, bool DROPPED>
__device__ void attention_queries(const float* qkv, const float* out, const float* g, const float* log_sums,
                                  float* dots, float* d_qkv, Heads at, int tile) {
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D, width = size_t(at.heads) * D;
    const size_t start = size_t(sequence) * at.tokens * stride + head * D;
    const float *q = qkv + start, *k = q + width, *v = k + width;
    const int first = (blockIdx.x * warps + warp) * SIDE;
    const size_t result = (size_t(sequence) * at.queries + first) * width + head * D;

    constexpr int across = D + 8, across_s = SIDE + 4;
    const int across_p = tile + 8;
    Carver carver{memory};
    float* keys = carver.take(tile * across);
    float* values = carver.take(tile * across);
    float* queries = carver.take(warps * SIDE * across) + warp * SIDE * across;
    float* gs = carver.take(warps * SIDE * across) + warp * SIDE * across;
    float* s = carver.take(warps * SIDE * across_s) + warp * SIDE * across_s;
    float* dp = carver.take(warps * SIDE * across_s) + warp * SIDE * across_s;
    float* ds = carver.take(warps * SIDE * across_p) + warp * SIDE * across_p;

    const int valid = max(0, min(SIDE, at.queries - first));
    fetch<D>(queries, q + first * stride, stride, SIDE, valid, lane, WARP);
    fetch<D>(gs, g + result, width, SIDE, valid, lane, WARP);
    __syncwarp();
    const int row = lane / 2, query = first + row;
    float dot = 0.f, log_sum = 0.f;
    if (row < valid)
        dot = half_dot<D>(out + result + row * width, gs + row * across, lane % 2);
    dot += __shfl_xor_sync(ALL_LANES, dot, 1);
    if (row < valid) {
        const size_t place = (size_t(sequence) * at.heads + head) * at.queries + query;
        log_sum = log_sums[place];
        if (lane % 2 == 0) dots[place] = dot;
    }

    Tile sums[D / SIDE];
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) sums[part].zero();
    for (int from = 0; from < at.tokens; from += tile) {
        const int here = min(tile, at.tokens - from);
        const int sides = (here + SIDE - 1) / SIDE;
        __syncthreads();
        fetch<D>(keys, k + from * stride, stride, sides * SIDE, here, threadIdx.x, blockDim.x);
        fetch<D>(values, v + from * stride, stride, sides * SIDE, here, threadIdx.x, blockDim.x);
        __syncthreads();
        // A warp without queries only writes zeros.
        if (valid == 0) continue;
        for (int side = 0; side < sides; side++) {
            // Lanes may have diverged: in the copying above, and below, where not all see a key.
            __syncwarp();
            Tile score, product;
            score.zero();
            product.zero();
            add_dots<D>(score, queries, keys + side * SIDE * across, across);
            add_dots<D>(product, gs, values + side * SIDE * across, across);
            score.store(s, across_s);
            product.store(dp, across_s);
            __syncwarp();
            for (int c = lane % 2; c < SIDE; c += 2) {
                const int key = from + side * SIDE + c;
                const bool seen = row < valid && sees(at, query, key, length);
                const float p = seen ? expf(at.scale * s[row * across_s + c] - log_sum) : 0.f;
                const float product = dp[row * across_s + c] * dropout_factor<DROPPED>(at, query, key);
                ds[row * across_p + side * SIDE + c] = p * (product - dot);
            }
        }
        __syncwarp();
        for (int side = 0; side < sides; side++)
            add_mixed<D>(sums, ds + side * SIDE, across_p, keys + side * SIDE * across, across);
        __syncwarp();
    }
    const int rows = max(0, min(SIDE, at.tokens - first));
    write<D>(sums, at.scale, s, d_qkv + start + first * stride, stride, rows);
}

// The gradients of keys and values: dk = scale dS^T q, dv = (M P)^T g. Grid (blocks of tokens, heads,
// batch).
template <int D, bool DROPPED>
__device__ void attention_keys(const float* qkv, const float* g, const float* log_sums, const float* dots,
                               float* d_qkv, Heads at, int tile) {
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D, width = size_t(at.heads) * D;
    const size_t start = size_t(sequence) * at.tokens * stride + head * D;
    const float *q = qkv + start, *k = q + width, *v = k + width;
    const int first = (blockIdx.x * warps + warp) * SIDE;
    const size_t result = size_t(sequence) * at.queries * width + head * D;
    const size_t numbers = (size_t(sequence) * at.heads + head) * at.queries;

    constexpr int across = D + 8, across_s = SIDE + 4;
    const int across_p = tile + 8;
    Carver carver{memory};
    float* queries = carver.take(tile * across);
    float* gs = carver.take(tile * across);
    float* keys = carver.take(warps * SIDE * across) + warp * SIDE * across;
    float* values = carver.take(warps * SIDE * across) + warp * SIDE * across;
    float* s = carver.take(warps * SIDE * across_s) + warp * SIDE * across_s;
    float* dp = carver.take(warps * SIDE * across_s) + warp * SIDE * across_s;
    float* ds = carver.take(warps * SIDE * across_p) + warp * SIDE * across_p;
    float* p = carver.take(warps * SIDE * across_p) + warp * SIDE * across_p;

    const int valid = max(0, min(SIDE, at.tokens - first));
    fetch<D>(keys, k + first * stride, stride, SIDE, valid, lane, WARP);
    fetch<D>(values, v + first * stride, stride, SIDE, valid, lane, WARP);
    __syncwarp();
    const int row = lane / 2, key = first + row;

    Tile d_keys[D / SIDE], d_values[D / SIDE];
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) {
        d_keys[part].zero();
        d_values[part].zero();
    }
    for (int from = 0; from < at.queries; from += tile) {
        const int here = min(tile, at.queries - from);
        const int sides = (here + SIDE - 1) / SIDE;
        __syncthreads();
        fetch<D>(queries, q + from * stride, stride, sides * SIDE, here, threadIdx.x, blockDim.x);
        fetch<D>(gs, g + result + from * width, width, sides * SIDE, here, threadIdx.x, blockDim.x);
        __syncthreads();
        for (int side = 0; side < sides; side++) {
            // As in attention_queries: lanes may have diverged.
            __syncwarp();
            Tile score, product;
            score.zero();
            product.zero();
            add_dots<D>(score, keys, queries + side * SIDE * across, across);
            add_dots<D>(product, values, gs + side * SIDE * across, across);
            score.store(s, across_s);
            product.store(dp, across_s);
            __syncwarp();
            for (int c = lane % 2; c < SIDE; c += 2) {
                const int query = from + side * SIDE + c;
                const bool seen = query < at.queries && sees(at, query, key, length);
                float weight = 0.f, gradient = 0.f;
                if (seen) {
                    const float factor = dropout_factor<DROPPED>(at, query, key);
                    weight = expf(at.scale * s[row * across_s + c] - log_sums[numbers + query]);
                    gradient = weight * (factor * dp[row * across_s + c] - dots[numbers + query]);
                    weight *= factor;
                }
                p[row * across_p + side * SIDE + c] = weight;
                ds[row * across_p + side * SIDE + c] = gradient;
            }
        }
        __syncwarp();
        for (int side = 0; side < sides; side++) {
            const int there = side * SIDE * across;
            add_mixed<D>(d_values, p + side * SIDE, across_p, gs + there, across);
            add_mixed<D>(d_keys, ds + side * SIDE, across_p, queries + there, across);
        }
        __syncwarp();
    }
    float* to = d_qkv + start + first * stride;
    write<D>(d_keys, at.scale, s, to + width, stride, valid);
    write<D>(d_values, 1.f, s, to + 2 * width, stride, valid);
}

#define ATTENTION_FLOAT(D) ATTENTION(float, D, )
OF_EVERY_SIZE(ATTENTION_FLOAT)
