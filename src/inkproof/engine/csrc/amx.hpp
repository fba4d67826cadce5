// Whether this process may use the processor's tiles (AMX).
#pragma once

#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace inkproof {

// The processor must have tiles of bfloat16, and the system must lend their registers, which it does
// to those who ask (Linux 5.16, arch_prctl(2)). The permission is the whole process'.
static inline bool request_tiles() {
#if defined(__linux__) && defined(__x86_64__)
    constexpr int request_permission = 0x1023, tile_data = 18;
    constexpr unsigned has_bfloat16 = 1u << 22, has_tiles = 1u << 24;
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
    if ((edx & has_bfloat16) == 0 || (edx & has_tiles) == 0) return false;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
}

}  // namespace inkproof
