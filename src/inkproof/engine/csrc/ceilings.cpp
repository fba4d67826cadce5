#include "ceilings.hpp"

#include <chrono>

#include "buffer.hpp"
#include "simd.hpp"
#include "tiles.hpp"

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

#if INKPROOF_HALF

constexpr int TILE_PASSES = 1'000;

HALF_CODE void add_pairs_again(V (&chains)[CHAINS], VU a, VU b) {
    for (int pass = 0; pass < PASSES; ++pass)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; ++i) chains[i] = add_pairs(chains[i], a, b);
}

double pair_rate(double seconds) {
    V chains[CHAINS];
    for (int i = 0; i < CHAINS; ++i) chains[i] = splat(static_cast<float>(i));
    const VU ones = VU{} + 0x3f803f80u;
    const double calls = rate(seconds, [&] { add_pairs_again(chains, ones, ones); });
    for (const V& chain : chains) use(chain);
    return calls * PASSES * CHAINS * VL * 4;
}

// Four tiles of sums, as a product of two by two tiles has.
template <typename Unit>
double tile_rate(double seconds) {
    Unit unit;
    unit.template clear<0>();
    unit.template clear<1>();
    unit.template clear<2>();
    unit.template clear<3>();
    unit.template clear<4>();
    unit.template clear<5>();
    const double calls = rate(seconds, [&] {
        for (int pass = 0; pass < TILE_PASSES; ++pass) {
            unit.template multiply<0, 4, 5>();
            unit.template multiply<1, 4, 5>();
            unit.template multiply<2, 4, 5>();
            unit.template multiply<3, 4, 5>();
        }
    });
    alignas(64) float sums[TILE_ROWS * PANEL];
    unit.template store<0>(sums, PANEL * sizeof(float));
    use(load(sums));
    return calls * TILE_PASSES * 4 * TILE_ROWS * PANEL * TILE_DEPTH * 2;
}

#endif

}  // namespace

double multiply_add_rate(double seconds, [[maybe_unused]] Factors factors) {
#if INKPROOF_HALF
    if (factors == Factors::halves) return pair_rate(seconds);
    if (factors == Factors::tiles) return tile_rate<Amx>(seconds);
    if (factors == Factors::emulated_tiles) return tile_rate<Emulated>(seconds);
#endif
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
