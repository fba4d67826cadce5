// Batch normalisation (Ioffe and Szegedy 2015), over the batch and all positions of an image; and with
// it ReLU and maximum pooling, where these follow, so that what it gives need not go through memory
// before the pooling has made little of it.
#include <algorithm>
#include <cmath>

#include "moments.hpp"

namespace inkproof {

namespace {

constexpr int CHANNELS_A_TASK = 64;
constexpr int WINDOWS_A_TASK = 16;  // or a row of them; as many are summed as float32
constexpr int MOST_PIXELS = 4;      // of a window

class BatchNormalizationOp : public Op, private PieceErrors {
public:
    BatchNormalizationOp(Tensor& in, Tensor& out, const Window& window, const Normalization& how,
                         bool is_relu, Op* before, Op* first)
        : Op(in, out), w_(window), how_(how), is_relu_(is_relu),
          positions_(window.height * window.width), channels_(window.channels),
          pixels_(window.kernel_height * window.kernel_width),
          rows_a_task_(std::max(1, WINDOWS_A_TASK / window.out_width)),
          bands_((window.out_height + rows_a_task_ - 1) / rows_a_task_),
          groups_((window.channels + CHANNELS_A_TASK - 1) / CHANNELS_A_TASK),
          gamma_(1, channels_, how.scale, 1.0f), beta_(1, channels_, how.center),
          mean_(1, channels_, false), variance_(1, channels_, false, 1.0f),
          moments_(in, channels_) {
        for (Buffer<float>* of_channels :
             {&batch_mean_, &inverse_, &factor_, &error_mean_, &product_factor_})
            *of_channels = Buffer<float>(gamma_.values.size());
        for (int i = 0; i < pixels_; ++i) {
            const int y = i / window.kernel_width, x = i % window.kernel_width;
            offsets_[i] = static_cast<std::ptrdiff_t>((y * window.width + x) * channels_) * BLOCK;
        }
        is_seen_ = before && before->watch(moments_);
        is_asked_ = first && first->fetch(*this);
        if (!is_seen_) moments_.divide((positions_ + WINDOWS_A_TASK - 1) / WINDOWS_A_TASK);
    }

    void reserve(int blocks, int, bool training) override {
        if (!training) return;
        moments_.reserve(blocks);
        const auto wanted = static_cast<std::size_t>(blocks * bands_ * channels_);
        if (sums_.size() < wanted) sums_ = Buffer<Sums>(wanted);
        const std::size_t bests = static_cast<std::size_t>(blocks) * bests_stride();
        if (pixels_ > 1 && bests_.size() < bests) bests_ = Buffer<float>(bests);
    }

    void forward(const Step& step, const Worker& worker) override {
        if (step.training && !is_seen_) observe(step, worker);
        set_channels(step, worker);
        each_task(step, worker, [&](int block, Range rows, Range channels) {
            with_window([&](auto pixels, auto is_relu) {
                each_window(rows, [&](int oy, int ox) {
                    for (int c = channels.begin; c < channels.end; ++c) {
                        const Channel of = channel(c);
                        const float* x = in_.value(block, first_feature(oy, ox) + c);
                        float* y = out_.value(block, out_feature(oy, ox) + c);
                        float* taken = best_at(block, oy, ox, c);
                        for (int v = 0; v < step.vectors(block) * VL; v += VL) {
                            const V most = best<pixels.value>(x + v, of);
                            if (pixels.value > 1 && step.training) store(taken + v, most);
                            store(y + v, normal<is_relu.value>(of, most));
                        }
                    }
                });
            });
        });
    }

    void forward_few(const Step& step, const Worker& worker) override {
        set_channels(step, worker);
        worker.each(step.lanes * bands_, [&](int task) {
            const int row = task / bands_;
            each_window(rows_of(task % bands_), [&](int oy, int ox) {
                for (int c = 0; c < channels_; c += VL) {
                    const auto of_channels = [&](const Buffer<float>& of) {
                        return load(of.get() + c);
                    };
                    const V sign = of_channels(factor_) < V{} ? splat(-1.0f) : splat(1.0f);
                    const float* x = in_.row(row) + first_feature(oy, ox) + c;
                    V most = load_any(x) * sign;
                    for (int i = 1; i < pixels_; ++i) {
                        const V other = load_any(x + offsets_[i] / BLOCK) * sign;
                        most = other > most ? other : most;
                    }
                    const V y = (most * sign - of_channels(batch_mean_)) * of_channels(factor_) +
                                of_channels(beta_.values);
                    store_some(out_.row(row) + out_feature(oy, ox) + c, is_relu_ ? relu(y) : y,
                               channels_ - c);
                }
            });
        });
    }

    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        each_task(step, worker, [&](int block, Range rows, Range channels) {
            add_errors(step, block, rows, channels);
        });
        worker.each(groups_, [&](int group) { finish_sums(step, channels_of(group)); });
        if (input_errors && !is_asked_)
            each_task(step, worker, [&](int block, Range rows, Range channels) {
                const auto stride = static_cast<std::size_t>(channels_) * BLOCK;
                send_back(step, block, rows.begin / rows_a_task_, channels,
                          {in_.error(block, 0), 0, stride});
            });
        // Padding has a gradient of 0, so that pieces of the arrays may be moved whole.
        if (!step.descent) return;
        const auto move = [&](Parameter& parameter) {
            step.descent->move(parameter, 0, parameter.gradients.get(),
                               static_cast<int>(parameter.gradients.size() / VL * VL));
        };
        if (worker.member() == 0 && how_.scale) move(gamma_);
        if (worker.member() == 0 && how_.center) move(beta_);
        worker.barrier();
    }

    std::vector<Parameter*> parameters() override {
        std::vector<Parameter*> all;
        if (how_.scale) all.push_back(&gamma_);
        if (how_.center) all.push_back(&beta_);
        all.push_back(&mean_);
        all.push_back(&variance_);
        return all;
    }

    const char* name() const override { return "batch normalization"; }

private:
    struct Channel {  // what its numbers are taken through
        V mean, factor, beta, sign;
    };
    struct Sums {  // over some windows of a block
        double errors, products;  // of the errors, and of them times the normalised inputs
    };

    Channel channel(int c) const {
        return {splat(batch_mean_[c]), splat(factor_[c]), splat(beta_.values[c]),
                splat(factor_[c] < 0 ? -1.0f : 1.0f)};
    }

    // The input that a window of N pixels takes its output from: the greatest, or where the factor is
    // negative the least.
    template <int N>
    V best(const float* x, const Channel& of) const {
        if constexpr (N == 1) return load(x);
        V most = load(x) * of.sign;
        for (int i = 1; i < N; ++i) {
            const V other = load(x + offsets_[i]) * of.sign;
            most = other > most ? other : most;
        }
        return most * of.sign;
    }

    // The same of each window and lane as training's way forward has found it.
    float* best_at(int block, int oy, int ox, int c) const {
        if (pixels_ == 1) return in_.value(block, first_feature(oy, ox) + c);
        return bests_.get() + static_cast<std::size_t>(block) * bests_stride() +
               static_cast<std::size_t>(out_feature(oy, ox) + c) * BLOCK;
    }
    std::size_t bests_stride() const {  // of a block
        return static_cast<std::size_t>(out_.features) * BLOCK;
    }

    template <bool IsRelu>
    static V normal(const Channel& of, V x) {
        const V y = (x - of.mean) * of.factor + of.beta;
        return IsRelu ? relu(y) : y;
    }

    // A window's error, without ReLU's part.
    template <bool IsRelu>
    static V masked(const Channel& of, const float* e, V x) {
        return IsRelu ? (normal<false>(of, x) > V{} ? load(e) : V{}) : load(e);
    }

    // Calls f(whether there is ReLU).
    template <typename F>
    void with_relu(F&& f) const {
        if (is_relu_)
            f(std::true_type{});
        else
            f(std::false_type{});
    }
    // Calls f(Int<pixels of a window>, whether there is ReLU).
    template <typename F>
    void with_window(F&& f) const {
        with_constant<MOST_PIXELS>(pixels_, [&](auto pixels) {
            with_relu([&](auto is_relu) { f(pixels, is_relu); });
        });
    }

    int first_feature(int oy, int ox) const {
        return (oy * w_.kernel_height * w_.width + ox * w_.kernel_width) * channels_;
    }
    int out_feature(int oy, int ox) const { return (oy * w_.out_width + ox) * channels_; }

    Range rows_of(int band) const {
        return {band * rows_a_task_, std::min((band + 1) * rows_a_task_, w_.out_height)};
    }
    Range channels_of(int group) const {
        return {group * CHANNELS_A_TASK, std::min((group + 1) * CHANNELS_A_TASK, channels_)};
    }

    int pieces() const override { return bands_; }
    Range pixels_of(int band) const override {
        const Range rows = rows_of(band);
        const int end = rows.end == w_.out_height ? w_.height : rows.end * w_.kernel_height;
        return {rows.begin * w_.kernel_height * w_.width, end * w_.width};
    }

    // Calls f(block, rows of windows, channels) for each task.
    template <typename F>
    void each_task(const Step& step, const Worker& worker, F&& f) const {
        worker.each(step.blocks * bands_ * groups_, [&](int task) {
            f(task / (bands_ * groups_), rows_of(task / groups_ % bands_),
              channels_of(task % groups_));
        });
    }
    template <typename F>
    void each_window(Range rows, F&& f) const {
        for (int oy = rows.begin; oy < rows.end; ++oy)
            for (int ox = 0; ox < w_.out_width; ++ox) f(oy, ox);
    }

    void observe(const Step& step, const Worker& worker) {
        const int pieces = (positions_ + WINDOWS_A_TASK - 1) / WINDOWS_A_TASK;
        worker.each(step.blocks * pieces, [&](int task) {
            const int first = task % pieces * WINDOWS_A_TASK;
            moments_.see(step, task / pieces, task % pieces, first,
                         std::min(WINDOWS_A_TASK, positions_ - first));
        });
    }

    // Each channel's numbers for the way forward: of the batch, or of those before.
    void set_channels(const Step& step, const Worker& worker) {
        worker.each(groups_, [&](int group) {
            const Range channels = channels_of(group);
            for (int c = channels.begin; c < channels.end; ++c) {
                const Moments::Of seen =
                    step.training ? moments_.of(step, c)
                                  : Moments::Of{mean_.values[c], variance_.values[c]};
                batch_mean_[c] = static_cast<float>(seen.mean);
                inverse_[c] =
                    static_cast<float>(1 / std::sqrt(seen.variance + double{how_.epsilon}));
                factor_[c] = inverse_[c] * gamma_.values[c];
                if (!step.training || !step.moves_statistics) continue;
                const auto follow = [&](float& moving, double now) {
                    moving = moving * how_.momentum + static_cast<float>(now) * (1 - how_.momentum);
                };
                follow(mean_.values[c], seen.mean);
                follow(variance_.values[c], seen.variance);
            }
        });
    }

    void add_errors(const Step& step, int block, Range rows, Range channels) const {
        Sums* totals = sums_.get() + sums_at(block, rows) + channels.begin;
        std::fill(totals, totals + (channels.end - channels.begin), Sums{});
        V errors[CHANNELS_A_TASK] = {}, products[CHANNELS_A_TASK] = {};
        int windows = 0;
        const auto flush = [&] {
            for (int i = 0; i < channels.end - channels.begin; ++i) {
                totals[i].errors += static_cast<double>(sum_of(errors[i]));
                totals[i].products += static_cast<double>(sum_of(products[i]));
                errors[i] = products[i] = V{};
            }
            windows = 0;
        };
        with_relu([&](auto is_relu) {
            each_window(rows, [&](int oy, int ox) {
                for (int c = channels.begin; c < channels.end; ++c) {
                    const Channel of = channel(c);
                    const float* taken = best_at(block, oy, ox, c);
                    const float* e = out_.error(block, out_feature(oy, ox) + c);
                    V sum{}, product{};
                    for (int v = 0; v < step.vectors(block) * VL; v += VL) {
                        const V most = load(taken + v);
                        const V error = masked<is_relu.value>(of, e + v, most);
                        sum += error;
                        product += error * (most - of.mean);
                    }
                    errors[c - channels.begin] += sum;
                    products[c - channels.begin] += product * inverse_[c];
                }
                if (++windows == WINDOWS_A_TASK) flush();
            });
        });
        flush();
    }

    // The gradients, and what send_back takes from every error.
    void finish_sums(const Step& step, Range channels) {
        const double count = static_cast<double>(step.lanes) * positions_;
        for (int c = channels.begin; c < channels.end; ++c) {
            Sums total{};
            for (int i = 0; i < step.blocks * bands_; ++i) {
                const Sums& some = sums_[static_cast<std::size_t>(i * channels_ + c)];
                total.errors += some.errors;
                total.products += some.products;
            }
            const auto collect = [&](Parameter& parameter, double value) {
                float& to = parameter.gradients[c];
                to = (step.adds_gradients ? to : 0.0f) + static_cast<float>(value);
            };
            if (how_.scale) collect(gamma_, total.products);
            if (how_.center) collect(beta_, total.errors);
            error_mean_[c] = static_cast<float>(total.errors / count);
            product_factor_[c] = static_cast<float>(total.products / count) * inverse_[c];
        }
    }

    // d = factor (e - mean of e - normalised x times the mean of e times that), where e is 0 for pixels
    // that no window took its output from.
    void send_back(const Step& step, int block, int band, Range channels, Place errors) const override {
        const std::ptrdiff_t ahead = static_cast<std::ptrdiff_t>(w_.kernel_width * channels_) * BLOCK;
        with_window([&](auto pixels, auto is_relu) {
            constexpr int N = decltype(pixels)::value;
            each_window(rows_of(band), [&](int oy, int ox) {
                float* first = errors.pixel(oy * w_.kernel_height * w_.width + ox * w_.kernel_width);
                for (int c = channels.begin; c < channels.end; ++c) {
                    const Channel of = channel(c);
                    const float* x = in_.value(block, first_feature(oy, ox) + c);
                    const float* taken = best_at(block, oy, ox, c);
                    const float* e = out_.error(block, out_feature(oy, ox) + c);
                    float* d = first + c * BLOCK;
                    const V mean = splat(error_mean_[c]), product = splat(product_factor_[c]);
                    for (int v = 0; v < step.vectors(block); ++v) {
                        const V most = load(taken + v * VL);
                        const V whole = masked<is_relu.value>(of, e + v * VL, most);
                        VI open = ~VI{};
                        for (int i = 0; i < N; ++i) {
                            const V own = load(x + v * VL + offsets_[i]);
                            if (v * VL % PANEL == 0) __builtin_prefetch(x + v * VL + offsets_[i] + ahead);
                            const VI hit = (own == most) & open;
                            open &= ~hit;
                            const V back = ((hit ? whole : V{}) - mean - (own - of.mean) * product) *
                                           of.factor;
                            store(d + v * VL + offsets_[i], filled(step, block, v, back));
                        }
                    }
                }
            });
        });
        // Pixels at the edge that belong to no window.
        const int seen_width = w_.out_width * w_.kernel_width;
        const int seen_height = w_.out_height * w_.kernel_height;
        const Range all = pixels_of(band);
        for (int y = all.begin / w_.width; y < all.end / w_.width; ++y)
            for (int x = y < seen_height ? seen_width : 0; x < w_.width; ++x)
                for (int c = channels.begin; c < channels.end; ++c) {
                    const int pixel = y * w_.width + x;
                    const float* from = in_.value(block, pixel * channels_ + c);
                    float* d = errors.pixel(pixel) + c * BLOCK;
                    for (int v = 0; v < step.vectors(block); ++v) {
                        const V own = load(from + v * VL) - batch_mean_[c];
                        const V back = -(error_mean_[c] + own * product_factor_[c]) * factor_[c];
                        store(d + v * VL, filled(step, block, v, back));
                    }
                }
    }

    // 0 for lanes that stand for no row.
    static V filled(const Step& step, int block, int v, V errors) {
        return (v + 1) * VL > step.block_lanes(block) ? errors * lane_mask(step, block, v) : errors;
    }

    std::size_t sums_at(int block, Range rows) const {
        return static_cast<std::size_t>((block * bands_ + rows.begin / rows_a_task_) * channels_);
    }

    const Window w_;
    const Normalization how_;
    const bool is_relu_;
    const int positions_, channels_, pixels_;
    const int rows_a_task_, bands_, groups_;  // of rows of windows; of channels
    std::ptrdiff_t offsets_[MOST_PIXELS];  // from a window's first pixel
    Parameter gamma_, beta_, mean_, variance_;
    Moments moments_;
    bool is_seen_;   // by the operation before
    bool is_asked_;  // for its errors by the operation before
    // Of each channel, in the batch under way: its mean, 1 / its standard deviation and that times
    // gamma; the mean of its errors, and the mean of those times the normalised inputs, times inverse_.
    Buffer<float> batch_mean_, inverse_, factor_, error_mean_, product_factor_;
    Buffer<float> bests_;  // [block][window, channel][lane]: see best_at
    mutable Buffer<Sums> sums_;  // [block][band][channel]
};

}  // namespace

bool can_normalize_with(const Window& w) {
    return w.stride_y == w.kernel_height && w.stride_x == w.kernel_width && w.pad_top == 0 &&
           w.pad_left == 0 && w.out_height * w.stride_y <= w.height &&
           w.out_width * w.stride_x <= w.width && w.kernel_height * w.kernel_width <= MOST_PIXELS;
}

std::unique_ptr<Op> make_batch_normalization(Tensor& in, Tensor& out, const Window& window,
                                             const Normalization& how, bool is_relu, Op* before,
                                             Op* first) {
    return std::make_unique<BatchNormalizationOp>(in, out, window, how, is_relu, before, first);
}

}  // namespace inkproof
