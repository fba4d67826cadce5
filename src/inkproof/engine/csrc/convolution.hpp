// What every way to do a convolution has in common.
#pragma once

#include <vector>

#include "moments.hpp"

namespace inkproof {

class Convolution : public Op {
public:
    Convolution(Tensor& in, Tensor& out, const Window& window, int filters, bool has_bias,
                bool is_relu)
        : Op(in, out), w_(window), filters_(filters), has_bias_(has_bias), is_relu_(is_relu),
          kernel_(window.kernel_height * window.kernel_width * window.channels, filters, true),
          bias_(1, filters, has_bias) {
        kernel_.is_kernel = true;
    }

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
    mutable Parameter kernel_, bias_;
    Moments* moments_ = nullptr;  // of the output, where somebody wants them
};

}  // namespace inkproof
