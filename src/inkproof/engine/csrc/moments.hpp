// Mean and variance of each channel over a batch and all positions, from numbers that are still in
// the cache of whoever wrote them.
#pragma once

#include "ops.hpp"

namespace inkproof {

class Moments {
public:
    Moments(const Tensor& tensor, int channels);

    // Whoever calls see does so for so many pieces of a block's positions.
    void divide(int pieces) { pieces_ = pieces; }
    void reserve(int blocks);

    // Takes in `count` positions of a block from `first` on. Each piece of each block is one task's,
    // once a batch.
    void see(const Step& step, int block, int piece, int first, int count);

    struct Of {  // a channel, over the whole batch
        double mean, variance;
    };
    // After all pieces; their order is fixed, whoever saw them.
    Of of(const Step& step, int channel) const;

private:
    struct Part {
        double count = 0, mean = 0, squares = 0;  // squares: of the differences from the mean
        // Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance".
        void add(const Part& other) {
            const double all = count + other.count, apart = other.mean - mean;
            squares += other.squares + apart * apart * count * other.count / all;
            mean += apart * other.count / all;
            count = all;
        }
    };

    const Tensor& tensor_;
    const int channels_;
    int pieces_ = 0;
    Buffer<Part> parts_;  // [block][piece][channel]
};

}  // namespace inkproof
