// A stack of dense layers: its weights, and how a team of threads trains it and runs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#include "kernels.hpp"
#include "team.hpp"

namespace inkproof {

// Memory for numbers, aligned to a cache line and zero to begin with.
template <typename T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t count) : size_(count) {
        const std::size_t bytes = (count * sizeof(T) + 127) / 64 * 64;
        data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
        if (!data_) throw std::bad_alloc();
        std::memset(static_cast<void*>(data_.get()), 0, bytes);
    }
    T* get() const { return data_.get(); }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) const { return data_.get()[i]; }

private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T[], Free> data_;
    std::size_t size_ = 0;
};

enum class Activation { linear, relu };

struct LayerSpec {
    int inputs, units;
    Activation activation;
};

struct Range {
    int begin, end;
};

// The member's share of count things, in whole grains.
static inline Range share(int count, int grain, int member, int members) {
    const long grains = (count + grain - 1) / grain;
    const int begin = static_cast<int>(grains * member / members) * grain;
    const int end = static_cast<int>(grains * (member + 1) / members) * grain;
    return {begin < count ? begin : count, end < count ? end : count};
}

// Rows of a matrix of inputs, one row an image: value = scale * raw + offset.
struct Source {
    const std::uint8_t* bytes = nullptr;  // one of these two
    const float* floats = nullptr;
    std::size_t features = 0;
    float scale = 1, offset = 0;
};

struct Layer {
    LayerSpec spec;
    int panels, padded;  // padded: panels * PANEL
    std::size_t panel_stride;
    bool wide;  // split over the threads by panels, or else by lanes (forward) and inputs (update)
    int halves;  // into which its units fall for the gradient of its inputs
    Buffer<float> weights, biases;
    Buffer<float> weight_sums, bias_sums;  // gradients, where they are needed by themselves
};

// The inputs of a batch, as the products of the first layer want them.
struct Inputs {
    std::size_t block_stride = 0;  // of x
    Buffer<float> x;               // [block][input][lane]
    Buffer<std::uint32_t> masks;   // [block][input]: which lanes are not zero
    Buffer<Entry> entries;         // [lane][part of the inputs][...]
    Buffer<std::int32_t> counts;   // [lane][part of the inputs]
};

// One batch (or a part of one) on its way through the network.
struct Batch {
    int lanes = 0, blocks = 0;
    bool sparse = false;
    std::vector<Inputs> inputs;          // one for each thread, or one for all
    std::vector<Buffer<float>> outputs;  // of each layer, [block][unit][lane]

    const Inputs& inputs_of(int member) const {
        return inputs[static_cast<std::size_t>(member) % inputs.size()];
    }
};

struct Totals {
    double loss = 0;
    std::int64_t correct = 0;
    std::int64_t steps = 0;      // done
    std::int64_t bad_step = -1;  // the first whose loss was not finite
    bool stopped = false;        // by poll
};

class Network {
public:
    Network(const std::vector<LayerSpec>& specs, int threads);

    const std::vector<Layer>& layers() const { return layers_; }
    int threads() const { return team_.size(); }

    // Keras' layout: kernel [input][unit], bias [unit].
    void set_weights(int layer, const float* kernel, const float* bias);
    void get_weights(int layer, float* kernel, float* bias) const;
    void get_gradients(int layer, float* kernel, float* bias) const;

    // One pass over the rows named in order, with plain stochastic gradient descent. poll is called
    // about every 50 ms with the number of rows done, and ends the pass early by returning true.
    Totals train(const Source& source, const std::int64_t* labels, const std::int64_t* order,
                 std::int64_t count, int batch_size, float learning_rate,
                 const std::function<bool(std::int64_t)>& poll);

    // The gradients of the mean loss over all rows; kept for get_gradients.
    Totals gradients(const Source& source, const std::int64_t* labels, std::int64_t count);
    bool has_gradients() const { return layers_.front().weight_sums.size() > 0; }

    // Probabilities [row][class] and, where there are labels, each row's loss; either may be null.
    Totals infer(const Source& source, const std::int64_t* labels, std::int64_t count,
                 float* probabilities, const std::function<bool(std::int64_t)>& poll);

private:
    struct Scratch {  // of one thread
        Buffer<float> transposed;
    };

    // What a pass of training does with the gradients.
    enum class Goal { descend, sum };

    Totals pass(Goal goal, const Source& source, const std::int64_t* labels,
                const std::int64_t* order, std::int64_t count, int batch_size,
                float learning_rate, const std::function<bool(std::int64_t)>& poll);

    Batch make_batch(int lanes, int copies) const;
    void reserve_training(int lanes);
    void clear_sums();
    bool mostly_zero(const Source& source, std::int64_t count) const;

    void gather(Inputs& inputs, const Source& source, const std::int64_t* rows, std::int64_t first,
                int lanes, std::int64_t count, bool sparse, Range parts) const;
    void forward(int layer, Batch& batch, int member, Range panels, Range vectors,
                 Scratch& scratch) const;
    void forward_shares(const Batch& batch, int member);
    void softmax_errors(const Batch& batch, const std::int64_t* labels, const std::int64_t* rows,
                        std::int64_t first, float share_of_mean, Range vectors);
    void backward_shares(int layer, const Batch& batch, int member);
    void backward_sum(int layer, const Batch& batch, int member);
    void update(int layer, const Batch& batch, int member, Range panels, Range inputs,
                float* weights, float* biases, float scale) const;
    void apply_sums(int member, float scale);
    void softmax(const Batch& batch, const std::int64_t* labels, std::int64_t first,
                 float* probabilities, float* losses, std::int32_t* hits) const;

    bool by_half(const Layer& layer) const;
    Range my_panels(const Layer& layer, int member) const;
    Range my_inputs(const Layer& layer, int member) const;
    Range my_vectors(const Batch& batch, int member) const;

    std::vector<Layer> layers_;
    mutable Team team_;
    int input_parts_, part_size_;
    std::vector<Scratch> scratch_;
    int capacity_ = 0;
    Batch batches_[2];
    std::vector<Batch> inference_;  // of each thread
    std::vector<Buffer<float>> errors_;       // of each layer, [block][unit][lane]
    std::vector<Buffer<float>> transposed_;   // the same, [lane][unit]
    bool last_in_shares_;                     // the last layer's outputs are sums of two shares
    Buffer<float> output_shares_[2];          // of the last layer, by half of its inputs
    Buffer<float> shares_[2];                 // of the errors, by half of the layer's units
    Buffer<float> losses_;
    Buffer<std::int32_t> hits_;
};

}  // namespace inkproof
