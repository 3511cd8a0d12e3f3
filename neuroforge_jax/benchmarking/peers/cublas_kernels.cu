// What a step of plain SGD on a multilayer perceptron needs beside its matrix products, which are cuBLAS's.
//
// All matrices are float32 and row-major; neighbouring threads touch neighbouring columns, so that every access to
// memory is coalesced. Each kernel says on which grid it is launched. NVRTC compiles this file: it includes nothing.

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr float LOWEST = -3.402823466e38f;

// Rows of a matrix that one block of `update_bias_through_relu` goes through, and how many of them at a time.
constexpr int TILE_ROWS = 32;
constexpr int TILE_LANES = 8;

__device__ float warp_max(float value) {
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, offset));
    return value;
}

__device__ float warp_sum(float value) {
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

// batch[row, :] = samples[order[*step, row], :]
// Grid: a row in x, the columns in y; a thread an element.
extern "C" __global__ void gather_batch(
    const float* __restrict__ samples, const int* __restrict__ order, const int* __restrict__ step,
    float* __restrict__ batch, int columns) {
    const int row = blockIdx.x, column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    const int sample = order[(size_t)*step * gridDim.x + row];
    batch[(size_t)row * columns + column] = samples[(size_t)sample * columns + column];
}

// outputs = max(outputs + bias, 0), in place.
// Grid: a row in x, the columns in y; a thread an element.
extern "C" __global__ void add_bias_relu(
    const float* __restrict__ bias, float* __restrict__ outputs, int columns) {
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    float* output = outputs + (size_t)blockIdx.x * columns + column;
    *output = fmaxf(*output + bias[column], 0.0f);
}

// losses[*step] += the mean over the rows of log(sum exp z) - z[label], where z = logits + bias; the logits are
// replaced by its gradient, (softmax(z) - [column is label]) / rows. Then the counter moves to the next step.
// Grid: a warp a row, blockDim.y rows a block. `losses` begins at 0, and so does `blocks_done`, which returns to it.
extern "C" __global__ void softmax_cross_entropy(
    float* logits, const float* __restrict__ bias, const int* __restrict__ labels,
    const int* __restrict__ order, int* step, float* losses, unsigned* blocks_done, int rows, int classes) {
    const int lane = threadIdx.x, row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row < rows) {  // or not, for a whole warp at once
        float* z = logits + (size_t)row * classes;
        float highest = LOWEST;
        for (int column = lane; column < classes; column += WARP) {
            z[column] += bias[column];
            highest = fmaxf(highest, z[column]);
        }
        highest = warp_max(highest);
        float sum = 0.0f;
        for (int column = lane; column < classes; column += WARP) sum += expf(z[column] - highest);
        sum = warp_sum(sum);
        const float share = 1.0f / rows;
        const int label = labels[order[(size_t)*step * rows + row]];
        for (int column = lane; column < classes; column += WARP) {
            const float below = z[column] - highest;
            float slope = expf(below) / sum;
            if (column == label) {
                atomicAdd(losses + *step, (logf(sum) - below) * share);
                slope -= 1.0f;
            }
            z[column] = slope * share;
        }
    }
    // Only the last block to come here knows that no other will read the counter.
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0 && atomicInc(blocks_done, gridDim.x - 1) == gridDim.x - 1) *step += 1;
}

// slopes = activations > 0 ? slopes : 0 in place, where there are activations (the last layer has no relu); then
// bias -= rate * the column sums of the slopes. One pass over the matrix does both.
// Grid: tiles of WARP columns in x, of TILE_ROWS rows in y; a block is WARP by TILE_LANES threads.
extern "C" __global__ void update_bias_through_relu(
    float* __restrict__ slopes, const float* __restrict__ activations, float* __restrict__ bias, float rate,
    int rows, int columns) {
    __shared__ float sums[TILE_LANES][WARP];
    const int column = blockIdx.x * WARP + threadIdx.x, first = blockIdx.y * TILE_ROWS;
    const int end = min(first + TILE_ROWS, rows);
    float sum = 0.0f;
    if (column < columns) {
        for (int row = first + threadIdx.y; row < end; row += TILE_LANES) {
            const size_t at = (size_t)row * columns + column;
            float slope = slopes[at];
            if (activations && !(activations[at] > 0.0f)) slopes[at] = slope = 0.0f;
            sum += slope;
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int other = 1; other < TILE_LANES; ++other) sum += sums[other][threadIdx.x];
        atomicAdd(bias + column, -rate * sum);
    }
}
