// A tensor's numbers as pairs of bfloat16, for the operations that multiply them.
#pragma once

#include "half.hpp"
#include "ops.hpp"

namespace inkproof {

#if INKPROOF_HALF

class TensorHalves {
public:
    void reserve(const Tensor& tensor, int blocks, bool by_lane) {
        stride_ = tensor.stride / 2;
        const std::size_t wanted = static_cast<std::size_t>(blocks) * stride_;
        if (pairs_.size() < wanted) pairs_ = Buffer<Pair>(wanted);
        if (by_lane && lanes_.size() < wanted) lanes_ = Buffer<Pair>(wanted);
    }

    // numbers: values or errors of an even number of features. outputs: where these are not above 0,
    // the numbers count as 0; may be missing.
    void take(const Step& step, const Worker& worker, const Buffer<float>& numbers, int features,
              const Buffer<float>* outputs = nullptr) {
        constexpr int some = 64;
        const int groups = (features + some - 1) / some;
        worker.each(groups * step.blocks, [&](int task) {
            const auto block = static_cast<std::size_t>(task / groups);
            const int first = task % groups * some, end = std::min(first + some, features);
            for (int k = first; k < end; k += 2) {
                const std::size_t at = block * stride_ * 2 + static_cast<std::size_t>(k) * BLOCK;
                const float* x = numbers.get() + at;
                alignas(64) float alive[2 * BLOCK];
                if (outputs) {
                    for (int i = 0; i < 2 * BLOCK; i += VL)
                        store(alive + i, load(outputs->get() + at + i) > V{} ? load(x + i) : V{});
                    x = alive;
                }
                pair_rows(x, x + BLOCK, pairs_.get() + block * stride_ + k * (BLOCK / 2));
                if (lanes_.size() == 0) continue;
                pair_lanes(x, lanes_.get() + block * stride_ + k * (BLOCK / 2));
                pair_lanes(x + BLOCK, lanes_.get() + block * stride_ + (k + 1) * (BLOCK / 2));
            }
        });
    }

    // [feature pair][lane], and [feature][pair of lanes].
    const Pair* pairs(int block, int feature) const { return at(pairs_, block, feature); }
    const Pair* lanes(int block, int feature) const { return at(lanes_, block, feature); }
    std::size_t stride() const { return stride_; }

private:
    const Pair* at(const Buffer<Pair>& of, int block, int feature) const {
        return of.get() + static_cast<std::size_t>(block) * stride_ +
               static_cast<std::size_t>(feature) * (BLOCK / 2);
    }

    std::size_t stride_ = 0;  // of a block
    Buffer<Pair> pairs_, lanes_;
};

#endif

}  // namespace inkproof
