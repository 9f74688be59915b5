// What the backend asks of the CUDA runtime. The emulator of the tests has the same names.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#ifndef PYRANK_EMULATOR

namespace pyrank::cuda {

inline void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // or the next launch would be blamed for it
    if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
    throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

inline int attribute(cudaDeviceAttr name, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, name, device));
    return value;
}

// Throws where there is no driver.
inline int device_count() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver)
        throw std::runtime_error("there is no NVIDIA driver, or one too old for CUDA " +
                                 std::to_string(CUDART_VERSION / 1000));
    if (status != cudaErrorNoDevice) check(status);
    return count;
}

inline std::string device_name(int device) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, device));
    return properties.name;
}

// 90 stands for 9.0.
inline int compute_capability(int device) {
    return 10 * attribute(cudaDevAttrComputeCapabilityMajor, device) +
           attribute(cudaDevAttrComputeCapabilityMinor, device);
}

// As long as it lives, what this thread asks for is about one device.
class DeviceInUse {
public:
    explicit DeviceInUse(int device) {
        check(cudaGetDevice(&before_));
        check(cudaSetDevice(device));
    }
    DeviceInUse(const DeviceInUse&) = delete;
    ~DeviceInUse() { cudaSetDevice(before_); }

private:
    int before_ = 0;
};

// Shared memory that one block of a kernel may ask for beside what the kernel has anyway.
template <class... P>
int64_t shared_limit(void (*kernel)(P...), int device) {
    cudaFuncAttributes of_kernel;
    check(cudaFuncGetAttributes(&of_kernel, kernel));
    return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device) - int64_t(of_kernel.sharedSizeBytes);
}

inline bool lies_on_device(const void* memory, int device) {
    cudaPointerAttributes attributes;
    check(cudaPointerGetAttributes(&attributes, memory));
    return attributes.type == cudaMemoryTypeDevice && attributes.device == device;
}

inline int64_t free_memory() {
    size_t available = 0, total = 0;
    check(cudaMemGetInfo(&available, &total));
    return int64_t(available);
}

// Memory of the device in use.
class Buffer {
public:
    explicit Buffer(size_t bytes) {
        if (bytes) check(cudaMalloc(&memory_, bytes));
    }
    Buffer(Buffer&& other) noexcept : memory_(other.memory_) { other.memory_ = nullptr; }
    ~Buffer() { cudaFree(memory_); }
    void* data() const { return memory_; }

private:
    void* memory_ = nullptr;
};

using Queue = cudaStream_t;  // CUDA calls it a stream, a word that has another meaning here

// `rows` pieces of `bytes`, each `pitch` after the one before; either side may be the host or a device.
inline void copy_rows(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t bytes, size_t rows,
                      Queue queue) {
    if (!bytes || !rows) return;
    if (rows == 1 || (to_pitch == bytes && from_pitch == bytes))  // one piece of any size; a pitch has a limit
        check(cudaMemcpyAsync(to, from, bytes * rows, cudaMemcpyDefault, queue));
    else
        check(cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, bytes, rows, cudaMemcpyDefault, queue));
}

inline void wait(Queue queue) { check(cudaStreamSynchronize(queue)); }

// How many blocks of a kernel the device holds at a time; allows the kernel as much shared memory as there is, because
// other threads of the host may need more of it than this one.
template <class... P>
int resident_blocks(void (*kernel)(P...), int device, int threads, int64_t shared_bytes) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_limit(kernel, device))));
    int blocks = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, size_t(shared_bytes)));
    return blocks * attribute(cudaDevAttrMultiProcessorCount, device);
}

template <class... P, class... A>
void launch(void (*kernel)(P...), int blocks, int threads, int64_t shared_bytes, Queue queue, A... arguments) {
    kernel<<<unsigned(blocks), unsigned(threads), size_t(shared_bytes), queue>>>(arguments...);
    check(cudaGetLastError());
}

}  // namespace pyrank::cuda

#endif
