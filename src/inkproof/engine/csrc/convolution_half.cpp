// Convolution whose training rounds the factors of its products to bfloat16, in pairs along the sum.
#include "convolution_rounded.hpp"

#if INKPROOF_HALF

namespace inkproof {

namespace {

class HalfConvolution : public RoundedConvolution {
public:
    using RoundedConvolution::RoundedConvolution;

private:
    void reserve_factors(int members) override {
        if (kernel_pairs_.size() > 0) return;
        kernel_pairs_ = Buffer<Pair>(kernel_.values.size() / 2);
        turned_pairs_ = Buffer<Pair>(turned_.size() / 2);
        while (static_cast<int>(error_pairs_.size()) < members)
            error_pairs_.emplace_back(POSITIONS * BLOCK * PANEL / 2);
    }

    void forward_rounded(const Step& step, const Worker& worker) override {
        const std::size_t stride = kernel_.panel_stride / 2;
        worker.each(panels_, [&](int panel) {
            round_panel(kernel_.values.get() + panel * kernel_.panel_stride,
                        kernel_pairs_.get() + panel * stride, nullptr, rows_);
        });
        worker.each(step.blocks * w_.out_height, [&](int task) {
            const int block = task / w_.out_height;
            const Pair* kernel = kernel_pairs_.get();
            forward_row(step, block, task % w_.out_height, kernel, stride,
                        in_halves_.pairs(block, 0), scratch_of(worker).runs.data());
        });
    }

    void send_back(const Step& step, const Worker& worker) override {
        mask_errors(step, worker);
        turn_kernel(worker);
        out_halves_.take(step, worker, out_.errors, out_.features);
        const std::size_t stride = turned_stride() / 2;
        worker.each((w_.channels + PANEL - 1) / PANEL, [&](int panel) {
            round_panel(turned_.get() + panel * turned_stride(), turned_pairs_.get() + panel * stride,
                        nullptr, static_cast<int>(turned_stride() / PANEL));
        });
        worker.each(step.blocks * w_.height, [&](int task) {
            const int block = task / w_.height;
            const Pair* turned = turned_pairs_.get();
            send_back_row(step, block, task % w_.height, turned, stride, out_halves_.pairs(block, 0),
                          scratch_of(worker).runs.data());
        });
    }

    void add_positions(int block, int first, int count, int lanes, float* g,
                       const Worker& worker) override {
        constexpr int size = BLOCK * PANEL;  // of a position's errors
        const float* errors = scratch_of(worker).errors.get();
        Pair* pairs = error_pairs_[static_cast<std::size_t>(worker.member())].get();
        for (int i = 0; i < count; ++i)
            for (int b = 0; b < BLOCK; b += 2) {
                const float* from = errors + i * size + b * PANEL;
                pair_transposed(from, from + PANEL, pairs + (i * size + b * PANEL) / 2, PANEL);
            }
        const Pair* x[POSITIONS];
        const Pair* t[POSITIONS];
        each_place<POSITIONS>(first, count, [&](int row, const int* seen_by, const int* features,
                                                int seen) {
            for (int i = 0; i < seen; ++i) t[i] = pairs + seen_by[i] * size / 2;
            in_pieces(w_.channels, GRADIENT_ROWS, [&](int channel, int rows) {
                for (int i = 0; i < seen; ++i) x[i] = in_halves_.lanes(block, features[i] + channel);
                with_constant<GRADIENT_ROWS>(rows, [&](auto wanted) {
                    gradient_tile<decltype(wanted)::value>(
                        g + static_cast<std::size_t>(row + channel) * PANEL, x, t, seen, lanes);
                });
            });
        });
    }

    Buffer<Pair> kernel_pairs_, turned_pairs_;
    std::vector<Buffer<Pair>> error_pairs_;  // of each thread: [position][pair of lanes][16 filters]
};

}  // namespace

std::unique_ptr<Op> make_half_convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                          SharedWeights weights, std::unique_ptr<Op> running) {
    return std::make_unique<HalfConvolution>(in, out, spec, std::move(weights), std::move(running));
}

}  // namespace inkproof

#endif
