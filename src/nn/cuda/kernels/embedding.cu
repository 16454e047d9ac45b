// Turns images and token ids into vectors.
#include "common.cuh"

// A batch of normalised, shifted and mirrored images from bytes [n, height, width, channels]. Each row of
// picks [batch, 4] is (image, shift right, shift down, mirror). Pixels outside the image are zero bytes.
// out [batch, channels, height, width].
// Grid (values of an image, examples).
template <typename T>
__device__ void images(const unsigned char* bytes, const int* picks, const float* mean,
                       const float* deviation, T* out, int batch, int channels, int height,
                       int width) {
    const unsigned pixels = height * width, size = pixels * channels;
    const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= size) return;
    const unsigned channel = at / pixels, y = at % pixels / width, x = at % width;
    for (int example = blockIdx.y; example < batch; example += gridDim.y) {
        const int* pick = picks + example * 4;
        const int from_x = int(pick[3] ? width - 1 - x : x) + pick[1], from_y = int(y) + pick[2];
        const bool inside = from_x >= 0 && from_x < width && from_y >= 0 && from_y < height;
        const size_t pixel = size_t(pick[0]) * pixels + size_t(from_y) * width + from_x;
        const size_t from = pixel * channels + channel;
        const float value = inside ? bytes[from] / 255.f : 0.f;
        out[size_t(example) * size + at] =
            from_float<T>((value - mean[channel]) / deviation[channel]);
    }
}

// images [batch, channels, height, width] -> rows [batch * patches, channels * side * side]. Each row is a
// patch, in reading order. Its values are in the order of a convolution kernel [channels, side, side]. Grid
// (values of an image, examples).
template <typename T>
__device__ void patches(const T* images, T* rows, int batch, int channels, int height, int width,
                        int side) {
    const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned all = channels * height * width;
    if (at >= all) return;
    const unsigned across = width / side, size = channels * side * side;
    const unsigned patch = at / size, inner = at % size, channel = inner / (side * side);
    const unsigned y = patch / across * side + inner % (side * side) / side;
    const unsigned x = patch % across * side + inner % side;
    const unsigned from = (channel * height + y) * width + x;
    for (int example = blockIdx.y; example < batch; example += gridDim.y)
        rows[size_t(example) * all + at] = images[size_t(example) * all + from];
}

// Rows of patches to tokens: puts the class token in front, if there is one, and adds positions.
// rows [batch, patches, width], class [width] or null, positions [tokens, width] ->
// out [batch, tokens, width]. Grid (values of an example, examples).
template <typename T>
__device__ void tokens(const T* rows, const float* class_token, const float* positions, T* out,
                       int batch, int count, int width) {
    const unsigned inner = blockIdx.x * blockDim.x + threadIdx.x, size = count * width;
    if (inner >= size) return;
    const unsigned front = class_token ? width : 0;
    for (int example = blockIdx.y; example < batch; example += gridDim.y) {
        const size_t from = size_t(example) * (size - front) + inner - front;
        const float value = inner < front ? class_token[inner] : to_float(rows[from]);
        out[size_t(example) * size + inner] = from_float<T>(value + positions[inner]);
    }
}

// The gradient of the rows: g [batch, count, width] without the class tokens. Grid (values of an example,
// examples).
template <typename T>
__device__ void tokens_backward(const T* g, T* d_rows, int batch, int count, int width, int front) {
    const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned size = (count - front) * width, skipped = front * width;
    if (at >= size) return;
    for (int example = blockIdx.y; example < batch; example += gridDim.y)
        d_rows[size_t(example) * size + at] = g[size_t(example) * (size + skipped) + skipped + at];
}

// Rows of a table by id. table [rows, width], ids [count] -> out [count, width]. An id that is not a row of
// the table gives NaN.
template <typename T>
__device__ void embedding(const float* table, const unsigned* ids, T* out, int count, int rows,
                          int width) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= size_t(count) * width) return;
    const unsigned id = ids[at / width];
    out[at] = from_float<T>(id < unsigned(rows) ? table[size_t(id) * width + at % width] : NAN);
}

// Places per tile in which ids are searched.
constexpr int PLACES = 1024;

// Adds up the rows of g whose id is `id`, among places [begin, end), in order, to out [width]. There must be
// places. All threads of the block take part, whole warps of them.
template <typename T>
__device__ void sum_rows_of(unsigned id, const unsigned* ids, const T* g, int begin, int end, int width,
                            float* out) {
    __shared__ int found[PLACES], counts[WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    for (int from = begin; from < end; from += PLACES) {
        // The places of the tile with this id, in order.
        int count = 0;
        for (int step = from; step < min(from + PLACES, end); step += blockDim.x) {
            const int place = step + threadIdx.x;
            const bool here = place < min(from + PLACES, end) && ids[place] == id;
            const unsigned of_warp = __ballot_sync(ALL_LANES, here);
            if (lane == 0) counts[warp] = __popc(of_warp);
            __syncthreads();
            int before = count;
            for (int w = 0; w < warps; w++) {
                if (w < warp) before += counts[w];
                count += counts[w];
            }
            if (here) found[before + __popc(of_warp & ((1u << lane) - 1))] = place;
            __syncthreads();
        }
        for (int c = threadIdx.x; c < width; c += blockDim.x) {
            float sum = from > begin ? out[c] : 0.f;
#pragma unroll 8
            for (int i = 0; i < count; i++) sum += to_float(g[size_t(found[i]) * width + c]);
            out[c] = sum;
        }
        // The next tile's places take those of this one.
        __syncthreads();
    }
}

// The table's gradient, which must be zeros at first. There is a block for each element of ids. The block
// of an id's first occurrence adds up all its gradients in order, the other blocks do nothing. So there are
// no atomics, and results have the same bits every time. g [count, width] -> d [rows, width].
template <typename T>
__device__ void embedding_backward(const unsigned* ids, const T* g, float* d, int count, int rows,
                                   int width) {
    __shared__ int seen;
    const int place = blockIdx.x;
    const unsigned id = ids[place];
    if (id >= unsigned(rows)) return;
    if (threadIdx.x == 0) seen = 0;
    __syncthreads();
    for (int from = 0; from < place; from += PLACES) {
        for (int i = from + threadIdx.x; i < min(from + PLACES, place); i += blockDim.x)
            if (ids[i] == id) seen = 1;
        __syncthreads();
        if (seen) return;
        // No thread may find the id in the next tile before all have read `seen`.
        __syncthreads();
    }
    sum_rows_of(id, ids, g, place, count, width, d + size_t(id) * width);
}

// The same for a table of few rows, each of which occurs often: each block adds up one row's gradients over
// `each` elements of ids. partials [parts, rows, width]. Grid (rows, parts).
template <typename T>
__device__ void embedding_partials(const unsigned* ids, const T* g, float* partials, int count, int rows,
                                   int width, int each) {
    const int row = blockIdx.x, begin = blockIdx.y * each, end = min(begin + each, count);
    float* out = partials + (size_t(blockIdx.y) * rows + row) * width;
    sum_rows_of(unsigned(row), ids, g, begin, end, width, out);
}

#define EMBEDDING(T)                                                                               \
    KERNEL images_##T(const unsigned char* bytes, const int* picks, const float* mean,             \
                      const float* deviation, T* out, int batch, int channels, int height,         \
                      int width) {                                                                 \
        images<T>(bytes, picks, mean, deviation, out, batch, channels, height, width);             \
    }                                                                                              \
    EXPORT(images_##T)                                                                             \
    KERNEL patches_##T(const T* images, T* rows, int batch, int channels, int height, int width,   \
                       int side) {                                                                 \
        patches<T>(images, rows, batch, channels, height, width, side);                            \
    }                                                                                              \
    EXPORT(patches_##T)                                                                            \
    KERNEL tokens_##T(const T* rows, const float* class_token, const float* positions, T* out,     \
                      int batch, int count, int width) {                                           \
        tokens<T>(rows, class_token, positions, out, batch, count, width);                         \
    }                                                                                              \
    EXPORT(tokens_##T)                                                                             \
    KERNEL tokens_backward_##T(const T* g, T* d_rows, int batch, int count, int width,             \
                               int front) {                                                        \
        tokens_backward<T>(g, d_rows, batch, count, width, front);                                 \
    }                                                                                              \
    EXPORT(tokens_backward_##T)                                                                    \
    KERNEL embedding_##T(const float* table, const unsigned* ids, T* out, int count, int rows,     \
                         int width) {                                                              \
        embedding<T>(table, ids, out, count, rows, width);                                         \
    }                                                                                              \
    EXPORT(embedding_##T)                                                                          \
    KERNEL embedding_backward_##T(const unsigned* ids, const T* g, float* d, int count, int rows,  \
                                  int width) {                                                     \
        embedding_backward<T>(ids, g, d, count, rows, width);                                      \
    }                                                                                              \
    EXPORT(embedding_backward_##T)                                                                 \
    KERNEL embedding_partials_##T(const unsigned* ids, const T* g, float* partials, int count,     \
                                  int rows, int width, int each) {                                 \
        embedding_partials<T>(ids, g, partials, count, rows, width, each);                         \
    }                                                                                              \
    EXPORT(embedding_partials_##T)

EMBEDDING(float)
EMBEDDING(bf16)
