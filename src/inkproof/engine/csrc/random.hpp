// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). What is drawn depends on its key and its counter alone,
// not on what was drawn before or by which thread.
#pragma once

#include <cstdint>

#include "simd.hpp"

namespace inkproof {

// What a draw is for; a part of its counter. Numbers are never reused.
enum class Draw : std::uint32_t { dropout = 1, augmentation = 2, mixup = 3 };

struct Words {
    std::uint32_t word[4];
};

struct Counter {
    std::uint32_t place;   // which draw of this row, or of this step
    std::uint32_t row;     // of the data, or a place in the batch
    std::uint32_t epoch;   // from 1
    std::uint32_t use;     // a Draw, and above its 8 bits a number that tells layers apart
};

static inline Words philox(std::uint64_t key, Counter counter) {
    std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    std::uint32_t c0 = counter.place, c1 = counter.row, c2 = counter.epoch, c3 = counter.use;
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
        c0 = static_cast<std::uint32_t>(b >> 32) ^ c1 ^ k0;
        c1 = static_cast<std::uint32_t>(b);
        c2 = static_cast<std::uint32_t>(a >> 32) ^ c3 ^ k1;
        c3 = static_cast<std::uint32_t>(a);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// Both halves of the products of 32 bits by a constant, for a vector of them.
static inline void multiply_wide(VU a, std::uint32_t constant, VU& low, VU& high) {
#if INKPROOF_VL == 16 && defined(__AVX512F__)
    const __m512i both = reinterpret_cast<__m512i>(a);
    const __m512i factor = _mm512_set1_epi32(static_cast<int>(constant));
    const __m512i even = _mm512_mul_epu32(both, factor);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(both, 32), factor);
    low = reinterpret_cast<VU>(_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32)));
    high = reinterpret_cast<VU>(_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd));
#elif INKPROOF_VL == 8 && defined(__AVX2__)
    const __m256i both = reinterpret_cast<__m256i>(a);
    const __m256i factor = _mm256_set1_epi32(static_cast<int>(constant));
    const __m256i even = _mm256_mul_epu32(both, factor);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(both, 32), factor);
    low = reinterpret_cast<VU>(_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA));
    high = reinterpret_cast<VU>(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA));
#else
    for (int i = 0; i < VL; ++i) {
        const std::uint64_t product = std::uint64_t{a[i]} * constant;
        low[i] = static_cast<std::uint32_t>(product);
        high[i] = static_cast<std::uint32_t>(product >> 32);
    }
#endif
}

// VL draws in a row, philox(key, {place + i, row, 0, 0}): word w of draw i is words[w][i].
static inline void philox_row(std::uint64_t key, std::uint32_t place, std::uint32_t row,
                              VU (&words)[4]) {
    std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    VU c0, c1 = VU{} + row, c2{}, c3{};
    for (int i = 0; i < VL; ++i) c0[i] = place + static_cast<std::uint32_t>(i);
    for (int round = 0; round < 10; ++round) {
        VU a_low, a_high, b_low, b_high;
        multiply_wide(c0, 0xD2511F53u, a_low, a_high);
        multiply_wide(c2, 0xCD9E8D57u, b_low, b_high);
        c0 = b_high ^ c1 ^ k0;
        c1 = b_low;
        c2 = a_high ^ c3 ^ k1;
        c3 = a_low;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

// From [0, 1), with the 24 bits that a float holds.
static inline float unit_float(std::uint32_t word) {
    return static_cast<float>(word >> 8) * 0x1p-24f;
}

}  // namespace inkproof
