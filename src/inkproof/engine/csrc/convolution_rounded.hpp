// Convolution whose training rounds the factors of its products to bfloat16. What is not training goes to
// the operation that runs a float32 network.
#pragma once

#include "convolution_direct.hpp"

#if INKPROOF_HALF

namespace inkproof {

class RoundedConvolution : public DirectConvolution {
public:
    RoundedConvolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec, SharedWeights weights,
                       std::unique_ptr<Op> running)
        : DirectConvolution(in, out, spec, std::move(weights)), running_(std::move(running)) {}

    void reserve(int blocks, int members, bool training) override {
        running_->reserve(blocks, members, false);
        if (!training) return;
        DirectConvolution::reserve(blocks, members, true);
        in_halves_.reserve(in_, blocks, true);
        out_halves_.reserve(out_, blocks, false);
        reserve_factors(members);
    }

    void prepare(const Worker& worker) override { running_->prepare(worker); }
    void forward_few(const Step& step, const Worker& worker) override {
        running_->forward_few(step, worker);
    }
    void forward(const Step& step, const Worker& worker) override {
        if (!step.training) return running_->forward(step, worker);
        in_halves_.take(step, worker, in_.values, in_.features);
        forward_rounded(step, worker);
    }

protected:
    // Memory for the kernel's factors, and each thread's.
    virtual void reserve_factors(int members) = 0;
    // Training's way forward, once the inputs are rounded.
    virtual void forward_rounded(const Step& step, const Worker& worker) = 0;

    TensorHalves in_halves_, out_halves_;

private:
    const std::unique_ptr<Op> running_;
};

}  // namespace inkproof

#endif
