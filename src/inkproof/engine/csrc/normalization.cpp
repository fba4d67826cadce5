// Batch normalisation (Ioffe and Szegedy 2015), over the batch and all positions of an image.
#include <algorithm>
#include <array>
#include <cmath>

#include "ops.hpp"

namespace inkproof {

namespace {

constexpr int CHANNELS_A_TASK = 8;
constexpr int ROWS_A_SUM = 16;  // of a channel's lanes, that are summed as float32; then as float64

class BatchNormalizationOp : public Op {
public:
    BatchNormalizationOp(Tensor& in, Tensor& out, int positions, int channels, bool center,
                         bool scale, float momentum, float epsilon)
        : Op(in, out), positions_(positions), channels_(channels), center_(center), scale_(scale),
          momentum_(momentum), epsilon_(epsilon), gamma_(1, channels, scale, 1.0f),
          beta_(1, channels, center), mean_(1, channels, false), variance_(1, channels, false, 1.0f),
          batch_mean_(gamma_.values.size()), batch_factor_(gamma_.values.size()) {}

    void forward(const Step& step, const Worker& worker) override {
        each_group(worker, [&](const Group& group) {
            if (step.training) observe(step, group);
            V mean[CHANNELS_A_TASK], factor[CHANNELS_A_TASK], beta[CHANNELS_A_TASK];
            for (int i = 0; i < group.count; ++i) {
                const int c = group.first + i;
                if (!step.training) set_factor(c, mean_.values[c], variance_.values[c]);
                mean[i] = splat(batch_mean_[c]), beta[i] = splat(beta_.values[c]);
                factor[i] = splat(batch_factor_[c] * gamma_.values[c]);
            }
            each_row_of(step, group, [&](int block, int k, int i) {
                const float* x = in_.value(block, k);
                float* y = out_.value(block, k);
                for (int v = 0; v < step.vectors(block) * VL; v += VL)
                    store(y + v, (load(x + v) - mean[i]) * factor[i] + beta[i]);
            });
        });
    }

    void forward_few(const Step& step, const Worker& worker) override {
        if (worker.member() == 0)
            for (int c = 0; c < channels_; ++c) {
                set_factor(c, mean_.values[c], variance_.values[c]);
                batch_factor_[c] *= gamma_.values[c];
            }
        worker.barrier();
        each_part(step, worker, positions_, [&](int row, int first, int count) {
            for (int p = first; p < first + count; ++p)
                for (int c = 0; c < channels_; c += VL) {
                    const V x = load_any(in_.row(row) + p * channels_ + c);
                    store_some(out_.row(row) + p * channels_ + c,
                               (x - load(batch_mean_.get() + c)) * load(batch_factor_.get() + c) +
                                   load(beta_.values.get() + c),
                               channels_ - c);
                }
        });
    }

    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        each_group(worker, [&](const Group& group) {
            V mean[CHANNELS_A_TASK], factor[CHANNELS_A_TASK];
            for (int i = 0; i < group.count; ++i) {
                mean[i] = splat(batch_mean_[group.first + i]);
                factor[i] = splat(batch_factor_[group.first + i]);
            }
            // Of e, and of e times the normalised input.
            double errors[CHANNELS_A_TASK] = {}, products[CHANNELS_A_TASK] = {};
            add_rows_of<2>(step, group, {errors, products}, [&](int block, int k, int i, V* sums) {
                for (int v = 0; v < step.vectors(block); ++v) {
                    const V e = load(out_.error(block, k) + v * VL);
                    const V x = (load(in_.value(block, k) + v * VL) - mean[i]) * factor[i];
                    sums[0] += e;
                    sums[1] += e * x;
                }
            });
            V e_mean[CHANNELS_A_TASK], product_mean[CHANNELS_A_TASK], outer[CHANNELS_A_TASK];
            const double count = static_cast<double>(step.lanes) * positions_;
            for (int i = 0; i < group.count; ++i) {
                const int c = group.first + i;
                const auto collect = [&](Parameter& parameter, double value) {
                    float& to = parameter.gradients[c];
                    to = step.adds_gradients ? to + static_cast<float>(value)
                                             : static_cast<float>(value);
                };
                if (scale_) collect(gamma_, products[i]);
                if (center_) collect(beta_, errors[i]);
                e_mean[i] = splat(static_cast<float>(errors[i] / count));
                product_mean[i] = splat(static_cast<float>(products[i] / count));
                outer[i] = factor[i] * gamma_.values[c];
            }
            if (!input_errors) return;
            each_row_of(step, group, [&](int block, int k, int i) {
                for (int v = 0; v < step.vectors(block); ++v) {
                    const V e = load(out_.error(block, k) + v * VL);
                    const V x = (load(in_.value(block, k) + v * VL) - mean[i]) * factor[i];
                    V d = outer[i] * (e - e_mean[i] - x * product_mean[i]);
                    if ((v + 1) * VL > step.block_lanes(block)) d *= lane_mask(step, block, v);
                    store(in_.error(block, k) + v * VL, d);
                }
            });
        });
        // Padding has a gradient of 0, so that pieces of the arrays may be moved whole.
        if (!step.optimizer) return;
        const auto move = [&](Parameter& parameter) {
            step.optimizer->descend(parameter, 0, parameter.gradients.get(),
                                    static_cast<int>(parameter.gradients.size() / VL * VL));
        };
        if (worker.member() == 0 && scale_) move(gamma_);
        if (worker.member() == 0 && center_) move(beta_);
        worker.barrier();
    }

    std::vector<Parameter*> parameters() override {
        std::vector<Parameter*> all;
        if (scale_) all.push_back(&gamma_);
        if (center_) all.push_back(&beta_);
        all.push_back(&mean_);
        all.push_back(&variance_);
        return all;
    }

    const char* name() const override { return "batch normalization"; }

private:
    struct Group {  // channels that lie next to one another, and so do their rows at a position
        int first, count;
    };

    template <typename F>
    void each_group(const Worker& worker, F&& f) const {
        worker.each((channels_ + CHANNELS_A_TASK - 1) / CHANNELS_A_TASK, [&](int task) {
            const int first = task * CHANNELS_A_TASK;
            f(Group{first, std::min(CHANNELS_A_TASK, channels_ - first)});
        });
    }
    // Calls f(block, feature, which of the group's channels), in the order of memory.
    template <typename F>
    void each_row_of(const Step& step, const Group& group, F&& f) const {
        for (int block = 0; block < step.blocks; ++block)
            for (int p = 0; p < positions_; ++p)
                for (int i = 0; i < group.count; ++i)
                    f(block, p * channels_ + group.first + i, i);
    }

    // totals[n][i] += N sums over all rows of channel i, of what f(block, feature, i, sums) adds to
    // N vectors.
    template <int N, typename F>
    void add_rows_of(const Step& step, const Group& group, const std::array<double*, N>& totals,
                     F&& f) const {
        for (int block = 0; block < step.blocks; ++block)
            for (int p = 0; p < positions_; p += ROWS_A_SUM) {
                V sums[CHANNELS_A_TASK][N] = {};
                const int end = std::min(p + ROWS_A_SUM, positions_);
                for (int row = p; row < end; ++row)
                    for (int i = 0; i < group.count; ++i)
                        f(block, row * channels_ + group.first + i, i, sums[i]);
                for (int i = 0; i < group.count; ++i)
                    for (int n = 0; n < N; ++n)
                        totals[static_cast<std::size_t>(n)][i] +=
                            static_cast<double>(sum_of(sums[i][n]));
            }
    }

    void set_factor(int c, double mean, double variance) {
        batch_mean_[c] = static_cast<float>(mean);
        batch_factor_[c] = static_cast<float>(1 / std::sqrt(variance + double{epsilon_}));
    }

    // Mean and variance of the batch, the variance in a second pass, which loses no digits.
    void observe(const Step& step, const Group& group) {
        const double count = static_cast<double>(step.lanes) * positions_;
        double mean[CHANNELS_A_TASK] = {}, variance[CHANNELS_A_TASK] = {};
        const auto total = [&](const double* center, bool squared, double* sums) {
            V middle[CHANNELS_A_TASK];
            for (int i = 0; i < group.count; ++i) middle[i] = splat(static_cast<float>(center[i]));
            add_rows_of<1>(step, group, {sums}, [&](int block, int k, int i, V* sum) {
                for (int v = 0; v < step.vectors(block); ++v) {
                    V x = load(in_.value(block, k) + v * VL) - middle[i];
                    if (squared) x *= x;
                    if ((v + 1) * VL > step.block_lanes(block)) x *= lane_mask(step, block, v);
                    *sum += x;
                }
            });
            for (int i = 0; i < group.count; ++i) sums[i] /= count;
        };
        total(variance, false, mean);  // about 0
        total(mean, true, variance);
        for (int i = 0; i < group.count; ++i) {
            const int c = group.first + i;
            set_factor(c, mean[i], variance[i]);
            if (!step.moves_statistics) continue;
            const auto follow = [&](float& moving, double seen) {
                moving = moving * momentum_ + static_cast<float>(seen) * (1 - momentum_);
            };
            follow(mean_.values[c], mean[i]);
            follow(variance_.values[c], variance[i]);
        }
    }

    const int positions_, channels_;
    const bool center_, scale_;
    const float momentum_, epsilon_;
    Parameter gamma_, beta_, mean_, variance_;
    Buffer<float> batch_mean_, batch_factor_;  // of the batch under way; 1 / standard deviation
};

}  // namespace

std::unique_ptr<Op> make_batch_normalization(Tensor& in, Tensor& out, int positions, int channels,
                                             bool center, bool scale, float momentum,
                                             float epsilon) {
    return std::make_unique<BatchNormalizationOp>(in, out, positions, channels, center, scale,
                                                  momentum, epsilon);
}

}  // namespace inkproof
