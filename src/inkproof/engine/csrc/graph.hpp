// A network of any layers: what it is made of, and how a team of threads trains it and runs it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "augment.hpp"
#include "data.hpp"
#include "laps.hpp"
#include "ops.hpp"
#include "pass.hpp"

namespace inkproof {

// One operation as Python describes it. Its numbers, in order:
//
//   dense                units, has bias, function
//   convolution          height, width, channels, filters, kernel height and width, stride down and
//                        across, same, has bias, function
//   max_pool, average_pool   height, width, channels, window height and width, strides, same
//   global_average       positions, channels
//   batch_normalization  positions, channels, center, scale; momentum, epsilon
//   dropout              number; rate
//   activation           function
//   fork, join           none: a residual block lies between them
struct OpSpec {
    std::string kind;
    std::vector<int> integers;
    std::vector<float> floats;
};

class Graph {
public:
    // features: of one input; the last operation gives what softmax turns to probabilities.
    Graph(const std::vector<OpSpec>& specs, int features, int threads, Factors factors);

    int threads() const { return team_.size(); }
    int classes() const { return tensors_.back()->features; }
    const std::vector<Parameter*>& parameters() const { return parameters_; }
    const std::vector<Parameter*>& parameters() {  // to be changed
        is_prepared_ = false;
        return parameters_;
    }
    Optimizer& optimizer() { return optimizer_; }

    // One pass over the rows `order` names.
    Totals train(const Data& data, const std::int64_t* labels, const std::int64_t* order,
                 std::int64_t count, const PassOptions& options,
                 const std::function<bool(std::int64_t)>& poll);

    // The gradients of the mean loss over all rows as one batch; kept in the parameters.
    Totals gradients(const Data& data, const std::int64_t* labels, const PassOptions& options);

    // How long each operation took in the last pass of training; of the first thread.
    std::vector<OpTime> times() const { return times_; }

    // Probabilities [row][class] and, where there are labels, the sum of the losses; either may be
    // null. averaged: with the averages of the parameters in their place.
    Totals infer(const Data& data, const std::int64_t* labels, float* probabilities, bool averaged,
                 const std::function<bool(std::int64_t)>& poll);

private:
    struct Targets {  // of the part of a batch that is under way
        const std::int64_t* labels;
        const std::int64_t* order;
        std::int64_t first, batch_first, batch_rows;
        float smoothing, mixing;
        const float* row_weights;
    };

    Tensor& add_tensor(int features);
    std::size_t add(const std::vector<OpSpec>& specs, std::size_t at, std::vector<Tensor*>& forks,
                    std::vector<std::size_t>& fork_ops);
    std::int64_t chunk_of(std::int64_t batch_size, bool mixes) const;
    void reserve(int lanes, bool training);
    Totals pass(bool descends, const Data& data, const std::int64_t* labels,
                const std::int64_t* order, std::int64_t count, const PassOptions& options,
                const std::function<bool(std::int64_t)>& poll);
    void gather(const Data& data, const std::int64_t* order, std::int64_t first, const Step& step,
                const Augmenter* augmenter, const Worker& worker);
    void mix(const Step& step, float share, const Worker& worker);
    void errors(const Step& step, const Targets& targets, const Worker& worker);
    void run_few(const Data& data, std::int64_t first, const Step& step, const Worker& worker);
    void probabilities(const Step& step, const std::int64_t* labels, std::int64_t first,
                       float* into, const Worker& worker);

    const Factors factors_;
    mutable Team team_;
    Team alone_{1};
    std::int64_t products_ = 0;  // multiply-adds of the way forward for one row
    std::vector<std::unique_ptr<Tensor>> tensors_;
    std::vector<std::unique_ptr<Op>> ops_;
    std::vector<bool> input_errors_;  // of each operation: whether anything before it learns
    std::vector<Parameter*> parameters_;
    Optimizer optimizer_;
    bool needs_whole_batch_ = false;
    bool is_prepared_ = false;  // the operations, to be run with the parameters as they are
    int blocks_ = 0, training_blocks_ = 0;
    struct Scratch {
        Buffer<float> rows;       // [lane of a vector][feature]
        Buffer<float> augmented;
    };
    std::vector<Scratch> scratch_;
    Buffer<float> losses_;
    Buffer<std::int32_t> hits_;
    Buffer<float> powers_;        // [block][class][lane]
    std::vector<OpTime> times_;
};

}  // namespace inkproof
