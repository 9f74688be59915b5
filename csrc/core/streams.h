// Every use of randomness has its number here; a new use takes the next one.
#pragma once
#include <cstdint>

namespace pyrank {

enum class Stream : uint32_t {
    weights = 0,
    initial_state = 1,
};

}  // namespace pyrank
