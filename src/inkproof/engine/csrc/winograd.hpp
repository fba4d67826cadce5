// Convolution with windows of 3 x 3 by fewer multiplications, for training.
//
// Two by two outputs come from 4 x 4 pixels by 16 products instead of 36: of both, sums and
// differences are multiplied, and sums and differences of the products are the outputs. F(2x2, 3x3) of
// Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks"; the names are theirs:
//
//   U = G g G^T   of the kernel        V = B^T d B   of the pixels       Y = A^T (U * V) A
//
// and the way back is that of the chain rule through each. The factors of the transforms are 1 and a
// half, so that next to nothing is lost to rounding. With the batch as the vector, transforms are
// additions of whole rows of lanes.
#pragma once

#include <vector>

#include "ops.hpp"

namespace inkproof {

class Winograd {
public:
    // Whether a convolution can go this way: whole panels of channels and of filters, not too many.
    static bool suits(const Window& window, int filters);

    Winograd(const Tensor& in, const Tensor& out, const Window& window, int filters,
             Parameter& kernel, Parameter& bias, bool has_bias, bool is_relu);

    void reserve(int members, bool training);
    bool watch(Moments& moments);
    // training: for the way back as well. forward does it itself in training.
    void transform_kernel(const Worker& worker, bool training);
    void forward(const Step& step, const Worker& worker);
    void forward_few(const Step& step, const Worker& worker);  // to the same bits
    // The input's errors, after forward of the same step. ReLU's part has been taken of the output's.
    void send_back(const Step& step, const Worker& worker);
    void add_gradients(const Step& step, const Worker& worker);

private:
    struct Scratch {  // of one thread
        Buffer<float> pixels;     // V, [tile][point][channel][lane]; of few rows [point][tile][channel]
        Buffer<float> errors;     // of the products: [point][filter][lane]; or, of some tiles and
                                  // one panel, [tile][point][lane][filter]
        Buffer<float> products;   // of one panel, [point][unit][lane]; of few rows [point][tile][unit]
    };

    bool counts(int tile, int point) const;
    template <typename T>
    bool find_pixels(T* numbers, int size, int tile, T* (&at)[4][4]) const;
    void transform_pixels(int block, int tile, int vectors, float* to) const;
    template <int K>
    void few_tiles(const float* x, float* y, int first, Scratch& scratch) const;
    void transform_errors(int block, int tile, int vectors, float* to) const;
    void transform_errors(int block, int tile, int panel, int vectors, float* to,
                          float* bias) const;
    void send_back_row(const Step& step, int block, int row, int panel, Scratch& scratch) const;
    void add_tiles(const Step& step, int part, Scratch& scratch) const;
    void sum_shares(const Step& step, int panel, Range channels) const;

    std::size_t share_size() const;

    const Tensor& in_;
    const Tensor& out_;
    const Window w_;
    Parameter& kernel_;
    Parameter& bias_;
    const bool has_bias_, is_relu_;
    const int channels_, filters_, rows_, columns_;  // rows_, columns_: of tiles
    Buffer<float> forward_kernel_;  // U, [point][panel of filters][channel][16]
    Buffer<float> back_kernel_;     // the same, [point][panel of channels][filter][16]
    Buffer<float> shares_;          // of U's gradient, [part][panel][point][channel][16]; and the bias'
    Moments* moments_ = nullptr;
    std::vector<Scratch> scratch_;
};

}  // namespace inkproof
