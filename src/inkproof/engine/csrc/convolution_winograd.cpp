// Two by two outputs come from 4 x 4 pixels by 16 products instead of 36: of both, sums and
// differences are multiplied, and sums and differences of the products are the outputs. F(2x2, 3x3) of
// Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks"; the names are theirs:
//
//   U = G g G^T   of the kernel        V = B^T d B   of the pixels       Y = A^T (U * V) A
//
// and the way back is that of the chain rule through each. The factors of the transforms are 1 and a
// half, so that next to nothing is lost to rounding. With the batch as the vector, transforms are
// additions of whole rows of lanes.
#include <vector>

#include "convolution.hpp"
#include "positions.hpp"

namespace inkproof {

namespace {

constexpr int POINTS = 16;         // products of a tile, by channels and filters
constexpr int TILES_TOGETHER = 2;  // in the gradient, whose transforms the second-level cache holds
constexpr int PARTS = 8;           // into which the gradient's sum is cut
constexpr int MOST_PAIRS = 128 * 128;  // of channels and filters: the parts' sums take 512 bytes each
constexpr std::size_t PLANE = PANEL * BLOCK;  // of a panel's lanes

// From point to point. One row of lanes more than there are units: of all points at once one line
// each is read or written, and powers of two would put them all into one set of the cache.
constexpr std::size_t apart(int units) { return static_cast<std::size_t>(units + 1) * BLOCK; }
constexpr std::size_t PANELS_APART = apart(PANEL);

// One way of each transform, and the same for errors the other way.
struct OfPixels {
    static constexpr int from = 4, to = 4;
    static void apply(const V* d, V* v) {
        v[0] = d[0] - d[2];
        v[1] = d[1] + d[2];
        v[2] = d[2] - d[1];
        v[3] = d[1] - d[3];
    }
};
struct BackToPixels {
    static constexpr int from = 4, to = 4;
    static void apply(const V* v, V* d) {
        d[0] = v[0];
        d[1] = v[1] - v[2] + v[3];
        d[2] = v[1] + v[2] - v[0];
        d[3] = -v[3];
    }
};
struct ToOutputs {
    static constexpr int from = 4, to = 2;
    static void apply(const V* m, V* y) {
        y[0] = m[0] + m[1] + m[2];
        y[1] = m[1] - m[2] - m[3];
    }
};
struct OfErrors {
    static constexpr int from = 2, to = 4;
    static void apply(const V* y, V* m) {
        m[0] = y[0];
        m[1] = y[0] + y[1];
        m[2] = y[0] - y[1];
        m[3] = -y[1];
    }
};
struct OfKernel {
    static constexpr int from = 3, to = 4;
    static void apply(const V* g, V* u) {
        const V ends = (g[0] + g[2]) * 0.5f, middle = g[1] * 0.5f;
        u[0] = g[0];
        u[1] = ends + middle;
        u[2] = ends - middle;
        u[3] = g[2];
    }
};
struct BackToKernel {
    static constexpr int from = 4, to = 3;
    static void apply(const V* u, V* g) {
        const V sum = (u[1] + u[2]) * 0.5f;
        g[0] = u[0] + sum;
        g[1] = (u[1] - u[2]) * 0.5f;
        g[2] = sum + u[3];
    }
};

// Along the rows, then down the columns.
template <typename T>
__attribute__((always_inline)) inline void transform(const V (&from)[T::from][T::from],
                                                     V (&to)[T::to][T::to]) {
    V half[T::from][T::to];
#pragma GCC unroll 4
    for (int i = 0; i < T::from; ++i) T::apply(from[i], half[i]);
#pragma GCC unroll 4
    for (int j = 0; j < T::to; ++j) {
        V column[T::from], done[T::to];
#pragma GCC unroll 4
        for (int i = 0; i < T::from; ++i) column[i] = half[i][j];
        T::apply(column, done);
#pragma GCC unroll 4
        for (int i = 0; i < T::to; ++i) to[i][j] = done[i];
    }
}

class WinogradOp : public Convolution {
public:
    WinogradOp(Tensor& in, Tensor& out, const ConvolutionSpec& spec, SharedWeights weights)
        : Convolution(in, out, spec, std::move(weights)), channels_(w_.channels),
          rows_((w_.out_height + 1) / 2), columns_((w_.out_width + 1) / 2) {}

    void reserve(int blocks, int members, bool training) override;
    void prepare(const Worker& worker) override { transform_kernel(worker, false); }
    void forward(const Step& step, const Worker& worker) override;
    void forward_few(const Step& step, const Worker& worker) override;
    void backward(const Step& step, const Worker& worker, bool input_errors) override;

    bool watch(Moments& moments) override {
        moments_ = &moments;
        moments.divide(rows_);
        return true;
    }

private:
    struct Scratch {  // of one thread
        Buffer<float> pixels;    // V, [tile][point][channel][lane]; of few rows [point][tile][channel]
        Buffer<float> errors;    // of the products: [point][filter][lane]; or, of some tiles and
                                 // one panel, [tile][point][lane][filter]
        Buffer<float> products;  // of one panel, [point][unit][lane]; of few rows [point][tile][unit]
    };

    // training: for the way back as well.
    void transform_kernel(const Worker& worker, bool training);
    bool counts(int tile, int point) const;
    template <typename T>
    bool find_pixels(T* numbers, int size, int tile, T* (&at)[4][4]) const;
    void transform_pixels(int block, int tile, int vectors, float* to) const;
    template <int K>
    void few_tiles(const float* x, float* y, int first, Scratch& scratch) const;
    void transform_errors(int block, int tile, int vectors, float* to) const;
    void transform_errors(int block, int tile, int panel, int vectors, float* to,
                          float* bias) const;
    void send_back(const Step& step, const Worker& worker);
    void send_back_row(const Step& step, int block, int row, int panel, Scratch& scratch) const;
    void add_tiles(const Step& step, int part, Scratch& scratch) const;
    std::size_t share_size() const;
    void sum_shares(const Step& step, int panel, Range channels) const;

    const int channels_, rows_, columns_;  // rows_, columns_: of tiles
    Buffer<float> forward_kernel_;  // U, [point][panel of filters][channel][16]
    Buffer<float> back_kernel_;     // the same, [point][panel of channels][filter][16]
    Buffer<float> shares_;          // of U's gradient, [part][panel][point][channel][16]; and the bias'
    std::vector<Scratch> scratch_;
};

// Of one part: all panels' points, and the bias'.
std::size_t WinogradOp::share_size() const {
    return static_cast<std::size_t>(filters_) *
           static_cast<std::size_t>(POINTS * channels_ + 1);
}

void WinogradOp::reserve(int, int members, bool training) {
    const auto channels = static_cast<std::size_t>(channels_);
    const auto filters = static_cast<std::size_t>(filters_);
    while (static_cast<int>(scratch_.size()) < members) {
        Scratch scratch;
        scratch.pixels = Buffer<float>(TILES_TOGETHER * POINTS * apart(channels_));
        scratch.errors =
            Buffer<float>(POINTS * std::max(apart(filters_), TILES_TOGETHER * PANELS_APART));
        scratch.products = Buffer<float>(POINTS * PANELS_APART);
        scratch_.push_back(std::move(scratch));
    }
    if (forward_kernel_.size() == 0) forward_kernel_ = Buffer<float>(POINTS * channels * filters);
    if (!training || shares_.size() > 0) return;
    back_kernel_ = Buffer<float>(POINTS * channels * filters);
    shares_ = Buffer<float>(PARTS * share_size());
}

// Whether a point of a tile counts: of outputs beyond the last row or column the errors are 0, and so
// is what is made of them alone.
bool WinogradOp::counts(int tile, int point) const {
    return (point / 4 < 3 || tile / columns_ * 2 + 1 < w_.out_height) &&
           (point % 4 < 3 || tile % columns_ * 2 + 1 < w_.out_width);
}

void WinogradOp::transform_kernel(const Worker& worker, bool training) {
    const auto plane = static_cast<std::size_t>(channels_) * static_cast<std::size_t>(filters_);
    worker.each(filters_ / PANEL, [&](int panel) {
        for (int c = 0; c < channels_; ++c)
            for (int j = 0; j < PANEL; j += VL) {
                V g[3][3], u[4][4];
                for (int place = 0; place < 9; ++place)
                    g[place / 3][place % 3] =
                        load(kernel_.values.get() + panel * kernel_.panel_stride +
                             static_cast<std::size_t>((place * channels_ + c) * PANEL + j));
                transform<OfKernel>(g, u);
                for (int point = 0; point < POINTS; ++point) {
                    const V value = u[point / 4][point % 4];
                    const auto at = static_cast<std::size_t>(point) * plane;
                    store(forward_kernel_.get() + at +
                              static_cast<std::size_t>((panel * channels_ + c) * PANEL + j),
                          value);
                    if (!training) continue;
                    float* back = back_kernel_.get() + at +
                                  static_cast<std::size_t>(
                                      (c / PANEL * filters_ + panel * PANEL + j) * PANEL + c % PANEL);
                    for (int i = 0; i < VL; ++i) back[i * PANEL] = value[i];
                }
            }
    });
}

// Where a tile's pixels lie among numbers of which a feature has so many; nowhere for those outside
// the image. Says whether all are inside.
template <typename T>
bool WinogradOp::find_pixels(T* numbers, int size, int tile, T* (&at)[4][4]) const {
    const int top = tile / columns_ * 2 - w_.pad_top, left = tile % columns_ * 2 - w_.pad_left;
    bool all = true;
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) {
            const int iy = top + i, ix = left + j;
            const bool inside = iy >= 0 && iy < w_.height && ix >= 0 && ix < w_.width;
            const auto feature = static_cast<std::ptrdiff_t>((iy * w_.width + ix) * channels_);
            at[i][j] = inside ? numbers + feature * size : nullptr;
            all = all && inside;
        }
    return all;
}

// V of one tile, [point][channel][lane].
void WinogradOp::transform_pixels(int block, int tile, int vectors, float* to) const {
    float* from[4][4];
    const bool whole = find_pixels(in_.value(block, 0), BLOCK, tile, from);
    const std::size_t stride = apart(channels_);
    const auto take = [&](auto is_whole) {
        for (int at = 0; at < channels_ * BLOCK; at += BLOCK)
            for (int v = at; v < at + vectors * VL; v += VL) {
                V d[4][4], points[4][4];
#pragma GCC unroll 16
                for (int i = 0; i < 16; ++i) {
                    const float* at_pixel = from[i / 4][i % 4];
                    d[i / 4][i % 4] = is_whole.value || at_pixel ? load(at_pixel + v) : V{};
                }
                transform<OfPixels>(d, points);
#pragma GCC unroll 16
                for (int i = 0; i < 16; ++i)
                    store(to + static_cast<std::size_t>(i) * stride + v, points[i / 4][i % 4]);
            }
    };
    if (whole)
        take(std::true_type{});
    else
        take(std::false_type{});
}

// A task is a row of tiles of one block.
void WinogradOp::forward(const Step& step, const Worker& worker) {
    if (step.training) transform_kernel(worker, true);
    const auto plane = static_cast<std::size_t>(channels_) * static_cast<std::size_t>(filters_);
    const Run run{0, 0, channels_};
    worker.each(step.blocks * rows_, [&](int task) {
        Scratch& scratch = scratch_[static_cast<std::size_t>(worker.member())];
        const int block = task / rows_, row = task % rows_, vectors = step.vectors(block);
        for (int column = 0; column < columns_; ++column) {
            transform_pixels(block, row * columns_ + column, vectors, scratch.pixels.get());
            for (int panel = 0; panel < filters_ / PANEL; ++panel) {
                for (int point = 0; point < POINTS; ++point) {
                    if (!counts(row * columns_ + column, point)) continue;
                    product(forward_kernel_.get() + static_cast<std::size_t>(point) * plane +
                                static_cast<std::size_t>(panel * channels_ * PANEL),
                            &run, 1,
                            static_cast<const float*>(scratch.pixels.get()) +
                                static_cast<std::size_t>(point) * apart(channels_),
                            scratch.products.get() + static_cast<std::size_t>(point) * PANELS_APART,
                            nullptr, false, PANEL, vectors);
                }
                const int most_y = std::min(2, w_.out_height - row * 2);
                const int most_x = std::min(2, w_.out_width - column * 2);
                for (int u = 0; u < PANEL; ++u) {
                    const V bias = splat(bias_.values[static_cast<std::size_t>(panel * PANEL + u)]);
                    for (int v = 0; v < vectors * VL; v += VL) {
                        V points[4][4], y[2][2];
#pragma GCC unroll 16
                        for (int i = 0; i < 16; ++i)
                            points[i / 4][i % 4] = load(scratch.products.get() +
                                                        static_cast<std::size_t>(i) * PANELS_APART +
                                                        u * BLOCK + v);
                        transform<ToOutputs>(points, y);
                        for (int i = 0; i < most_y; ++i)
                            for (int j = 0; j < most_x; ++j) {
                                const int position = (row * 2 + i) * w_.out_width + column * 2 + j;
                                const V value = y[i][j] + bias;
                                store(out_.value(block, position * filters_ + panel * PANEL + u) + v,
                                      is_relu_ ? relu(value) : value);
                            }
                    }
                }
            }
        }
        if (moments_ && step.training)
            moments_->see(step, block, row, row * 2 * w_.out_width,
                          std::min(2, w_.out_height - row * 2) * w_.out_width);
    });
}

// A task is one image's row of tiles.
void WinogradOp::forward_few(const Step& step, const Worker& worker) {
    worker.each(step.lanes * rows_, [&](int task) {
        const int lane = task / rows_, first = task % rows_ * columns_;
        in_pieces(columns_, UPDATE_INPUTS, [&](int column, int tiles) {
            with_constant<UPDATE_INPUTS>(tiles, [&](auto count) {
                few_tiles<decltype(count)::value>(
                    in_.row(lane), out_.row(lane), first + column,
                    scratch_[static_cast<std::size_t>(worker.member())]);
            });
        });
    });
}

// K tiles of a row of them, with channels and then filters as the vector.
template <int K>
void WinogradOp::few_tiles(const float* x, float* y, int first, Scratch& scratch) const {
    const auto channels = static_cast<std::size_t>(channels_);
    for (int tile = 0; tile < K; ++tile) {
        const float* from[4][4];
        find_pixels(x, 1, first + tile, from);
        float* to = scratch.pixels.get() + static_cast<std::size_t>(tile) * channels;
        for (int c = 0; c < channels_; c += VL) {
            V d[4][4], points[4][4];
            for (int i = 0; i < 16; ++i)
                d[i / 4][i % 4] = from[i / 4][i % 4] ? load_any(from[i / 4][i % 4] + c) : V{};
            transform<OfPixels>(d, points);
            for (int i = 0; i < 16; ++i)
                store(to + static_cast<std::size_t>(i * K) * channels + c, points[i / 4][i % 4]);
        }
    }
    const std::size_t plane = channels * static_cast<std::size_t>(filters_);
    for (int panel = 0; panel < filters_ / PANEL; ++panel) {
        for (int point = 0; point < POINTS; ++point) {
            if (K > 1 && !counts(first, point)) continue;  // not in the last column: so no tile's does
            V sum[K][VP] = {};
            add_rows<K, 1>(sum,
                           forward_kernel_.get() + static_cast<std::size_t>(point) * plane +
                               static_cast<std::size_t>(panel) * channels * PANEL,
                           0, channels_,
                           scratch.pixels.get() + static_cast<std::size_t>(point * K) * channels,
                           channels);
            for (int i = 0; i < K * VP; ++i)
                store(scratch.products.get() + (point * K * VP + i) * VL, sum[i / VP][i % VP]);
        }
        for (int tile = 0; tile < K; ++tile) {
            const int top = (first + tile) / columns_ * 2, left = (first + tile) % columns_ * 2;
            for (int j = 0; j < PANEL; j += VL) {
                V points[4][4], outputs[2][2];
                for (int i = 0; i < 16; ++i)
                    points[i / 4][i % 4] =
                        load(scratch.products.get() + (i * K + tile) * PANEL + j);
                transform<ToOutputs>(points, outputs);
                const V bias = load(bias_.values.get() + panel * PANEL + j);
                for (int i = 0; i < 4; ++i) {
                    const int oy = top + i / 2, ox = left + i % 2;
                    if (oy >= w_.out_height || ox >= w_.out_width) continue;
                    const V value = outputs[i / 2][i % 2] + bias;
                    store_some(y + (oy * w_.out_width + ox) * filters_ + panel * PANEL + j,
                               is_relu_ ? relu(value) : value, VL);
                }
            }
        }
    }
}

// The errors of one tile's products, [point][filter][lane].
void WinogradOp::transform_errors(int block, int tile, int vectors, float* to) const {
    const int top = tile / columns_ * 2, left = tile % columns_ * 2;
    const float* from[2][2];
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j)
            from[i][j] = top + i < w_.out_height && left + j < w_.out_width
                             ? out_.error(block, ((top + i) * w_.out_width + left + j) * filters_)
                             : nullptr;
    for (int at = 0; at < filters_ * BLOCK; at += BLOCK)
        for (int v = at; v < at + vectors * VL; v += VL) {
            V y[2][2], points[4][4];
            for (int i = 0; i < 4; ++i)
                y[i / 2][i % 2] = from[i / 2][i % 2] ? load(from[i / 2][i % 2] + v) : V{};
            transform<OfErrors>(y, points);
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i)
                store(to + static_cast<std::size_t>(i) * apart(filters_) + v, points[i / 4][i % 4]);
        }
}

// Neighbouring rows of tiles share pixels, every second row does not: so first those, which begin
// with nothing, then the others. A task is a row of tiles and a panel of channels.
void WinogradOp::send_back(const Step& step, const Worker& worker) {
    const int panels = channels_ / PANEL;
    for (int odd = 0; odd < 2; ++odd) {
        // Beyond the last row of tiles there may be rows of pixels that nobody saw.
        const int rows = odd ? rows_ / 2 : (w_.height + w_.pad_top + 3) / 4;
        worker.each(step.blocks * rows * panels, [&](int task) {
            send_back_row(step, task / (rows * panels), task / panels % rows * 2 + odd,
                          task % panels,
                          scratch_[static_cast<std::size_t>(worker.member())]);
        });
    }
}

void WinogradOp::send_back_row(const Step& step, int block, int row, int panel,
                             Scratch& scratch) const {
    const auto plane = static_cast<std::size_t>(channels_) * static_cast<std::size_t>(filters_);
    const int vectors = step.vectors(block), top = row * 2 - w_.pad_top;
    if (row % 2 == 0)
        for (int iy = std::max(top, 0); iy < std::min(top + 4, w_.height); ++iy)
            for (int ix = 0; ix < w_.width; ++ix) {
                float* error = in_.error(block, (iy * w_.width + ix) * channels_ + panel * PANEL);
                std::fill(error, error + PLANE, 0.0f);
            }
    if (row >= rows_) return;
    const Run run{0, 0, filters_};
    for (int column = 0; column < columns_; ++column) {
        transform_errors(block, row * columns_ + column, vectors, scratch.errors.get());
        for (int point = 0; point < POINTS; ++point) {
            float* y = scratch.products.get() + static_cast<std::size_t>(point) * PANELS_APART;
            if (counts(row * columns_ + column, point))
                product(back_kernel_.get() + static_cast<std::size_t>(point) * plane +
                            static_cast<std::size_t>(panel * filters_ * PANEL),
                        &run, 1,
                        static_cast<const float*>(scratch.errors.get()) +
                            static_cast<std::size_t>(point) * apart(filters_),
                        y, nullptr, false, PANEL, vectors);
            else
                std::fill(y, y + PLANE, 0.0f);
        }
        float* to[4][4];
        find_pixels(in_.error(block, panel * PANEL), BLOCK, row * columns_ + column, to);
        for (int u = 0; u < PANEL * BLOCK; u += BLOCK)
            for (int v = u; v < u + vectors * VL; v += VL) {
                V points[4][4], d[4][4];
#pragma GCC unroll 16
                for (int i = 0; i < 16; ++i)
                    points[i / 4][i % 4] =
                        load(scratch.products.get() + static_cast<std::size_t>(i) * PANELS_APART + v);
                transform<BackToPixels>(points, d);
#pragma GCC unroll 16
                for (int i = 0; i < 16; ++i)
                    if (float* at = to[i / 4][i % 4]) store(at + v, load(at + v) + d[i / 4][i % 4]);
            }
    }
}

// The same as above of one panel, [point][lane][filter]; and what the errors add to the bias'
// gradient.
void WinogradOp::transform_errors(int block, int tile, int panel, int vectors, float* to,
                                float* bias) const {
    const int top = tile / columns_ * 2, left = tile % columns_ * 2;
    alignas(64) float turned[4][PLANE];
    for (int i = 0; i < 4; ++i) {
        const int oy = top + i / 2, ox = left + i % 2;
        if (oy < w_.out_height && ox < w_.out_width)
            to_lanes(out_.error(block, (oy * w_.out_width + ox) * filters_ + panel * PANEL),
                     turned[i], PANEL, PANEL, vectors);
        else
            std::fill(turned[i], turned[i] + PLANE, 0.0f);
    }
    for (int j = 0; j < PANEL; j += VL) {
        V sum = load(bias + j);
        for (int lane = 0; lane < vectors * VL; ++lane) {
            V y[2][2], points[4][4];
            for (int i = 0; i < 4; ++i) {
                y[i / 2][i % 2] = load(turned[i] + lane * PANEL + j);
                sum += y[i / 2][i % 2];
            }
            transform<OfErrors>(y, points);
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i)
                store(to + static_cast<std::size_t>(i) * PANELS_APART + lane * PANEL + j,
                      points[i / 4][i % 4]);
        }
        store(bias + j, sum);
    }
}

// The kernel's gradient is a sum over the batch's tiles, in parts whose number does not hang on that of
// the threads.
void WinogradOp::backward(const Step& step, const Worker& worker, bool input_errors) {
    mask_errors(step, worker);
    if (input_errors) send_back(step, worker);
    worker.each(PARTS, [&](int part) {
        add_tiles(step, part, scratch_[static_cast<std::size_t>(worker.member())]);
    });
    constexpr int some = 4;
    const int groups = (channels_ + some - 1) / some;
    worker.each(filters_ / PANEL * groups, [&](int task) {
        const int first = task % groups * some;
        sum_shares(step, task / groups, {first, std::min(first + some, channels_)});
    });
}

void WinogradOp::add_tiles(const Step& step, int part, Scratch& scratch) const {
    float* shares = shares_.get() + static_cast<std::size_t>(part) * share_size();
    std::fill(shares, shares + share_size(), 0.0f);
    float* biases = shares + POINTS * channels_ * filters_;
    const int tiles = rows_ * columns_, plane = channels_ * PANEL;
    const int pairs = (tiles + TILES_TOGETHER - 1) / TILES_TOGETHER;
    const Range mine = share(step.blocks * pairs, 1, part, PARTS);
    const std::size_t tile_size = POINTS * apart(channels_);
    for (int pair = mine.begin; pair < mine.end; ++pair) {
        const int block = pair / pairs, first = pair % pairs * TILES_TOGETHER;
        const int count = std::min(TILES_TOGETHER, tiles - first);
        const int vectors = step.vectors(block), lanes = step.block_lanes(block);
        for (int i = 0; i < count; ++i)
            transform_pixels(block, first + i, vectors,
                             scratch.pixels.get() + static_cast<std::size_t>(i) * tile_size);
        for (int panel = 0; panel < filters_ / PANEL; ++panel) {
            for (int i = 0; i < count; ++i)
                transform_errors(block, first + i, panel, vectors,
                                 scratch.errors.get() +
                                     static_cast<std::size_t>(i) * POINTS * PANELS_APART,
                                 biases + panel * PANEL);
            for (int point = 0; point < POINTS; ++point) {
                const float* t[TILES_TOGETHER];
                const float* pixels[TILES_TOGETHER];
                int some_tiles = 0;
                for (int i = 0; i < count; ++i) {
                    if (!counts(first + i, point)) continue;
                    t[some_tiles] = scratch.errors.get() +
                                    static_cast<std::size_t>(i * POINTS + point) * PANELS_APART;
                    pixels[some_tiles++] = scratch.pixels.get() +
                                           static_cast<std::size_t>(i) * tile_size +
                                           static_cast<std::size_t>(point) * apart(channels_);
                }
                float* g = shares + (panel * POINTS + point) * plane;
                in_pieces(channels_, GRADIENT_ROWS, [&](int channel, int some) {
                    const float* x[TILES_TOGETHER];
                    for (int i = 0; i < some_tiles; ++i) x[i] = pixels[i] + channel * BLOCK;
                    with_constant<GRADIENT_ROWS>(some, [&](auto rows) {
                        gradient_tile<decltype(rows)::value>(g + channel * PANEL, x, t,
                                                             some_tiles, lanes);
                    });
                });
            }
        }
    }
}

// The kernel's gradient of some channels and one panel of filters, from all parts' sums in order.
void WinogradOp::sum_shares(const Step& step, int panel, Range channels) const {
    const int plane = channels_ * PANEL;
    const auto sum_of_parts = [&](std::size_t at) {
        V sum{};
        for (int part = 0; part < PARTS; ++part)
            sum += load(shares_.get() + static_cast<std::size_t>(part) * share_size() + at);
        return sum;
    };
    for (int c = channels.begin; c < channels.end; ++c) {
        alignas(64) float gradients[9][PANEL];
        for (int j = 0; j < PANEL; j += VL) {
            V u[4][4], g[3][3];
            for (int point = 0; point < POINTS; ++point)
                u[point / 4][point % 4] = sum_of_parts(static_cast<std::size_t>(
                    (panel * POINTS + point) * plane + c * PANEL + j));
            transform<BackToKernel>(u, g);
            for (int place = 0; place < 9; ++place)
                store(gradients[place] + j, g[place / 3][place % 3]);
        }
        for (int place = 0; place < 9; ++place)
            deliver(step, kernel_,
                    panel * kernel_.panel_stride +
                        static_cast<std::size_t>((place * channels_ + c) * PANEL),
                    gradients[place], PANEL);
    }
    if (!has_bias_ || channels.begin > 0) return;
    alignas(64) float gradients[PANEL];
    for (int j = 0; j < PANEL; j += VL)
        store(gradients + j, sum_of_parts(static_cast<std::size_t>(POINTS * channels_ * filters_ +
                                                                   panel * PANEL + j)));
    deliver(step, bias_, static_cast<std::size_t>(panel * PANEL), gradients, PANEL);
}

}  // namespace

bool suits_winograd(const ConvolutionSpec& spec) {
    const Window& w = spec.window;
    return w.kernel_height == 3 && w.kernel_width == 3 && w.stride_y == 1 && w.stride_x == 1 &&
           w.channels % PANEL == 0 && spec.filters % PANEL == 0 &&
           std::int64_t{w.channels} * spec.filters <= MOST_PAIRS && w.out_height >= 2 &&
           w.out_width >= 2;
}

std::unique_ptr<Op> make_winograd_convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                              SharedWeights weights) {
    return std::make_unique<WinogradOp>(in, out, spec, std::move(weights));
}

}  // namespace inkproof
