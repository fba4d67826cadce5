// What every way to do a convolution has in common, and the ways there are.
//
// The kernel is a matrix whose rows are (y, x, channel) of the window and whose columns are the
// filters.
#pragma once

#include <memory>
#include <vector>

#include "moments.hpp"

namespace inkproof {

struct ConvolutionSpec {
    int rows() const { return window.kernel_height * window.kernel_width * window.channels; }

    Window window;
    int filters;
    bool has_bias, is_relu;
};

// What a convolution learns. Two operations share it where one trains it and the other runs it.
struct ConvolutionWeights {
    explicit ConvolutionWeights(const ConvolutionSpec& spec)
        : kernel(spec.rows(), spec.filters, true), bias(1, spec.filters, spec.has_bias) {
        kernel.is_kernel = true;
    }

    Parameter kernel, bias;
};
using SharedWeights = std::shared_ptr<ConvolutionWeights>;

class Convolution : public Op {
public:
    Convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec, SharedWeights weights)
        : Op(in, out), w_(spec.window), filters_(spec.filters), has_bias_(spec.has_bias),
          is_relu_(spec.is_relu), weights_(std::move(weights)), kernel_(weights_->kernel),
          bias_(weights_->bias) {}

    bool reads_output() const override { return is_relu_; }
    bool leave_mask() override { return is_masked_ = is_relu_; }

    std::vector<Parameter*> parameters() override {
        if (has_bias_) return {&kernel_, &bias_};
        return {&kernel_};
    }

    const char* name() const override { return "convolution"; }
    std::int64_t products() const override {
        return std::int64_t{out_.features} * w_.channels * w_.kernel_height * w_.kernel_width;
    }

protected:
    // Takes ReLU's part of the output's errors, where nobody has.
    void mask_errors(const Step& step, const Worker& worker) const {
        if (!is_relu_ || is_masked_) return;
        each_row(step, worker, out_.features, [&](int block, int k) {
            mask_by_output(out_, block, k, k + 1, step.vectors(block));
        });
    }

    const Window w_;
    const int filters_;
    const bool has_bias_, is_relu_;
    bool is_masked_ = false;  // errors come with ReLU's part taken
    const SharedWeights weights_;
    Parameter &kernel_, &bias_;  // of those
    Moments* moments_ = nullptr;  // of the output, where somebody wants them
};

// Position by position.
std::unique_ptr<Op> make_direct_convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                            SharedWeights weights);

// The same where images have few channels, less than FEW_CHANNELS.
constexpr int FEW_CHANNELS = 8;
std::unique_ptr<Op> make_few_channels_convolution(Tensor& in, Tensor& out,
                                                  const ConvolutionSpec& spec,
                                                  SharedWeights weights);

// Windows of 3 x 3 by fewer multiplications: of whole panels of channels and of filters, not too many.
bool suits_winograd(const ConvolutionSpec& spec);
std::unique_ptr<Op> make_winograd_convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                              SharedWeights weights);

#if INKPROOF_HALF
// Training with factors rounded to bfloat16, in pairs or by tiles; `running` does what is not training.
std::unique_ptr<Op> make_half_convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                          SharedWeights weights, std::unique_ptr<Op> running);
std::unique_ptr<Op> make_tile_convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                          SharedWeights weights, std::unique_ptr<Op> running,
                                          bool is_emulated);
#endif

}  // namespace inkproof
