// Dropout of activations.
#include "philox.cuh"

// y = x * kept, or 0 if the value's random number is below `below`. Each thread has as many values as a
// vector of 16 bytes, whose numbers are one or two blocks of the stream. `vectors`: whether x and y are
// aligned for that.
template <typename T>
__device__ void dropout(const T* x, T* y, size_t count, unsigned key0, unsigned key1, unsigned name0,
                        unsigned name1, unsigned below, float kept, int vectors) {
    constexpr int V = Vector<T>::size;
    const size_t at = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * V;
    if (at >= count) return;
    float factors[V];
#pragma unroll
    for (int part = 0; part < V / 4; part++) {
        const size_t block = at / 4 + part;
        const PhiloxBlock drawn = philox({{unsigned(block), unsigned(block >> 32), name0, name1}}, key0, key1);
#pragma unroll
        for (int i = 0; i < 4; i++) factors[part * 4 + i] = drawn.words[i] < below ? 0.f : kept;
    }
    if (vectors && at + V <= count) {
        float values[V];
        load<V>(values, x + at);
#pragma unroll
        for (int i = 0; i < V; i++) values[i] = factors[i] == 0.f ? 0.f : values[i] * factors[i];
        store<V>(y + at, values);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            if (at + i < count)
                y[at + i] = from_float<T>(factors[i] == 0.f ? 0.f : to_float(x[at + i]) * factors[i]);
    }
}

#define DROPOUT(T)                                                                                 \
    KERNEL dropout_##T(const T* x, T* y, size_t count, unsigned key0, unsigned key1,               \
                       unsigned name0, unsigned name1, unsigned below, float kept, int vectors) {  \
        dropout<T>(x, y, count, key0, key1, name0, name1, below, kept, vectors);                   \
    }                                                                                              \
    EXPORT(dropout_##T)

DROPOUT(float)
DROPOUT(bf16)
