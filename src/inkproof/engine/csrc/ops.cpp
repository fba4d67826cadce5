// The operations that work on one number, one channel or one window at a time.
#include "ops.hpp"

#include <algorithm>
#include <cmath>

#include "random.hpp"

namespace inkproof {

Window Window::of(int height, int width, int channels, int kernel_height, int kernel_width,
                  int stride_y, int stride_x, bool same) {
    Window w{height, width, channels, kernel_height, kernel_width, stride_y, stride_x, 0, 0, 0, 0};
    if (same) {
        w.out_height = (height + stride_y - 1) / stride_y;
        w.out_width = (width + stride_x - 1) / stride_x;
        w.pad_top = std::max((w.out_height - 1) * stride_y + kernel_height - height, 0) / 2;
        w.pad_left = std::max((w.out_width - 1) * stride_x + kernel_width - width, 0) / 2;
    } else {
        w.out_height = (height - kernel_height) / stride_y + 1;
        w.out_width = (width - kernel_width) / stride_x + 1;
    }
    return w;
}

void Tensor::to_lanes() const {
    to_features(row(0), few_stride(), value(0, 0), round_up(features, PANEL), 1);
}

void Tensor::from_lanes() const {
    inkproof::to_lanes(value(0, 0), row(0), few_stride(), round_up(features, PANEL), 1);
}

void Op::forward_few(const Step& step, const Worker& worker) {
    if (worker.member() == 0) in_.to_lanes();
    worker.barrier();
    forward(step, worker);
    if (worker.member() == 0) out_.from_lanes();
    worker.barrier();
}

namespace {

// --- Activations ---------------------------------------------------------------------------------

inline V absolute(V x) { return x < V{} ? -x : x; }
inline V exp_minus(V magnitude) { return exp_nonpositive(-magnitude); }

// The error function: Abramowitz and Stegun 1964, 7.1.26, error below 1.5e-7.
inline V error_function(V x) {
    const V a = absolute(x);
    const V t = 1.0f / (1.0f + 0.3275911f * a);
    V p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const V y = 1.0f - p * t * exp_minus(a * a);
    return x < V{} ? -y : y;
}

inline V sigmoid(V x) {
    const V e = exp_minus(absolute(x));
    return (x < V{} ? e : splat(1.0f)) / (1.0f + e);
}

inline V hyperbolic_tangent(V x) {
    const V e = exp_minus(2.0f * absolute(x));
    const V y = (1.0f - e) / (1.0f + e);
    return x < V{} ? -y : y;
}

constexpr float LEAK = 0.2f;
constexpr float SQRT_HALF = 0.70710678f, INV_SQRT_2PI = 0.39894228f;

template <Function F>
inline V activate(V x) {
    if constexpr (F == Function::linear) return x;
    if constexpr (F == Function::relu) return relu(x);
    if constexpr (F == Function::leaky_relu) return x < V{} ? x * LEAK : x;
    if constexpr (F == Function::gelu) return 0.5f * x * (1.0f + error_function(x * SQRT_HALF));
    if constexpr (F == Function::tanh) return hyperbolic_tangent(x);
    if constexpr (F == Function::sigmoid) return sigmoid(x);
}

// The derivative; all but gelu's is told by the output y.
template <Function F>
inline V slope(V x, V y) {
    if constexpr (F == Function::linear) return splat(1.0f);
    if constexpr (F == Function::relu) return y > V{} ? splat(1.0f) : V{};
    if constexpr (F == Function::leaky_relu) return y > V{} ? splat(1.0f) : splat(LEAK);
    if constexpr (F == Function::gelu)
        return 0.5f * (1.0f + error_function(x * SQRT_HALF)) + x * INV_SQRT_2PI * exp_minus(0.5f * x * x);
    if constexpr (F == Function::tanh) return 1.0f - y * y;
    if constexpr (F == Function::sigmoid) return y * (1.0f - y);
}

// In place where the input and the output are one tensor.
template <Function F>
class ActivationOp : public Op {
public:
    using Op::Op;

    void forward(const Step& step, const Worker& worker) override {
        each_row(step, worker, in_.features, [&](int block, int k) {
            const float* x = in_.value(block, k);
            float* y = out_.value(block, k);
            for (int v = 0; v < step.vectors(block); ++v)
                store(y + v * VL, activate<F>(load(x + v * VL)));
        });
    }

    void forward_few(const Step& step, const Worker& worker) override {
        each_part(step, worker, in_.features, [&](int row, int first, int count) {
            for (int k = first; k < first + count; k += VL)
                store(out_.row(row) + k, activate<F>(load(in_.row(row) + k)));
        });
    }

    void backward(const Step& step, const Worker& worker, bool) override {
        each_row(step, worker, in_.features, [&](int block, int k) {
            const float *x = in_.value(block, k), *y = out_.value(block, k);
            const float* e = out_.error(block, k);
            float* d = in_.error(block, k);
            for (int v = 0; v < step.vectors(block) * VL; v += VL)
                store(d + v, load(e + v) * slope<F>(load(x + v), load(y + v)));
        });
    }

    bool reads_output() const override { return true; }

    const char* name() const override { return "activation"; }
};

// --- Residual blocks -----------------------------------------------------------------------------

class JoinOp : public Op {
public:
    JoinOp(Tensor& in, Tensor& out, Tensor& forked) : Op(in, out), forked_(forked) {}

    void forward(const Step& step, const Worker& worker) override {
        each_row(step, worker, in_.features, [&](int block, int k) {
            const float *x = in_.value(block, k), *other = forked_.value(block, k);
            for (int v = 0; v < step.vectors(block) * VL; v += VL)
                store(out_.value(block, k) + v, load(x + v) + load(other + v));
        });
    }

    void forward_few(const Step& step, const Worker& worker) override {
        each_part(step, worker, in_.features, [&](int row, int first, int count) {
            for (int k = first; k < first + count; k += VL)
                store(out_.row(row) + k, load(in_.row(row) + k) + load(forked_.row(row) + k));
        });
    }

    // The fork takes its share when the block's own operations are done.
    void backward(const Step& step, const Worker& worker, bool) override {
        each_row(step, worker, in_.features, [&](int block, int k) {
            for (int v = 0; v < step.vectors(block) * VL; v += VL)
                store(in_.error(block, k) + v, load(out_.error(block, k) + v));
        });
    }

    const char* name() const override { return "join"; }

private:
    Tensor& forked_;
};

class ForkOp : public Op {
public:
    ForkOp(Tensor& forked, const Tensor& joined) : Op(forked, forked), joined_(joined) {}

    void forward(const Step&, const Worker&) override {}
    void forward_few(const Step&, const Worker&) override {}

    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        if (!input_errors) return;
        each_row(step, worker, in_.features, [&](int block, int k) {
            float* d = in_.error(block, k);
            for (int v = 0; v < step.vectors(block) * VL; v += VL)
                store(d + v, load(d + v) + load(joined_.error(block, k) + v));
        });
    }

    const char* name() const override { return "fork"; }

private:
    const Tensor& joined_;
};

// --- Dropout -------------------------------------------------------------------------------------

// Keras' dropout: an input becomes 0 with the rate's probability, the others are scaled up. Lane l
// of block b keeps feature k where word l % 4 of draw 8 k + l / 4 is at least rate * 2^32; its key
// is made of the seed, the epoch, the layer's number and b, its counter of the batch's number.
class DropoutOp : public Op {
public:
    DropoutOp(Tensor& in, Tensor& out, float rate, std::uint32_t number)
        : Op(in, out), number_(number), scale_(1 / (1 - rate)),
          threshold_(static_cast<std::uint32_t>(static_cast<double>(rate) * 4294967296.0)) {}

    void reserve(int blocks, int, bool) override {
        const std::size_t wanted = static_cast<std::size_t>(blocks) *
                                   static_cast<std::size_t>(in_.features);
        if (kept_.size() < wanted) kept_ = Buffer<std::uint32_t>(wanted);
    }

    void forward(const Step& step, const Worker& worker) override {
        each_row(step, worker, in_.features, [&](int block, int k) {
            const float* x = in_.value(block, k);
            float* y = out_.value(block, k);
            if (!step.training) {
                for (int v = 0; v < step.vectors(block) * VL; v += VL) store(y + v, load(x + v));
                return;
            }
            const std::size_t at = static_cast<std::size_t>(block) * in_.features + k;
            if (k % ROWS_A_DRAW == 0)
                draw(step, block, k, std::min(ROWS_A_DRAW, in_.features - k), &kept_[at]);
            keep(kept_[at], x, y);
        });
    }

    void forward_few(const Step& step, const Worker& worker) override {
        each_part(step, worker, in_.features, [&](int row, int first, int count) {
            std::copy(in_.row(row) + first, in_.row(row) + first + count, out_.row(row) + first);
        });
    }

    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        if (!input_errors) return;
        each_row(step, worker, in_.features, [&](int block, int k) {
            const std::uint32_t kept = kept_[static_cast<std::size_t>(block) * in_.features + k];
            const float* e = out_.error(block, k);
            float* d = in_.error(block, k);
            keep(kept, e, d);
        });
    }

    const char* name() const override { return "dropout"; }

private:
    void keep(std::uint32_t kept, const float* from, float* to) const {
        for (int v = 0; v < BLOCK; v += VL)
            store(to + v, from_bits(kept >> v) ? load(from + v) * scale_ : V{});
    }

    // Which lanes of some rows are kept: a word of the stream for each, in order.
    void draw(const Step& step, int block, int k, int rows, std::uint32_t* kept) const {
        const Words key = philox(
            step.seed, {static_cast<std::uint32_t>(step.first_block + block), number_, step.epoch,
                        static_cast<std::uint32_t>(Draw::dropout)});
        const std::uint64_t own = key.word[0] | static_cast<std::uint64_t>(key.word[1]) << 32;
        constexpr int draws_a_row = BLOCK / 4;
        std::fill(kept, kept + rows, 0u);
        for (int draw = 0; draw < rows * draws_a_row; draw += VL) {
            VU words[4];
            philox_row(own, static_cast<std::uint32_t>(k * draws_a_row + draw), step.number, words);
            for (int w = 0; w < 4; ++w) {
                const std::uint32_t bits = bits_of(words[w] >= threshold_);
                for (int i = 0; i < VL; i += draws_a_row) {
                    const int row = (draw + i) / draws_a_row;
                    if (row < rows)
                        kept[row] |= every_fourth(bits >> i) << (4 * (draw % draws_a_row) + w);
                }
            }
        }
    }

    static constexpr int ROWS_A_DRAW = 2;  // at least as many as VL draws are for

    const std::uint32_t number_;
    const float scale_;
    const std::uint32_t threshold_;
    Buffer<std::uint32_t> kept_;  // [block][feature], a bit for each lane
};

// --- Pooling -------------------------------------------------------------------------------------

class PoolingOp : public Op, private PiecePooling {
public:
    PoolingOp(Tensor& in, Tensor& out, const Window& window, bool is_max, bool masks, Op* first)
        : Op(in, out), w_(window), is_max_(is_max), masks_(masks) {
        is_adopted_ = first && is_max && shares_no_rows() && first->adopt(*this);
    }

    void reserve(int blocks, int, bool training) override {
        const auto wanted = static_cast<std::size_t>(blocks * BLOCK) *
                            static_cast<std::size_t>(out_.features);
        if (training && is_max_ && chosen_.size() < wanted) chosen_ = Buffer<std::uint16_t>(wanted);
    }

    void forward(const Step& step, const Worker& worker) override {
        if (is_adopted_) return;
        worker.each(step.blocks * w_.out_height, [&](int task) {
            const int block = task / w_.out_height;
            pool(step, block, task % w_.out_height, whole(in_.value(block, 0)));
        });
    }

    void forward_few(const Step& step, const Worker& worker) override {
        worker.each(step.lanes * w_.out_height, [&](int task) {
            const int row = task / w_.out_height, oy = task % w_.out_height;
            for (int ox = 0; ox < w_.out_width; ++ox) {
                float* y = out_.row(row) + (oy * w_.out_width + ox) * w_.channels;
                if (is_max_)
                    pool_few(in_.row(row), y, oy, ox, [](V most, V x) { return x > most ? x : most; });
                else
                    pool_few(in_.row(row), y, oy, ox, [](V sum, V x) { return sum + x; });
            }
        });
    }

    // The first of equal maxima has the whole error.
    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        if (!input_errors || is_adopted_) return;
        if (shares_no_rows()) {
            worker.each(step.blocks * w_.out_height, [&](int task) {
                const int block = task / w_.out_height;
                send_back(step, block, task % w_.out_height, {0, w_.channels},
                          whole(in_.error(block, 0)));
            });
            return;
        }
        const int groups = (w_.channels + CHANNELS_A_TASK - 1) / CHANNELS_A_TASK;
        worker.each(step.blocks * groups, [&](int task) {
            const int block = task / groups, first = task % groups * CHANNELS_A_TASK;
            const Range channels{first, std::min(first + CHANNELS_A_TASK, w_.channels)};
            const Place errors = whole(in_.error(block, 0));
            clear(errors, {0, w_.height * w_.width}, channels);
            for (int oy = 0; oy < w_.out_height; ++oy) spread(step, block, oy, channels, errors);
        });
    }

    // Where errors are masked, by what comes out.
    bool reads_output() const override { return masks_; }

    const char* name() const override { return is_max_ ? "max pool" : "average pool"; }

private:
    static constexpr int CHANNELS_A_TASK = 8;

    bool shares_no_rows() const { return w_.stride_y >= w_.kernel_height; }

    // Rows of windows, and what lies below each before the next.
    int pieces() const override { return w_.out_height; }
    Range pixels_of(int oy) const override {
        return {(oy == 0 ? 0 : w_.rows(oy).begin) * w_.width,
                (oy + 1 == w_.out_height ? w_.height : w_.rows(oy + 1).begin) * w_.width};
    }

    const Window& window() const override { return w_; }
    Pooled pooled(const Step& step, int block, int position) const override {
        const int output = position * w_.channels;
        if (!step.training) return {out_.value(block, output), nullptr, nullptr};
        return {out_.value(block, output), chosen_at(block, output, 0), out_.error(block, output)};
    }

    void pool(const Step& step, int block, int oy, Place x) override {
        each_window(oy, [&](const Range& ys, const Range& xs, int output, auto is_max, auto is_two) {
            const float share =
                1.0f / static_cast<float>((ys.end - ys.begin) * (xs.end - xs.begin));
            const float* from = x.pixel(ys.begin * w_.width + xs.begin);
            float* y = out_.value(block, output);
            for (int c = 0; c < w_.channels; ++c, from += BLOCK, y += BLOCK)
                for (int v = 0; v < step.vectors(block) * VL; v += VL) {
                    V sum = is_max ? load(from + v) : V{};
                    VI chosen{};  // of the window's pixels, the first of the greatest
                    each_pixel<is_two>(ys, xs, x.stride, [&](int pixel, std::size_t apart) {
                        const V value = load(from + apart + v);
                        if constexpr (is_max) {
                            const VI is_greater = value > sum;
                            chosen = is_greater ? VI{} + pixel : chosen;
                            sum = is_greater ? value : sum;
                        } else {
                            sum += value;
                        }
                    });
                    store(y + v, is_max ? sum : sum * share);
                    if (is_max && step.training)
                        store_short(chosen_at(block, output + c, v), chosen);
                }
        });
    }

    void send_back(const Step& step, int block, int oy, Range channels, Place errors) const override {
        if (!covers_) clear(errors, pixels_of(oy), channels);
        spread(step, block, oy, channels, errors);
    }

    std::uint16_t* chosen_at(int block, int output, int lane) const {
        return chosen_.get() +
               (static_cast<std::size_t>(block) * static_cast<std::size_t>(out_.features) +
                static_cast<std::size_t>(output)) * BLOCK + lane;
    }

    // Calls f(rows, columns, output, is_max, is_two) for each window of a row, where `output` is its
    // first; the last two are known to the compiler: what the pooling takes, and whether the window has
    // two by two pixels.
    template <typename F>
    void each_window(int oy, F&& f) const {
        const Range ys = w_.rows(oy);
        for (int ox = 0; ox < w_.out_width; ++ox) {
            const Range xs = w_.columns(ox);
            const int output = (oy * w_.out_width + ox) * w_.channels;
            const auto with_size = [&](auto is_max) {
                if (ys.end - ys.begin == 2 && xs.end - xs.begin == 2)
                    f(ys, xs, output, is_max, std::true_type{});
                else
                    f(ys, xs, output, is_max, std::false_type{});
            };
            if (is_max_)
                with_size(std::true_type{});
            else
                with_size(std::false_type{});
        }
    }

    // Calls f(number, offset from the first) for each pixel of a window.
    template <bool IS_TWO, typename F>
    void each_pixel(const Range& ys, const Range& xs, std::size_t right, F&& f) const {
        const auto down = static_cast<std::size_t>(w_.width) * right;
        if constexpr (IS_TWO) {
            f(0, std::size_t{0});
            f(1, right);
            f(2, down);
            f(3, down + right);
        } else {
            int number = 0;
            for (int iy = 0; iy < ys.end - ys.begin; ++iy)
                for (int ix = 0; ix < xs.end - xs.begin; ++ix)
                    f(number++, static_cast<std::size_t>(iy) * down +
                                    static_cast<std::size_t>(ix) * right);
        }
    }

    // One window of one of few rows, some vectors of channels at a time.
    template <typename F>
    void pool_few(const float* x, float* y, int oy, int ox, F&& combine) const {
        constexpr int together = 4;
        const Range ys = w_.rows(oy), xs = w_.columns(ox);
        const float share =
            is_max_ ? 1.0f : 1.0f / static_cast<float>((ys.end - ys.begin) * (xs.end - xs.begin));
        x += (ys.begin * w_.width + xs.begin) * w_.channels;
        for (int c = 0; c < w_.channels; c += together * VL)
            with_constant<together>(
                std::min(together, (w_.channels - c + VL - 1) / VL), [&](auto count) {
                    constexpr int N = decltype(count)::value;
                    V sum[N];
                    for (int i = 0; i < N; ++i) sum[i] = is_max_ ? load_any(x + c + i * VL) : V{};
                    for (int iy = 0; iy < ys.end - ys.begin; ++iy)
                        for (int ix = 0; ix < xs.end - xs.begin; ++ix)
                            for (int i = 0; i < N; ++i)
                                sum[i] = combine(
                                    sum[i], load_any(x + (iy * w_.width + ix) * w_.channels + c +
                                                     i * VL));
                    for (int i = 0; i < N; ++i)
                        store_some(y + c + i * VL, sum[i] * share, w_.channels - c - i * VL);
                });
    }

    Place whole(float* numbers) const {
        return {numbers, 0, static_cast<std::size_t>(w_.channels) * BLOCK};
    }

    void clear(Place errors, Range pixels, Range channels) const {
        for (int pixel = pixels.begin; pixel < pixels.end; ++pixel)
            for (int i = channels.begin * BLOCK; i < channels.end * BLOCK; i += VL)
                store(errors.pixel(pixel) + i, V{});
    }

    void spread(const Step& step, int block, int oy, Range channels, Place errors) const {
        each_window(oy, [&](const Range& ys, const Range& xs, int output, auto is_max, auto is_two) {
            const float share =
                1.0f / static_cast<float>((ys.end - ys.begin) * (xs.end - xs.begin));
            float* to = errors.pixel(ys.begin * w_.width + xs.begin) + channels.begin * BLOCK;
            for (int c = channels.begin; c < channels.end; ++c, to += BLOCK)
                for (int v = 0; v < step.vectors(block) * VL; v += VL) {
                    V error = load(out_.error(block, output + c) + v);
                    if (masks_)
                        error = load(out_.value(block, output + c) + v) > V{} ? error : V{};
                    if (!is_max) error *= share;
                    VI chosen{};
                    if (is_max)
                        chosen = load_short(chosen_at(block, output + c, v));
                    each_pixel<is_two>(ys, xs, errors.stride, [&](int pixel, std::size_t apart) {
                        const V part = is_max ? (chosen == pixel ? error : V{}) : error;
                        store(to + apart + v, covers_ ? part : load(to + apart + v) + part);
                    });
                }
        });
    }

    const Window w_;
    // Whether each pixel belongs to exactly one window, so that errors need not be added up.
    const bool covers_ = w_.stride_y == w_.kernel_height && w_.stride_x == w_.kernel_width &&
                         w_.out_height * w_.stride_y >= w_.height &&
                         w_.out_width * w_.stride_x >= w_.width;
    const bool is_max_, masks_;
    bool is_adopted_;  // done by the operation before
    Buffer<std::uint16_t> chosen_;  // [block][output][lane]: which pixel of the window is the maximum
};

class GlobalAverageOp : public Op {
public:
    GlobalAverageOp(Tensor& in, Tensor& out, int positions, int channels)
        : Op(in, out), positions_(positions), channels_(channels) {}

    void forward(const Step& step, const Worker& worker) override {
        const float share = 1.0f / static_cast<float>(positions_);
        each_row(step, worker, channels_, [&](int block, int c) {
            for (int v = 0; v < step.vectors(block) * VL; v += VL) {
                V sum{};
                for (int p = 0; p < positions_; ++p)
                    sum += load(in_.value(block, p * channels_ + c) + v);
                store(out_.value(block, c) + v, sum * share);
            }
        });
    }

    void forward_few(const Step& step, const Worker& worker) override {
        const float share = 1.0f / static_cast<float>(positions_);
        each_part(step, worker, channels_, [&](int row, int first, int count) {
            for (int c = first; c < first + count; c += VL) {
                V sum{};
                for (int p = 0; p < positions_; ++p)
                    sum += load_any(in_.row(row) + p * channels_ + c);
                store(out_.row(row) + c, sum * share);
            }
        });
    }

    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        if (!input_errors) return;
        const float share = 1.0f / static_cast<float>(positions_);
        each_row(step, worker, in_.features, [&](int block, int k) {
            for (int v = 0; v < step.vectors(block) * VL; v += VL)
                store(in_.error(block, k) + v, load(out_.error(block, k % channels_) + v) * share);
        });
    }

    const char* name() const override { return "global average"; }

private:
    const int positions_, channels_;
};

}  // namespace

std::unique_ptr<Op> make_activation(Tensor& in, Tensor& out, Function function) {
    switch (function) {
        case Function::relu: return std::make_unique<ActivationOp<Function::relu>>(in, out);
        case Function::leaky_relu:
            return std::make_unique<ActivationOp<Function::leaky_relu>>(in, out);
        case Function::gelu: return std::make_unique<ActivationOp<Function::gelu>>(in, out);
        case Function::tanh: return std::make_unique<ActivationOp<Function::tanh>>(in, out);
        case Function::sigmoid: return std::make_unique<ActivationOp<Function::sigmoid>>(in, out);
        case Function::linear: break;
    }
    return std::make_unique<ActivationOp<Function::linear>>(in, out);
}

std::unique_ptr<Op> make_dropout(Tensor& in, Tensor& out, float rate, std::uint32_t number) {
    return std::make_unique<DropoutOp>(in, out, rate, number);
}

std::unique_ptr<Op> make_join(Tensor& in, Tensor& out, Tensor& forked) {
    return std::make_unique<JoinOp>(in, out, forked);
}

std::unique_ptr<Op> make_fork(Tensor& forked, const Tensor& joined) {
    return std::make_unique<ForkOp>(forked, joined);
}

std::unique_ptr<Op> make_pooling(Tensor& in, Tensor& out, const Window& window, bool is_max,
                                 bool masks, Op* first) {
    return std::make_unique<PoolingOp>(in, out, window, is_max, masks, first);
}

std::unique_ptr<Op> make_global_average(Tensor& in, Tensor& out, int positions, int channels) {
    return std::make_unique<GlobalAverageOp>(in, out, positions, channels);
}

}  // namespace inkproof
