// Convolution, its input's errors and its kernel's gradient position by position, without rearranging
// the images: the batch is the vector, so an output is a sum of weights times rows of lanes, as in a
// dense layer.
//
// What an output position sees of one row of the image is a run of features that lie one after the
// other, and so do their rows of the kernel.
#pragma once

#include "convolution.hpp"
#include "positions.hpp"

namespace inkproof {

class DirectConvolution : public Convolution {
public:
    DirectConvolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec, SharedWeights weights);

    void reserve(int blocks, int members, bool training) override;
    void forward(const Step& step, const Worker& worker) override;
    void forward_few(const Step& step, const Worker& worker) override;
    void backward(const Step& step, const Worker& worker, bool input_errors) override;
    bool watch(Moments& moments) override;

protected:
    static constexpr int POSITIONS = 8;  // whose errors stay in the first-level cache

    struct Scratch {  // of one thread
        std::vector<Run> runs;
        Buffer<float> errors;  // [position][lane][16 filters]
    };

    Scratch& scratch_of(const Worker& worker) {
        return scratch_[static_cast<std::size_t>(worker.member())];
    }

    // To whoever watches, a finished row of outputs.
    void show_row(const Step& step, int block, int oy) const {
        if (moments_ && step.training)
            moments_->see(step, block, oy, oy * w_.out_width, w_.out_width);
    }

    // Some lanes' errors of an output, before its activation.
    V error_vector(int block, int feature, int lane) const {
        const V error = load(out_.error(block, feature) + lane);
        if (!is_relu_ || is_masked_) return error;
        return load(out_.value(block, feature) + lane) > V{} ? error : V{};
    }

    // What the output at (oy, ox) sees, one run for each row of the image.
    int list_runs(int oy, int ox, Run* runs) const;

    // One row of outputs; of float32 or pairs. kernel: its first panel; x: the block's features.
    template <typename T>
    void forward_row(const Step& step, int block, int oy, const T* kernel, std::size_t panel_stride,
                     const T* x, Run* runs) const {
        for (int ox = 0; ox < w_.out_width; ++ox) {
            const int count = list_runs(oy, ox, runs);
            float* y = out_.value(block, (oy * w_.out_width + ox) * filters_);
            for (int p = 0; p < panels_; ++p)
                product(kernel + p * panel_stride, runs, count, x, y + p * PANEL * BLOCK,
                        bias_.values.get() + p * PANEL, is_relu_,
                        std::min(PANEL, filters_ - p * PANEL), step.vectors(block));
        }
        show_row(step, block, oy);
    }

    // The kernel with filters and channels exchanged: [panel of channels][(y, x, filter)][16].
    void turn_kernel(const Worker& worker);
    std::size_t turned_stride() const {  // of a panel
        return static_cast<std::size_t>(w_.kernel_height * w_.kernel_width * filters_) * PANEL;
    }

    // The errors of one row of the input: what each pixel did to the outputs that saw it. turned: the
    // turned kernel, of float32 or pairs; errors: the block's, of the output.
    template <typename T>
    void send_back_row(const Step& step, int block, int iy, const T* turned,
                       std::size_t panel_stride, const T* errors, Run* runs) const {
        for (int ix = 0; ix < w_.width; ++ix) {
            int count = 0;
            each_seen_by(iy, ix, [&](int place, int position) {
                runs[count++] = {static_cast<std::size_t>(place * filters_) * PANEL,
                                 static_cast<std::size_t>(position * filters_) * BLOCK, filters_};
            });
            float* d = in_.error(block, (iy * w_.width + ix) * w_.channels);
            for (int first = 0; first < w_.channels; first += PANEL)
                product(turned + first / PANEL * panel_stride, runs, count, errors,
                        d + first * BLOCK, nullptr, false, std::min(PANEL, w_.channels - first),
                        step.vectors(block));
        }
    }

    // All of them, and ReLU's part taken of the output's.
    virtual void send_back(const Step& step, const Worker& worker);

    // Adds one part of the sum over the batch's positions, which is the kernel's gradient, of one
    // panel of filters to g, [row][16]; its last row is the bias'.
    virtual void add_share(const Step& step, int part, int panel, float* g, const Worker& worker);

    // The share of `count` positions from `first` on, whose errors are in the scratch.
    virtual void add_positions(int block, int first, int count, int lanes, float* g,
                               const Worker& worker);

    // What of `whole` pieces of the batch belongs to a part.
    Range part_of(int whole, int part) const { return share(whole, 1, part, parts_); }

    // Calls f(place, position) for each place of the window in which an output sees a pixel.
    template <typename F>
    void each_seen_by(int iy, int ix, F&& f) const {
        for (int ky = 0; ky < w_.kernel_height; ++ky) {
            const int above = iy + w_.pad_top - ky, oy = above / w_.stride_y;
            if (above < 0 || above % w_.stride_y != 0 || oy >= w_.out_height) continue;
            for (int kx = 0; kx < w_.kernel_width; ++kx) {
                const int before = ix + w_.pad_left - kx, ox = before / w_.stride_x;
                if (before < 0 || before % w_.stride_x != 0 || ox >= w_.out_width) continue;
                f(ky * w_.kernel_width + kx, oy * w_.out_width + ox);
            }
        }
    }

    // Calls f(row, positions, features, count) for each place of the window: its first row of the
    // kernel, and which of some positions, at most MOST, see a pixel there, and which.
    template <int MOST, typename F>
    void each_place(int first, int count, F&& f) const {
        for (int ky = 0; ky < w_.kernel_height; ++ky)
            for (int kx = 0; kx < w_.kernel_width; ++kx) {
                int positions[MOST], features[MOST], seen = 0;
                for (int i = 0; i < count; ++i) {
                    const int iy = (first + i) / w_.out_width * w_.stride_y - w_.pad_top + ky;
                    const int ix = (first + i) % w_.out_width * w_.stride_x - w_.pad_left + kx;
                    if (iy < 0 || iy >= w_.height || ix < 0 || ix >= w_.width) continue;
                    positions[seen] = i;
                    features[seen++] = (iy * w_.width + ix) * w_.channels;
                }
                f((ky * w_.kernel_width + kx) * w_.channels, positions, features, seen);
            }
    }

    const int rows_, panels_, positions_;  // of the kernel; of filters; of outputs
    Buffer<float> turned_;

private:
    template <int K>
    void few_positions(const Run* runs, int run_count, const float* x, float* y) const;
    void sum_shares(const Step& step, int panel, int begin, int end) const;
    std::size_t share_size() const { return static_cast<std::size_t>(rows_ + 1) * PANEL; }

    const int parts_;       // of the gradient's sum: no number of threads decides them
    Buffer<float> shares_;  // [part][panel][row, and one for the bias][16]
    std::vector<Scratch> scratch_;
};

}  // namespace inkproof
