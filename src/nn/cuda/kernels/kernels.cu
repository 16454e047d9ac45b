// All kernels, one unit.
#include "attention.cu"
#include "columns.cu"
#include "cross_entropy.cu"
#include "embedding.cu"
#include "layer_norm.cu"
#include "optimizer.cu"
#include "random.cu"
#include "weights.cu"
