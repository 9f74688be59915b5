// The names of csrc/cuda/primitives.h, for the machine of machine.h.
#pragma once
#define PYRANK_EMULATOR
#define PYRANK_DEVICE
#define PYRANK_CALLED
#define PYRANK_INLINED inline
#define PYRANK_PARAMETER const
#define PYRANK_KERNEL(threads, blocks) inline void

#include "machine.h"
#include "runtime_calls.h"
#include "special_functions.h"
#include "tensor_core.h"

namespace pyrank::cuda {

using emulator::machine;

inline int thread_index() { return machine().thread(); }
inline int block_size() { return machine().threads(); }
inline int block_index() { return machine().block(); }
inline int grid_size() { return machine().blocks(); }
inline void barrier(std::source_location where = std::source_location::current()) { machine().barrier(where); }

constexpr bool spares_registers = false, has_tensor_cores = true;
constexpr int warp_size = emulator::warp_size;
template <class T>
T anew(T x) {
    return x;
}
template <class T>
void keep_in_memory(T&) {}
inline uint32_t fetched_once(const uint64_t& number) { return uint32_t(number); }
inline int warp() { return thread_index() / warp_size; }
inline int lane() { return thread_index() % warp_size; }
template <class T>
T from_lane(T x, int from, std::source_location where = std::source_location::current()) {
    emulator::Machine::Numbers numbers{};
    std::memcpy(numbers.data(), &x, sizeof(T));
    std::memcpy(&x, machine().exchange(numbers, where)(from).data(), sizeof(T));
    return x;
}
inline float from_neighbour(float x, int bits, std::source_location where = std::source_location::current()) {
    return from_lane(x, lane() ^ bits, where);
}
inline float from_first_of_four(float x, std::source_location where = std::source_location::current()) {
    return from_lane(x, lane() & ~3, where);
}

inline float root_of_normal(float x) { return std::sqrt(x); }
// Off by as much as it may be, in one direction or the other.
inline float estimated_inverse_root(float x) {
    const double side = std::bit_cast<uint32_t>(x) % 3 - 1.0;
    return float(1 / std::sqrt(double(x)) * (1 + side * std::exp2(-22.9)));
}
template <int number>
void leave_mark() {}

inline void multiply_tile(float (&upper)[2], float (&lower)[2], const float (&a)[4], const float (&b)[2],
                          std::source_location where = std::source_location::current()) {
    emulator::multiply_tile(upper, lower, machine().exchange({a[0], a[1], a[2], a[3], b[0], b[1]}, where), lane());
}

inline char* shared_memory() { return machine().shared(); }
inline void add_events(int64_t* counter, int64_t events) { *counter += events; }

template <class T>
struct Four {
    T value[4];
    T operator[](int index) const { return value[index]; }
};

template <class T>
class Array {
public:
    class Entry {
    public:
        Entry(T* number, emulator::Word* words) : number_(number), words_(words) {}
        operator T() const {
            machine().reads(words_, words_of_number);
            return *number_;
        }
        const Entry& operator=(T x) const {
            machine().writes(words_, words_of_number);
            *number_ = x;
            return *this;
        }
        const Entry& operator=(const Entry& other) const { return *this = T(other); }

    private:
        T* number_;
        emulator::Word* words_;
    };

    Array() = default;
    Array(T* first, int64_t count) : first_(first), count_(count) {
        if (first) words_ = machine().words_of(first, size_t(count) * sizeof(T));
    }
    Entry operator[](int64_t index) const {
        if (index < 0 || index >= count_)
            machine().fail("touches entry " + std::to_string(index) + " of " + std::to_string(count_));
        return {first_ + index, words_ + index * words_of_number};
    }
    Four<T> four(int64_t index) const {
        if (index % 4) machine().fail("takes four numbers from entry " + std::to_string(index));
        return {{(*this)[index], (*this)[index + 1], (*this)[index + 2], (*this)[index + 3]}};
    }

private:
    static constexpr int words_of_number = int(sizeof(T)) / emulator::word_bytes;
    T* first_ = nullptr;
    int64_t count_ = 0;
    emulator::Word* words_ = nullptr;

    template <class U>
    friend bool lies_on_chip(const Array<U>& array);
};

template <class T>
inline constexpr char type_name = 0;
template <class T>
Array<T> of_block() {
    return Array<T>(reinterpret_cast<T*>(machine().object(&type_name<T>, sizeof(T))), 1);
}

template <class T>
bool lies_on_chip(const Array<T>& array) {
    return machine().is_shared(array.first_);
}
template <class T>
Array<T> on_chip(const Array<T>& array) {
    if (!lies_on_chip(array)) machine().fail("takes global memory for its own");
    return array;
}

}  // namespace pyrank::cuda
