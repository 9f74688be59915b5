// What the backend asks of the CUDA runtime: the calls that are made, and what is said when one fails. The emulator of
// the tests has the same calls, and can have any of them fail.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "failure.h"

namespace pyrank::cuda {

// What the device in use has left, for a message.
inline std::string told_free() {
    size_t available = 0, total = 0;
    if (cudaMemGetInfo(&available, &total) != cudaSuccess) return "";
    return ", " + told_bytes(available) + " of " + told_bytes(total) + " free";
}

// Throw if a call has failed; `asked` are the bytes that it wanted.
inline void check(cudaError_t status, size_t asked = 0) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // or the next launch would be blamed for it
    int number = 0;
    const std::string device = "cuda:" + std::to_string(cudaGetDevice(&number) == cudaSuccess ? number : 0);
    if (status == cudaErrorMemoryAllocation) {
        const std::string wanted = asked ? told_bytes(asked) + " asked" : "too little for the kernels themselves";
        throw OutOfMemory(device + ": " + wanted + told_free());
    }
    throw std::runtime_error(told(status, device, cudaGetErrorString(status)));
}

inline int attribute(cudaDeviceAttr name, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, name, device));
    return value;
}

// "13.0", of a version as CUDA counts them.
inline std::string told_version(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Throws where there is no driver, or where nothing can be asked of it; 0 if it sees no device.
inline int device_count() {
    int count = 0, known = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver) {
        cudaGetLastError();
        if (cudaDriverGetVersion(&known) != cudaSuccess || known == 0)
            throw std::runtime_error("there is no NVIDIA driver");
        throw std::runtime_error("the NVIDIA driver knows CUDA " + told_version(known) +
                                 ", and this build is for CUDA " + told_version(CUDART_VERSION) +
                                 "; update the driver, or build with its CUDA");
    }
    if (status == cudaErrorNoDevice) {
        cudaGetLastError();
        return 0;
    }
    check(status);
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

// From here on, what this thread asks for is about one device.
inline void use(int device) { check(cudaSetDevice(device)); }

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
        if (bytes) check(cudaMalloc(&memory_, bytes), bytes);
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
    cudaLaunchConfig_t shape{};
    shape.gridDim = dim3(unsigned(blocks));
    shape.blockDim = dim3(unsigned(threads));
    shape.dynamicSmemBytes = size_t(shared_bytes);
    shape.stream = queue;
    check(cudaLaunchKernelEx(&shape, kernel, arguments...));
}

}  // namespace pyrank::cuda
