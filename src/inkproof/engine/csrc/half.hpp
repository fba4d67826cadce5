// The products of a dense layer with factors that are rounded to bfloat16 and sums of float32: twice
// the rate, on processors that have AVX512-BF16.
//
// The instruction takes pairs, sum += a0 b0 + a1 b1, so numbers that follow each other in a sum lie
// together, the first in the lower half of 32 bits. Where they lie:
//
//   weights by input     [panel][input pair][16 units]    pairs of inputs: the way forward
//   weights by unit      [panel][input][16 units]         pairs of units: the way back
//   activations, errors  [feature pair][32 lanes]         pairs of features
//   activations by lane  [feature][32 lanes]              pairs of lanes: the weight gradient
//   transposed errors    [lane pair][units, padded to 16] the same
//
// Every sum is one chain over its pairs in ascending order, whatever the tiles and threads. A pair
// of zeros leaves it as it is. The weights themselves stay float32; these are their roundings.
#pragma once

#include "kernels.hpp"

#if INKPROOF_VL == 16 && defined(__AVX512F__)
#define INKPROOF_HALF 1
#else
#define INKPROOF_HALF 0
#endif

namespace inkproof {

typedef std::uint32_t Pair;
typedef std::uint16_t Half;

// What the factors of training's products are; sums, weights and inference are always float32.
//   halves          rounded to bfloat16, but for those of sparse inputs and of the last layer
//   tiles           all rounded, with whole tiles as factors (tiles.hpp)
//   emulated_tiles  the same without AMX, which is slow: for tests
enum class Factors { floats, halves, tiles, emulated_tiles };

#if INKPROOF_HALF

// Whatever uses the newer instructions carries them itself: nothing else here may.
#define HALF_CODE __attribute__((target("avx512bf16"), noinline, unused)) static
#define HALF_PART __attribute__((target("avx512bf16"), always_inline)) static inline

HALF_PART V add_pairs(V sum, VU a, VU b) {
    return reinterpret_cast<V>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), (__m512bh)a,
                                                (__m512bh)b));
}
// The roundings of two vectors one after the other.
HALF_PART VU halves_of(V first, V second) {
    return (VU)_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second),
                                   reinterpret_cast<__m512>(first));
}
// The same, interleaved to pairs.
HALF_PART VU paired(VU halves) {
    typedef std::uint16_t H __attribute__((vector_size(64), may_alias));
    const H h = reinterpret_cast<H>(halves);
    return reinterpret_cast<VU>(__builtin_shufflevector(
        h, h, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27,
        12, 28, 13, 29, 14, 30, 15, 31));
}
static inline VU load_pairs(const Pair* p) { return *reinterpret_cast<const VU*>(p); }
static inline void store_pairs(Pair* p, VU v) { *reinterpret_cast<VU*>(p) = v; }

// Two rows of lanes as pairs of features.
HALF_CODE void pair_rows(const float* first, const float* second, Pair* to) {
    for (int i = 0; i < BLOCK; i += VL)
        store_pairs(to + i, paired(halves_of(load(first + i), load(second + i))));
}

// One row of lanes as pairs of lanes.
HALF_CODE void pair_lanes(const float* row, Pair* to) {
    for (int i = 0; i < BLOCK; i += 2 * VL)
        store_pairs(to + i / 2, halves_of(load(row + i), load(row + i + VL)));
}

// Two lanes of transposed errors as pairs of lanes, for a multiple of 16 units.
HALF_CODE void pair_transposed(const float* first, const float* second, Pair* to, int units) {
    for (int u = 0; u < units; u += VL)
        store_pairs(to + u, paired(halves_of(load(first + u), load(second + u))));
}

// Both roundings of a panel of weights; inputs: even; by_unit: may be missing.
HALF_CODE void round_panel(const float* w, Pair* by_input, Half* by_unit, int inputs) {
    for (int k = 0; k < inputs; k += 2) {
        const VU halves = halves_of(load(w + k * PANEL), load(w + (k + 1) * PANEL));
        if (by_unit) store_pairs(reinterpret_cast<Pair*>(by_unit + k * PANEL), halves);
        store_pairs(by_input + k / 2 * PANEL, paired(halves));
    }
}

// y[unit][lane] += sum over the listed input pairs, as forward_panel has it; rows: of fixed inputs,
// the even one of each.
template <int U, int NV>
HALF_CODE void forward_tile_half(const Pair* w, const std::uint32_t* rows, int count,
                                 const Pair* x, const float* bias, float* y) {
    V sum[U][NV];
    begin_sums(sum, bias, y);
#pragma GCC unroll 4
    for (int k = 0; k < count; ++k) {
        const Pair* row = w + rows[2 * k] / 2;
        VU xs[NV];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) xs[j] = load_pairs(x + k * BLOCK + j * VL);
#pragma GCC unroll 16
        for (int i = 0; i < U; ++i) {
            const VU ws = VU{} + row[i];
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) sum[i][j] = add_pairs(sum[i][j], ws, xs[j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < U; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) store(y + i * BLOCK + j * VL, sum[i][j]);
}

// One panel's units on some vectors of one block; count: input pairs.
static inline void forward_panel_half(const Pair* w, const std::uint32_t* rows, int count,
                                      const Pair* x, const float* bias, float* y, int units,
                                      int first_vector, int vectors) {
    for (int v = first_vector; v < first_vector + vectors; v += TILE_VECTORS) {
        const int left = first_vector + vectors - v;
        for (int unit = 0; unit < units; unit += TILE)
            with_constant<TILE>(units - unit < TILE ? units - unit : TILE, [&](auto wanted) {
                constexpr int U = decltype(wanted)::value;
                const float* from = bias ? bias + unit : nullptr;
                float* at = y + unit * BLOCK + v * VL;
                if (left >= TILE_VECTORS)
                    forward_tile_half<U, TILE_VECTORS>(w + unit, rows, count, x + v * VL, from, at);
                else
                    forward_tile_half<U, 1>(w + unit, rows, count, x + v * VL, from, at);
            });
    }
}

// Adds the share of the listed unit pairs to the gradient at the K inputs whose rows are listed.
// at: where a pair's weights lie in each row; e: the listed pairs, one after the other.
template <int K, int NV>
HALF_CODE void backward_tile_half(const Half* w, const std::uint32_t* rows,
                                  const std::size_t* at, int count, const Pair* e, float* d,
                                  bool first) {
    V sum[K][NV];
    const Half* row[K];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) {
        row[i] = w + rows[i];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j)
            sum[i][j] = first ? V{} : load(d + rows[i] * (BLOCK / PANEL) + j * VL);
    }
#pragma GCC unroll 4
    for (int u = 0; u < count; ++u) {
        VU es[NV];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) es[j] = load_pairs(e + u * BLOCK + j * VL);
#pragma GCC unroll 16
        for (int i = 0; i < K; ++i) {
            Pair both;
            std::memcpy(&both, row[i] + at[u], sizeof both);
            const VU ws = VU{} + both;
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) sum[i][j] = add_pairs(sum[i][j], ws, es[j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) store(d + rows[i] * (BLOCK / PANEL) + j * VL, sum[i][j]);
}

static inline void backward_rows_half(const Half* w, const std::uint32_t* rows, int inputs,
                                      const std::size_t* at, int count, const Pair* e, float* d,
                                      int vectors, bool first) {
    for (int v = 0; v < vectors; v += TILE_VECTORS)
        for (int k = 0; k < inputs; k += TILE)
            with_constant<TILE>(inputs - k < TILE ? inputs - k : TILE, [&](auto wanted) {
                constexpr int K = decltype(wanted)::value;
                if (vectors - v >= TILE_VECTORS)
                    backward_tile_half<K, TILE_VECTORS>(w, rows + k, at, count, e + v * VL,
                                                        d + v * VL, first);
                else
                    backward_tile_half<K, 1>(w, rows + k, at, count, e + v * VL, d + v * VL, first);
            });
}

// Where an update leaves the roundings of what it has moved; nowhere for gradients.
struct Roundings {
    Pair* by_input = nullptr;
    Half* by_unit = nullptr;
};

// The roundings of two inputs' weights, which begin at `at`.
HALF_PART void store_roundings(Roundings to, std::size_t at, V first, V second) {
    if (!to.by_unit) return;
    const VU halves = halves_of(first, second);
    store_pairs(reinterpret_cast<Pair*>(to.by_unit + at), halves);
    store_pairs(to.by_input + at / 2, paired(halves));
}

// Uses the gradient, as update_tile does: sums over pairs of lanes, for K listed rows (pairs of
// neighbours). x: the listed rows' lanes, BLOCK / 2 pairs each.
template <int K, int P, typename Use>
HALF_CODE void update_tile_half(const Use use, Roundings to, std::size_t at,
                                std::size_t panel_stride, const std::uint32_t* rows, const Pair* x,
                                std::size_t block_stride, const Pair* t, std::size_t t_stride,
                                int lanes) {
    V sum[K][P];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) sum[i][p] = V{};
    for (int done = 0; done < lanes; done += BLOCK, x += block_stride) {
        const int here = lanes - done < BLOCK ? (lanes - done + 1) / 2 : BLOCK / 2;
#pragma GCC unroll 4
        for (int b = 0; b < here; ++b, t += t_stride) {
            VU ts[P];
#pragma GCC unroll 16
            for (int p = 0; p < P; ++p) ts[p] = load_pairs(t + p * PANEL);
#pragma GCC unroll 16
            for (int i = 0; i < K; ++i) {
                const VU xs = VU{} + x[i * (BLOCK / 2) + b];
#pragma GCC unroll 16
                for (int p = 0; p < P; ++p) sum[i][p] = add_pairs(sum[i][p], xs, ts[p]);
            }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
        for (int i = 0; i < K; i += 2) {
            const std::size_t here = at + p * panel_stride + rows[i];
            const V first = use(here, sum[i][p]);
            store_roundings(to, here, first, use(here + PANEL, sum[i + 1][p]));
        }
}

// The same for rows that are not listed, whose gradient is 0; row: of a fixed input, even.
template <typename Use>
HALF_CODE void move_rows_half(const Use& use, Roundings to, std::size_t at,
                              std::size_t panel_stride, int panels, std::uint32_t row) {
    for (int p = 0; p < panels; ++p) {
        const std::size_t here = at + p * panel_stride + row;
        const V first = use(here, V{});
        store_roundings(to, here, first, use(here + PANEL, V{}));
    }
}

// at: where the first panel begins; count: listed rows, even.
template <typename Use>
static inline void update_panels_half(const Use& use, Roundings to, std::size_t at,
                                      std::size_t panel_stride, int panels,
                                      const std::uint32_t* rows, int count, const Pair* x,
                                      std::size_t block_stride, const Pair* t,
                                      std::size_t t_stride, int lanes) {
    constexpr int most = UPDATE_INPUTS / 2;
    for (int k = 0; k < count; k += UPDATE_INPUTS)
        with_constant<most>(count - k < UPDATE_INPUTS ? (count - k) / 2 : most, [&](auto wanted) {
            constexpr int K = decltype(wanted)::value * 2;
            const auto some = [&](auto together, int p) {
                update_tile_half<K, decltype(together)::value>(
                    use, to, at + p * panel_stride, panel_stride, rows + k, x + k * (BLOCK / 2),
                    block_stride, t + p * PANEL, t_stride, lanes);
            };
            int p = 0;
            for (; p + UPDATE_PANELS <= panels; p += UPDATE_PANELS) some(Int<UPDATE_PANELS>{}, p);
            for (; p < panels; ++p) some(Int<1>{}, p);
        });
}

#endif

}  // namespace inkproof
