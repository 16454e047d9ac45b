// Matrix products that cuBLASLt refuses, of any size and alignment, one thread per value. Slow, but rarely
// needed.
#include "common.cuh"

constexpr int TERMS = 32;

// d [m, n] = scale op(a) op(b) + c + bias, all column-major. a and b have `a_rows` and `b_rows` rows as
// stored. The bias [m] is added to each column. c and bias may be null. Sums are float32, in parts that are
// added in order.
template <typename T, typename R>
__device__ void product(const T* a, const T* b, const R* c, const R* bias, R* d, int m, int n, int k,
                        int a_rows, int b_rows, int a_transposed, int b_transposed, float scale) {
    const size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= size_t(m) * n) return;
    const size_t row = at % m, column = at / m;
    const T* left = a + (a_transposed ? row * a_rows : row);
    const T* right = b + (b_transposed ? column : column * b_rows);
    const size_t left_step = a_transposed ? 1 : a_rows, right_step = b_transposed ? b_rows : 1;
    float sum = 0.f;
    for (int from = 0; from < k; from += TERMS) {
        float part = 0.f;
        for (int i = from; i < min(from + TERMS, k); i++)
            part = fmaf(to_float(left[i * left_step]), to_float(right[i * right_step]), part);
        sum += part;
    }
    sum *= scale;
    if (c) sum += to_float(c[at]);
    if (bias) sum += to_float(bias[row]);
    d[at] = from_float<R>(sum);
}

#define PRODUCT(NAME, T, R)                                                                        \
    KERNEL NAME(const T* a, const T* b, const R* c, const R* bias, R* d, int m, int n, int k,      \
                int a_rows, int b_rows, int a_transposed, int b_transposed, float scale) {         \
        product<T, R>(a, b, c, bias, d, m, n, k, a_rows, b_rows, a_transposed, b_transposed,       \
                      scale);                                                                      \
    }                                                                                              \
    EXPORT(NAME)

PRODUCT(product_float, float, float)
PRODUCT(product_bf16, bf16, bf16)
PRODUCT(product_bf16_to_float, bf16, float)
