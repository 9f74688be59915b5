// What went wrong with a GPU, and what to do about it: one line for whoever reads it.
#pragma once
#include <algorithm>
#include <iterator>
#include <new>
#include <string>
#include <utility>

namespace pyrank::cuda {

// Python makes a MemoryError of it.
class OutOfMemory : public std::bad_alloc {
public:
    explicit OutOfMemory(std::string told) : told_(std::move(told)) {}
    const char* what() const noexcept override { return told_.c_str(); }

private:
    std::string told_;
};

struct Remedy {
    const char *what, *remedy;
    cudaError_t failures[8];  // as many as there are; the rest is cudaSuccess
};

// Errors that people meet who have done nothing wrong but to start; whatever is not here is told in CUDA's own words.
constexpr Remedy remedies[] = {
    {"is busy: another process has it for itself, or its compute mode lets nobody in",
     "wait, or take another; nvidia-smi shows both",
     {cudaErrorDevicesUnavailable}},
    {"finds no kernels for it in this build",
     "build for it, see pyrank.show_config()",
     {cudaErrorNoKernelImageForDevice, cudaErrorInvalidDeviceFunction}},
    {"has a driver that cannot compile the PTX of this build",
     "update the driver, or build for this GPU, see pyrank.show_config()",
     {cudaErrorUnsupportedPtxVersion, cudaErrorInvalidPtx, cudaErrorJitCompilerNotFound,
      cudaErrorJitCompilationDisabled}},
    {"cannot be initialised: CUDA does not survive a fork of a process that has used it",
     "start processes by spawn or forkserver",
     {cudaErrorInitializationError}},
    {"was lost: a kernel failed there, and this process can use it no more",
     "start the process anew, a checkpoint goes on from where it was written",
     {cudaErrorLaunchFailure, cudaErrorIllegalAddress, cudaErrorMisalignedAddress, cudaErrorIllegalInstruction,
      cudaErrorInvalidAddressSpace, cudaErrorInvalidPc, cudaErrorHardwareStackError, cudaErrorAssert}},
    {"was lost: its memory or a link has an error that it could not correct",
     "start the process anew; if it comes back, the GPU has to be reset or replaced",
     {cudaErrorECCUncorrectable, cudaErrorNvlinkUncorrectable}},
    {"was lost: the system stopped a kernel that took too long, as it does where a display is attached",
     "start the process anew, with fewer chains or on another GPU",
     {cudaErrorLaunchTimeout}},
    {"was reset while it was in use",
     "call again; streams and tensors of before are gone",
     {cudaErrorContextIsDestroyed, cudaErrorDeviceUninitialized, cudaErrorInvalidResourceHandle}},
    {"is recording a CUDA graph, of which this cannot be part",
     "call it outside of the recording",
     {cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated, cudaErrorStreamCaptureImplicit}},
    {"is not ready: the service that connects the GPUs of this machine does not run",
     "have nvidia-fabricmanager started",
     {cudaErrorSystemNotReady}},
    {"has a driver whose parts are of different versions, as after an update",
     "restart the machine",
     {cudaErrorSystemDriverMismatch, cudaErrorCompatNotSupportedOnDevice}},
    {"cannot be reached through MPS, by which processes share it",
     "have nvidia-cuda-mps-control started, or unset CUDA_MPS_PIPE_DIRECTORY",
     {cudaErrorMpsConnectionFailed, cudaErrorMpsServerNotReady, cudaErrorMpsRpcFailure}},
    {"does not answer",
     "start the process anew; if that does not help, load the driver again (nvidia-modprobe -u), or restart the "
     "machine",
     {cudaErrorUnknown, cudaErrorOperatingSystem}},
};

// "cuda:0 is busy: ...; wait, or ...": `said` is CUDA's own description.
inline std::string told(cudaError_t failure, const std::string& device, const char* said) {
    for (const Remedy& known : remedies)
        if (std::find(std::begin(known.failures), std::end(known.failures), failure) != std::end(known.failures))
            return device + " " + known.what + " (" + said + "); " + known.remedy;
    return device + ": " + said + "; start the process anew, and look whether nvidia-smi answers";
}

// 1.5 GB, 200.0 MB.
inline std::string told_bytes(size_t bytes) {
    const bool giga = bytes >= 1'000'000'000;
    const std::string tenths = std::to_string((bytes + (giga ? 50'000'000 : 50'000)) / (giga ? 100'000'000 : 100'000));
    const std::string padded = tenths.size() < 2 ? "0" + tenths : tenths;
    return padded.substr(0, padded.size() - 1) + "." + padded.back() + (giga ? " GB" : " MB");
}

}  // namespace pyrank::cuda
