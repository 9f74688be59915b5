// What the address sanitizer has to know of memory that is handed out piece by piece; nothing without it.
#pragma once
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace pyrank::cpu {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t redzone = 128;
inline void guard(const char* p, size_t bytes, size_t whole) {  // of `whole` bytes at p the first may be touched
    __asan_unpoison_memory_region(p, bytes);
    __asan_poison_memory_region(p + bytes, whole - bytes);
}
#else
constexpr size_t redzone = 0;
inline void guard(const char*, size_t, size_t) {}
#endif

}  // namespace pyrank::cpu
