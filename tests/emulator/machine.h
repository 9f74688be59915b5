// A block of threads on a CPU: each thread is a fibre that runs until it has to wait for others, in an order drawn anew
// every time. Each word of the memory of the device remembers who wrote and who read it between which barriers.
//
// What it finds: races, reads of words that nobody wrote, accesses outside of an array, barriers and operations of a
// warp that not all threads reach. What it cannot show: the order in which a GPU makes writes visible, and speed.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace pyrank::emulator {

struct Settings {
    uint64_t seed = 0;
    int64_t shared_limit = 48 << 10, free_memory = int64_t(1) << 40;
    int devices = 1, resident_blocks = 2, compute_capability = 90, driver = 13000;
};
inline Settings settings;
inline std::atomic<int64_t> shared_bytes_of_last_launch;

constexpr int word_bytes = 4;
constexpr int warp_size = 32;
constexpr int several = -1;

// Epochs count barriers and the starts of blocks; 0 means never.
struct Word {
    uint32_t written = 0, read = 0;
    int writer = 0, reader = 0;
};

struct Region {
    char* first;
    size_t bytes;
    std::unique_ptr<Word[]> words;

    explicit Region(char* memory, size_t size) : first(memory), bytes(size), words(new Word[size / word_bytes + 1]) {}
    void forget() {  // all ones are a NaN
        std::memset(first, 0xff, bytes);
        std::fill_n(words.get(), bytes / word_bytes + 1, Word{});
    }
};

class Machine {
public:
    // The words of `bytes` bytes of device memory.
    Word* words_of(const void* memory, size_t bytes) {
        const char* const first = static_cast<const char*>(memory);
        for (Region* region : regions_)
            if (first >= region->first && first + bytes <= region->first + region->bytes)
                return region->words.get() + (first - region->first) / word_bytes;
        fail("is given memory that the device does not have");
    }

    void add(Region* region) {
        region->forget();
        regions_.push_back(region);
    }
    void remove(Region* region) { std::erase(regions_, region); }

    // The host writes between launches.
    void host_writes(const void* memory, size_t bytes) {
        for (Region* region : regions_)
            if (memory >= region->first && memory < region->first + region->bytes) {
                Word* const words = words_of(memory, bytes);
                std::fill_n(words, (bytes + word_bytes - 1) / word_bytes, Word{epoch_, 0, 0, 0});
            }
    }

    void reads(Word* words, int count) {
        for (int w = 0; w < count; ++w) {
            Word& word = words[w];
            if (!word.written) fail("reads what nobody has written");
            if (clashes(word.written, word.writer)) fail("reads what " + who(word.written, word.writer) + " writes");
            word.reader = word.read == epoch_ && word.reader != thread_ ? several : thread_;
            word.read = epoch_;
        }
    }

    void writes(Word* words, int count) {
        for (int w = 0; w < count; ++w) {
            Word& word = words[w];
            if (clashes(word.written, word.writer)) fail("writes what " + who(word.written, word.writer) + " writes");
            if (clashes(word.read, word.reader)) fail("writes what " + who(word.read, word.reader) + " reads");
            word.written = epoch_;
            word.writer = thread_;
        }
    }

    [[noreturn]] void fail(const std::string& what) {
        if (!running_) throw std::runtime_error("emulator: the host " + what);
        error_ = "emulator: thread " + std::to_string(thread_) + " of block " + std::to_string(block_) + " " + what;
        _longjmp(scheduler_, 1);
    }

    void barrier(const std::source_location& where) { wait(Wait::block, where); }

    // What the lanes of a warp give each other.
    using Numbers = std::array<float, 6>;
    class Given {
    public:
        Given(const Machine& machine, int first, size_t turn) : machine_(machine), first_(first), turn_(turn) {}
        const Numbers& operator()(int lane) const { return machine_.fibres_[size_t(first_ + lane)].given[turn_]; }

    private:
        const Machine& machine_;
        int first_;
        size_t turn_;
    };
    // Slots alternate: a lane may be one exchange ahead of another, and not more.
    Given exchange(const Numbers& numbers, const std::source_location& where) {
        Fibre& fibre = fibres_[size_t(thread_)];
        const size_t turn = fibre.exchanges++ % 2;
        fibre.given[turn] = numbers;
        wait(Wait::warp, where);
        return {*this, thread_ / warp_size * warp_size, turn};
    }

    void launch(int blocks, int threads, int64_t shared_bytes, const std::function<void()>& kernel) {
        kernel_ = &kernel;
        blocks_ = blocks;
        launch_epoch_ = ++epoch_;
        random_.seed(settings.seed);
        std::vector<int> order;
        for (int block = 0; block < blocks; ++block) order.push_back(block);
        std::shuffle(order.begin(), order.end(), random_);
        std::vector<char> memory(size_t(std::max<int64_t>(shared_bytes, 1)));
        Region shared(memory.data(), size_t(shared_bytes));
        add(&shared);
        shared_ = memory.data();
        shared_bytes_ = shared_bytes;
        for (block_ = 0; !order.empty() && error_.empty(); order.pop_back()) {
            block_ = order.back();
            shared.forget();
            for (const auto& [type, object] : objects_) object->region.forget();
            run_block(threads);
        }
        for (const auto& [type, object] : objects_) remove(&object->region);
        objects_.clear();
        remove(&shared);
        if (!error_.empty()) throw std::runtime_error(std::exchange(error_, ""));
    }

    int thread() const { return thread_; }
    int threads() const { return int(fibres_.size()); }
    int block() const { return block_; }
    int blocks() const { return blocks_; }
    char* shared() const { return shared_; }
    // The memory of an object that a block has once, whatever names its type.
    char* object(const void* type, size_t bytes) {
        std::unique_ptr<Object>& found = objects_[type];
        if (!found) {
            found.reset(new Object(bytes));
            add(&found->region);
        }
        return found->region.first;
    }
    bool is_shared(const void* memory) const { return memory >= shared_ && memory < shared_ + shared_bytes_; }

private:
    enum class Wait { none, warp, block, for_ever };
    struct Fibre {
        ucontext_t start;
        jmp_buf jump;
        bool begun = false;
        Wait waits_for = Wait::none;
        std::string waits_at;
        Numbers given[2];
        size_t exchanges = 0;
    };
    struct Object {
        std::unique_ptr<char[]> memory;
        Region region;
        explicit Object(size_t bytes) : memory(new char[bytes]), region(memory.get(), bytes) {}
    };
    static constexpr size_t stack_bytes = 128 << 10;

    // Between the same two barriers another thread, or in the same launch another block.
    bool clashes(uint32_t epoch, int thread) const {
        return (epoch == epoch_ && thread != thread_) || (epoch >= launch_epoch_ && epoch < block_epoch_);
    }

    std::string who(uint32_t epoch, int thread) const {
        if (epoch < block_epoch_) return "another block";
        return thread == several ? "several threads" : "thread " + std::to_string(thread);
    }

    static std::string place(const std::source_location& where) {
        const std::string file = where.file_name();
        return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line());
    }

    void run_block(int threads) {
        block_epoch_ = ++epoch_;
        fibres_ = std::vector<Fibre>(size_t(threads));
        while (int(stacks_.size()) < threads) stacks_.emplace_back(new char[stack_bytes]);
        std::vector<int> order;
        for (int thread = 0; thread < threads; ++thread) order.push_back(thread);
        while (fibres_.front().waits_for != Wait::for_ever && error_.empty()) {
            std::shuffle(order.begin(), order.end(), random_);
            for (const int thread : order) {
                if (fibres_[size_t(thread)].waits_for == Wait::none) resume(thread);
                if (!error_.empty()) return;
            }
            if (release_warps()) continue;
            ++epoch_;
            release(0, threads, "barrier");
        }
    }

    // Let the warps go on whose threads have met; false if all threads have come to a barrier.
    bool release_warps() {
        bool released = false;
        const int threads = int(fibres_.size());
        for (int first = 0; first < threads; first += warp_size) {
            const auto begin = fibres_.begin() + first, end = begin + std::min(warp_size, threads - first);
            if (std::none_of(begin, end, [](const Fibre& fibre) { return fibre.waits_for == Wait::warp; })) continue;
            release(first, int(end - begin), "operation of a warp");
            released = true;
        }
        return released;
    }

    // Threads that have met go on; at different places they have not met.
    void release(int first_thread, int count, const char* what) {
        const auto where = [](const Fibre& f) {
            return f.waits_for == Wait::for_ever ? "has returned" : "waits at " + f.waits_at;
        };
        const Fibre& first = fibres_[size_t(first_thread)];
        for (int t = first_thread + 1; t < first_thread + count; ++t) {
            const Fibre& fibre = fibres_[size_t(t)];
            if (where(fibre) == where(first)) continue;
            error_ = std::string("emulator: divergent ") + what + " in block " + std::to_string(block_) + ": thread " +
                     std::to_string(first_thread) + " " + where(first) + ", thread " + std::to_string(t) + " " +
                     where(fibre);
            return;
        }
        for (int t = first_thread; t < first_thread + count; ++t)
            if (fibres_[size_t(t)].waits_for != Wait::for_ever) fibres_[size_t(t)].waits_for = Wait::none;
    }

    void wait(Wait what, const std::source_location& where) {
        Fibre& fibre = fibres_[size_t(thread_)];
        fibre.waits_for = what;
        fibre.waits_at = place(where);
        if (!_setjmp(fibre.jump)) _longjmp(scheduler_, 1);
    }

    __attribute__((noinline)) void resume(int thread) {
        thread_ = thread;
        running_ = true;
        Fibre& fibre = fibres_[size_t(thread)];
        if (!_setjmp(scheduler_)) {
            if (fibre.begun) _longjmp(fibre.jump, 1);
            fibre.begun = true;
            getcontext(&fibre.start);
            fibre.start.uc_stack = {stacks_[size_t(thread)].get(), 0, stack_bytes};
            fibre.start.uc_link = nullptr;
            makecontext(&fibre.start, &Machine::enter, 0);
            setcontext(&fibre.start);
        }
        running_ = false;
    }

    static void enter();

    std::vector<Region*> regions_;
    std::map<const void*, std::unique_ptr<Object>> objects_;
    std::vector<Fibre> fibres_;
    std::vector<std::unique_ptr<char[]>> stacks_;
    const std::function<void()>* kernel_ = nullptr;
    jmp_buf scheduler_;
    std::mt19937_64 random_;
    std::string error_;
    bool running_ = false;
    int thread_ = 0, block_ = 0, blocks_ = 0;
    uint32_t epoch_ = 1, launch_epoch_ = 0, block_epoch_ = 0;
    char* shared_ = nullptr;
    int64_t shared_bytes_ = 0;
};

// Devices are driven by threads of the host; each of those has a machine.
inline Machine& machine() {
    thread_local Machine own;
    return own;
}

inline void Machine::enter() {
    Machine& self = machine();
    (*self.kernel_)();
    self.fibres_[size_t(self.thread_)].waits_for = Wait::for_ever;
    _longjmp(self.scheduler_, 1);
}

}  // namespace pyrank::emulator
