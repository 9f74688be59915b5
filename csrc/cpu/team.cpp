#include "team.h"

#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace pyrank::cpu {
namespace {

// Loops follow each other within microseconds: a thread looks for the next one a while before it goes to sleep.
constexpr int looks = 1 << 14;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

template <class T>
void wait_while_equal(const std::atomic<T>& value, T old) {
    for (int look = 0; look < looks; ++look) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause();
    }
    value.wait(old, std::memory_order_acquire);
}

}  // namespace

struct Team::Others {
    std::vector<std::thread> threads;
    std::atomic<uint32_t> loops{0};  // started so far
    std::atomic<int64_t> next{0};    // item of the present loop
    std::atomic<int> busy{0};        // threads that are not done with it
    bool leave = false;
    int64_t count = 0;
    const void* body = nullptr;
    Call call = nullptr;

    void take_items(int member) {
        for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < count;) call(body, item, member);
    }

    void serve(int member) {
        for (uint32_t seen = 0;; ++seen) {
            wait_while_equal(loops, seen);
            if (leave) return;
            take_items(member);
            if (busy.fetch_sub(1, std::memory_order_acq_rel) == 1) busy.notify_one();
        }
    }

    void start() {
        busy.store(int(threads.size()), std::memory_order_relaxed);
        loops.fetch_add(1, std::memory_order_release);
        loops.notify_all();
    }
};

Team::Team(int size) {
    if (size < 2) return;
    others_ = std::make_unique<Others>();
    others_->threads.reserve(size_t(size) - 1);
    try {
        for (int member = 1; member < size; ++member)
            others_->threads.emplace_back([others = others_.get(), member] { others->serve(member); });
    } catch (const std::system_error&) {
        // a smaller team then: no result depends on its size
    }
}

Team::~Team() {
    if (!others_) return;
    others_->leave = true;
    others_->start();
    for (auto& thread : others_->threads) thread.join();
}

int Team::size() const { return others_ ? 1 + int(others_->threads.size()) : 1; }

void Team::run(int64_t count, const void* body, Call call) {
    if (!others_ || count < 2) {
        for (int64_t item = 0; item < count; ++item) call(body, item, 0);
        return;
    }
    Others& others = *others_;
    others.count = count;
    others.body = body;
    others.call = call;
    others.next.store(0, std::memory_order_relaxed);
    others.start();
    others.take_items(0);
    for (int still; (still = others.busy.load(std::memory_order_acquire)) != 0;) wait_while_equal(others.busy, still);
}

}  // namespace pyrank::cpu
