#include "ceilings.hpp"

#include <chrono>

#include "buffer.hpp"
#include "simd.hpp"

namespace inkproof {

namespace {

constexpr int CHAINS = 12;  // two a cycle, each four cycles long, and some to spare
constexpr int PASSES = 20'000;

// Calls work again and again for so many seconds; gives calls a second.
template <typename F>
double rate(double seconds, F&& work) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    for (long calls = 1;; ++calls) {
        work();
        const double passed = std::chrono::duration<double>(Clock::now() - begin).count();
        if (passed >= seconds) return static_cast<double>(calls) / passed;
    }
}

// Keeps the compiler from leaving out what nobody reads.
void use(V value) {
    volatile float sink = value[0];
    (void)sink;
}

}  // namespace

double multiply_add_rate(double seconds) {
    V chains[CHAINS];  // unequal, or the compiler would make one of them
    for (int i = 0; i < CHAINS; ++i) chains[i] = splat(1.0f + static_cast<float>(i));
    const V factor = splat(0.999f), term = splat(0.001f);
    const double calls = rate(seconds, [&] {
        for (int pass = 0; pass < PASSES; ++pass)
#pragma GCC unroll 16
            for (int i = 0; i < CHAINS; ++i) chains[i] = chains[i] * factor + term;
    });
    for (const V& chain : chains) use(chain);
    return calls * PASSES * CHAINS * VL * 2;
}

double memory_rate(std::size_t bytes, double seconds, bool writes) {
    constexpr int at_once = 8;
    const std::size_t count = bytes / sizeof(float) / (at_once * VL) * (at_once * VL);
    const Buffer<float> block(count);
    V sums[at_once] = {};
    const double calls = rate(seconds, [&] {
        for (std::size_t i = 0; i < count; i += at_once * VL)
#pragma GCC unroll 16
            for (int j = 0; j < at_once; ++j) {
                float* at = block.get() + i + static_cast<std::size_t>(j * VL);
                if (writes)
                    store(at, load(at) + 1.0f);
                else
                    sums[j] += load(at);
            }
    });
    for (const V& sum : sums) use(sum);
    return calls * static_cast<double>(count * sizeof(float)) * (writes ? 2 : 1);
}

}  // namespace inkproof
