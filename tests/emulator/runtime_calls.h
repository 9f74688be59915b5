// The calls of the CUDA runtime that csrc/cuda/runtime.h makes, for the machine of machine.h. Each of them can be made
// to fail, as those of a real one do where there is no driver, no room, or no more device.
#pragma once
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "machine.h"

#define CUDART_VERSION 13000

enum cudaError_t : int {
    cudaSuccess = 0,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInitializationError = 3,
    cudaErrorInsufficientDriver = 35,
    cudaErrorDevicesUnavailable = 46,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorNoDevice = 100,
    cudaErrorDeviceUninitialized = 201,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorECCUncorrectable = 214,
    cudaErrorInvalidPtx = 218,
    cudaErrorNvlinkUncorrectable = 220,
    cudaErrorJitCompilerNotFound = 221,
    cudaErrorUnsupportedPtxVersion = 222,
    cudaErrorJitCompilationDisabled = 223,
    cudaErrorOperatingSystem = 304,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchTimeout = 702,
    cudaErrorContextIsDestroyed = 709,
    cudaErrorAssert = 710,
    cudaErrorHardwareStackError = 714,
    cudaErrorIllegalInstruction = 715,
    cudaErrorMisalignedAddress = 716,
    cudaErrorInvalidAddressSpace = 717,
    cudaErrorInvalidPc = 718,
    cudaErrorLaunchFailure = 719,
    cudaErrorSystemNotReady = 802,
    cudaErrorSystemDriverMismatch = 803,
    cudaErrorCompatNotSupportedOnDevice = 804,
    cudaErrorMpsConnectionFailed = 805,
    cudaErrorMpsRpcFailure = 806,
    cudaErrorMpsServerNotReady = 807,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureImplicit = 906,
    cudaErrorUnknown = 999,
};

namespace pyrank::emulator {

// The calls to be failed: those of this name, or any if it is empty, but for the first `spared` of them; `lasting`: all
// from then on, as after a kernel that failed, else one.
struct Fault {
    std::string call;
    cudaError_t error = cudaSuccess;
    int spared = 0;
    bool lasting = false;
};
inline Fault fault;
inline std::mutex fault_lock;

inline cudaError_t outcome(const std::string& call) {
    const std::lock_guard guard(fault_lock);
    if (fault.error == cudaSuccess || (!fault.call.empty() && fault.call != call) || fault.spared-- > 0)
        return cudaSuccess;
    const cudaError_t error = fault.error;
    if (fault.lasting)
        fault = {"", error, 0, true};
    else
        fault = {};
    return error;
}

struct Allocation {
    std::unique_ptr<char[]> memory;
    std::unique_ptr<Region> region;
};
// Each thread drives a device of its own.
inline std::map<void*, Allocation>& allocations() {
    thread_local std::map<void*, Allocation> own;
    return own;
}

}  // namespace pyrank::emulator

// Return from the call in which this stands if it has been told to fail.
#define PYRANK_MAY_FAIL() \
    if (const cudaError_t failed = pyrank::emulator::outcome(__func__)) return failed

enum cudaDeviceAttr {
    cudaDevAttrComputeCapabilityMajor,
    cudaDevAttrComputeCapabilityMinor,
    cudaDevAttrMaxSharedMemoryPerBlockOptin,
    cudaDevAttrMultiProcessorCount,
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeDevice };
enum cudaMemcpyKind { cudaMemcpyDefault };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
using cudaStream_t = void*;
struct cudaDeviceProp {
    char name[256];
};
struct cudaPointerAttributes {
    cudaMemoryType type;
    int device;
};
struct cudaFuncAttributes {
    size_t sharedSizeBytes;
};
struct dim3 {
    unsigned x = 1;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "in the words of CUDA"; }
inline cudaError_t cudaDriverGetVersion(int* version) {
    *version = pyrank::emulator::settings.driver;
    return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
    PYRANK_MAY_FAIL();
    *count = pyrank::emulator::settings.devices;
    return *count ? cudaSuccess : cudaErrorNoDevice;
}
inline thread_local int device_in_use = 0;
inline cudaError_t cudaGetDevice(int* device) {
    *device = device_in_use;
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
    device_in_use = device;
    PYRANK_MAY_FAIL();
    return pyrank::emulator::outcome("cudaSetDevice " + std::to_string(device));
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int) {
    const auto& settings = pyrank::emulator::settings;
    const int values[] = {settings.compute_capability / 10, settings.compute_capability % 10,
                          int(settings.shared_limit), 1};
    *value = values[name];
    return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    PYRANK_MAY_FAIL();
    std::strcpy(properties->name, "emulator");
    return cudaSuccess;
}
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void*) {
    PYRANK_MAY_FAIL();
    *attributes = {cudaMemoryTypeUnregistered, -1};
    return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
    PYRANK_MAY_FAIL();
    *available = *total = size_t(pyrank::emulator::settings.free_memory);
    return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** memory, size_t bytes) {
    using namespace pyrank::emulator;
    PYRANK_MAY_FAIL();
    if (int64_t(bytes) > settings.free_memory) return cudaErrorMemoryAllocation;
    Allocation made{std::make_unique_for_overwrite<char[]>(bytes + 1), nullptr};
    made.region = std::make_unique<Region>(made.memory.get(), bytes);
    machine().add(made.region.get());
    *memory = made.memory.get();
    allocations().emplace(*memory, std::move(made));
    return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
    using namespace pyrank::emulator;
    const auto found = allocations().find(memory);
    if (found == allocations().end()) return cudaSuccess;
    machine().remove(found->second.region.get());
    allocations().erase(found);
    PYRANK_MAY_FAIL();
    return cudaSuccess;
}
inline cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t bytes,
                                     size_t rows, cudaMemcpyKind, cudaStream_t) {
    PYRANK_MAY_FAIL();
    for (size_t row = 0; row < rows && bytes; ++row) {
        std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, bytes);
        pyrank::emulator::machine().host_writes(static_cast<char*>(to) + row * to_pitch, bytes);
    }
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t queue) {
    PYRANK_MAY_FAIL();
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, queue);
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
    PYRANK_MAY_FAIL();
    return cudaSuccess;
}
template <class... P>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*)(P...)) {
    PYRANK_MAY_FAIL();
    attributes->sharedSizeBytes = 0;
    return cudaSuccess;
}
template <class... P>
cudaError_t cudaFuncSetAttribute(void (*)(P...), cudaFuncAttribute, int) {
    PYRANK_MAY_FAIL();
    return cudaSuccess;
}
template <class... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*)(P...), int, size_t) {
    PYRANK_MAY_FAIL();
    *blocks = pyrank::emulator::settings.resident_blocks;
    return cudaSuccess;
}
template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* shape, void (*kernel)(P...), A... arguments) {
    PYRANK_MAY_FAIL();
    pyrank::emulator::shared_bytes_of_last_launch = int64_t(shape->dynamicSmemBytes);
    pyrank::emulator::machine().launch(int(shape->gridDim.x), int(shape->blockDim.x), int64_t(shape->dynamicSmemBytes),
                                       [&] { kernel(arguments...); });
    return cudaSuccess;
}
