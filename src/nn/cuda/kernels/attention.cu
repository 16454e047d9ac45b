// Multi-head self-attention that reads the heads in place and never writes its weights to global memory.
//
// qkv [batch, tokens, 3, heads, D]. Each warp has 16 rows. These are queries in the forward pass and for
// the gradient of queries, and keys for the gradients of keys and values. The warps of a block share the
// other rows, which are read in tiles through shared memory. Each warp's scores are also in shared memory.
// The backward pass computes the weights again from one number per row. Every sum has one writer and a
// fixed order, so the same input gives the same bits.
#include "common.cuh"

constexpr int SIDE = 16;

// A 16 x 16 tile of float32 sums, to which products of matrices in shared memory are added. Each lane has
// eight values of a row.
template <typename T>
struct Tile {
    float values[8];

    // The left factor [16, 16], row-major.
    struct Left {
        const T* at;
        int across;

        __device__ __forceinline__ void load(const T* from, int apart) {
            at = from;
            across = apart;
        }
    };

    __device__ __forceinline__ void zero() {
#pragma unroll
        for (int i = 0; i < 8; i++) values[i] = 0.f;
    }

    // += a b. b [16, 16] is row-major, or column-major if TRANSPOSED.
    template <bool TRANSPOSED>
    __device__ __forceinline__ void add_product(const Left& a, const T* b, int across_b) {
        const int row = threadIdx.x % WARP / 2, from = threadIdx.x % 2 * 8;
#pragma unroll 4
        for (int k = 0; k < SIDE; k++) {
            const float left = to_float(a.at[row * a.across + k]);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const T* right =
                    TRANSPOSED ? b + (from + i) * across_b + k : b + k * across_b + from + i;
                values[i] = fmaf(left, to_float(*right), values[i]);
            }
        }
    }

    __device__ __forceinline__ void store(float* to, int across) const {
        const int row = threadIdx.x % WARP / 2, from = threadIdx.x % 2 * 8;
#pragma unroll
        for (int i = 0; i < 8; i++) to[row * across + from + i] = values[i];
    }
};

typedef nvcuda::wmma::row_major ByRows;
typedef nvcuda::wmma::col_major ByColumns;
template <typename Use, typename Layout>
using Factor = nvcuda::wmma::fragment<Use, SIDE, SIDE, SIDE, bf16, Layout>;

// Loads a factor from shared memory. The compiler does not see that the address is in shared memory and
// would load every pair of values separately. This instruction loads the matrix at once.
#ifdef VLORA_EMULATE
template <typename Use, typename Layout>
void load_shared(Factor<Use, Layout>& to, const bf16* from, int across) {
    nvcuda::wmma::load_matrix_sync(to, from, across);
}
#else
#define LOAD_SHARED(USE, LAYOUT, WHICH)                                                            \
    __device__ __forceinline__ void load_shared(Factor<nvcuda::wmma::USE, LAYOUT>& to,             \
                                                const bf16* from, int across) {                    \
        unsigned* x = reinterpret_cast<unsigned*>(&to.x[0]);                                       \
        const unsigned at = unsigned(__cvta_generic_to_shared(from));                              \
        asm volatile("wmma.load." WHICH ".m16n16k16.shared.bf16 {%0, %1, %2, %3}, [%4], %5;"       \
                     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])                              \
                     : "r"(at), "r"(across)                                                        \
                     : "memory");                                                                  \
    }
LOAD_SHARED(matrix_a, ByRows, "a.sync.aligned.row")
LOAD_SHARED(matrix_b, ByRows, "b.sync.aligned.row")
LOAD_SHARED(matrix_b, ByColumns, "b.sync.aligned.col")
#endif

// The same on tensor cores. Pointers must be aligned to 32 bytes, rows to 16.
template <>
struct Tile<bf16> {
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, SIDE, SIDE, SIDE, float> sums;

    struct Left {
        Factor<nvcuda::wmma::matrix_a, ByRows> values;

        __device__ __forceinline__ void load(const bf16* from, int across) {
            load_shared(values, from, across);
        }
    };

    __device__ __forceinline__ void zero() { nvcuda::wmma::fill_fragment(sums, 0.f); }

    template <bool TRANSPOSED>
    __device__ __forceinline__ void add_product(const Left& a, const bf16* b, int across_b) {
        if constexpr (TRANSPOSED) {
            Factor<nvcuda::wmma::matrix_b, ByColumns> right;
            load_shared(right, b, across_b);
            nvcuda::wmma::mma_sync(sums, a.values, right, sums);
        } else {
            Factor<nvcuda::wmma::matrix_b, ByRows> right;
            load_shared(right, b, across_b);
            nvcuda::wmma::mma_sync(sums, a.values, right, sums);
        }
    }

    __device__ __forceinline__ void store(float* to, int across) const {
        nvcuda::wmma::store_matrix_sync(to, sums, across, nvcuda::wmma::mem_row_major);
    }
};

// A warp's rows of D values as left factors. They stay in registers while the kernel runs.
template <typename T, int D>
struct Rows {
    typename Tile<T>::Left parts[D / SIDE];

    __device__ __forceinline__ void load(const T* from, int across) {
#pragma unroll
        for (int part = 0; part < D / SIDE; part++) parts[part].load(from + part * SIDE, across);
    }

    // sum += rows * transpose(others), others [16, D] row-major.
    __device__ __forceinline__ void add_dots(Tile<T>& sum, const T* others, int across) const {
#pragma unroll
        for (int part = 0; part < D / SIDE; part++)
            sum.template add_product<true>(parts[part], others + part * SIDE, across);
    }
};

// sums[16, D] += p [16, 16] * others [16, D].
template <typename T, int D>
__device__ __forceinline__ void add_mixed(Tile<T> (&sums)[D / SIDE], const T* p, int across_p,
                                          const T* others, int across) {
    typename Tile<T>::Left left;
    left.load(p, across_p);
#pragma unroll
    for (int part = 0; part < D / SIDE; part++)
        sums[part].template add_product<false>(left, others + part * SIDE, across);
}

// The sizes and the mask of a launch.
struct Heads {
    int tokens, heads, queries, causal;
    float scale;
    // The number of tokens of each sequence that are not padding. Null if there is no padding.
    const int* lengths;

    __device__ __forceinline__ int length(int sequence) const {
        return lengths ? min(lengths[sequence], tokens) : tokens;
    }
    // Whether a query sees a key.
    __device__ __forceinline__ bool sees(int query, int key, int length) const {
        return key < length && (!causal || key <= query);
    }
};

// Divides a block's shared memory into arrays.
struct Carver {
    char* next;

    template <typename U>
    __device__ __forceinline__ U* take(int count) {
        U* part = reinterpret_cast<U*>(next);
        next += (count * sizeof(U) + 127) / 128 * 128;
        return part;
    }
};

// Copies `count` rows of D values with stride `stride` to shared memory, with stride D + 8. Rows from
// `valid` on become zeros. `threads` threads take part; this is number `thread`.
template <typename T, int D>
__device__ __forceinline__ void fetch(T* to, const T* from, size_t stride, int count, int valid,
                                      int thread, int threads) {
    constexpr int V = Vector<T>::size;
    static_assert(D % V == 0, "rows are copied in whole vectors");
    for (int i = thread; i < count * (D / V); i += threads) {
        const int row = i / (D / V), column = i % (D / V) * V;
        // Copies 16 bytes without conversion. Zeros have the same bits in both types.
        const uint4 bytes = row < valid
                                ? *reinterpret_cast<const uint4*>(from + row * stride + column)
                                : make_uint4(0, 0, 0, 0);
        *reinterpret_cast<uint4*>(to + row * (D + 8) + column) = bytes;
    }
}

// Half of the dot product of two rows of D values. Two lanes share a row; this is number `half`. Each adds
// up every other vector.
template <typename T, int D>
__device__ __forceinline__ float half_dot(const T* a, const T* b, int half) {
    constexpr int V = Vector<T>::size;
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
template <typename T, int D>
__device__ __forceinline__ void write(Tile<T> (&sums)[D / SIDE], float scale, float* scratch, T* to,
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

// out [batch, queries, heads, D] = softmax(scale q k^T) v; log_sums [batch, heads, queries], or null.
// Grid (blocks of queries, heads, batch).
template <typename T, int D>
__device__ void attention(const T* qkv, T* out, float* log_sums, Heads at, int tile) {
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D;
    const T* q = qkv + size_t(sequence) * at.tokens * stride + head * D;
    const T *k = q + at.heads * D, *v = k + at.heads * D;
    const int first = (blockIdx.x * warps + warp) * SIDE;

    constexpr int across = D + 8;
    const int across_s = tile + 4, across_p = tile + 8;
    Carver carver{memory};
    T* keys = carver.take<T>(tile * across);
    T* values = carver.take<T>(tile * across);
    T* queries = carver.take<T>(warps * SIDE * across) + warp * SIDE * across;
    float* s = carver.take<float>(warps * SIDE * across_s) + warp * SIDE * across_s;
    T* p = carver.take<T>(warps * SIDE * across_p) + warp * SIDE * across_p;

    const int valid = max(0, min(SIDE, at.queries - first));
    fetch<T, D>(queries, q + first * stride, stride, SIDE, valid, lane, WARP);
    __syncwarp();
    Rows<T, D> rows;
    rows.load(queries, across);

    // How many groups of 16 keys a tile has.
    auto sides = [&](int from) { return (min(tile, at.tokens - from) + SIDE - 1) / SIDE; };
    auto scores = [&](int from) {
        __syncwarp();
        for (int side = 0; side < sides(from); side++) {
            Tile<T> sum;
            sum.zero();
            rows.add_dots(sum, keys + side * SIDE * across, across);
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
        fetch<T, D>(keys, k + from * stride, stride, whole, here, threadIdx.x, blockDim.x);
        if (once)
            fetch<T, D>(values, v + from * stride, stride, whole, here, threadIdx.x, blockDim.x);
        __syncthreads();
        scores(from);
        float most = largest;
        for (int c = lane % 2; c < here; c += 2)
            if (at.sees(query, from + c, length)) most = fmaxf(most, at.scale * own[c]);
        if (most > -INFINITY) {
            total *= expf(largest - most);
            for (int c = lane % 2; c < here; c += 2)
                if (at.sees(query, from + c, length)) total += expf(at.scale * own[c] - most);
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

    Tile<T> sums[D / SIDE];
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) sums[part].zero();
    for (int from = 0; from < at.tokens; from += tile) {
        const int here = min(tile, at.tokens - from), whole = sides(from) * SIDE;
        if (!once) {
            __syncthreads();
            fetch<T, D>(keys, k + from * stride, stride, whole, here, threadIdx.x, blockDim.x);
            fetch<T, D>(values, v + from * stride, stride, whole, here, threadIdx.x, blockDim.x);
            __syncthreads();
            scores(from);
        }
        for (int c = lane % 2; c < whole; c += 2) {
            const bool seen = c < here && at.sees(query, from + c, length);
            p[row * across_p + c] = from_float<T>(seen ? expf(at.scale * own[c] - log_sum) : 0.f);
        }
        __syncwarp();
        for (int side = 0; side < whole / SIDE; side++)
            add_mixed<T, D>(sums, p + side * SIDE, across_p, values + side * SIDE * across, across);
        __syncwarp();
    }
    const size_t width = size_t(at.heads) * D;
    write<T, D>(sums, 1.f, s, out + (size_t(sequence) * at.queries + first) * width + head * D, width,
                valid);
}

// The gradient of queries, and dots[batch, heads, queries] = sum of out * g, which attention_keys also
// needs. With the weights P and dP = g v^T: dS = P (dP - dots), dq = scale dS k. Rows of qkv that are not
// a query get zeros. Grid (blocks of tokens, heads, batch).
template <typename T, int D>
__device__ void attention_queries(const T* qkv, const T* out, const T* g, const float* log_sums,
                                  float* dots, T* d_qkv, Heads at, int tile) {
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D, width = size_t(at.heads) * D;
    const size_t start = size_t(sequence) * at.tokens * stride + head * D;
    const T *q = qkv + start, *k = q + width, *v = k + width;
    const int first = (blockIdx.x * warps + warp) * SIDE;
    const size_t result = (size_t(sequence) * at.queries + first) * width + head * D;

    constexpr int across = D + 8, across_s = SIDE + 4;
    const int across_p = tile + 8;
    Carver carver{memory};
    T* keys = carver.take<T>(tile * across);
    T* values = carver.take<T>(tile * across);
    T* queries = carver.take<T>(warps * SIDE * across) + warp * SIDE * across;
    T* gs = carver.take<T>(warps * SIDE * across) + warp * SIDE * across;
    float* s = carver.take<float>(warps * SIDE * across_s) + warp * SIDE * across_s;
    float* dp = carver.take<float>(warps * SIDE * across_s) + warp * SIDE * across_s;
    T* ds = carver.take<T>(warps * SIDE * across_p) + warp * SIDE * across_p;

    const int valid = max(0, min(SIDE, at.queries - first));
    fetch<T, D>(queries, q + first * stride, stride, SIDE, valid, lane, WARP);
    fetch<T, D>(gs, g + result, width, SIDE, valid, lane, WARP);
    __syncwarp();
    Rows<T, D> own_queries, own_gs;
    own_queries.load(queries, across);
    own_gs.load(gs, across);
    const int row = lane / 2, query = first + row;
    float dot = 0.f, log_sum = 0.f;
    if (row < valid)
        dot = half_dot<T, D>(out + result + row * width, gs + row * across, lane % 2);
    dot += __shfl_xor_sync(ALL_LANES, dot, 1);
    if (row < valid) {
        const size_t place = (size_t(sequence) * at.heads + head) * at.queries + query;
        log_sum = log_sums[place];
        if (lane % 2 == 0) dots[place] = dot;
    }

    Tile<T> sums[D / SIDE];
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) sums[part].zero();
    for (int from = 0; from < at.tokens; from += tile) {
        const int here = min(tile, at.tokens - from);
        const int sides = (here + SIDE - 1) / SIDE;
        __syncthreads();
        fetch<T, D>(keys, k + from * stride, stride, sides * SIDE, here, threadIdx.x, blockDim.x);
        fetch<T, D>(values, v + from * stride, stride, sides * SIDE, here, threadIdx.x, blockDim.x);
        __syncthreads();
        // A warp without queries only writes zeros.
        if (valid == 0) continue;
        for (int side = 0; side < sides; side++) {
            // Lanes may have diverged: in the copying above, and below, where not all see a key.
            __syncwarp();
            Tile<T> score, product;
            score.zero();
            product.zero();
            own_queries.add_dots(score, keys + side * SIDE * across, across);
            own_gs.add_dots(product, values + side * SIDE * across, across);
            score.store(s, across_s);
            product.store(dp, across_s);
            __syncwarp();
            for (int c = lane % 2; c < SIDE; c += 2) {
                const int key = from + side * SIDE + c;
                const bool seen = row < valid && at.sees(query, key, length);
                const float p = seen ? expf(at.scale * s[row * across_s + c] - log_sum) : 0.f;
                ds[row * across_p + side * SIDE + c] =
                    from_float<T>(p * (dp[row * across_s + c] - dot));
            }
        }
        __syncwarp();
        for (int side = 0; side < sides; side++)
            add_mixed<T, D>(sums, ds + side * SIDE, across_p, keys + side * SIDE * across, across);
        __syncwarp();
    }
    const int rows = max(0, min(SIDE, at.tokens - first));
    write<T, D>(sums, at.scale, s, d_qkv + start + first * stride, stride, rows);
}

// The gradients of keys and values: dk = scale dS^T q, dv = P^T g. Grid (blocks of tokens, heads,
// batch).
template <typename T, int D>
__device__ void attention_keys(const T* qkv, const T* g, const float* log_sums, const float* dots,
                               T* d_qkv, Heads at, int tile) {
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D, width = size_t(at.heads) * D;
    const size_t start = size_t(sequence) * at.tokens * stride + head * D;
    const T *q = qkv + start, *k = q + width, *v = k + width;
    const int first = (blockIdx.x * warps + warp) * SIDE;
    const size_t result = size_t(sequence) * at.queries * width + head * D;
    const size_t numbers = (size_t(sequence) * at.heads + head) * at.queries;

    constexpr int across = D + 8, across_s = SIDE + 4;
    const int across_p = tile + 8;
    Carver carver{memory};
    T* queries = carver.take<T>(tile * across);
    T* gs = carver.take<T>(tile * across);
    T* keys = carver.take<T>(warps * SIDE * across) + warp * SIDE * across;
    T* values = carver.take<T>(warps * SIDE * across) + warp * SIDE * across;
    float* s = carver.take<float>(warps * SIDE * across_s) + warp * SIDE * across_s;
    float* dp = carver.take<float>(warps * SIDE * across_s) + warp * SIDE * across_s;
    T* ds = carver.take<T>(warps * SIDE * across_p) + warp * SIDE * across_p;
    T* p = carver.take<T>(warps * SIDE * across_p) + warp * SIDE * across_p;

    const int valid = max(0, min(SIDE, at.tokens - first));
    fetch<T, D>(keys, k + first * stride, stride, SIDE, valid, lane, WARP);
    fetch<T, D>(values, v + first * stride, stride, SIDE, valid, lane, WARP);
    __syncwarp();
    Rows<T, D> own_keys, own_values;
    own_keys.load(keys, across);
    own_values.load(values, across);
    const int row = lane / 2, key = first + row;

    Tile<T> d_keys[D / SIDE], d_values[D / SIDE];
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) {
        d_keys[part].zero();
        d_values[part].zero();
    }
    for (int from = 0; from < at.queries; from += tile) {
        const int here = min(tile, at.queries - from);
        const int sides = (here + SIDE - 1) / SIDE;
        __syncthreads();
        fetch<T, D>(queries, q + from * stride, stride, sides * SIDE, here, threadIdx.x, blockDim.x);
        fetch<T, D>(gs, g + result + from * width, width, sides * SIDE, here, threadIdx.x, blockDim.x);
        __syncthreads();
        for (int side = 0; side < sides; side++) {
            // As in attention_queries: lanes may have diverged.
            __syncwarp();
            Tile<T> score, product;
            score.zero();
            product.zero();
            own_keys.add_dots(score, queries + side * SIDE * across, across);
            own_values.add_dots(product, gs + side * SIDE * across, across);
            score.store(s, across_s);
            product.store(dp, across_s);
            __syncwarp();
            for (int c = lane % 2; c < SIDE; c += 2) {
                const int query = from + side * SIDE + c;
                const bool seen = query < at.queries && at.sees(query, key, length);
                float weight = 0.f, gradient = 0.f;
                if (seen) {
                    weight = expf(at.scale * s[row * across_s + c] - log_sums[numbers + query]);
                    gradient = weight * (dp[row * across_s + c] - dots[numbers + query]);
                }
                p[row * across_p + side * SIDE + c] = from_float<T>(weight);
                ds[row * across_p + side * SIDE + c] = from_float<T>(gradient);
            }
        }
        __syncwarp();
        for (int side = 0; side < sides; side++) {
            const int there = side * SIDE * across;
            add_mixed<T, D>(d_values, p + side * SIDE, across_p, gs + there, across);
            add_mixed<T, D>(d_keys, ds + side * SIDE, across_p, queries + there, across);
        }
        __syncwarp();
    }
    T* to = d_qkv + start + first * stride;
    write<T, D>(d_keys, at.scale, s, to + width, stride, valid);
    write<T, D>(d_values, 1.f, s, to + 2 * width, stride, valid);
}

#define ATTENTION(T, D)                                                                            \
    KERNEL attention_##D##_##T(const T* qkv, T* out, float* log_sums, int tokens, int heads,       \
                               int queries, int causal, float scale, const int* lengths,           \
                               int tile) {                                                         \
        attention<T, D>(qkv, out, log_sums,                                                        \
                        Heads{tokens, heads, queries, causal, scale, lengths}, tile);              \
    }                                                                                              \
    EXPORT(attention_##D##_##T)                                                                    \
    KERNEL attention_queries_##D##_##T(                                                            \
        const T* qkv, const T* out, const T* g, const float* log_sums, float* dots, T* d_qkv,      \
        int tokens, int heads, int queries, int causal, float scale, const int* lengths,           \
        int tile) {                                                                                \
        attention_queries<T, D>(qkv, out, g, log_sums, dots, d_qkv,                                \
                                Heads{tokens, heads, queries, causal, scale, lengths}, tile);      \
    }                                                                                              \
    EXPORT(attention_queries_##D##_##T)                                                            \
    KERNEL attention_keys_##D##_##T(const T* qkv, const T* g, const float* log_sums,               \
                                    const float* dots, T* d_qkv, int tokens, int heads,            \
                                    int queries, int causal, float scale, const int* lengths,      \
                                    int tile) {                                                    \
        attention_keys<T, D>(qkv, g, log_sums, dots, d_qkv,                                        \
                             Heads{tokens, heads, queries, causal, scale, lengths}, tile);         \
    }                                                                                              \
    EXPORT(attention_keys_##D##_##T)

#define OF_EVERY_SIZE(T)                                                                           \
    ATTENTION(T, 16) ATTENTION(T, 32) ATTENTION(T, 48) ATTENTION(T, 64)                            \
    ATTENTION(T, 80) ATTENTION(T, 96) ATTENTION(T, 128)

OF_EVERY_SIZE(float)
OF_EVERY_SIZE(bf16)
