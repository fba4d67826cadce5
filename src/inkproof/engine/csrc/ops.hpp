// What a network of any form is made of: tensors, parameters, and operations on them.
//
// A tensor lies as [block][feature][32 lanes], as in kernels.hpp; an image's features in the order
// height, width, channel. So few rows that most lanes would be empty lie as [row][feature] instead
// when a network is only run: there features are the vector. Every number of a result is worked out
// by one thread, as sums in a fixed order, so that how the work is split changes no bit. The lanes
// of a last, short block that stand for no row hold any finite values, and errors of 0.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "buffer.hpp"
#include "half.hpp"
#include "kernels.hpp"
#include "optimizer.hpp"
#include "team.hpp"

namespace inkproof {

struct Tensor {
    explicit Tensor(int features)
        : features(features),
          stride(static_cast<std::size_t>(round_up(features, PANEL) + PANEL) * BLOCK) {}

    void reserve(int blocks, bool with_errors) {
        const std::size_t wanted = stride * static_cast<std::size_t>(blocks);
        if (values.size() < wanted) values = Buffer<float>(wanted);
        if (with_errors && errors.size() < wanted) errors = Buffer<float>(wanted);
        if (few_.size() == 0) few_ = Buffer<float>(few_stride() * VL);
    }
    float* value(int block, int feature) const {
        return values.get() + static_cast<std::size_t>(block) * stride +
               static_cast<std::size_t>(feature) * BLOCK;
    }
    float* error(int block, int feature) const {
        return errors.get() + static_cast<std::size_t>(block) * stride +
               static_cast<std::size_t>(feature) * BLOCK;
    }

    // The values of one of few rows, [feature]; a panel that begins at any of them may be read.
    float* row(int lane) const {
        return few_.get() + static_cast<std::size_t>(lane) * few_stride();
    }
    // Brings few rows to their lanes, and back.
    void to_lanes() const;
    void from_lanes() const;

    const int features;
    const std::size_t stride;  // of a block; a panel that begins at any feature may be read
    Buffer<float> values;
    Buffer<float> errors;  // gradients of the loss with respect to the values

private:
    std::size_t few_stride() const {
        return static_cast<std::size_t>(round_up(features, PANEL) + PANEL);
    }
    Buffer<float> few_;  // [row][feature]
};

// What the operations need to know of the batch that is under way.
struct Step {
    int lanes = 0, blocks = 0;
    int block_lanes(int block) const {
        return lanes - block * BLOCK < BLOCK ? lanes - block * BLOCK : BLOCK;
    }
    int vectors(int block) const { return (block_lanes(block) + VL - 1) / VL; }

    bool training = false;
    bool moves_statistics = false;
    bool adds_gradients = false;             // to those of an earlier part of the same batch
    const Descent* descent = nullptr;        // where each gradient may be used as soon as it is there
    std::uint64_t seed = 0;
    std::uint32_t epoch = 0;
    std::uint32_t number = 0;                // of the batch in its epoch
    int first_block = 0;                     // in the batch, of the part that is under way
};

// One thread of the team at work. All of them go through the same operations together.
class Worker {
public:
    Worker(Team& team, int member) : team_(team), member_(member) {}

    // Shares the tasks out, f(task) for each, and waits until all are done.
    template <typename F>
    void each(int tasks, F&& f) const {
        team_.each(member_, tasks, f);
        team_.barrier(member_);
    }
    int member() const { return member_; }
    int members() const { return team_.size(); }
    void barrier() const { team_.barrier(member_); }

private:
    Team& team_;
    const int member_;
};

class Moments;

// An operation that can send back the errors of its input piece by piece: whoever computes the input may
// ask for them, and keep them to itself.
class PieceErrors {
public:
    struct Place {  // of a block's numbers, from some pixel on
        float* pixel(int wanted) const {
            return at + static_cast<std::size_t>(wanted - first) * stride;
        }
        float* at;
        int first;
        std::size_t stride;  // from pixel to pixel
    };
    virtual int pieces() const = 0;
    // Every pixel of the input belongs to one piece.
    virtual Range pixels_of(int piece) const = 0;
    virtual void send_back(const Step& step, int block, int piece, Range channels,
                           Place errors) const = 0;

protected:
    ~PieceErrors() = default;
};

struct Window;

// A maximum pooling that may be done likewise, piece by piece or window by window.
class PiecePooling : public PieceErrors {
public:
    virtual void pool(const Step& step, int block, int piece, Place input) = 0;

    struct Pooled {  // of a window, [channel][32 lanes]
        float* greatest;
        std::uint16_t* chosen;  // which pixel was the first that is the greatest; null if nobody asks
        const float* errors;    // null if nobody learns
    };
    virtual const Window& window() const = 0;
    virtual Pooled pooled(const Step& step, int block, int position) const = 0;

protected:
    ~PiecePooling() = default;
};

class Op {
public:
    Op(Tensor& in, Tensor& out) : in_(in), out_(out) {}
    virtual ~Op() = default;
    Op(const Op&) = delete;
    Op& operator=(const Op&) = delete;

    // Memory for so many blocks, before the threads begin.
    virtual void reserve(int blocks, int members, bool training) {
        (void)blocks, (void)members, (void)training;
    }
    // Before the network is run: what depends on nothing but the parameters. All threads call it.
    virtual void prepare(const Worker& worker) { static_cast<void>(worker); }
    virtual void forward(const Step& step, const Worker& worker) = 0;
    // The same for few rows of a network that is only run, to the same bits.
    virtual void forward_few(const Step& step, const Worker& worker);
    // From the errors of the output the gradients of the parameters and, where they are wanted,
    // the errors of the input.
    virtual void backward(const Step& step, const Worker& worker, bool input_errors) = 0;
    virtual std::vector<Parameter*> parameters() { return {}; }
    // Whether the backward pass reads the output's values, which must then stay as they are.
    virtual bool reads_output() const { return false; }
    // Leaves ReLU's part of its output's errors to the operation that sends them, where there is one.
    virtual bool leave_mask() { return false; }
    // Shows the moments all of its output as it writes it in training, if it can.
    virtual bool watch(Moments& moments) { return static_cast<void>(moments), false; }
    // Does the pooling of its output from now on, and keeps that to itself, if that pays.
    virtual bool adopt(PiecePooling& pooling) { return static_cast<void>(pooling), false; }
    // Asks for the errors of its output from now on, and keeps them to itself, if that pays.
    virtual bool fetch(PieceErrors& errors) { return static_cast<void>(errors), false; }
    // For reports of where the time goes: a name, and the multiply-adds of one row's way forward.
    virtual const char* name() const = 0;
    virtual std::int64_t products() const { return 0; }

    Tensor& in() const { return in_; }
    Tensor& out() const { return out_; }

protected:
    Tensor& in_;
    Tensor& out_;
};

enum class Function { linear, relu, leaky_relu, gelu, tanh, sigmoid };

struct Window {  // of a convolution or a pooling
    int height, width, channels;
    int kernel_height, kernel_width, stride_y, stride_x;
    int pad_top, pad_left;
    int out_height, out_width;

    // "same" as TensorFlow has it: as many outputs as ceil(size / stride), the odd pixel of padding
    // at the end.
    static Window of(int height, int width, int channels, int kernel_height, int kernel_width,
                     int stride_y, int stride_x, bool same);
    // The pixels that an output sees, without those outside the image.
    Range rows(int oy) const {
        const int begin = oy * stride_y - pad_top, end = begin + kernel_height;
        return {begin > 0 ? begin : 0, end < height ? end : height};
    }
    Range columns(int ox) const {
        const int begin = ox * stride_x - pad_left, end = begin + kernel_width;
        return {begin > 0 ? begin : 0, end < width ? end : width};
    }
};

// factors: how training rounds them, where that pays and can be done.
std::unique_ptr<Op> make_dense(Tensor& in, Tensor& out, bool has_bias, bool is_relu,
                               Factors factors);
std::unique_ptr<Op> make_convolution(Tensor& in, Tensor& out, const Window& window, int filters,
                                     bool has_bias, bool is_relu, Factors factors);
// masks: errors of inputs that are not above 0 are 0; of a maximum only. first: what writes the input, if
// nobody else reads that, and nothing before learns.
std::unique_ptr<Op> make_pooling(Tensor& in, Tensor& out, const Window& window, bool is_max,
                                 bool masks, Op* first);
std::unique_ptr<Op> make_global_average(Tensor& in, Tensor& out, int positions, int channels);
struct Normalization {  // of a batch
    bool center, scale;
    float momentum, epsilon;
};
// window: of the maximum pooling that is done together with it, if it can be; of one pixel: none.
// before: what writes the input; first: the same if nobody else reads that, and nothing before learns,
// or else null.
bool can_normalize_with(const Window& window);
std::unique_ptr<Op> make_batch_normalization(Tensor& in, Tensor& out, const Window& window,
                                             const Normalization& how, bool is_relu, Op* before,
                                             Op* first);
// number: tells the dropouts of one network apart.
std::unique_ptr<Op> make_dropout(Tensor& in, Tensor& out, float rate, std::uint32_t number);
std::unique_ptr<Op> make_activation(Tensor& in, Tensor& out, Function function);
// A residual block: what make_fork gets is added again by the make_join that closes the block.
std::unique_ptr<Op> make_join(Tensor& in, Tensor& out, Tensor& forked);
std::unique_ptr<Op> make_fork(Tensor& forked, const Tensor& joined);

// --- What several operations do -------------------------------------------------------------------

// Calls f(block, feature) for a task of some features of one block.
template <typename F>
void each_row(const Step& step, const Worker& worker, int features, F&& f) {
    constexpr int rows_a_task = 64;
    const int groups = (features + rows_a_task - 1) / rows_a_task;
    worker.each(groups * step.blocks, [&](int task) {
        const int block = task / groups, first = task % groups * rows_a_task;
        const int end = first + rows_a_task < features ? first + rows_a_task : features;
        for (int k = first; k < end; ++k) f(block, k);
    });
}

// Calls f(row, first, count) for a task of some features of one of few rows.
template <typename F>
void each_part(const Step& step, const Worker& worker, int features, F&& f) {
    constexpr int part = 64 * PANEL;
    const int parts = (features + part - 1) / part;
    worker.each(step.lanes * parts, [&](int task) {
        const int first = task % parts * part;
        f(task / parts, first, std::min(part, features - first));
    });
}

// A vector's first numbers, to any place.
static inline void store_some(float* to, V v, int count) {
    if (count >= VL)
        std::memcpy(to, &v, sizeof v);
    else
        std::memcpy(to, &v, sizeof(float) * static_cast<std::size_t>(count));
}
static inline V load_any(const float* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

// 1 for the lanes of a vector that stand for a row, 0 for the others.
static inline V lane_mask(const Step& step, int block, int vector) {
    V mask{};
    const int filled = step.block_lanes(block) - vector * VL;
    for (int i = 0; i < VL; ++i) mask[i] = i < filled ? 1.0f : 0.0f;
    return mask;
}

// The sum of a vector's numbers, in order.
static inline float sum_of(V v) {
    float sum = 0;
    for (int i = 0; i < VL; ++i) sum += v[i];
    return sum;
}

// Takes ReLU's part of the gradient: errors of some units where the output is 0 become 0.
static inline void mask_by_output(const Tensor& out, int block, int begin, int end, int vectors) {
    for (int u = begin; u < end; ++u)
        for (int v = 0; v < vectors; ++v) {
            float* e = out.error(block, u) + v * VL;
            store(e, load(out.value(block, u) + v * VL) > V{} ? load(e) : V{});
        }
}

// A finished piece of a gradient, for numbers from `at` of the parameter's memory.
static inline void deliver(const Step& step, Parameter& parameter, std::size_t at,
                           const float* gradient, int count) {
    if (step.descent) return step.descent->move(parameter, at, gradient, count);
    float* to = parameter.gradients.get() + at;
    for (int i = 0; i < count; i += VL)
        store(to + i, step.adds_gradients ? load(to + i) + load(gradient + i) : load(gradient + i));
}

}  // namespace inkproof
