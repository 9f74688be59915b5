// From a job to kernels: instruction set, layout, and threads over groups of chains.
#include "backend.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace pyrank::cpu {
namespace {

std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
#if defined(PYRANK_X86_KERNELS)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
        found.push_back(&kernels_avx512);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&kernels_avx2);
#endif
    found.push_back(&kernels_baseline);
    return found;
}

const Kernels& choose(const std::string& isa) {
    const auto kernels = available();
    if (isa.empty()) return *kernels.front();
    for (const Kernels* k : kernels)
        if (k->name == isa) return *k;
    std::string names;
    for (const Kernels* k : kernels) names += (names.empty() ? "" : ", ") + std::string(k->name);
    throw std::invalid_argument("PYRANK_ISA = '" + isa + "': expected one of " + names +
                                "; unset it to use the best of them");
}

// Lanes waste what they do not fill, but factor many small matrices without waiting for a pivot: one chain in Rows
// takes (rows_win_from_width / width)^(2/3) times its share of a full register of Lanes (measured with AVX-512). They
// are an option as long as their working set stays in the second-level cache.
constexpr double rows_win_from_width = 72;
constexpr int64_t lanes_cache_bytes = 1 << 20;

bool lanes_fit_in_cache(const Job& job, Precision precision, int64_t lanes) {
    const int64_t number = precision == Precision::single ? 4 : 8;
    return 3 * job.chain.width * job.chain.batch * lanes * number <= lanes_cache_bytes;
}

// Whether `chains` chains, at most a register for each thread, are done sooner in Lanes than one by one.
bool lanes_are_faster(int64_t chains, int64_t width, int64_t lanes, int64_t threads) {
    const double ratio = rows_win_from_width / double(width);
    return double((chains + threads - 1) / threads) * std::cbrt(ratio * ratio) > double(lanes);
}

// Full registers while every thread gets one, and for what is left whatever leaves the threads less idle.
std::vector<Group> groups_of(const Job& job, Precision precision, const Kernels& kernels, LayoutChoice layout,
                             int64_t threads) {
    const int64_t lanes = kernels.lanes[int(precision)];
    const bool fit = lanes_fit_in_cache(job, precision, lanes);
    std::vector<Group> groups;
    for (int64_t first = 0; first < job.chains;) {
        const int64_t left = job.chains - first, at_once = std::min(left, lanes * threads);
        const bool in_lanes = layout == LayoutChoice::automatic
                                  ? fit && lanes_are_faster(at_once, job.chain.width, lanes, threads)
                                  : layout == LayoutChoice::lanes;
        for (const int64_t end = first + at_once; first < end; first += groups.back().count)
            groups.push_back({first, in_lanes ? std::min(lanes, end - first) : 1,
                              in_lanes ? LayoutChoice::lanes : LayoutChoice::rows});
    }
    return groups;
}

constexpr size_t panel_bytes = 1 << 16;  // room for a panel of one vector of every instruction set

struct AlignedDelete {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t(128)); }
};
using Block = std::unique_ptr<void, AlignedDelete>;

Block allocate(size_t bytes) { return Block(::operator new(std::max<size_t>(bytes, 1), std::align_val_t(128))); }

// From this width on, threads that would have no chain of their own help with somebody else's (measured).
constexpr int64_t share_from_width = 128;

// Threads in a team: one, unless that leaves too many of them without work in the last round.
int team_size(int64_t groups, int64_t threads, int64_t width) {
    const int64_t rounds = (groups + threads - 1) / threads;
    return width >= share_from_width && 10 * groups < 9 * rounds * threads ? int(threads) : 1;
}

struct Worker {
    std::unique_ptr<Team> team;
    Block block;
};

// Work on all groups with `threads` threads; each team takes the next group when it is done with one.
template <class Work>
void for_groups(const Job& job, Precision precision, const Options& options, Work work) {
    const Kernels& kernels = choose(options.isa);
    const int64_t threads = std::max(options.threads, 1);
    const auto groups = groups_of(job, precision, kernels, options.layout, threads);
    if (groups.empty()) return;
    const int members = team_size(int64_t(groups.size()), threads, job.chain.width);
    std::vector<Worker> workers;
    for (size_t w = 0; w < (members > 1 ? 1 : std::min(size_t(threads), groups.size())); ++w) {
        auto team = std::make_unique<Team>(members);
        size_t bytes = 0;
        for (const Group& group : {groups.front(), groups.back()})  // of each layout that there is
            bytes = std::max(bytes, kernels.workspace(job, precision, group.layout, *team));
        workers.push_back({std::move(team), allocate(bytes)});
    }

    std::atomic<size_t> next{0};
    const auto run = [&](const Worker& worker) {
        for (size_t g; (g = next++) < groups.size();) work(kernels, groups[g], worker.block.get(), *worker.team);
    };
    std::vector<std::thread> others;
    others.reserve(workers.size());
    try {
        for (size_t w = 1; w < workers.size(); ++w) others.emplace_back(run, std::cref(workers[w]));
    } catch (const std::system_error&) {
        // fewer threads then: no result depends on their number
    }
    run(workers.front());
    for (auto& thread : others) thread.join();
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Kernels* k : available()) names.emplace_back(k->name);
    return names;
}

void advance(const Job& job, Precision precision, const Options& options) {
    for_groups(job, precision, options, [&](const Kernels& k, Group group, void* block, Team& team) {
        k.advance(job, precision, group, block, team);
    });
}

void measure(const Job& job, Precision precision, const Options& options, double* values) {
    for_groups(job, precision, options, [&](const Kernels& k, Group group, void* block, Team& team) {
        k.measure(job, precision, group, values, block, team);
    });
}

void weights(const ChainParams& chain, Precision precision, const Options& options, int64_t layer, int64_t index,
             void* out) {
    const Block block = allocate(panel_bytes);
    const Draw what{chain.seed, Stream::weights, layer, index, chain.law, chain.weights_of(layer)};
    choose(options.isa).draw(what, precision, out, block.get());
}

void initial_normals(uint64_t seed, int64_t layer, int64_t chains, int64_t rows, int64_t columns,
                     const Options& options, double* out) {
    const Block block = allocate(panel_bytes);
    const Kernels& kernels = choose(options.isa);
    for (int64_t c = 0; c < chains; ++c) {
        const Draw what{seed, Stream::initial_state, layer, c, Law::gaussian, {rows, columns, 0, 1}};
        kernels.draw(what, Precision::twice, out + c * rows * columns, block.get());
    }
}

}  // namespace pyrank::cpu
