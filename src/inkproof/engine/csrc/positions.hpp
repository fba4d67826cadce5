// The products of which convolutions consist: of a kernel's rows and features that lie one after the
// other, and of features and errors, summed over positions.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels.hpp"
#include "ops_half.hpp"

namespace inkproof {

#if INKPROOF_VL == 16
constexpr int GRADIENT_ROWS = 16;
#elif INKPROOF_VL == 8
constexpr int GRADIENT_ROWS = 6;
#else
constexpr int GRADIENT_ROWS = 3;
#endif

struct Run {
    std::size_t row;      // of the kernel, times PANEL
    std::size_t feature;  // of the input, times BLOCK
    int count;
};

// y[unit][lane] = bias + sum over runs; U units of a panel, NV vectors of lanes.
template <int U, int NV>
inline void product_tile(const float* w, const Run* runs, int run_count, const float* x, float* y,
                         const float* bias, bool is_relu) {
    V sum[U][NV];
#pragma GCC unroll 16
    for (int i = 0; i < U; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) sum[i][j] = bias ? splat(bias[i]) : V{};
    for (int r = 0; r < run_count; ++r) {
        const float* row = w + runs[r].row;
        const float* from = x + runs[r].feature;
#pragma GCC unroll 4
        for (int k = 0; k < runs[r].count; ++k, row += PANEL, from += BLOCK) {
            V xs[NV];
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) xs[j] = load(from + j * VL);
#pragma GCC unroll 16
            for (int i = 0; i < U; ++i) {
                const V ws = splat(row[i]);
#pragma GCC unroll 16
                for (int j = 0; j < NV; ++j) sum[i][j] += ws * xs[j];
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < U; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j)
            store(y + i * BLOCK + j * VL, is_relu ? relu(sum[i][j]) : sum[i][j]);
}

#if INKPROOF_HALF
// The same of pairs.
template <int U, int NV>
HALF_CODE void product_tile(const Pair* w, const Run* runs, int run_count, const Pair* x, float* y,
                            const float* bias, bool is_relu) {
    V sum[U][NV];
#pragma GCC unroll 16
    for (int i = 0; i < U; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) sum[i][j] = bias ? splat(bias[i]) : V{};
    for (int r = 0; r < run_count; ++r) {
        const Pair* row = w + runs[r].row / 2;
        const Pair* from = x + runs[r].feature / 2;
#pragma GCC unroll 4
        for (int k = 0; k < runs[r].count; k += 2, row += PANEL, from += BLOCK) {
            VU xs[NV];
#pragma GCC unroll 16
            for (int j = 0; j < NV; ++j) xs[j] = load_pairs(from + j * VL);
#pragma GCC unroll 16
            for (int i = 0; i < U; ++i) {
                const VU ws = VU{} + row[i];
#pragma GCC unroll 16
                for (int j = 0; j < NV; ++j) sum[i][j] = add_pairs(sum[i][j], ws, xs[j]);
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < U; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j)
            store(y + i * BLOCK + j * VL, is_relu ? relu(sum[i][j]) : sum[i][j]);
}
#endif

// Of float32 or of pairs.
template <typename T>
inline void product(const T* w, const Run* runs, int run_count, const T* x, float* y,
                    const float* bias, bool is_relu, int units, int vectors) {
    const int paired = vectors / TILE_VECTORS * TILE_VECTORS;
    const auto some = [&](auto most, auto together, int first, int end) {
        constexpr int N = decltype(most)::value, NV = decltype(together)::value;
        for (int unit = 0; first < end && unit < units; unit += N)
            with_constant<N>(std::min(units - unit, N), [&](auto wanted) {
                for (int v = first; v < end; v += NV)
                    product_tile<decltype(wanted)::value, NV>(
                        w + unit, runs, run_count, x + v * VL, y + unit * BLOCK + v * VL,
                        bias ? bias + unit : nullptr, is_relu);
            });
    };
    some(Int<TILE>{}, Int<TILE_VECTORS>{}, 0, paired);
    some(Int<TILE_ALONE>{}, Int<1>{}, paired, vectors);
}

// g[row][filter] += sum over positions and lanes of x[row][lane] t[lane][filter], for K rows that
// lie one after the other at each position, and one panel of filters.
template <int K>
inline void gradient_tile(float* g, const float* const* x, const float* const* t, int positions,
                          int lanes) {
    V sum[K][VP];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < VP; ++j) sum[i][j] = load(g + i * PANEL + j * VL);
    for (int p = 0; p < positions; ++p) {
        const float* from = x[p];
        const float* error = t[p];
#pragma GCC unroll 4
        for (int b = 0; b < lanes; ++b, error += PANEL) {
            V ts[VP];
#pragma GCC unroll 16
            for (int j = 0; j < VP; ++j) ts[j] = load(error + j * VL);
#pragma GCC unroll 16
            for (int i = 0; i < K; ++i) {
                const V xs = splat(from[i * BLOCK + b]);
#pragma GCC unroll 16
                for (int j = 0; j < VP; ++j) sum[i][j] += xs * ts[j];
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 16
        for (int j = 0; j < VP; ++j) store(g + i * PANEL + j * VL, sum[i][j]);
}

#if INKPROOF_HALF
// The same of pairs of lanes: BLOCK / 2 a row.
template <int K>
HALF_CODE void gradient_tile(float* g, const Pair* const* x, const Pair* const* t, int positions,
                             int lanes) {
    V sum[K];
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) sum[i] = load(g + i * PANEL);
    for (int p = 0; p < positions; ++p) {
        const Pair* from = x[p];
        const Pair* error = t[p];
#pragma GCC unroll 4
        for (int b = 0; b < (lanes + 1) / 2; ++b, error += PANEL) {
            const VU ts = load_pairs(error);
#pragma GCC unroll 16
            for (int i = 0; i < K; ++i)
                sum[i] = add_pairs(sum[i], VU{} + from[i * (BLOCK / 2) + b], ts);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < K; ++i) store(g + i * PANEL, sum[i]);
}
#endif

// The sums of F filters by R rows, a vector of lanes each, from memory and back to it.
template <int R, int F>
inline void load_lane_sums(V (&sum)[F][R], const float* from, std::size_t stride) {
#pragma GCC unroll 16
    for (int f = 0; f < F; ++f)
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) sum[f][r] = load(from + f * stride + r * VL);
}

// What one position adds to them: x: where it is; rows: where the rows are from there.
template <int R, int F>
inline void add_lane_products(V (&sum)[F][R], const float* x, const std::size_t* rows,
                              const V (&errors)[F]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
        const V xs = load(x + rows[r]);
#pragma GCC unroll 16
        for (int f = 0; f < F; ++f) sum[f][r] += xs * errors[f];
    }
}

// biases: to which the sums of the errors are added, or null.
template <int R, int F>
inline void store_lane_sums(const V (&sum)[F][R], const V (&bias)[F], float* to, std::size_t stride,
                            float* biases) {
#pragma GCC unroll 16
    for (int f = 0; f < F; ++f) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) store(to + f * stride + r * VL, sum[f][r]);
        if (biases) store(biases + f * stride, load(biases + f * stride) + bias[f]);
    }
}

// The same gradient with the batch as the vector, each lane of which has sums of its own: for so few
// rows that turning the errors would cost as much as their products.
//
//   sums[filter][row][VL lanes] += sum over positions of x[row][lane] e[filter][lane]
//
// for F filters and R rows, one vector of lanes. rows: where the rows are, from x[position] on;
// e: of the first position, the others follow e_stride apart; outputs: of the same places, where
// errors count only if they are above 0, or null; biases: the sums of the errors alone, or null.
template <int R, int F>
inline void lane_sums_tile(float* sums, std::size_t sums_stride, const float* const* x,
                           const std::size_t* rows, const float* e, const float* outputs,
                           std::size_t e_stride, int positions, float* biases) {
    V sum[F][R], bias[F]{};
    load_lane_sums(sum, sums, sums_stride);
    for (int p = 0; p < positions; ++p, e += e_stride) {
        V es[F];
#pragma GCC unroll 16
        for (int f = 0; f < F; ++f) {
            es[f] = load(e + f * BLOCK);
            // The processor does not foresee the next positions: other filters' errors lie between.
            __builtin_prefetch(e + f * BLOCK + static_cast<std::size_t>(positions) * e_stride);
            if (outputs) es[f] = load(outputs + f * BLOCK) > V{} ? es[f] : V{};
            bias[f] += es[f];
        }
        if (outputs) outputs += e_stride;
        add_lane_products(sum, x[p], rows, es);
    }
    store_lane_sums(sum, bias, sums, sums_stride, biases);
}

// The greatest of the outputs of N positions, and which was the first that is it, for U units of a
// panel and one vector of lanes:
//
//   y[unit][lane] = max over positions of bias + sum over rows of w[row][unit] x[position][row][lane]
//
// rows: where the rows are, from x[position] on; chosen: null if nobody asks.
template <int U, int N>
inline void pooled_tile(const float* w, const std::size_t* rows, int row_count,
                        const float* const* x, const float* bias, bool is_relu, float* y,
                        std::uint16_t* chosen) {
    V sum[U][N];
    begin_sums(sum, bias, y);
    for (int row = 0; row < row_count; ++row, w += PANEL) {
        V xs[N];
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n) xs[n] = load(x[n] + rows[row]);
#pragma GCC unroll 16
        for (int u = 0; u < U; ++u) {
            const V ws = splat(w[u]);
#pragma GCC unroll 16
            for (int n = 0; n < N; ++n) sum[u][n] += ws * xs[n];
        }
    }
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) {
        V greatest = sum[u][0];
        VI first{};
#pragma GCC unroll 16
        for (int n = 1; n < N; ++n) {
            const VI is_greater = sum[u][n] > greatest;
            first = is_greater ? VI{} + n : first;
            greatest = is_greater ? sum[u][n] : greatest;
        }
        store(y + u * BLOCK, is_relu ? relu(greatest) : greatest);
        if (chosen) store_short(chosen + u * BLOCK, first);
    }
}

// As lane_sums_tile, where only the greatest of each window's positions has an error: of `windows`
// windows, each of so many positions one after the other in x.
//
// e, greatest, chosen: of the first window, the others follow e_stride apart; greatest: errors count
// only where it is above 0; null: everywhere.
template <int R, int F>
inline void pooled_sums_tile(float* sums, std::size_t sums_stride, const float* const* x,
                             const std::size_t* rows, const float* e, const float* greatest,
                             const std::uint16_t* chosen, std::size_t e_stride, int windows,
                             int pixels, float* biases) {
    V sum[F][R], bias[F]{};
    load_lane_sums(sum, sums, sums_stride);
    for (int w = 0; w < windows; ++w, e += e_stride, chosen += e_stride, x += pixels) {
        V es[F];
        VI first[F];
#pragma GCC unroll 16
        for (int f = 0; f < F; ++f) {
            es[f] = load(e + f * BLOCK);
            if (greatest) es[f] = load(greatest + f * BLOCK) > V{} ? es[f] : V{};
            bias[f] += es[f];
            first[f] = load_short(chosen + f * BLOCK);
        }
        if (greatest) greatest += e_stride;
        for (int pixel = 0; pixel < pixels; ++pixel) {
            V part[F];
#pragma GCC unroll 16
            for (int f = 0; f < F; ++f) part[f] = first[f] == pixel ? es[f] : V{};
            add_lane_products(sum, x[pixel], rows, part);
        }
    }
    store_lane_sums(sum, bias, sums, sums_stride, biases);
}

// Calls f(first, count) for pieces of 0 .. n - 1 of about equal size, each at most `most`.
template <typename F>
inline void in_pieces(int n, int most, F&& f) {
    const int pieces = (n + most - 1) / most;
    for (int i = 0; i < pieces; ++i) f(n * i / pieces, n * (i + 1) / pieces - n * i / pieces);
}

}  // namespace inkproof
