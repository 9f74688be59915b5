// Threads that work on one chain together: one of them runs the program and hands out the pieces of its large loops.
// This file is compiled for several instruction sets and its functions are not: they live in team.cpp.
#pragma once
#include <cstdint>
#include <memory>

namespace pyrank::cpu {

class Team {
public:
    explicit Team(int size);  // the calling thread and size - 1 others, or fewer where the system has no more
    ~Team();
    int size() const;

    // Call body(item, member) for items 0 .. count - 1, each once and in any order, and return when all are done.
    // Members are numbered from 0 to size - 1, and none does two items at a time.
    template <class Body>
    void share(int64_t count, const Body& body) {
        run(count, &body,
            [](const void* b, int64_t item, int member) { (*static_cast<const Body*>(b))(item, member); });
    }

private:
    using Call = void (*)(const void* body, int64_t item, int member);
    void run(int64_t count, const void* body, Call call);

    struct Others;
    std::unique_ptr<Others> others_;  // none in a team of one
};

}  // namespace pyrank::cpu
