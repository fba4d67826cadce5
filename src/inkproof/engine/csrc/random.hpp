// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). What is drawn depends on its key and its counter alone,
// not on what was drawn before or by which thread.
#pragma once

#include <cstdint>

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

// The 32 words of eight draws in a row: philox(key, {place + i, row, 0, 0}) for i = 0 .. 7.
static inline void philox_row(std::uint64_t key, std::uint32_t place, std::uint32_t row,
                              std::uint32_t (&words)[32]) {
    std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    std::uint32_t c0[8], c1[8], c2[8], c3[8];
    for (std::uint32_t i = 0; i < 8; ++i) {
        c0[i] = place + i;
        c1[i] = row;
        c2[i] = c3[i] = 0;
    }
    for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < 8; ++i) {
            const std::uint64_t a = 0xD2511F53ull * c0[i], b = 0xCD9E8D57ull * c2[i];
            c0[i] = static_cast<std::uint32_t>(b >> 32) ^ c1[i] ^ k0;
            c1[i] = static_cast<std::uint32_t>(b);
            c2[i] = static_cast<std::uint32_t>(a >> 32) ^ c3[i] ^ k1;
            c3[i] = static_cast<std::uint32_t>(a);
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < 8; ++i) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
}

// From [0, 1), with the 24 bits that a float holds.
static inline float unit_float(std::uint32_t word) {
    return static_cast<float>(word >> 8) * 0x1p-24f;
}

}  // namespace inkproof
