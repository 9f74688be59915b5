// From a job to launches: devices, memory, and stretches of layers short enough to be interrupted between.
#include "backend.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>

#include "kernels.h"
#include "part.h"

namespace pyrank::cuda {
namespace {

constexpr double launch_seconds = 0.25;
using LongestRows = TensorLayer<16, 2>;
constexpr int widest_on_tensor_cores = 4096;
constexpr double largest_weight = 7;           // before it is scaled
constexpr int64_t shared_anywhere = 48 << 10;  // that every device has, unasked

// The blocks that share the chains of a part, with their memory.
template <class Layer>
struct Grid {
    int blocks, threads;
    BlockMemory memory;
    Buffer global;

    template <class... P>
    static Grid of(void (*kernel)(P...), const Job& host_job, int64_t chains, int device) {
        Workspace counted(nullptr, shared_limit(kernel, device), nullptr);
        BlockChain<Layer>::count(host_job, counted);
        const Measurement<Layer> of_measures(host_job, counted);
        const int64_t each = counted.global_used(), fit = free_memory() / 10 * 9 / std::max<int64_t>(each, 1);
        const int threads =
            std::clamp(pieces(Layer::threads(host_job.chain), warp_size) * warp_size, warp_size, Layer::max_threads);
        const int64_t resident = resident_blocks(kernel, device, threads, counted.shared_used());
        const int64_t blocks = std::clamp<int64_t>(std::min(resident, fit), 1, chains);
        Buffer global(size_t(blocks) * size_t(each));
        return {
            int(blocks), threads, {counted.shared_used(), static_cast<char*>(global.data()), each}, std::move(global)};
    }

    template <class... P, class... A>
    void run(void (*kernel)(P...), Queue queue, const Job& job, A... arguments) const {
        launch(kernel, blocks, threads, memory.shared_bytes, queue, job, memory, arguments...);
        wait(queue);
    }
};

// Stretches of layers, each as long as the one before says that it may be.
template <class Layer>
void advance_part(const Job& job, DevicePart& part, int device, Queue queue) {
    using Clock = std::chrono::steady_clock;
    const auto grid = Grid<Layer>::of(advance_kernel<Layer>, job, part.job().chains, device);
    Job stretch = part.job();
    const int64_t end = job.first_layer + job.layers;
    int64_t longest = 1;  // layers of a launch are counted by int
    while (stretch.first_layer < end) {
        stretch.layers = std::min(longest, end - stretch.first_layer);
        const auto began = Clock::now();
        grid.run(advance_kernel<Layer>, queue, stretch, RoundKeys(job.chain.seed));
        const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
        const double fitting = double(stretch.layers) * launch_seconds / std::max(seconds, 1e-9);
        longest = int64_t(std::clamp(fitting, 1.0, std::min(4.0 * double(stretch.layers), 0x1p30)));
        stretch.first_layer += stretch.layers;
    }
}

// Call body(T()) with the type of a precision's numbers.
template <class Body>
void with_type(Precision precision, Body body) {
    precision == Precision::single ? body(float()) : body(double());
}

// Rows and columns that a matrix does not have are multiplied with zeros.
bool weights_are_finite(const ChainParams& chain) {
    return std::all_of(chain.weights, chain.weights + chain.period, [](const WeightParams& weights) {
        return std::abs(weights.mean) + largest_weight * weights.scale < std::numeric_limits<float>::max();
    });
}

// Whether the tensor cores can advance a chain.
bool takes(const ChainParams& chain, Precision precision) {
    const bool over_batch = !chain.over_features || (!chain.recentre && !chain.rescale);
    return precision == Precision::single && over_batch && chain.batch <= LongestRows::columns &&
           chain.width <= widest_on_tensor_cores && !sums_cancel(chain) && weights_are_finite(chain);
}

// Call body(Layer) with the type of the layer.
template <class Body>
void with_layer(const ChainParams& chain, Precision precision, Kernel kernel, Body body) {
    if (kernel == Kernel::plain)
        with_type(precision, [&]<class T>(T) {
            sums_cancel(chain) ? body(std::type_identity<CancellingLayer<T>>())
                               : body(std::type_identity<PlainLayer<T>>());
        });
    else if (chain.batch <= 16)
        body(std::type_identity<TensorLayer<2>>());
    else if (chain.batch <= 32)
        body(std::type_identity<TensorLayer<4>>());
    else if (chain.batch <= 64)
        body(std::type_identity<TensorLayer<8>>());
    else if (chain.batch <= 128)
        body(std::type_identity<TensorLayer<16>>());
    else
        body(std::type_identity<LongestRows>());
}

void check_chain(const ChainParams& chain) {
    if (chain.law == Law::orthogonal || chain.law == Law::gram || chain.whiten)
        throw std::invalid_argument("CUDA: expected a gaussian, uniform or rademacher law and no whitening");
    if (double(chain.width + 1) * double(chain.batch + 1) >= 0x1p31)
        throw std::invalid_argument("CUDA: expected fewer than 2^31 entries in a state");
}

// work(number) for each device, each in a thread of its own: the device in use is a thread's, and the caller keeps his.
template <class Work>
void side_by_side(const std::vector<int>& devices, Work work) {
    std::vector<std::exception_ptr> failed(devices.size());
    const auto run = [&](size_t number) {
        try {
            use(devices[number]);
            work(number);
        } catch (...) {
            failed[number] = std::current_exception();
        }
    };
    {
        std::vector<std::jthread> threads;
        for (size_t number = 0; number < devices.size(); ++number) threads.emplace_back(run, number);
    }
    for (const auto& failure : failed)
        if (failure) std::rethrow_exception(failure);
}

// work(part, device, queue) for the chains of each device.
template <class Work>
void for_devices(const Job& job, Precision precision, const Options& options, Work work) {
    check_chain(job.chain);
    const size_t number = precision == Precision::single ? sizeof(float) : sizeof(double);
    const int64_t devices = int64_t(options.devices.size());
    side_by_side(options.devices, [&](size_t d) {
        const int64_t first = job.chains * int64_t(d) / devices, last = job.chains * int64_t(d + 1) / devices;
        if (first == last) return;
        const Queue queue = reinterpret_cast<Queue>(options.queues[d]);
        DevicePart part(job, first, last - first, number, options.devices[d], queue);
        work(part, options.devices[d], queue);
        part.give_back();
    });
}

}  // namespace

std::vector<Device> devices() {
    std::vector<Device> found;
    for (int device = 0; device < device_count(); ++device)
        found.emplace_back(device_name(device), compute_capability(device));
    return found;
}

Kernel kernel_for(const ChainParams& chain, Precision precision, const Options& options) {
    const bool present = std::all_of(options.devices.begin(), options.devices.end(),
                                     [](int device) { return compute_capability(device) >= 80; });
    const bool possible = present && takes(chain, precision);
    if (!possible && (options.kernel == Kernel::tensor || options.kernel == Kernel::quick))
        throw std::invalid_argument(
            "CUDA: expected tensor cores (compute capability 8.0), float32, at most 256 samples and 4096 features, "
            "lines over the batch, and no rescaled sums of signs, which may cancel");
    if (!possible || options.kernel == Kernel::plain) return Kernel::plain;
    return chain.law == Law::gaussian && options.kernel != Kernel::tensor ? Kernel::quick : Kernel::tensor;
}

void advance(const Job& job, Precision precision, const Options& options) {
    const Kernel kernel = kernel_for(job.chain, precision, options);
    Job there = job;
    if (kernel == Kernel::quick) there.chain.law = Law::quick_gaussian;
    for_devices(there, precision, options, [&](DevicePart& part, int device, Queue queue) {
        with_layer(there.chain, precision, kernel,
                   [&]<class Layer>(std::type_identity<Layer>) { advance_part<Layer>(there, part, device, queue); });
    });
}

void measure(const Job& job, Precision precision, const Options& options, double* values) {
    for_devices(job, precision, options, [&](DevicePart& part, int device, Queue queue) {
        double* const here = part.of_chains(values, job.measure_count);
        with_type(precision, [&]<class T>(T) {
            const auto grid = Grid<PlainLayer<T>>::of(measure_kernel<T>, job, part.job().chains, device);
            grid.run(measure_kernel<T>, queue, part.job(), here);
        });
    });
}

void weights(const ChainParams& chain, Precision precision, const Options& options, int64_t layer, int64_t index,
             void* out) {
    check_chain(chain);
    const Queue queue = reinterpret_cast<Queue>(options.queues.front());
    const WeightParams& w = chain.weights_of(layer);
    if (double(w.fan_out) * double(w.fan_in) >= 0x1p31)
        throw std::invalid_argument("CUDA: expected fewer than 2^31 weights in a layer that is drawn to be looked at");
    side_by_side({options.devices.front()}, [&](size_t) {
        with_type(precision, [&]<class T>(T) {
            Workspace counted(nullptr, shared_anywhere, nullptr);
            counted.take_matrix<T>(panel_rows, panel_depth);
            const size_t bytes = size_t(w.fan_out * w.fan_in) * sizeof(T), listed = size_t(chain.period) * sizeof(w);
            const Buffer result(bytes), weights(listed);
            copy_rows(weights.data(), listed, chain.weights, listed, listed, 1, queue);
            ChainParams there = chain;
            there.weights = static_cast<const WeightParams*>(weights.data());
            const BlockMemory memory{counted.shared_used(), nullptr, 0};
            launch(weights_kernel<T>, 1, PlainLayer<T>::max_threads, memory.shared_bytes, queue, there, layer, index,
                   memory, RoundKeys(chain.seed), static_cast<T*>(result.data()));
            copy_rows(out, bytes, result.data(), bytes, bytes, 1, queue);
            wait(queue);
        });
    });
}

}  // namespace pyrank::cuda
