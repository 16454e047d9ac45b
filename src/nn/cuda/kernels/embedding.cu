// Turns images and token ids into vectors.
#include "common.cuh"

// A batch of normalised, shifted and mirrored images from bytes [n, height, width, channels]. Each row of
// picks [batch, 4] is (image, shift right, shift down, mirror). Pixels outside the image are zero bytes.
// out [batch, channels, height, width].
template <typename T>
__device__ void images(const unsigned char* bytes, const int* picks, const float* mean,
                       const float* deviation, T* out, int batch, int channels, int height,
                       int width) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    const size_t pixels = size_t(height) * width, size = pixels * channels;
    if (at >= size * batch) return;
    const int example = at / size, channel = at % size / pixels;
    const int y = at % pixels / width, x = at % width;
    const int* pick = picks + example * 4;
    const int from_x = (pick[3] ? width - 1 - x : x) + pick[1], from_y = y + pick[2];
    const bool inside = from_x >= 0 && from_x < width && from_y >= 0 && from_y < height;
    const size_t from = (pick[0] * pixels + size_t(from_y) * width + from_x) * channels + channel;
    const float value = inside ? bytes[from] / 255.f : 0.f;
    out[at] = from_float<T>((value - mean[channel]) / deviation[channel]);
}

// images [batch, channels, height, width] -> rows [batch * patches, channels * side * side]. Each row is a
// patch, in reading order. Its values are in the order of a convolution kernel [channels, side, side].
template <typename T>
__device__ void patches(const T* images, T* rows, int batch, int channels, int height, int width,
                        int side) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= size_t(batch) * channels * height * width) return;
    const int across = width / side, count = height / side * across;
    const int size = channels * side * side;
    const size_t patch = at / size;
    const int inner = at % size, channel = inner / (side * side);
    const int y = patch % count / across * side + inner % (side * side) / side;
    const int x = patch % across * side + inner % side;
    rows[at] = images[((patch / count * channels + channel) * height + y) * width + x];
}

// Rows of patches to tokens: puts the class token in front, if there is one, and adds positions.
// rows [batch, patches, width], class [width] or null, positions [tokens, width] ->
// out [batch, tokens, width].
template <typename T>
__device__ void tokens(const T* rows, const float* class_token, const float* positions, T* out,
                       int batch, int count, int width) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    const size_t size = size_t(count) * width;
    if (at >= size * batch) return;
    const size_t inner = at % size;
    const size_t front = class_token ? width : 0;
    const float value = inner < front
                            ? class_token[inner]
                            : to_float(rows[at / size * (size - front) + inner - front]);
    out[at] = from_float<T>(value + positions[inner]);
}

// The gradient of the rows: g [batch, count, width] without the class tokens.
template <typename T>
__device__ void tokens_backward(const T* g, T* d_rows, int batch, int count, int width, int front) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    const size_t size = size_t(count - front) * width;
    if (at >= size * batch) return;
    d_rows[at] = g[at / size * (size + size_t(front) * width) + size_t(front) * width + at % size];
}

// Rows of a table by id. table [n, width], ids [count] -> out [count, width].
template <typename T>
__device__ void embedding(const float* table, const unsigned* ids, T* out, int count, int width) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= size_t(count) * width) return;
    out[at] = from_float<T>(table[size_t(ids[at / width]) * width + at % width]);
}

// The table's gradient, which must be zeros at first. There is a block for each element of ids. The block
// of an id's first occurrence adds up all its gradients in order, the other blocks do nothing. So there are
// no atomics, and results have the same bits every time. g [count, width] -> d [n, width].
template <typename T>
__device__ void embedding_backward(const unsigned* ids, const T* g, float* d, int count, int width) {
    __shared__ int seen;
    const int place = blockIdx.x;
    const unsigned id = ids[place];
    if (threadIdx.x == 0) seen = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < place; i += blockDim.x)
        if (ids[i] == id) seen = 1;
    __syncthreads();
    if (seen) return;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0.f;
        for (int i = place; i < count; i++)
            if (ids[i] == id) sum += to_float(g[size_t(i) * width + c]);
        d[size_t(id) * width + c] = sum;
    }
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
    KERNEL embedding_##T(const float* table, const unsigned* ids, T* out, int count, int width) {  \
        embedding<T>(table, ids, out, count, width);                                               \
    }                                                                                              \
    EXPORT(embedding_##T)                                                                          \
    KERNEL embedding_backward_##T(const unsigned* ids, const T* g, float* d, int count,            \
                                  int width) {                                                     \
        embedding_backward<T>(ids, g, d, count, width);                                            \
    }                                                                                              \
    EXPORT(embedding_backward_##T)

EMBEDDING(float)
EMBEDDING(bf16)
