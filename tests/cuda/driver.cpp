// Instead of libcuda: one device whose memory is the process's and whose kernels end before their launch
// returns, so that streams and events have nothing to order. Only what is called is here.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "include/fibers.h"
#include "launch.h"

namespace {

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
};

/// Shared memory of a block that did not ask for more.
const int FREE_SHARED_BYTES = 48 * 1024;

const size_t DEVICE_BYTES = size_t(16) << 30;

void* const CONTEXT = reinterpret_cast<void*>(0x1000);

/// A handle that nobody looks into, unlike all others.
void* handle() {
    static uintptr_t last = 0x10000;
    return reinterpret_cast<void*>(__atomic_add_fetch(&last, 16, __ATOMIC_RELAXED));
}

/// Whether nothing is computed: what is left of the time is the host's.
bool is_idle() {
    static const bool idle = getenv("TENON_TEST_CUDA_IDLE");
    return idle;
}

Result allocate(void** out, size_t bytes) {
    if (bytes > DEVICE_BYTES || posix_memalign(out, 512, bytes ? bytes : 1)) return OUT_OF_MEMORY;
    // Not a number in every type of float: what is read before it was written shows.
    if (bytes <= 64 << 20 && !is_idle()) memset(*out, 0xff, bytes);
    return SUCCESS;
}

struct Function {
    Entry entry;
    char name[256];
    /// Shared memory that a launch may ask for.
    unsigned shared_bytes;
};

/// The answers of a card with compute capability 8.0, by the number of the attribute.
int attribute(int number) {
    switch (number) {
        case 1: return 1024;                // threads of a block
        case 2: case 3: return 1024;        // its extent in x and y
        case 4: return 64;                  // and in z
        case 5: return 2147483647;          // blocks of a grid in x
        case 6: case 7: return 65535;       // and in y and z
        case 8: return FREE_SHARED_BYTES;   // shared memory of a block, unless asked for more
        case 10: return 32;                 // threads of a warp
        case 12: return 65536;              // registers of a block
        case 16: return 108;                // multiprocessors
        case 38: return 40 << 20;           // level 2 cache
        case 39: return 2048;               // threads of a multiprocessor
        case 75: return 8;                  // compute capability
        case 76: return 0;
        case 81: return 164 * 1024;         // shared memory of a multiprocessor
        case 97: return SHARED_BYTES;       // of a block that asks
        default: return 1;
    }
}

struct Copy2D {
    size_t from_x, from_y;
    int from_kind;
    const void* from_host;
    uint64_t from_device;
    void* from_array;
    size_t from_pitch;
    size_t to_x, to_y;
    int to_kind;
    void* to_host;
    uint64_t to_device;
    void* to_array;
    size_t to_pitch;
    size_t width, height;
};

}  // namespace

extern "C" {

Result cuInit(unsigned) { return SUCCESS; }
Result cuDriverGetVersion(int* version) { return *version = 13000, SUCCESS; }
Result cuDeviceGetCount(int* count) { return *count = 1, SUCCESS; }
Result cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal ? INVALID_DEVICE : SUCCESS; }
Result cuDeviceGetName(char* name, int bytes, int) {
    return snprintf(name, bytes, "no GPU: kernels run on the processor"), SUCCESS;
}
Result cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = DEVICE_BYTES, SUCCESS; }
Result cuDeviceGetUuid_v2(char* id, int) { return memset(id, 1, 16), SUCCESS; }
Result cuDeviceGetAttribute(int* value, int number, int) { return *value = attribute(number), SUCCESS; }
Result cuDevicePrimaryCtxRetain(void** context, int) { return *context = CONTEXT, SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
Result cuCtxSetCurrent(void*) { return SUCCESS; }
Result cuCtxGetCurrent(void** context) { return *context = CONTEXT, SUCCESS; }
Result cuCtxSynchronize() { return SUCCESS; }
Result cuCtxRecordEvent(void*, void*) { return SUCCESS; }
Result cuCtxWaitEvent(void*, void*) { return SUCCESS; }
Result cuGetErrorName(int, const char** name) { return *name = "CUDA_ERROR", SUCCESS; }
Result cuGetErrorString(int error, const char** text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : error == LAUNCH_FAILED ? "launch failed" : "an error";
    return SUCCESS;
}

Result cuStreamCreate(void** stream, unsigned) { return *stream = handle(), SUCCESS; }
Result cuStreamDestroy_v2(void*) { return SUCCESS; }
Result cuStreamSynchronize(void*) { return SUCCESS; }
Result cuStreamWaitEvent(void*, void*, unsigned) { return SUCCESS; }
Result cuStreamQuery(void*) { return SUCCESS; }
Result cuEventCreate(void** event, unsigned) { return *event = handle(), SUCCESS; }
Result cuEventDestroy_v2(void*) { return SUCCESS; }
Result cuEventRecord(void*, void*) { return SUCCESS; }
Result cuEventSynchronize(void*) { return SUCCESS; }
Result cuEventQuery(void*) { return SUCCESS; }
Result cuEventElapsedTime_v2(float* milliseconds, void*, void*) { return *milliseconds = 0, SUCCESS; }

Result cuMemAlloc_v2(void** out, size_t bytes) { return allocate(out, bytes); }
Result cuMemAllocAsync(void** out, size_t bytes, void*) { return allocate(out, bytes); }
Result cuMemAllocHost_v2(void** out, size_t bytes) { return allocate(out, bytes); }
Result cuMemFree_v2(void* memory) { return free(memory), SUCCESS; }
Result cuMemFreeAsync(void* memory, void*) { return free(memory), SUCCESS; }
Result cuMemFreeHost(void* memory) { return free(memory), SUCCESS; }
Result cuMemGetInfo_v2(size_t* left, size_t* total) { return *left = *total = DEVICE_BYTES, SUCCESS; }
Result cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t bytes, void*) { return memcpy(to, from, bytes), SUCCESS; }
Result cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, void*) { return memcpy(to, from, bytes), SUCCESS; }
Result cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, void*) { return memmove(to, from, bytes), SUCCESS; }
Result cuMemsetD8Async(void* to, unsigned char value, size_t bytes, void*) { return memset(to, value, bytes), SUCCESS; }
Result cuMemcpy2DAsync_v2(const Copy2D* copy, void*) {
    const int HOST = 1;
    const char* from = copy->from_kind == HOST ? static_cast<const char*>(copy->from_host)
                                               : reinterpret_cast<const char*>(copy->from_device);
    char* to = copy->to_kind == HOST ? static_cast<char*>(copy->to_host) : reinterpret_cast<char*>(copy->to_device);
    for (size_t row = 0; row < copy->height; row++)
        memcpy(to + row * copy->to_pitch, from + row * copy->from_pitch, copy->width);
    return SUCCESS;
}

// The image is the path of the library that compiler.cpp has made.
Result cuModuleLoadData(void** module, const void* image) {
    *module = dlopen(static_cast<const char*>(image), RTLD_NOW | RTLD_LOCAL);
    if (!*module) fprintf(stderr, "%s\n", dlerror());
    return *module ? SUCCESS : INVALID_IMAGE;
}
Result cuModuleUnload(void*) { return SUCCESS; }
Result cuModuleGetFunction(Function** function, void* module, const char* name) {
    *function = new Function{reinterpret_cast<Entry>(dlsym(module, "fiber_entry")), {}, FREE_SHARED_BYTES};
    snprintf((*function)->name, sizeof (*function)->name, "%s", name);
    return (*function)->entry ? SUCCESS : NOT_FOUND;
}
Result cuFuncSetAttribute(Function* function, int attribute, int value) {
    const int SHARED = 8;
    if (attribute == SHARED && value > SHARED_BYTES) return INVALID_VALUE;
    if (attribute == SHARED && value > FREE_SHARED_BYTES) function->shared_bytes = value;
    return SUCCESS;
}
Result cuFuncGetAttribute(int* value, int, Function*) { return *value = 1024, SUCCESS; }

// For kernels that load by TMA, which do not compile here.
Result cuTensorMapEncodeTiled(...) { return SUCCESS; }
Result cuTensorMapEncodeIm2col(...) { return SUCCESS; }

Result cuLaunchKernel(Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared_bytes, void*, void** arguments, void**) {
    uint64_t threads = uint64_t(block_x) * block_y * block_z;
    bool fits = grid_x && grid_y && grid_z && grid_x <= 2147483647 && grid_y <= 65535 && grid_z <= 65535 &&
                threads && threads <= 1024 && block_z <= 64 && shared_bytes <= function->shared_bytes;
    if (!fits) {
        fprintf(stderr, "%s: no card launches a grid of (%u, %u, %u) blocks of (%u, %u, %u) threads with %u bytes\n",
                function->name, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes);
        return INVALID_VALUE;
    }
    if (is_idle()) return SUCCESS;
    bool done = launch(function->entry, function->name, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z},
                       shared_bytes, arguments);
    return done ? SUCCESS : LAUNCH_FAILED;
}

}  // extern "C"
