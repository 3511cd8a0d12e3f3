// The CUDA driver, NVRTC and cuBLAS on a CPU, as far as the peer "CUDA C" calls them: one library in the place of all three.
//
// The kernels are those of the peer, compiled from the same source by the C++ compiler. Blocks run one after the
// other; the threads of a block that has barriers are fibers, which wait for their warp or for their block. Launches
// and products of a stream that is recorded are kept with the values of their arguments, and run when they are replayed.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

struct Index { unsigned x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;

enum class Fiber { ready, at_warp, at_block, done };
struct Thread {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(1 << 16);
    Index index;
    Fiber state;
    float given[2];
    int shuffles;
};
static std::vector<Thread> threads;
static Thread* current = nullptr;
static ucontext_t scheduler;
static std::function<void()> body;

static void wait_at(Fiber barrier) {
    if (!current) { std::fputs("a kernel without barriers waits at one\n", stderr); std::abort(); }
    current->state = barrier;
    swapcontext(&current->context, &scheduler);
}

#define __global__
#define __device__ static
#define __shared__ static
#define __syncthreads() wait_at(Fiber::at_block)
#define __threadfence()
using std::min;

static float __shfl_xor_sync(unsigned, float value, int mask) {
    const int turn = current->shuffles++ % 2;  // two places, for a fast lane may give again before a slow one has read
    current->given[turn] = value;
    wait_at(Fiber::at_warp);
    return threads[(current - threads.data()) ^ mask].given[turn];
}
static void atomicAdd(float* place, float value) { *place += value; }
static unsigned atomicInc(unsigned* place, unsigned limit) {
    const unsigned old = *place;
    *place = old >= limit ? 0 : old + 1;
    return old;
}

#include KERNELS

static void run_fiber() { body(); current->state = Fiber::done; swapcontext(&current->context, &scheduler); }

static bool all_are(size_t first, size_t end, Fiber state) {
    return std::all_of(threads.begin() + first, threads.begin() + end,
                       [=](const Thread& t) { return t.state == state || t.state == Fiber::done; });
}
static void release(size_t first, size_t end) {
    for (size_t i = first; i < end; ++i) if (threads[i].state != Fiber::done) threads[i].state = Fiber::ready;
}

static void run_block_of_fibers() {
    const size_t count = blockDim.x * blockDim.y;
    if (threads.size() < count) threads = std::vector<Thread>(count);
    for (size_t i = 0; i < count; ++i) {
        Thread& thread = threads[i];
        thread.index = {unsigned(i % blockDim.x), unsigned(i / blockDim.x), 0};
        thread.state = Fiber::ready;
        thread.shuffles = 0;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, run_fiber, 0);
    }
    while (!all_are(0, count, Fiber::done)) {
        for (size_t i = 0; i < count; ++i) {
            if (threads[i].state != Fiber::ready) continue;
            current = &threads[i];
            threadIdx = current->index;
            swapcontext(&scheduler, &current->context);
        }
        current = nullptr;
        for (size_t warp = 0; warp < count; warp += 32) {
            const size_t end = min(warp + 32, count);
            if (all_are(warp, end, Fiber::at_warp)) release(warp, end);
        }
        if (all_are(0, count, Fiber::at_block)) release(0, count);
    }
}

static void run_grid(Index grid, Index block, bool barriers, std::function<void()> kernel) {
    gridDim = grid, blockDim = block, body = std::move(kernel);
    for (blockIdx = {0, 0, 0}; blockIdx.y < grid.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
            if (barriers) { run_block_of_fibers(); continue; }
            for (threadIdx = {0, 0, 0}; threadIdx.y < block.y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) body();
        }
}

struct Kernel { bool barriers; std::function<std::function<void()>(void**)> bind; };

template <typename... A, size_t... I>
static std::function<void()> bind_values(void (*kernel)(A...), void** pointers, std::index_sequence<I...>) {
    std::tuple<A...> values(*static_cast<A*>(pointers[I])...);
    return [=] { std::apply(kernel, values); };
}
template <typename... A>
static Kernel wrap(void (*kernel)(A...), bool barriers) {
    return {barriers, [=](void** pointers) { return bind_values(kernel, pointers, std::index_sequence_for<A...>()); }};
}
static std::map<std::string, Kernel> kernels = {
    {"gather_batch", wrap(gather_batch, false)},
    {"add_bias_relu", wrap(add_bias_relu, false)},
    {"softmax_cross_entropy", wrap(softmax_cross_entropy, true)},
    {"update_bias_through_relu", wrap(update_bias_through_relu, true)},
};

// --- the driver -----------------------------------------------------------------------------------------------------

using Address = unsigned long long;
using Graph = std::vector<std::function<void()>>;
struct Stream { bool records; Graph graph; };
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_CONTEXT = 201, NOT_FOUND = 500 };

constexpr size_t GUARD = 256;
static const std::string guard(GUARD, '\xff');  // floats that are no numbers: what is read behind an array shows
static std::map<Address, size_t> allocations;
static bool initialized = false, has_context = false;

static bool inside(Address at, size_t bytes) {
    auto found = allocations.upper_bound(at);
    return found != allocations.begin() && at + bytes <= std::prev(found)->first + std::prev(found)->second;
}
static void issue(Stream* stream, std::function<void()> work) {
    if (stream->records) stream->graph.push_back(std::move(work)); else work();
}

extern "C" {
int cuGetErrorName(int error, const char** name) {
    static const std::map<int, const char*> names = {
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"}, {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
        {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"}};
    const auto found = names.find(error);
    *name = found == names.end() ? nullptr : found->second;
    return found == names.end() ? INVALID_VALUE : SUCCESS;
}
int cuInit(unsigned flags) { initialized = true; return flags ? INVALID_VALUE : SUCCESS; }
int cuDriverGetVersion(int* version) { *version = 13000; return SUCCESS; }
int cuDeviceGet(int* device, int ordinal) {
    *device = 7;
    return !initialized ? NOT_INITIALIZED : ordinal ? INVALID_VALUE : SUCCESS;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 75 ? 9 : 0;
    return device == 7 && (attribute == 75 || attribute == 76) ? SUCCESS : INVALID_VALUE;
}
int cuDevicePrimaryCtxRetain(void** context, int device) { *context = &kernels; return device == 7 ? SUCCESS : INVALID_VALUE; }
int cuCtxSetCurrent(void* context) { has_context = context == &kernels; return SUCCESS; }
int cuModuleLoadData(void** module, const void* image) {
    *module = &kernels;
    return !has_context ? INVALID_CONTEXT : std::strcmp(static_cast<const char*>(image), "emulated") ? INVALID_VALUE : SUCCESS;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
    const auto found = kernels.find(name);
    if (module != &kernels || found == kernels.end()) return NOT_FOUND;
    *function = &found->second;
    return SUCCESS;
}
int cuMemAlloc_v2(Address* address, size_t bytes) {
    if (!has_context) return INVALID_CONTEXT;
    if (!bytes) return INVALID_VALUE;
    if (bytes >> 36) return OUT_OF_MEMORY;
    char* memory = static_cast<char*>(std::malloc(bytes + GUARD));
    std::memcpy(memory + bytes, guard.data(), GUARD);
    *address = reinterpret_cast<Address>(memory);
    allocations[*address] = bytes;
    return SUCCESS;
}
int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void* stream) {
    if (!inside(to, bytes)) return INVALID_VALUE;
    issue(static_cast<Stream*>(stream), [=] { std::memset(reinterpret_cast<void*>(to), value, bytes); });
    return SUCCESS;
}
int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void*) {
    if (!inside(to, bytes)) return INVALID_VALUE;
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void*) {
    if (!inside(from, bytes)) return INVALID_VALUE;
    std::memcpy(to, reinterpret_cast<void*>(from), bytes);
    return SUCCESS;
}
int cuStreamCreate(void** stream, unsigned) { *stream = new Stream{}; return has_context ? SUCCESS : INVALID_CONTEXT; }
int cuStreamSynchronize(void* stream) {
    if (!stream || static_cast<Stream*>(stream)->records) return 900;
    for (auto [address, bytes] : allocations)  // 700 is CUDA_ERROR_ILLEGAL_ADDRESS
        if (std::memcmp(reinterpret_cast<char*>(address) + bytes, guard.data(), GUARD)) return 700;
    return SUCCESS;
}
int cuStreamBeginCapture_v2(void* stream, int mode) {
    static_cast<Stream*>(stream)->records = true;
    return mode < 3 ? SUCCESS : INVALID_VALUE;
}
int cuStreamEndCapture(void* stream, void** graph) {
    auto* recorded = static_cast<Stream*>(stream);
    *graph = new Graph(std::exchange(recorded->graph, {}));
    return std::exchange(recorded->records, false) ? SUCCESS : INVALID_VALUE;
}
int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) {
    *executable = graph;
    return flags ? INVALID_VALUE : SUCCESS;
}
int cuGraphLaunch(void* executable, void* stream) {
    for (const auto& work : *static_cast<Graph*>(executable)) issue(static_cast<Stream*>(stream), work);
    return SUCCESS;
}
int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared_bytes, void* stream, void** arguments, void** extra) {
    if (grid_z != 1 || block_z != 1 || shared_bytes || extra || !grid_x || !grid_y || grid_y > 65535 ||
        block_x * block_y > 1024)
        return INVALID_VALUE;
    const auto* kernel = static_cast<Kernel*>(function);
    auto work = kernel->bind(arguments);
    issue(static_cast<Stream*>(stream), [=, barriers = kernel->barriers] {
        run_grid({grid_x, grid_y, 1}, {block_x, block_y, 1}, barriers, work);
    });
    return SUCCESS;
}

// --- NVRTC ----------------------------------------------------------------------------------------------------------

const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR"; }
int nvrtcVersion(int* major, int* minor) { *major = 13, *minor = 0; return 0; }
int nvrtcCreateProgram(void** program, const char* source, const char*, int headers, const char* const*, const char* const*) {
    *program = const_cast<char*>("program");
    return headers || !std::strstr(source, "softmax_cross_entropy");
}
int nvrtcCompileProgram(void*, int count, const char* const* options) {
    return count != 1 || std::strcmp(options[0], "--gpu-architecture=sm_90");
}
int nvrtcGetProgramLogSize(void*, size_t* bytes) { *bytes = 1; return 0; }
int nvrtcGetProgramLog(void*, char* log) { *log = 0; return 0; }
int nvrtcGetCUBINSize(void*, size_t* bytes) { *bytes = sizeof "emulated"; return 0; }
int nvrtcGetCUBIN(void*, char* cubin) { std::strcpy(cubin, "emulated"); return 0; }

// --- cuBLAS ---------------------------------------------------------------------------------------------------------

struct Handle { Stream* stream; size_t workspace_bytes; };
constexpr int BLAS_INVALID_VALUE = 7, BLAS_EXECUTION_FAILED = 13;

const char* cublasGetStatusName(int status) {
    return status == BLAS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS_EXECUTION_FAILED";
}
int cublasGetProperty(int which, int* value) { *value = which == 0 ? 13 : which; return 0; }
int cublasCreate_v2(void** handle) { *handle = new Handle{}; return has_context ? 0 : 1; }
int cublasSetStream_v2(void* handle, void* stream) { *static_cast<Handle*>(handle) = {static_cast<Stream*>(stream), 0}; return 0; }
int cublasSetWorkspace_v2(void* handle, void* workspace, size_t bytes) {
    static_cast<Handle*>(handle)->workspace_bytes = bytes;
    return inside(reinterpret_cast<Address>(workspace), bytes) ? 0 : BLAS_INVALID_VALUE;
}

// C = alpha op(A) op(B) + beta C; op(A) is m by k, op(B) k by n; element (i, j) of a matrix lies at i + j * its ld.
int cublasSgemm_v2(void* handle, int transa, int transb, int m, int n, int k, const float* alpha, const float* A,
                   int lda, const float* B, int ldb, const float* beta, float* C, int ldc) {
    if (lda < (transa ? k : m) || ldb < (transb ? n : k) || ldc < m) return BLAS_INVALID_VALUE;
    auto fits = [](const float* matrix, int rows, int columns, int ld) {
        return inside(reinterpret_cast<Address>(matrix), 4 * (size_t(ld) * (columns - 1) + rows));
    };
    if (!fits(A, transa ? k : m, transa ? m : k, lda) || !fits(B, transb ? n : k, transb ? k : n, ldb) || !fits(C, m, n, ldc))
        return BLAS_EXECUTION_FAILED;
    auto work = [=, alpha = *alpha, beta = *beta] {
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < m; ++i) {
                float sum = 0.0f;
                for (int l = 0; l < k; ++l)
                    sum += A[transa ? l + i * size_t(lda) : i + l * size_t(lda)] *
                           B[transb ? j + l * size_t(ldb) : l + j * size_t(ldb)];
                float& c = C[i + j * size_t(ldc)];
                c = alpha * sum + (beta == 0.0f ? 0.0f : beta * c);
            }
    };
    const auto* state = static_cast<Handle*>(handle);
    if (!state->workspace_bytes) return BLAS_EXECUTION_FAILED;  // it would be allocated while a graph is recorded
    issue(state->stream, work);
    return 0;
}
}
