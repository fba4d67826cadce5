// The products of a dense layer, on panels of weights and blocks of batch lanes.
//
// Where numbers lie (every pointer is aligned to 64 bytes):
//
//   weights      [panel][input][16 units]      a panel's row is one cache line; padding is zero
//   activations  [block][feature][32 lanes]    the batch is the vector
//   transposed   [lane][units, padded to 16]   the same numbers, units as the vector: what the
//                                              weight gradient and the sparse product read
//
// Every sum is one chain of fused multiply-adds over its index in ascending order (that over the first
// half of a layer's units, for the gradient of its inputs, in descending order), whatever the tiles,
// blocks and threads, so that the same numbers give the same bits. A product with a zero
// factor leaves such a chain as it is: the sparse forms give the bits of the dense ones, and what
// is zero in a whole batch is left out. Hence the products take lists of rows: where each input's
// row of a panel begins (input * PANEL). Where there is no list (null), no input is left out.
//
// The innermost loops are unrolled: a core whose other thread is busy with something else, as on a
// shared machine, has half of its time for instructions, and those that only count cost as much.
#pragma once

#include <algorithm>

#include "buffer.hpp"
#include "simd.hpp"

namespace inkproof {

// Sizes that suit the variant's registers, and caches of 32 KiB and 512 KiB; no result depends on
// them.
//   TILE, TILE_VECTORS      registers of a tile: its units (or inputs) by its vectors of lanes
//   TILE_ALONE              units of a tile with one vector of lanes, as a single image has
//   UPDATE_INPUTS, _PANELS  inputs and panels of a tile of the weight gradient
//   FEW_LANES               no more lanes than these go through with units as the vector,
//   FEW_PANELS              one lane of a dense layer so many panels at a time
//   PANELS_AT_ONCE          panels that a forward product works on together
//   SPARSE_PANELS           panels that the two products of sparse inputs work on together
//   LISTS_AT_ONCE           lanes or inputs that go together in those
//   BITS_PAY_BELOW          share of a hidden layer's inputs that are not zero, below which each
//                           lane's zeros are left out
//   PANELS_IN_CACHE         at most updated and then used while the second-level cache has them
//   PANELS_A_TASK           the same where threads share a layer: fewer, so that none waits long
//   ASKS_AHEAD              whether a tile on the way back asks for the next one's weights
#if INKPROOF_VL == 16
constexpr int TILE = 8, TILE_VECTORS = 2, TILE_ALONE = 16, UPDATE_INPUTS = 12, UPDATE_PANELS = 2;
constexpr int PANELS_AT_ONCE = 8, SPARSE_PANELS = 8, LISTS_AT_ONCE = 2;
constexpr int PANELS_IN_CACHE = 8, PANELS_A_TASK = 8;
constexpr bool ASKS_AHEAD = false;
constexpr float BITS_PAY_BELOW = 0.78f;
#elif INKPROOF_VL == 8
constexpr int TILE = 6, TILE_VECTORS = 2, TILE_ALONE = 8, UPDATE_INPUTS = 6, UPDATE_PANELS = 1;
constexpr int PANELS_AT_ONCE = 4, SPARSE_PANELS = 6, LISTS_AT_ONCE = 1;
constexpr int PANELS_IN_CACHE = 12, PANELS_A_TASK = 4;
constexpr bool ASKS_AHEAD = true;
constexpr float BITS_PAY_BELOW = 0.7f;
#else
constexpr int TILE = 4, TILE_VECTORS = 2, TILE_ALONE = 8, UPDATE_INPUTS = 3, UPDATE_PANELS = 1;
constexpr int PANELS_AT_ONCE = 2, SPARSE_PANELS = 2, LISTS_AT_ONCE = 1;
constexpr int PANELS_IN_CACHE = 8, PANELS_A_TASK = 4;
constexpr bool ASKS_AHEAD = false;
constexpr float BITS_PAY_BELOW = 0.6f;
#endif
constexpr int BYTES_IN_CACHE = 640 << 10;  // of such panels: fewer where a layer has many inputs
constexpr int FEW_LANES = VL * 3 / 4, FEW_PANELS = VL / 2;
constexpr int INPUTS_AT_ONCE = 128;  // inputs whose activations stay in the first-level cache
constexpr int UNITS_AT_ONCE = 4096 / (TILE_VECTORS * VL);  // whose errors, of a tile's lanes, do
constexpr int BACKWARD_INPUTS = 48;  // whose errors a task works out: a multiple of every tile
constexpr int COLUMNS_AHEAD = 4;     // sparse inputs whose weights are asked for before their update
constexpr std::size_t BEYOND_CACHES = 12 << 20;  // bytes of weights that come from memory each step

template <int N>
struct Int {
    static constexpr int value = N;
    constexpr operator int() const { return N; }
};

// Calls f(Int<n>) for a run-time n in 1 .. N.
template <int N, typename F>
static inline void with_constant(int n, F&& f) {
    if constexpr (N == 1) {
        f(Int<1>{});
    } else {
        if (n == N)
            f(Int<N>{});
        else
            with_constant<N - 1>(n, f);
    }
}

// --- y[unit][lane] = bias[unit] + sum over inputs of w[input][unit] x[input][lane] ---------------

struct EveryRow {
    std::size_t operator[](int k) const { return static_cast<std::size_t>(k * PANEL); }
};

// What the sums of some units begin from: each unit's bias or, where there is none, what is in y.
template <int U, int NV>
static inline void begin_sums(V (&sum)[U][NV], const float* bias, const float* y) {
#pragma GCC unroll 16
    for (int i = 0; i < U; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j)
            sum[i][j] = bias ? splat(bias[i]) : load(y + i * BLOCK + j * VL);
}

// rows[k]: where the rows of the inputs are; x: the listed inputs only, one after the other.
template <int U, int NV, typename Rows>
static inline void forward_tile(const float* w, Rows rows, int count, const float* x,
                                const float* bias, float* y) {
    V sum[U][NV];
    begin_sums(sum, bias, y);
#pragma GCC unroll 4
    for (int k = 0; k < count; ++k) {
        const float* row = w + rows[k];
        V xs[NV];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) xs[j] = load(x + k * BLOCK + j * VL);
#pragma GCC unroll 16
        for (int i = 0; i < U; ++i) {
            const V ws = splat(row[i]);
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) sum[i][j] += ws * xs[j];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < U; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) store(y + i * BLOCK + j * VL, sum[i][j]);
}

template <typename Rows>
static inline void forward_tiles(const float* w, Rows rows, int count, const float* x,
                                 const float* bias, float* y, int units, int first_vector,
                                 int vectors) {
    for (int v = first_vector; v < first_vector + vectors; v += TILE_VECTORS) {
        const int left = first_vector + vectors - v;
        for (int unit = 0; unit < units; unit += TILE)
            with_constant<TILE>(units - unit < TILE ? units - unit : TILE, [&](auto wanted) {
                constexpr int U = decltype(wanted)::value;
                const float* from = bias ? bias + unit : nullptr;
                float* at = y + unit * BLOCK + v * VL;
                if (left >= TILE_VECTORS)
                    forward_tile<U, TILE_VECTORS>(w + unit, rows, count, x + v * VL, from, at);
                else
                    forward_tile<U, 1>(w + unit, rows, count, x + v * VL, from, at);
            });
    }
}

// One panel's units on some vectors of one block: adds the share of some inputs, from the `first`
// that is listed, to y or, where it is given, to the bias.
static inline void forward_panel(const float* w, const std::uint32_t* rows, int first, int count,
                                 const float* x, const float* bias, float* y, int units,
                                 int first_vector, int vectors) {
    x += first * BLOCK;
    if (rows)
        forward_tiles(w, rows + first, count, x, bias, y, units, first_vector, vectors);
    else
        forward_tiles(w + first * PANEL, EveryRow{}, count, x, bias, y, units, first_vector,
                      vectors);
}

// --- d[input][lane] = sum over units of w[input][unit] e[unit][lane] -----------------------------

// Where an input's row of a panel begins.
static inline std::size_t row_at(const std::uint32_t* rows, int k) {
    return rows ? rows[k] : static_cast<std::size_t>(k * PANEL);
}

// Adds the share of the listed units to the gradient at K inputs, from the `from`th that is listed.
// units: where each one's weight lies in an input's row, unit / PANEL * panel_stride + unit % PANEL;
// e: the listed units, one after the other. DOWN: from the last unit to the first.
template <int K, int NV, bool DOWN>
static inline void backward_tile(const float* w, const std::uint32_t* rows, int from,
                                 const std::size_t* units, int count, const float* e, float* d,
                                 bool first) {
    V sum[K][NV];
    const float* row[K];
    float* to[K];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) {
        const std::size_t at = row_at(rows, from + i);
        row[i] = w + at;
        to[i] = d + at * (BLOCK / PANEL);
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) sum[i][j] = first ? V{} : load(to[i] + j * VL);
    }
#pragma GCC unroll 4
    for (int n = 0; n < count; ++n) {
        const int u = DOWN ? count - 1 - n : n;
        const std::size_t at = units[u];
        V es[NV];
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) es[j] = load(e + u * BLOCK + j * VL);
#pragma GCC unroll 16
        for (int i = 0; i < K; ++i) {
            const V ws = splat(row[i][at]);
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) sum[i][j] += ws * es[j];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) store(to[i] + j * VL, sum[i][j]);
}

// Asks for the weights of some listed inputs and units. A line holds 16 units of an input; the next 16
// are far away, where no processor looks by itself.
static inline void expect_rows(const float* w, const std::uint32_t* rows, Range inputs,
                               const std::size_t* units, int unit_count) {
    for (int k = inputs.begin; k < inputs.end; ++k)
        for (int u = 0; u < unit_count; u += PANEL) __builtin_prefetch(w + row_at(rows, k) + units[u]);
}

// For the listed inputs in `wanted`. All tiles read the same errors, which so stay in the first-level
// cache; the weights come from the second one, once for each lot of lanes.
template <bool DOWN>
static inline void backward_rows(const float* w, const std::uint32_t* rows, Range wanted,
                                 const std::size_t* units, int unit_count, const float* e, float* d,
                                 int vectors, bool first) {
    for (int v = 0; v < vectors; v += TILE_VECTORS)
        for (int k = wanted.begin; k < wanted.end; k += TILE)
            with_constant<TILE>(wanted.end - k < TILE ? wanted.end - k : TILE, [&](auto count) {
                constexpr int K = decltype(count)::value;
                const int next = k + TILE, end = next + TILE < wanted.end ? next + TILE : wanted.end;
                if (ASKS_AHEAD && v == 0) expect_rows(w, rows, {next, end}, units, unit_count);
                const float* from = e + v * VL;
                if (v + TILE_VECTORS <= vectors)
                    backward_tile<K, TILE_VECTORS, DOWN>(w, rows, k, units, unit_count, from,
                                                         d + v * VL, first);
                else
                    backward_tile<K, 1, DOWN>(w, rows, k, units, unit_count, from, d + v * VL,
                                              first);
            });
}

// --- g[input][unit] = sum over lanes of x[input][lane] t[lane][unit] -----------------------------
//
// `use` takes each vector of the gradient, for numbers from a place in the weights' memory: see
// descent.hpp.

// at: where the first panel begins; x: K inputs, from the `from`th that is listed, one after the
// other; t: from the first of P panels' units.
template <int K, int P, typename Use>
static inline void update_tile(const Use use, std::size_t at, std::size_t panel_stride,
                               const std::uint32_t* rows, int from, const float* x,
                               std::size_t block_stride, const float* t, std::size_t t_stride,
                               int lanes) {
    std::size_t to[K];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) to[i] = at + row_at(rows, from + i);
    V sum[K][P * VP];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < P * VP; ++j) sum[i][j] = V{};
    for (int done = 0; done < lanes; done += BLOCK) {
        const int here = lanes - done < BLOCK ? lanes - done : BLOCK;
#pragma GCC unroll 4
        for (int b = 0; b < here; ++b) {
            V ts[P * VP];
#pragma GCC unroll 16
            for (int j = 0; j < P * VP; ++j) ts[j] = load(t + j * VL);
#pragma GCC unroll 16
            for (int i = 0; i < K; ++i) {
                const V xs = splat(x[i * BLOCK + b]);
#pragma GCC unroll 16
                for (int j = 0; j < P * VP; ++j) sum[i][j] += xs * ts[j];
            }
            t += t_stride;
        }
        x += block_stride;
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
        for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
            for (int j = 0; j < VP; ++j)
                use(p * panel_stride + to[i] + j * VL, sum[i][p * VP + j]);
}

// For the listed inputs in `wanted`; x: from the first of all that are listed. asks: each tile for the
// next one's weights, which come from memory.
template <typename Use>
static inline void update_panels(const Use& use, std::size_t at, std::size_t panel_stride,
                                 int panels, const std::uint32_t* rows, Range wanted,
                                 const float* x, std::size_t block_stride, const float* t,
                                 std::size_t t_stride, int lanes, bool asks) {
    for (int k = wanted.begin; k < wanted.end; k += UPDATE_INPUTS)
        with_constant<UPDATE_INPUTS>(
            wanted.end - k < UPDATE_INPUTS ? wanted.end - k : UPDATE_INPUTS, [&](auto count) {
                constexpr int K = decltype(count)::value;
                const int next = k + K, whole = next + UPDATE_INPUTS;
                const int end = whole < wanted.end ? whole : wanted.end;
                for (int i = next; asks && i < end; ++i)
                    for (int p = 0; p < panels; ++p)
                        use.expect(at + p * panel_stride + row_at(rows, i));
                int p = 0;
                for (; p + UPDATE_PANELS <= panels; p += UPDATE_PANELS)
                    update_tile<K, UPDATE_PANELS>(use, at + p * panel_stride, panel_stride, rows,
                                                  k, x + k * BLOCK, block_stride, t + p * PANEL,
                                                  t_stride, lanes);
                for (; p < panels; ++p)
                    update_tile<K, 1>(use, at + p * panel_stride, panel_stride, rows, k,
                                      x + k * BLOCK, block_stride, t + p * PANEL, t_stride, lanes);
            });
}

// --- The same two products where most inputs are zero --------------------------------------------
//
// Which numbers are not zero, one bit each, takes the place of a list of where they are: an address
// that comes from a bit is there at once, one that is loaded costs as much as the row it names.

constexpr int WORD = 64;  // numbers of which one word of such bits tells

// A bit for each number of N vectors that is not zero.
template <int N>
static inline std::uint32_t filled_bits(const float* numbers) {
    std::uint32_t bits = 0;
    for (int i = 0; i < N; ++i) bits |= filled_bits(load(numbers + i * VL)) << i * VL;
    return bits;
}

// Some values in a row, of which one at a time is then picked. From registers, if the processor can:
// the rows take all the loads that it has.
#if INKPROOF_VL == 16 && defined(__AVX512F__)
constexpr bool PICKS = true;
constexpr int HELD = 2 * VL;
typedef VI Place;
struct Held {
    void read(const float* from) {
        std::memcpy(&low, from, sizeof low);
        std::memcpy(&high, from + VL, sizeof high);
    }
    V at(Place place) const {
        return reinterpret_cast<V>(_mm512_permutex2var_ps(reinterpret_cast<__m512>(low),
                                                          reinterpret_cast<__m512i>(place),
                                                          reinterpret_cast<__m512>(high)));
    }
    V low, high;
};
#else
constexpr bool PICKS = false;
constexpr int HELD = WORD;
typedef int Place;
struct Held {
    void read(const float* values) { from = values; }
    V at(Place place) const { return splat(from[place]); }
    const float* from;
};
#endif

// Whether the values of what has a bit come one after the other, or each at its place.
enum class Values { in_order, in_place };

// sum[i][unit] += sum over the bits of a word of value row[unit], for N words and P panels. The words
// go together while all have bits: a loop's end, which no processor foresees, then costs less. HELD
// values may be read from where they begin, and those in place are no more. Those in order are left
// where the next word's begin.
template <Values KIND, int P, int N>
__attribute__((always_inline)) static inline void add_filled(V (&sum)[N][P * VP], const float* rows,
                                                             std::size_t row_stride,
                                                             std::size_t panel_stride,
                                                             std::uint64_t (&filled)[N],
                                                             const float* (&values)[N]) {
    const auto add = [&](int i, std::size_t k, V value) __attribute__((always_inline)) {
        const float* row = rows + k * row_stride;
        __asm__("" : "+r"(row));  // one address, or the compiler works out one for each vector
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
            for (int j = 0; j < VP; ++j)
                sum[i][p * VP + j] += value * load(row + p * panel_stride + j * VL);
        filled[i] &= filled[i] - 1;
    };
    const auto place_of = [](std::size_t k) __attribute__((always_inline)) {
        return Place{} + static_cast<std::int32_t>(k);
    };
    Held held[N];
    int together = HELD;
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
        held[i].read(values[i]);
        together = std::min(together, __builtin_popcountll(filled[i]));
    }
    Place next{};
    for (int n = 0; n < together; ++n, next += 1)
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
            const auto k = static_cast<std::size_t>(__builtin_ctzll(filled[i]));
            add(i, k, held[i].at(KIND == Values::in_order ? next : place_of(k)));
        }
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
        if (KIND == Values::in_order) values[i] += together;
        while (filled[i] != 0) {
            const auto k = static_cast<std::size_t>(__builtin_ctzll(filled[i]));
            add(i, k, KIND == Values::in_order ? splat(*values[i]++) : held[i].at(place_of(k)));
        }
    }
}

// Calls f(Int<n>, first) for each N things of a range, and for what is left one by one.
template <int N, typename F>
__attribute__((always_inline)) static inline void few_at_once(Range range, F&& f) {
    int i = range.begin;
    for (; i + N <= range.end; i += N) f(Int<N>{}, i);
    if constexpr (N > 1)
        for (; i < range.end; ++i) f(Int<1>{}, i);
}

// The two products are functions of their own, and take all by value: among other code the compiler
// runs out of registers, and for each list it reads again what a store could have changed for all that
// it knows. Every such load costs: the rows take all that the processor has. So how many words there
// are is a constant where it can be, an Int<1>.

// y[unit] += sum over a lane's inputs of value w[input][unit], for some lanes, some words of inputs
// and P panels. y: of the lanes, one after the other. The lists say:
//   words              how many words of inputs
//   filled(lane)       where the words begin
//   values(lane)       and its values, of a KIND; those in order go on from word to word
template <int P, typename Lists>
__attribute__((noinline)) static void sparse_forward(const float* w, std::size_t panel_stride,
                                                     const Lists lists, Range lanes, float* y) {
    few_at_once<LISTS_AT_ONCE>(lanes, [&](auto count, int lane) __attribute__((always_inline)) {
        constexpr int N = decltype(count)::value;
        const std::uint64_t* filled[N];
        const float* values[N];
        float* sums = y + lane * P * PANEL;
        V sum[N][P * VP];
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
            filled[i] = lists.filled(lane + i);
            values[i] = lists.values(lane + i);
#pragma GCC unroll 16
            for (int j = 0; j < P * VP; ++j) sum[i][j] = load(sums + (i * P * VP + j) * VL);
        }
        const float* part = w;
        for (int word = 0; word < lists.words; ++word, part += WORD * PANEL) {
            std::uint64_t bits[N];
#pragma GCC unroll 4
            for (int i = 0; i < N; ++i) bits[i] = filled[i][word];
            add_filled<Lists::KIND, P>(sum, part, PANEL, panel_stride, bits, values);
        }
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i)
#pragma GCC unroll 16
            for (int j = 0; j < P * VP; ++j) store(sums + (i * P * VP + j) * VL, sum[i][j]);
    });
}

// g[unit] = sum over an input's lanes of value t[lane][unit], for some of the inputs that are listed,
// TOGETHER at a time, and P panels, whose weights begin at `at`. The lists say:
//   words, LANES       how many words of bits an input has, and of how many lanes one tells
//   input(i)           which input comes at i
//   filled(i, word)    its bits
//   values(i, word)    its values, of a KIND; those in order go on from word to word
//   asks()             whether to ask for the weights some inputs ahead
template <int P, int TOGETHER, typename Use, typename Lists>
__attribute__((noinline)) static void sparse_update(const Use use, std::size_t at,
                                                    std::size_t panel_stride, const Lists lists,
                                                    Range wanted, const float* t,
                                                    std::size_t t_stride) {
    few_at_once<TOGETHER>(wanted, [&](auto count, int first) __attribute__((always_inline)) {
        constexpr int N = decltype(count)::value;
        std::size_t to[N];
        const float* values[N];
        V sum[N][P * VP];
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
            to[i] = at + lists.input(first + i) * PANEL;
            const int later = std::min(first + i + COLUMNS_AHEAD, wanted.end - 1);
            const std::size_t ahead = at + lists.input(later) * PANEL;
#pragma GCC unroll 16
            for (int p = 0; p < P; ++p)
                if (lists.asks()) use.expect(ahead + p * panel_stride);
#pragma GCC unroll 16
            for (int j = 0; j < P * VP; ++j) sum[i][j] = V{};
        }
        const float* rows = t;
        for (int word = 0; word < lists.words; ++word, rows += Lists::LANES * t_stride) {
            std::uint64_t bits[N];
#pragma GCC unroll 4
            for (int i = 0; i < N; ++i) {
                bits[i] = lists.filled(first + i, word);
                if (Lists::KIND == Values::in_place || word == 0)
                    values[i] = lists.values(first + i, word);
            }
            add_filled<Lists::KIND, P>(sum, rows, t_stride, PANEL, bits, values);
        }
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i)
#pragma GCC unroll 16
            for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
                for (int j = 0; j < VP; ++j)
                    use(to[i] + p * panel_stride + j * VL, sum[i][p * VP + j]);
    });
}

// --- The same sum for so few lanes that units are the vector -------------------------------------

// sum[i][unit] += sum over k of x[i * x_stride + k] w[k][unit], for K rows of x and P panels.
template <int K, int P>
__attribute__((always_inline)) static inline void add_rows(V (&sum)[K][P * VP], const float* w,
                                                           std::size_t panel_stride, int count,
                                                           const float* x, std::size_t x_stride) {
    for (int k = 0; k < count; ++k, w += PANEL) {
        V ws[P * VP];
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
            for (int j = 0; j < VP; ++j) ws[p * VP + j] = load(w + p * panel_stride + j * VL);
#pragma GCC unroll 16
        for (int i = 0; i < K; ++i) {
            const V xs = splat(x[static_cast<std::size_t>(i) * x_stride + k]);
#pragma GCC unroll 16
            for (int j = 0; j < P * VP; ++j) sum[i][j] += ws[j] * xs;
        }
    }
}

// --- Layout changes ------------------------------------------------------------------------------

// Calls f(lane, row, v) with VL rows' numbers of each lane, for some vectors of lanes; rows a multiple of
// 16. at(row, lane): VL lanes' numbers of a row.
template <typename At, typename F>
__attribute__((always_inline)) static inline void each_lane(int rows, int vectors, At&& at, F&& f) {
    for (int r = 0; r < rows; r += VL)
        for (int b = 0; b < vectors * VL; b += VL) {
            V tile[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; ++i) tile[i] = at(r + i, b);
            transpose(tile);
#pragma GCC unroll 16
            for (int i = 0; i < VL; ++i) f(static_cast<std::size_t>(b + i), r, tile[i]);
        }
}

// [row][BLOCK lanes] -> [lane][row] for some vectors of lanes; rows a multiple of 16.
static inline void to_lanes(const float* from, float* to, std::size_t to_stride, int rows,
                            int vectors) {
    each_lane(
        rows, vectors,
        [&](int row, int lane) __attribute__((always_inline)) {
            return load(from + row * BLOCK + lane);
        },
        [&](std::size_t lane, int row, V v) __attribute__((always_inline)) {
            store(to + lane * to_stride + row, v);
        });
}

// [lane][row] -> [row][BLOCK lanes] for some vectors of lanes; rows a multiple of 16. made(row, v): what
// becomes of the numbers of VL rows of a lane.
template <typename F>
__attribute__((always_inline)) static inline void to_features(const float* from,
                                                              std::size_t from_stride, float* to,
                                                              int rows, int vectors, F&& made) {
    for (int r = 0; r < rows; r += VL)
        for (int b = 0; b < vectors * VL; b += VL) {
            V tile[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; ++i) tile[i] = made(r, load(from + (b + i) * from_stride + r));
            transpose(tile);
#pragma GCC unroll 16
            for (int i = 0; i < VL; ++i) store(to + (r + i) * BLOCK + b, tile[i]);
        }
}

static inline void to_features(const float* from, std::size_t from_stride, float* to, int rows,
                               int vectors) {
    to_features(from, from_stride, to, rows, vectors, [](int, V v) { return v; });
}

}  // namespace inkproof
