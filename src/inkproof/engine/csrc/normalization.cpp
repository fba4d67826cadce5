// Batch normalisation (Ioffe and Szegedy 2015), over the batch and all positions of an image.
#include <cmath>

#include "ops.hpp"

namespace inkproof {

namespace {

constexpr int CHANNELS_A_TASK = 8;

class BatchNormalizationOp : public Op {
public:
    BatchNormalizationOp(Tensor& in, Tensor& out, int positions, int channels, bool center,
                         bool scale, float momentum, float epsilon)
        : Op(in, out), positions_(positions), channels_(channels), center_(center), scale_(scale),
          momentum_(momentum), epsilon_(epsilon), gamma_(1, channels, scale, 1.0f),
          beta_(1, channels, center), mean_(1, channels, false), variance_(1, channels, false, 1.0f),
          batch_mean_(gamma_.values.size()), batch_factor_(gamma_.values.size()) {}

    void forward(const Step& step, const Worker& worker) override {
        each_channel(worker, [&](int c) {
            if (step.training) observe(step, c);
            else set_factor(c, mean_.values[c], variance_.values[c]);
            const V mean = splat(batch_mean_[c]), beta = splat(beta_.values[c]);
            const V factor = splat(batch_factor_[c] * gamma_.values[c]);
            each_vector(step, c, [&](int block, int k, int v) {
                store(out_.value(block, k) + v * VL,
                      (load(in_.value(block, k) + v * VL) - mean) * factor + beta);
            });
        });
    }

    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        each_channel(worker, [&](int c) {
            const V mean = splat(batch_mean_[c]), factor = splat(batch_factor_[c]);
            double errors = 0, products = 0;  // of e, and of e times the normalised input
            each_row_of(step, c, [&](int block, int k) {
                V e_sum{}, product_sum{};
                for (int v = 0; v < step.vectors(block); ++v) {
                    const V e = load(out_.error(block, k) + v * VL);
                    const V x = (load(in_.value(block, k) + v * VL) - mean) * factor;
                    e_sum += e;
                    product_sum += e * x;
                }
                errors += static_cast<double>(sum_of(e_sum));
                products += static_cast<double>(sum_of(product_sum));
            });
            const auto collect = [&](Parameter& parameter, double value) {
                float& to = parameter.gradients[c];
                to = step.adds_gradients ? to + static_cast<float>(value)
                                         : static_cast<float>(value);
            };
            if (scale_) collect(gamma_, products);
            if (center_) collect(beta_, errors);
            if (!input_errors) return;
            const double count = static_cast<double>(step.lanes) * positions_;
            const V e_mean = splat(static_cast<float>(errors / count));
            const V product_mean = splat(static_cast<float>(products / count));
            const V outer = factor * gamma_.values[c];
            each_vector(step, c, [&](int block, int k, int v) {
                const V e = load(out_.error(block, k) + v * VL);
                const V x = (load(in_.value(block, k) + v * VL) - mean) * factor;
                V d = outer * (e - e_mean - x * product_mean);
                if ((v + 1) * VL > step.block_lanes(block)) d *= lane_mask(step, block, v);
                store(in_.error(block, k) + v * VL, d);
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
    template <typename F>
    void each_channel(const Worker& worker, F&& f) const {
        worker.each((channels_ + CHANNELS_A_TASK - 1) / CHANNELS_A_TASK, [&](int task) {
            const int first = task * CHANNELS_A_TASK;
            for (int c = first; c < first + CHANNELS_A_TASK && c < channels_; ++c) f(c);
        });
    }
    template <typename F>
    void each_row_of(const Step& step, int c, F&& f) const {
        for (int block = 0; block < step.blocks; ++block)
            for (int p = 0; p < positions_; ++p) f(block, p * channels_ + c);
    }
    template <typename F>
    void each_vector(const Step& step, int c, F&& f) const {
        each_row_of(step, c, [&](int block, int k) {
            for (int v = 0; v < step.vectors(block); ++v) f(block, k, v);
        });
    }

    void set_factor(int c, double mean, double variance) {
        batch_mean_[c] = static_cast<float>(mean);
        batch_factor_[c] = static_cast<float>(1 / std::sqrt(variance + double{epsilon_}));
    }

    // Mean and variance of the batch, the variance in a second pass, which loses no digits.
    void observe(const Step& step, int c) {
        const double count = static_cast<double>(step.lanes) * positions_;
        const auto total = [&](float center, bool squared) {
            double sum = 0;
            each_row_of(step, c, [&](int block, int k) {
                V row{};
                for (int v = 0; v < step.vectors(block); ++v) {
                    V x = load(in_.value(block, k) + v * VL) - center;
                    if (squared) x *= x;
                    if ((v + 1) * VL > step.block_lanes(block)) x *= lane_mask(step, block, v);
                    row += x;
                }
                sum += static_cast<double>(sum_of(row));
            });
            return sum / count;
        };
        const double mean = total(0, false);
        const double variance = total(static_cast<float>(mean), true);
        set_factor(c, mean, variance);
        if (!step.moves_statistics) return;
        const auto follow = [&](float& moving, double seen) {
            moving = moving * momentum_ + static_cast<float>(seen) * (1 - momentum_);
        };
        follow(mean_.values[c], mean);
        follow(variance_.values[c], variance);
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
