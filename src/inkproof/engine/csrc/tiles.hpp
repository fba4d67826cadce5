// Products of whole tiles of numbers rounded to bfloat16, with sums of float32, on processors that
// have AMX: sixteen times the rate of float32.
//
// One operation adds to a tile of 16 x 16 sums the product of two tiles of 16 x 32 factors:
//
//   sums[m][n] += sum over k < 32 of a[m][k] b[k][n]
//
// where the rows of a are 32 halves one after the other, and b lies as pairs: its row k / 2 holds
// b[k][n] and b[k + 1][n] next to each other, for 16 n. Every row is one cache line. The even and
// the odd products of an operation are summed by themselves, in ascending order, then together, and
// then added to the tile (Intel's manual, TDPBF16PS): the bits hang on the numbers alone.
//
// Functions here are templates over who does it: Amx, or Emulated, which AVX512-BF16 suffices for
// and whose reads and writes sanitizers see.
#pragma once

#include "ahead.hpp"
#include "half.hpp"

#if INKPROOF_HALF

namespace inkproof {

constexpr int TILE_ROWS = 16, TILE_DEPTH = 32;  // rows (and columns) of a tile; products of a sum

// The instructions, by numbers of the eight tiles, once request_tiles() has been granted. A thread
// begins and ends its use of them.
class Amx {
public:
    Amx() {
        struct alignas(64) {
            std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
            std::uint16_t row_bytes[16] = {};
            std::uint8_t rows[16] = {};
        } shape;
        for (int tile = 0; tile < 8; ++tile) shape.row_bytes[tile] = 64, shape.rows[tile] = 16;
        __asm__ volatile("ldtilecfg %0" ::"m"(shape));
    }
    ~Amx() { __asm__ volatile("tilerelease"); }
    Amx(const Amx&) = delete;
    Amx& operator=(const Amx&) = delete;

    template <int T>
    void clear() {
        __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
    }
    // stride: between rows, in bytes.
    template <int T>
    void load(const void* from, std::size_t stride) {
        __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T)
                         : "memory");
    }
    template <int T>
    void store(void* to, std::size_t stride) {
        __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T)
                         : "memory");
    }
    template <int SUMS, int A, int B>
    void multiply() {
        __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUMS), "i"(A), "i"(B));
    }
};

class Emulated {
public:
    template <int T>
    void clear() {
        std::memset(tiles_[T], 0, sizeof tiles_[T]);
    }
    template <int T>
    void load(const void* from, std::size_t stride) {
        for (std::size_t i = 0; i < TILE_ROWS; ++i)
            std::memcpy(tiles_[T][i], static_cast<const char*>(from) + i * stride, 64);
    }
    template <int T>
    void store(void* to, std::size_t stride) {
        for (std::size_t i = 0; i < TILE_ROWS; ++i)
            std::memcpy(static_cast<char*>(to) + i * stride, tiles_[T][i], 64);
    }
    template <int SUMS, int A, int B>
    void multiply() {
        add_product(tiles_[SUMS], tiles_[A], tiles_[B]);
    }

private:
    typedef Pair Tile[TILE_ROWS][16];
    HALF_CODE void add_product(Tile& sums, const Tile& a, const Tile& b) {
        V chains[TILE_ROWS];
        for (int m = 0; m < TILE_ROWS; ++m) chains[m] = V{};
        for (int k = 0; k < TILE_DEPTH / 2; ++k) {
            const VU bs = load_pairs(b[k]);
            for (int m = 0; m < TILE_ROWS; ++m)
                chains[m] = add_pairs(chains[m], VU{} + a[m][k], bs);
        }
        for (int m = 0; m < TILE_ROWS; ++m) {
            float* at = reinterpret_cast<float*>(sums[m]);
            store_sum(at, chains[m]);
        }
    }
    static void store_sum(float* at, V sum) { inkproof::store(at, inkproof::load(at) + sum); }

    alignas(64) Tile tiles_[8] = {};
};

// Rounds some inputs' rows of a panel to pairs of inputs; count: even.
HALF_CODE void round_rows(const float* w, int count, Pair* rounded) {
    for (int k = 0; k < count; k += 2)
        store_pairs(rounded + k * (PANEL / 2),
                    paired(halves_of(load(w + k * PANEL), load(w + (k + 1) * PANEL))));
}

// Uses the gradient, sums over lanes of x[input][lane] t[lane][unit], as kernels.hpp has it, for a
// panel's units and count inputs, a multiple of 16, whose weights w begin at `at`. x:
// [block][input][32 lanes]; t: [block][pair of lanes][unit]. moves_all: where it is 0, too.
// filled: of each 16 inputs, whether any is not zero; missing: all. rounded: where the new weights'
// roundings go, or nowhere. ahead: what to ask for meanwhile.
template <typename Unit, typename Use>
HALF_CODE void update_by_tiles(Unit& unit, const Use use, bool moves_all, const float* w,
                               std::size_t at, int count, const Half* x, std::size_t x_block,
                               const Pair* t, std::size_t t_stride, int blocks,
                               const std::uint8_t* filled, Pair* rounded, Ahead& ahead) {
    alignas(64) float sums[2][TILE_ROWS * PANEL];
    const std::size_t t_block = BLOCK / 2 * t_stride;
    unit.template load<0>(t, t_stride * sizeof(Pair));
    for (int k = 0; k < count; k += TILE_ROWS, at += TILE_ROWS * PANEL) {
        Pair* to = rounded ? rounded + k * (PANEL / 2) : nullptr;
        const bool is_empty = filled && !filled[k / TILE_ROWS];
        if (is_empty && !moves_all) {
            if (to) round_rows(w + at, TILE_ROWS, to);
            continue;
        }
        ahead.some(1);
        float* g = sums[k / TILE_ROWS % 2];
        unit.template clear<1>();
        for (int block = 0; block < blocks && !is_empty; ++block) {
            const auto b = static_cast<std::size_t>(block);
            if (blocks > 1) unit.template load<0>(t + b * t_block, t_stride * sizeof(Pair));
            unit.template load<2>(x + b * x_block + k * BLOCK, BLOCK * sizeof(Half));
            unit.template multiply<1, 2, 0>();
        }
        unit.template store<1>(g, PANEL * sizeof(float));
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS * PANEL; i += 2 * PANEL) {
            const V first = use(at + i, load(g + i));
            const V second = use(at + i + PANEL, load(g + i + PANEL));
            if (to) store_pairs(to + i / 2, paired(halves_of(first, second)));
        }
    }
}

// sums[lane][32 units] += x[lane][inputs] w[inputs][units], for a block's 32 lanes and two panels,
// and count inputs, a multiple of 32. x: [lane][input], rows apart by x_stride; w, other: roundings
// of the panels, the second may be missing. from_zero: sums begin anew.
template <typename Unit>
HALF_CODE void forward_by_tiles(Unit& unit, const Pair* w, const Pair* other, int count,
                                const Half* x, std::size_t x_stride, const std::uint8_t* filled,
                                float* sums, bool from_zero) {
    constexpr std::size_t stride = 2 * PANEL * sizeof(float);
    const auto each = [&](auto&& f) __attribute__((always_inline)) {
        f(Int<0>{}, sums);
        f(Int<1>{}, sums + TILE_ROWS * 2 * PANEL);
        f(Int<2>{}, sums + PANEL);
        f(Int<3>{}, sums + TILE_ROWS * 2 * PANEL + PANEL);
    };
    if (from_zero) {
        unit.template clear<0>();
        unit.template clear<1>();
        unit.template clear<2>();
        unit.template clear<3>();
    } else {
        each([&](auto tile, float* at) __attribute__((always_inline)) {
            unit.template load<decltype(tile)::value>(at, stride);
        });
    }
    const std::size_t bytes = x_stride * sizeof(Half);
    for (int k = 0; k < count; k += TILE_DEPTH) {
        if (filled && !filled[k / TILE_ROWS] && !filled[k / TILE_ROWS + 1]) continue;
        unit.template load<4>(x + k, bytes);
        unit.template load<5>(x + k + TILE_ROWS * x_stride, bytes);
        unit.template load<6>(w + k * (PANEL / 2), PANEL * sizeof(Pair));
        unit.template multiply<0, 4, 6>();
        unit.template multiply<1, 5, 6>();
        if (!other) continue;
        unit.template load<7>(other + k * (PANEL / 2), PANEL * sizeof(Pair));
        unit.template multiply<2, 4, 7>();
        unit.template multiply<3, 5, 7>();
    }
    each([&](auto tile, float* at) __attribute__((always_inline)) {
        unit.template store<decltype(tile)::value>(at, stride);
    });
}

// Rounds 32 inputs' rows of some panels, [pair of panels][input][32 units]. What lacks in the last
// pair is zero.
HALF_CODE void round_units(const float* w, std::size_t panel_stride, int panels, Half* rounded) {
    for (int p = 0; p < panels; p += 2, w += 2 * panel_stride) {
        const bool is_whole = p + 1 < panels;
        for (int i = 0; i < TILE_DEPTH; ++i, rounded += 2 * PANEL) {
            const V other = is_whole ? load(w + panel_stride + i * PANEL) : V{};
            store_pairs(reinterpret_cast<Pair*>(rounded), halves_of(load(w + i * PANEL), other));
        }
    }
}

// d[input][lane] = sum over units of w[input][unit] e[unit][lane], for 32 inputs and a block's
// lanes. w: as round_units leaves it; e: [pair of units][lane]; d: [input][lane].
template <typename Unit>
HALF_CODE void backward_by_tiles(Unit& unit, const Half* w, int panels, const Pair* e, float* d) {
    constexpr std::size_t row = BLOCK * sizeof(Pair);
    unit.template clear<0>();
    unit.template clear<1>();
    unit.template clear<2>();
    unit.template clear<3>();
    for (int p = 0; p < panels; p += 2, w += TILE_DEPTH * 2 * PANEL, e += PANEL * BLOCK) {
        unit.template load<4>(w, 2 * PANEL * sizeof(Half));
        unit.template load<5>(w + TILE_ROWS * 2 * PANEL, 2 * PANEL * sizeof(Half));
        unit.template load<6>(e, row);
        unit.template load<7>(e + TILE_ROWS, row);
        unit.template multiply<0, 4, 6>();
        unit.template multiply<1, 4, 7>();
        unit.template multiply<2, 5, 6>();
        unit.template multiply<3, 5, 7>();
    }
    unit.template store<0>(d, BLOCK * sizeof(float));
    unit.template store<1>(d + TILE_ROWS, BLOCK * sizeof(float));
    unit.template store<2>(d + TILE_ROWS * BLOCK, BLOCK * sizeof(float));
    unit.template store<3>(d + TILE_ROWS * BLOCK + TILE_ROWS, BLOCK * sizeof(float));
}

// y[row][lane] = sum over runs of a[row][k] x[k][lane], for two panels of rows (the second may be
// missing) and a block's 32 lanes. a: [group of 32 k][16 rows][32 k], the second panel's further on
// by panel_stride; x: [pair of k][lane]. A run is a multiple of 32 k that lie one after the other,
// in a and in x.
struct TileRun {
    std::size_t a, x;
    int count;
};
template <typename Unit>
HALF_CODE void multiply_runs(Unit& unit, const Half* a, std::size_t panel_stride, int panels,
                             const TileRun* runs, int run_count, const Pair* x, float* y) {
    constexpr std::size_t x_row = BLOCK * sizeof(Pair), y_row = BLOCK * sizeof(float);
    unit.template clear<0>();
    unit.template clear<1>();
    unit.template clear<2>();
    unit.template clear<3>();
    for (int r = 0; r < run_count; ++r) {
        const Half* as = a + runs[r].a;
        const Pair* xs = x + runs[r].x;
        for (int k = 0; k < runs[r].count; k += TILE_DEPTH) {
            unit.template load<4>(as, TILE_DEPTH * sizeof(Half));
            unit.template load<6>(xs, x_row);
            unit.template load<7>(xs + TILE_ROWS, x_row);
            unit.template multiply<0, 4, 6>();
            unit.template multiply<1, 4, 7>();
            if (panels == 2) {
                unit.template load<5>(as + panel_stride, TILE_DEPTH * sizeof(Half));
                unit.template multiply<2, 5, 6>();
                unit.template multiply<3, 5, 7>();
            }
            as += TILE_ROWS * TILE_DEPTH;
            xs += TILE_ROWS * BLOCK;
        }
    }
    unit.template store<0>(y, y_row);
    unit.template store<1>(y + TILE_ROWS, y_row);
    if (panels < 2) return;
    unit.template store<2>(y + TILE_ROWS * BLOCK, y_row);
    unit.template store<3>(y + TILE_ROWS * BLOCK + TILE_ROWS, y_row);
}

// g[row][16] += sum over some positions and their lanes of x[row][lane] t[lane][16], for 32 rows.
// x: of each position [row][lane]; t: [pair of lanes][16]. Even and odd positions are summed by
// themselves.
template <typename Unit>
HALF_CODE void add_positions(Unit& unit, float* g, const Half* const* x, const Pair* const* t,
                             int positions) {
    constexpr std::size_t row = BLOCK * sizeof(Half), wide = PANEL * sizeof(float);
    alignas(64) float sums[4][TILE_ROWS * PANEL];
    unit.template clear<0>();
    unit.template clear<1>();
    unit.template clear<2>();
    unit.template clear<3>();
    for (int p = 0; p < positions; p += 2) {
        unit.template load<4>(t[p], wide);
        unit.template load<5>(x[p], row);
        unit.template multiply<0, 5, 4>();
        unit.template load<6>(x[p] + TILE_ROWS * BLOCK, row);
        unit.template multiply<1, 6, 4>();
        if (p + 1 == positions) break;
        unit.template load<4>(t[p + 1], wide);
        unit.template load<5>(x[p + 1], row);
        unit.template multiply<2, 5, 4>();
        unit.template load<6>(x[p + 1] + TILE_ROWS * BLOCK, row);
        unit.template multiply<3, 6, 4>();
    }
    unit.template store<0>(sums[0], wide);
    unit.template store<1>(sums[1], wide);
    unit.template store<2>(sums[2], wide);
    unit.template store<3>(sums[3], wide);
    for (int i = 0; i < 2; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < TILE_ROWS * PANEL; j += PANEL) {
            float* at = g + i * TILE_ROWS * PANEL + j;
            store(at, load(at) + (load(sums[i] + j) + load(sums[i + 2] + j)));
        }
}

// --- Layout changes, by rows of halves -----------------------------------------------------------

// Sixteen rows of 16 lane pairs, as [pair of lanes][feature], to [feature][32 lanes].
HALF_PART void to_lanes_of_halves(V (&rows)[VL], Half* to) {
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) store(reinterpret_cast<float*>(to + i * BLOCK), rows[i]);
}

// [lane][32 features], rows apart by stride, to [feature][32 lanes]. Returns one bit for each 16
// features of which some are not zero.
HALF_CODE unsigned transpose_halves(const Half* from, std::size_t stride, Half* to) {
    typedef Half H __attribute__((vector_size(64), may_alias));
    V low[VL], high[VL];
    VU some_low{}, some_high{};
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) {
        const H a = *reinterpret_cast<const H*>(from + (2 * i) * stride);
        const H b = *reinterpret_cast<const H*>(from + (2 * i + 1) * stride);
        low[i] = reinterpret_cast<V>(
            __builtin_shufflevector(a, b, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8,
                                    40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47));
        high[i] = reinterpret_cast<V>(__builtin_shufflevector(
            a, b, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24, 56, 25, 57,
            26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63));
        some_low |= reinterpret_cast<VU>(low[i]);
        some_high |= reinterpret_cast<VU>(high[i]);
    }
    to_lanes_of_halves(low, to);
    to_lanes_of_halves(high, to + PANEL * BLOCK);
    return static_cast<unsigned>(any(some_low != VU{})) |
           static_cast<unsigned>(any(some_high != VU{})) << 1;
}

}  // namespace inkproof

#endif
