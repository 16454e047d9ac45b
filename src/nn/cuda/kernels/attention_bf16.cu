// Multi-head self-attention in bf16 on tensor cores, which reads the heads in place.
//
// qkv [batch, tokens, 3, heads, D]. Each warp has 16 rows, whose factors stay in its registers. These are
// queries in the forward pass and for the gradient of queries, and keys for the gradients of keys and
// values. The warps of a block share the other rows, which are read in tiles through shared memory. Scores
// and weights never leave the registers: the forward pass keeps the largest score so far and corrects
// earlier sums by it. The backward pass computes the weights again from one number per row. Every sum has
// one writer and a fixed order, so the same input gives the same bits.
#include "attention.cuh"
#include "tensor_cores.cuh"

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// Bytes between rows in shared memory are 16 more than a row has, so that eight rows are in different banks.
template <int D>
constexpr int ACROSS = D + 8;

// A warp's 16 rows of D values as left factors.
template <int D>
struct OwnRows {
    unsigned parts[D / SIDE][4];

    // Rows from `valid` on are zeros.
    __device__ __forceinline__ void load(const bf16* from, size_t stride, int valid) {
        const int row = threadIdx.x % WARP / 4, pair = threadIdx.x % 4 * 2;
#pragma unroll
        for (int part = 0; part < D / SIDE; part++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int r = row + i % 2 * 8;
                const bf16* at = from + r * stride + part * SIDE + i / 2 * 8 + pair;
                parts[part][i] = r < valid ? *reinterpret_cast<const unsigned*>(at) : 0u;
            }
        }
    }
};

// The right factors of 16 rows in shared memory: of two products with the transposed rows, over part `part`
// of their columns.
template <int D>
__device__ __forceinline__ void load_transposed(unsigned (&right)[4], const bf16* rows, int part) {
    const int lane = threadIdx.x % WARP, matrix = lane / 8;
    const int row = matrix / 2 * 8 + lane % 8, column = part * SIDE + matrix % 2 * 8;
    load_matrices<false>(right, rows + row * ACROSS<D> + column);
}

// The same of two products with the rows themselves, which give part `part` of the columns.
template <int D>
__device__ __forceinline__ void load_rows(unsigned (&right)[4], const bf16* rows, int part) {
    const int lane = threadIdx.x % WARP, matrix = lane / 8;
    const int row = matrix % 2 * 8 + lane % 8, column = part * SIDE + matrix / 2 * 8;
    load_matrices<true>(right, rows + row * ACROSS<D> + column);
}

// products[16, 16] += own * transpose(rows).
template <int D>
__device__ __forceinline__ void add_dots(float (&products)[2][4], const OwnRows<D>& own, const bf16* rows) {
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) {
        unsigned right[4];
        load_transposed<D>(right, rows, part);
        multiply_add(products[0], own.parts[part], right[0], right[1]);
        multiply_add(products[1], own.parts[part], right[2], right[3]);
    }
}

// sums[16, D] += weights [16, 16] * rows.
template <int D>
__device__ __forceinline__ void add_mixed(float (&sums)[D / 8][4], const unsigned (&weights)[4],
                                          const bf16* rows) {
#pragma unroll
    for (int part = 0; part < D / SIDE; part++) {
        unsigned right[4];
        load_rows<D>(right, rows, part);
        multiply_add(sums[2 * part], weights, right[0], right[1]);
        multiply_add(sums[2 * part + 1], weights, right[2], right[3]);
    }
}

// Begins to copy `count` rows to shared memory. Rows from `valid` on become zeros.
template <int D>
__device__ __forceinline__ void begin_rows(bf16* to, const bf16* from, size_t stride, int count,
                                           int valid) {
    for (int i = threadIdx.x; i < count * (D / 8); i += blockDim.x) {
        const int row = i / (D / 8), column = i % (D / 8) * 8;
        begin_copy(to + row * ACROSS<D> + column, from + (row < valid ? row * stride : 0) + column,
                   row < valid);
    }
}

// Writes a warp's sums, times a factor for each of the lane's two rows, to rows of global memory, through the
// warp's place in shared memory.
template <int D>
__device__ __forceinline__ void write(const float (&sums)[D / 8][4], float factor0, float factor1,
                                      bf16* place, bf16* to, size_t stride, int valid) {
    const int lane = threadIdx.x % WARP, row = lane / 4, pair = lane % 4 * 2;
    __syncwarp();
#pragma unroll
    for (int part = 0; part < D / 8; part++) {
        unsigned* at = reinterpret_cast<unsigned*>(place + row * ACROSS<D> + part * 8 + pair);
        at[0] = packed(factor0 * sums[part][0], factor0 * sums[part][1]);
        at[8 * ACROSS<D> / 2] = packed(factor1 * sums[part][2], factor1 * sums[part][3]);
    }
    __syncwarp();
    for (int i = lane; i < SIDE * (D / 8); i += WARP) {
        const int r = i / (D / 8), column = i % (D / 8) * 8;
        if (r < valid)
            *reinterpret_cast<uint4*>(to + r * stride + column) =
                *reinterpret_cast<const uint4*>(place + r * ACROSS<D> + column);
    }
}

__device__ __forceinline__ float sum_of_row(float v) {
    v += __shfl_xor_sync(ALL_LANES, v, 1);
    return v + __shfl_xor_sync(ALL_LANES, v, 2);
}

__device__ __forceinline__ float largest_of_row(float v) {
    v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, 1));
    return fmaxf(v, __shfl_xor_sync(ALL_LANES, v, 2));
}

// DropoutStream the first of two values if bit 0 is set, the second if bit 1 is, and scales the others.
__device__ __forceinline__ void drop(float& one, float& two, const DropoutStream& dropout, unsigned bits) {
    one = bits & 1 ? 0.f : one * dropout.scale;
    two = bits & 2 ? 0.f : two * dropout.scale;
}

// Which weights of 16 queries from `query` and 16 keys from `key` are dropped, where queries are the rows of
// the warp's sums. Bits 0 and 1 of dropped[i] belong to the lane's two values of its first row in product i,
// bits 2 and 3 to those of its second row. Two neighbouring lanes need the same two blocks of random numbers,
// one for each row. Each draws one of them.
__device__ __forceinline__ void dropped_of_queries(unsigned (&dropped)[2], const Heads& at, int query,
                                                   int key) {
    const int lane = threadIdx.x % WARP, odd = lane % 2, head = blockIdx.z * at.heads + blockIdx.y;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const unsigned own = at.dropout.dropped_bits(head, query + lane / 4 + 8 * odd,
                                              key + half * 8 + lane % 4 / 2 * 4);
        const unsigned other = __shfl_xor_sync(ALL_LANES, own, 1);
        const unsigned first = (odd ? other : own) >> 2 * odd & 3;
        const unsigned second = (odd ? own : other) >> 2 * odd & 3;
        dropped[half] = first | second << 2;
    }
}

// The same, where keys are the rows. PhiloxBlock lanes share the blocks of two rows of keys and two queries.
__device__ __forceinline__ void dropped_of_keys(unsigned (&dropped)[2], const Heads& at, int key, int query) {
    const int lane = threadIdx.x % WARP, part = lane / 4 % 4, head = blockIdx.z * at.heads + blockIdx.y;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        // This lane draws for the four keys of row part / 2 and query part % 2.
        unsigned all = at.dropout.dropped_bits(head, query + half * 8 + lane % 4 * 2 + part % 2,
                                        key + lane / 16 * 4 + part / 2 * 8)
                       << 4 * part;
        all |= __shfl_xor_sync(ALL_LANES, all, 4);
        all |= __shfl_xor_sync(ALL_LANES, all, 8);
        all >>= part;
        dropped[half] = (all & 1) | (all >> 3 & 2) | (all >> 6 & 4) | (all >> 9 & 8);
    }
}

// out [batch, queries, heads, D] = dropout(softmax(scale q k^T)) v; log_sums [batch, heads, queries], or null.
// Grid (blocks of queries, heads, batch).
template <int D, bool DROPPED>
__device__ void attention(const bf16* qkv, bf16* out, float* log_sums, Heads at, int tile) {
    // The groups of 16 keys whose scores a warp has at once.
    constexpr int GROUPS = 4;
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D, width = size_t(at.heads) * D;
    const bf16* q = qkv + size_t(sequence) * at.tokens * stride + head * D;
    const bf16 *k = q + width, *v = k + width;
    const int first = (blockIdx.x * warps + warp) * SIDE, valid = max(0, min(SIDE, at.queries - first));
    bf16* keys = reinterpret_cast<bf16*>(memory);
    bf16* values = keys + tile * ACROSS<D>;

    OwnRows<D> own;
    own.load(q + first * stride, stride, valid);
    // The keys before these are seen by the lane's rows, and by any row of the warp.
    int end[2];
#pragma unroll
    for (int r = 0; r < 2; r++)
        end[r] = at.causal ? min(length, first + lane / 4 + 8 * r + 1) : length;
    const int last = at.causal ? min(length, first + SIDE) : length;
    const int all_see = at.causal ? min(length, first + 1) : length;
    // Powers of two are faster than those of e.
    const float factor = at.scale * LOG2_E;

    float sums[D / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, total[2] = {0.f, 0.f};
    for (int from = 0; from < at.tokens; from += tile) {
        const int here = min(tile, at.tokens - from), whole = (here + SIDE - 1) / SIDE * SIDE;
        __syncthreads();
        begin_rows<D>(keys, k + from * stride, stride, whole, here);
        begin_rows<D>(values, v + from * stride, stride, whole, here);
        wait_for_copies();
        __syncthreads();
        for (int start = 0; start < whole && from + start < last; start += GROUPS * SIDE) {
            float scores[GROUPS][2][4] = {}, most[2] = {largest[0], largest[1]};
            // Whether every row of the warp sees all of these keys, and all are in the tile.
            const bool all = from + start + GROUPS * SIDE <= all_see && start + GROUPS * SIDE <= whole;
#pragma unroll
            for (int group = 0; group < GROUPS; group++) {
                const int place = start + group * SIDE;
                if (place < whole) add_dots<D>(scores[group], own, keys + place * ACROSS<D>);
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    const int key = from + place + i / 4 * 8 + lane % 4 * 2 + i % 2, r = i % 4 / 2;
                    float& score = scores[group][i / 4][i % 4];
                    if (!all && (place >= whole || key >= end[r])) score = -INFINITY;
                    most[r] = fmaxf(most[r], score);
                }
            }
            // Of a row that has seen no key yet, all are -INFINITY.
            float base[2];
#pragma unroll
            for (int r = 0; r < 2; r++) {
                most[r] = largest_of_row(most[r]);
                base[r] = most[r] == -INFINITY ? 0.f : most[r] * factor;
                const float correction = power_of_two(fmaf(largest[r], factor, -base[r]));
                largest[r] = most[r];
                total[r] *= correction;
#pragma unroll
                for (int part = 0; part < D / 8; part++) {
                    sums[part][2 * r] *= correction;
                    sums[part][2 * r + 1] *= correction;
                }
            }
#pragma unroll
            for (int group = 0; group < GROUPS; group++) {
                const int place = start + group * SIDE;
                if (place >= whole) break;
                unsigned weights[4], dropped[2] = {};
                if (DROPPED) dropped_of_queries(dropped, at, first, from + place);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float* pair = &scores[group][i / 2][i % 2 * 2];
                    float one = power_of_two(fmaf(pair[0], factor, -base[i % 2]));
                    float two = power_of_two(fmaf(pair[1], factor, -base[i % 2]));
                    total[i % 2] += one + two;
                    if (DROPPED) drop(one, two, at.dropout, dropped[i / 2] >> i % 2 * 2);
                    weights[i] = packed(one, two);
                }
                add_mixed<D>(sums, weights, values + place * ACROSS<D>);
            }
        }
    }
    float factors[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        total[r] = sum_of_row(total[r]);
        factors[r] = total[r] > 0.f ? 1.f / total[r] : 0.f;
        const int row = lane / 4 + 8 * r;
        if (log_sums && lane % 4 == 0 && row < valid)
            log_sums[(size_t(sequence) * at.heads + head) * at.queries + first + row] =
                (largest[r] * factor + log2f(total[r])) * LN_2;
    }
    // Every warp has read the last tile, in whose place the results are put together.
    __syncthreads();
    write<D>(sums, factors[0], factors[1], keys + warp * SIDE * ACROSS<D>,
             out + (size_t(sequence) * at.queries + first) * width + head * D, width, valid);
}

// The gradient of queries, and dots[batch, heads, queries] = sum of out * g, which attention_keys also
// needs. With the weights P, the dropout mask M and dP = M (g v^T): dS = P (dP - dots), dq = scale dS k. Rows
// of qkv that are not a query get zeros. Grid (blocks of tokens, heads, batch).
template <int D, bool DROPPED>
__device__ void attention_queries(const bf16* qkv, const bf16* out, const bf16* g, const float* log_sums,
                                  float* dots, bf16* d_qkv, Heads at, int tile) {
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D, width = size_t(at.heads) * D;
    const size_t begin = size_t(sequence) * at.tokens * stride + head * D;
    const bf16 *q = qkv + begin, *k = q + width, *v = k + width;
    const int first = (blockIdx.x * warps + warp) * SIDE, valid = max(0, min(SIDE, at.queries - first));
    const size_t result = (size_t(sequence) * at.queries + first) * width + head * D;
    bf16* keys = reinterpret_cast<bf16*>(memory);
    bf16* values = keys + tile * ACROSS<D>;

    OwnRows<D> own_queries, own_gs;
    own_queries.load(q + first * stride, stride, valid);
    own_gs.load(g + result, width, valid);
    float dot[2] = {}, log_sum[2] = {};
    int end[2];
    {
        OwnRows<D> own_out;
        own_out.load(out + result, width, valid);
#pragma unroll
        for (int part = 0; part < D / SIDE; part++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const unsigned a = own_out.parts[part][i], b = own_gs.parts[part][i];
                dot[i % 2] = fmaf(first_of(a), first_of(b), dot[i % 2]);
                dot[i % 2] = fmaf(second_of(a), second_of(b), dot[i % 2]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        dot[r] = sum_of_row(dot[r]);
        const int row = lane / 4 + 8 * r;
        end[r] = row >= valid ? 0 : at.causal ? min(length, first + row + 1) : length;
        if (row < valid) {
            const size_t place = (size_t(sequence) * at.heads + head) * at.queries + first + row;
            log_sum[r] = log_sums[place] * LOG2_E;
            if (lane % 4 == 0) dots[place] = dot[r];
        }
    }
    const int last = valid == 0 ? 0 : at.causal ? min(length, first + SIDE) : length;
    const int all_see = valid < SIDE ? 0 : at.causal ? min(length, first + 1) : length;
    const float factor = at.scale * LOG2_E;

    float sums[D / 8][4] = {};
    for (int from = 0; from < at.tokens; from += tile) {
        const int here = min(tile, at.tokens - from), whole = (here + SIDE - 1) / SIDE * SIDE;
        __syncthreads();
        begin_rows<D>(keys, k + from * stride, stride, whole, here);
        begin_rows<D>(values, v + from * stride, stride, whole, here);
        wait_for_copies();
        __syncthreads();
        for (int place = 0; place < whole && from + place < last; place += SIDE) {
            float scores[2][4] = {}, products[2][4] = {};
            add_dots<D>(scores, own_queries, keys + place * ACROSS<D>);
            add_dots<D>(products, own_gs, values + place * ACROSS<D>);
            unsigned gradients[4], dropped[2] = {};
            if (DROPPED) dropped_of_queries(dropped, at, first, from + place);
            const bool all = from + place + SIDE <= all_see;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float* product = &products[i / 2][i % 2 * 2];
                if (DROPPED) drop(product[0], product[1], at.dropout, dropped[i / 2] >> i % 2 * 2);
                const int key = from + place + i / 2 * 8 + lane % 4 * 2, r = i % 2;
                float pair[2];
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    float p = power_of_two(fmaf(scores[i / 2][2 * r + n], factor, -log_sum[r]));
                    if (!all && key + n >= end[r]) p = 0.f;
                    pair[n] = p * (product[n] - dot[r]);
                }
                gradients[i] = packed(pair[0], pair[1]);
            }
            add_mixed<D>(sums, gradients, keys + place * ACROSS<D>);
        }
    }
    __syncthreads();
    const int rows = max(0, min(SIDE, at.tokens - first));
    write<D>(sums, at.scale, at.scale, keys + warp * SIDE * ACROSS<D>, d_qkv + begin + first * stride, stride,
             rows);
}

// The gradients of keys and values: dk = scale dS^T q, dv = (M P)^T g. Grid (blocks of tokens, heads, batch).
template <int D, bool DROPPED>
__device__ void attention_keys(const bf16* qkv, const bf16* g, const float* log_sums, const float* dots,
                               bf16* d_qkv, Heads at, int tile) {
    SHARED_MEMORY(memory);
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int head = blockIdx.y, sequence = blockIdx.z, length = at.length(sequence);
    const size_t stride = size_t(3) * at.heads * D, width = size_t(at.heads) * D;
    const size_t begin = size_t(sequence) * at.tokens * stride + head * D;
    const bf16 *q = qkv + begin, *k = q + width, *v = k + width;
    const int first = (blockIdx.x * warps + warp) * SIDE, valid = max(0, min(SIDE, at.tokens - first));
    const size_t result = size_t(sequence) * at.queries * width + head * D;
    const size_t numbers = (size_t(sequence) * at.heads + head) * at.queries;
    // Of each query of a tile: the binary logarithm of its sum of weights, and its dot product.
    float* tile_log_sums = reinterpret_cast<float*>(memory);
    float* tile_dots = tile_log_sums + tile;
    bf16* queries = reinterpret_cast<bf16*>(tile_dots + tile);
    bf16* gs = queries + tile * ACROSS<D>;

    OwnRows<D> own_keys, own_values;
    own_keys.load(k + first * stride, stride, valid);
    own_values.load(v + first * stride, stride, valid);
    // The queries from these on see the lane's keys.
    int start[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int key = first + lane / 4 + 8 * r;
        start[r] = key >= length ? at.queries : at.causal ? key : 0;
    }
    // Queries from these on see every key of the warp.
    const int all_see = first + SIDE > length ? at.queries : at.causal ? first + SIDE - 1 : 0;
    const float factor = at.scale * LOG2_E;

    float d_keys[D / 8][4] = {}, d_values[D / 8][4] = {};
    for (int from = 0; from < at.queries; from += tile) {
        const int here = min(tile, at.queries - from), whole = (here + SIDE - 1) / SIDE * SIDE;
        __syncthreads();
        begin_rows<D>(queries, q + from * stride, stride, whole, here);
        begin_rows<D>(gs, g + result + from * width, width, whole, here);
        for (int i = threadIdx.x; i < whole; i += blockDim.x) {
            tile_log_sums[i] = i < here ? log_sums[numbers + from + i] * LOG2_E : 0.f;
            tile_dots[i] = i < here ? dots[numbers + from + i] : 0.f;
        }
        wait_for_copies();
        __syncthreads();
        // With a causal mask, earlier queries see no key of the warp.
        const int skipped = at.causal ? max(0, first - from) / SIDE * SIDE : 0;
        for (int place = first < length ? skipped : whole; place < whole; place += SIDE) {
            float scores[2][4] = {}, products[2][4] = {};
            add_dots<D>(scores, own_keys, queries + place * ACROSS<D>);
            add_dots<D>(products, own_values, gs + place * ACROSS<D>);
            unsigned weights[4], gradients[4], dropped[2] = {};
            if (DROPPED) dropped_of_keys(dropped, at, first, from + place);
            const bool all = from + place >= all_see && place + SIDE <= here;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int column = place + half * 8 + lane % 4 * 2;
                const float2 log_sum = *reinterpret_cast<const float2*>(tile_log_sums + column);
                const float2 dot = *reinterpret_cast<const float2*>(tile_dots + column);
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    float one = power_of_two(fmaf(scores[half][2 * r], factor, -log_sum.x));
                    float two = power_of_two(fmaf(scores[half][2 * r + 1], factor, -log_sum.y));
                    if (!all) {
                        if (column >= here || from + column < start[r]) one = 0.f;
                        if (column + 1 >= here || from + column + 1 < start[r]) two = 0.f;
                    }
                    float* product = &products[half][2 * r];
                    const unsigned bits = dropped[half] >> 2 * r;
                    if (DROPPED) drop(product[0], product[1], at.dropout, bits);
                    gradients[half * 2 + r] =
                        packed(one * (product[0] - dot.x), two * (product[1] - dot.y));
                    if (DROPPED) drop(one, two, at.dropout, bits);
                    weights[half * 2 + r] = packed(one, two);
                }
            }
            add_mixed<D>(d_values, weights, gs + place * ACROSS<D>);
            add_mixed<D>(d_keys, gradients, queries + place * ACROSS<D>);
        }
    }
    __syncthreads();
    bf16* place = queries + warp * SIDE * ACROSS<D>;
    bf16* to = d_qkv + begin + first * stride;
    write<D>(d_keys, at.scale, at.scale, place, to + width, stride, valid);
    write<D>(d_values, 1.f, 1.f, place, to + 2 * width, stride, valid);
}

// Two blocks of seven warps have registers at once, but for large heads, whose sums would not fit.
#define ATTENTION_BF16(D) ATTENTION(bf16, D, __launch_bounds__(7 * WARP, D <= 64 ? 2 : 1))
OF_EVERY_SIZE(ATTENTION_BF16)
