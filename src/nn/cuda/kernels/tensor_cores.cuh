// Products of small bf16 matrices by a warp's tensor cores, and copies into shared memory that run while the
// thread goes on.
//
// The left factor is [16, 16], the right one [16, 8], the sums are [16, 8] in float32. A lane has pairs of
// neighbours of a row of the left factor and of the sums, and of a column of the right factor:
//
//   left    0: [lane / 4, pair]       1: [lane / 4 + 8, pair]
//           2: [lane / 4, pair + 8]   3: [lane / 4 + 8, pair + 8]
//   right   0: [pair, lane / 4]   1: [pair + 8, lane / 4]
//   sums    0, 1: [lane / 4, pair]   2, 3: [lane / 4 + 8, pair]
//
// with pair = lane % 4 * 2 and the place after it. So the sums of two products side by side, as bf16, are the
// left factor of another. This is the layout of PTX's mma.m16n8k16.
#pragma once
#include "common.cuh"

#ifndef VLORA_EMULATE
// Two values as bf16; the first is in the lower half.
__device__ __forceinline__ unsigned packed(float first, float second) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}

// 2^x, to two units in the last place. Results too small for a normal number are 0.
__device__ __forceinline__ float power_of_two(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

// sums += left * right.
__device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&left)[4],
                                             unsigned right0, unsigned right1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}

// Loads four matrices [8, 8] from shared memory. The lanes 8 i to 8 i + 7 give the addresses of the rows of
// matrix i, aligned to 16 bytes. A lane gets the pair [lane / 4, pair] of each, or, if TRANSPOSED, the pair
// [pair, lane / 4].
template <bool TRANSPOSED>
__device__ __forceinline__ void load_matrices(unsigned (&to)[4], const bf16* row) {
    const unsigned at = unsigned(__cvta_generic_to_shared(row));
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at));
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at));
}

// Begins to copy 16 bytes to shared memory, or zeros, if not `valid`. Both addresses are aligned to 16 bytes.
__device__ __forceinline__ void begin_copy(bf16* to, const bf16* from, bool valid) {
    const unsigned at = unsigned(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
}

// Waits for the copies of this thread. Other threads see them after a barrier.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#endif

__device__ __forceinline__ float first_of(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float second_of(unsigned pair) {
    return __uint_as_float(pair & 0xffff0000u);
}
