#pragma once
#include <cstddef>
#include <cstdint>
namespace inkproof {
class Augmenter {
public:
    std::size_t scratch_floats() const { return 0; }
    template <typename T>
    void apply(const T*, float*, std::uint64_t, std::uint32_t, std::uint32_t, float*) const {}
};
}
