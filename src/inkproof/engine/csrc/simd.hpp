// Vectors of floats, as wide as the variant that is being compiled allows.
//
// One source is compiled several times, with other -m flags and another INKPROOF_VL, into shared
// objects of their own. GCC's and Clang's vector extensions make the same code run on any
// processor; INKPROOF_VL only says how many floats one register holds. (The sanitizers go through
// the tiles of 16 floats on processors without AVX-512, too.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef INKPROOF_VL
#define INKPROOF_VL 4
#endif

namespace inkproof {

constexpr int VL = INKPROOF_VL;    // floats in a vector
constexpr int BLOCK = 32;          // batch lanes that are worked on together
constexpr int PANEL = 16;          // units that lie together in a weight panel: one cache line
constexpr int VB = BLOCK / VL;     // vectors in a block of lanes
constexpr int VP = PANEL / VL;     // vectors in a panel's row

typedef float V __attribute__((vector_size(VL * 4), may_alias));
typedef std::int32_t VI __attribute__((vector_size(VL * 4), may_alias));
typedef std::uint32_t VU __attribute__((vector_size(VL * 4), may_alias));
typedef std::uint16_t VS __attribute__((vector_size(VL * 2), may_alias));

static inline V load(const float* p) { return *reinterpret_cast<const V*>(p); }
static inline void store(float* p, V v) { *reinterpret_cast<V*>(p) = v; }
static inline VI load_short(const std::uint16_t* p) {
    return __builtin_convertvector(*reinterpret_cast<const VS*>(p), VI);
}
static inline void store_short(std::uint16_t* p, VI v) {
    *reinterpret_cast<VS*>(p) = __builtin_convertvector(v, VS);
}
static inline V splat(float s) { return s - V{}; }
// What is not a number stays so, that a training which has gone wrong is noticed.
static inline V relu(V a) { return a < V{} ? V{} : a; }

// a b + c with one rounding wherever the processor has that: for sums of which the compiler could fuse
// one product or another, in each place as it likes, and the bits would differ.
static inline V multiply_add(V a, V b, V c) {
#if INKPROOF_VL == 16 && defined(__AVX512F__)
    return reinterpret_cast<V>(_mm512_fmadd_ps(
        reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif INKPROOF_VL == 8
    return reinterpret_cast<V>(_mm256_fmadd_ps(
        reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#elif defined(__FP_FAST_FMAF)
    V sum;
    for (int i = 0; i < VL; ++i) sum[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return sum;
#else
    return a * b + c;
#endif
}

static inline V square_root(V a) {
#if INKPROOF_VL == 16 && defined(__AVX512F__)
    return reinterpret_cast<V>(_mm512_sqrt_ps(reinterpret_cast<__m512>(a)));
#elif INKPROOF_VL == 8
    return reinterpret_cast<V>(_mm256_sqrt_ps(reinterpret_cast<__m256>(a)));
#else
    V root;
    for (int i = 0; i < VL; ++i) root[i] = __builtin_sqrtf(a[i]);
    return root;
#endif
}

// One bit for each comparison of a vector's numbers that came out true.
static inline std::uint32_t bits_of(VI comparisons) {
#if INKPROOF_VL == 16 && defined(__AVX512DQ__)
    return _mm512_movepi32_mask(reinterpret_cast<__m512i>(comparisons));
#elif INKPROOF_VL == 8 && defined(__AVX2__)
    return static_cast<std::uint32_t>(
        _mm256_movemask_ps(reinterpret_cast<__m256>(comparisons)));
#else
    std::uint32_t bits = 0;
    for (int i = 0; i < VL; ++i) bits |= static_cast<std::uint32_t>(comparisons[i] != 0) << i;
    return bits;
#endif
}
static inline bool any(VI comparisons) { return bits_of(comparisons) != 0; }

// A bit for each of a vector's numbers that is not zero.
static inline std::uint32_t filled_bits(V v) {
#if INKPROOF_VL == 16 && defined(__AVX512F__)
    return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), _mm512_setzero_ps(), _CMP_NEQ_UQ);
#else
    return bits_of(v != V{});
#endif
}

// The other way: true where a bit is set.
static inline VI from_bits(std::uint32_t bits) {
    VI lane;
    for (int i = 0; i < VL; ++i) lane[i] = 1 << i;
    return ((VI{} + static_cast<std::int32_t>(bits)) & lane) != VI{};
}

#if INKPROOF_VL == 8 && defined(__AVX2__)
// Of each number of eight bits: the places of its bits, one after the other; and how many bits lie
// below each place.
struct BitPlaces {
    constexpr BitPlaces() {
        for (int bits = 0; bits < 256; ++bits)
            for (int place = 0, count = 0; place < 8; ++place) {
                below[bits][place] = static_cast<std::uint8_t>(count);
                if (bits >> place & 1) of[bits][count++] = static_cast<std::uint8_t>(place);
            }
    }
    std::uint8_t of[256][8] = {}, below[256][8] = {};
};
alignas(64) constexpr BitPlaces BIT_PLACES;

static inline V at_places(V v, const std::uint8_t (&places)[8]) {
    const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(places));
    return reinterpret_cast<V>(
        _mm256_permutevar8x32_ps(reinterpret_cast<__m256>(v), _mm256_cvtepu8_epi32(packed)));
}
#endif

// Writes those of a vector's numbers that have a bit, one after the other; what follows them, up to a
// whole vector, is of no use.
static inline void store_filled(float* to, V v, std::uint32_t bits) {
#if INKPROOF_VL == 16 && defined(__AVX512F__)
    _mm512_storeu_ps(to, _mm512_maskz_compress_ps(static_cast<__mmask16>(bits),
                                                  reinterpret_cast<__m512>(v)));
#elif INKPROOF_VL == 8 && defined(__AVX2__)
    const V together = at_places(v, BIT_PLACES.of[bits]);
    std::memcpy(to, &together, sizeof together);
#else
    for (int i = 0; i < VL; ++i)
        if (bits >> i & 1) *to++ = v[i];
#endif
}

// The other way: such numbers at the places that have a bit, 0 elsewhere. A whole vector is read.
static inline V load_filled(const float* from, std::uint32_t bits) {
#if INKPROOF_VL == 16 && defined(__AVX512F__)
    return reinterpret_cast<V>(_mm512_maskz_expand_ps(static_cast<__mmask16>(bits),
                                                      _mm512_loadu_ps(from)));
#elif INKPROOF_VL == 8 && defined(__AVX2__)
    V together;
    std::memcpy(&together, from, sizeof together);
    return from_bits(bits) ? at_places(together, BIT_PLACES.below[bits]) : V{};
#else
    V v{};
    for (int i = 0; i < VL; ++i)
        if (bits >> i & 1) v[i] = *from++;
    return v;
#endif
}

// The lowest eight bits, each at four times its place.
static inline std::uint32_t every_fourth(std::uint32_t bits) {
    bits = (bits & 0xff) | (bits & 0xf0) << 12;
    bits = (bits & 0x000f000f) | (bits & 0x000c000c) << 6;
    bits = (bits & 0x03030303) | (bits & 0x02020202) << 3;
    return bits & 0x11111111;
}

// Of two vectors, quarter by quarter of 16 bytes, which costs least: numbers by turns, a0 b0 a1 b1 and
// a2 b2 a3 b3; pairs by turns, a0 a1 b0 b1 and a2 a3 b2 b3.
static inline void interleave(V a, V b, V& low, V& high) {
#if INKPROOF_VL == 16
    low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    high = __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
#elif INKPROOF_VL == 8
    low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    high = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
#else
    low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}
static inline void interleave_pairs(V a, V b, V& low, V& high) {
#if INKPROOF_VL == 16
    low = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    high = __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
#elif INKPROOF_VL == 8
    low = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
    high = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
#else
    low = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    high = __builtin_shufflevector(a, b, 2, 3, 6, 7);
#endif
}

// The quarters of two vectors that have an even number, and those that have an odd one.
#if INKPROOF_VL >= 8
static inline void part_quarters(V a, V b, V& even, V& odd) {
#if INKPROOF_VL == 16
    even = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    odd = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
#else
    even = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    odd = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
#endif
}
#endif

// Transposes VL rows of VL floats in registers: squares of four by four within their quarters, and
// then the quarters.
static inline void transpose(V (&rows)[VL]) {
    V next[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; i += 2) interleave(rows[i], rows[i + 1], next[i], next[i + 1]);
#pragma GCC unroll 16
    for (int i = 0; i < VL; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; ++j)
            interleave_pairs(next[i + j], next[i + 2 + j], rows[i + 2 * j], rows[i + 2 * j + 1]);
#if INKPROOF_VL >= 8
    // Now quarter q of rows[4 g + c] has column 4 q + c of rows 4 g to 4 g + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
#if INKPROOF_VL == 16
        V even[2], odd[2];
        part_quarters(rows[c], rows[4 + c], even[0], odd[0]);
        part_quarters(rows[8 + c], rows[12 + c], even[1], odd[1]);
        part_quarters(even[0], even[1], rows[c], rows[8 + c]);
        part_quarters(odd[0], odd[1], rows[4 + c], rows[12 + c]);
#else
        V even, odd;
        part_quarters(rows[c], rows[4 + c], even, odd);
        rows[c] = even;
        rows[4 + c] = odd;
#endif
    }
#endif
}

// exp(x) for x <= 0, to about one unit in the last place: x = n ln 2 + r with |r| <= ln(2)/2, and
// exp(r) from its Taylor polynomial of degree 7, whose remainder is below 6e-9. Below -87 the
// result is 0.
static inline V exp_nonpositive(V x) {
    const V n_float = x * 1.44269504088896341f;
    const VI n = __builtin_convertvector(n_float - 0.5f, VI);  // towards zero: the nearest, x <= 0
    const V nf = __builtin_convertvector(n, V);
    const V r = (x - nf * 0.693359375f) + nf * 2.12194440e-4f;
    V p = splat(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    VI bits = (n + 127) << 23;
    V scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return x < splat(-87.0f) ? V{} : p * scale;
}

// Numbers below 1e-38 count as zero while this lives: some processors take a hundred times as long
// for them, and no result here depends on them.
class FlushDenormals {
public:
#if defined(__x86_64__)
    FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(saved_); }

private:
    unsigned saved_;
#elif defined(__aarch64__)
    FlushDenormals() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
        __asm__ volatile("msr fpcr, %0" ::"r"(saved_ | (1ull << 24)));
    }
    ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" ::"r"(saved_)); }

private:
    std::uint64_t saved_;
#else
    FlushDenormals() {}
#endif
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;
};

}  // namespace inkproof
