// Which variants of the engine this processor can run. Compiled for the oldest processor.
#include <nanobind/nanobind.h>

#include "amx.hpp"

namespace nb = nanobind;

namespace {

bool has(const char* level) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    // The levels of the x86-64 psABI. "Supports" includes that the operating system saves the
    // registers.
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("popcnt");
    if (level[1] == '3') return v3;
    return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    (void)level;
    return false;
#endif
}

// Products of numbers rounded to bfloat16, 512 bits at a time.
bool has_bfloat16() {
#if defined(__x86_64__)
    return has("v4") && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

// Whether pairs of bfloat16 are multiplied faster than float32: Intel's processors take twice as long
// for an instruction that does twice as much.
bool gains_by_pairs() {
#if defined(__x86_64__)
    return has_bfloat16() && !__builtin_cpu_is("intel");
#else
    return false;
#endif
}

}  // namespace

NB_MODULE(_cpu, m) {
    m.def("has_v3", [] { return has("v3"); });
    m.def("has_v4", [] { return has("v4"); });
    m.def("gains_by_pairs", &gains_by_pairs);
    m.def("request_tiles", [] { return has_bfloat16() && inkproof::request_tiles(); });
}
