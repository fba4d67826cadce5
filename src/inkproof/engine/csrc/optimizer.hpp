// The arrays that training moves, and the rules by which it moves them.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "kernels.hpp"

namespace inkproof {

class Worker;

// One array of weights. A matrix lies in panels, [panel][row][16 columns], its padding zero; a
// vector is a matrix of one row.
struct Parameter {
    Parameter(int rows, int columns, bool trainable, float initial = 0);

    // Keras' layout: [row][column].
    void put(Buffer<float>& into, const float* from) const;
    void take(const Buffer<float>& from, float* into) const;
    std::size_t count() const { return static_cast<std::size_t>(rows) * columns; }

    const int rows, columns;
    const bool trainable;
    bool is_kernel = false;   // of a layer that has inputs and outputs
    bool orthogonal = false;  // a hidden layer's kernel, which Muon moves its own way
    std::size_t panel_stride;
    Buffer<float> values, gradients;
    Buffer<float> first, second;  // of the optimiser: momentum, or the two moments
    Buffer<float> average;        // of the values
};

enum class Rule { sgd, adam, muon };

struct OptimizerOptions {
    Rule rule = Rule::sgd;
    float momentum = 0;
    bool nesterov = false;
    float beta_1 = 0.9f, beta_2 = 0.999f, epsilon = 1e-7f;
    float weight_decay = 0;
    float clip_value = 0, clip_norm = 0, global_clip_norm = 0;  // 0: none
    float average_momentum = 0;                                 // 0: no average is kept
    int muon_steps = 5;
    bool muon_holds_norm = false;
    float adam_ratio = 1;          // Muon's: the other arrays' rate over that of the kernels
    float adam_weight_decay = 0;
};

// Moves parameters by their gradients, as Keras 3's optimisers of the same names do; Muon as in
// Jordan 2024, "Muon: an optimizer for hidden layers in neural networks".
class Optimizer {
public:
    void set(const OptimizerOptions& options) { options_ = options; }
    const OptimizerOptions& options() const { return options_; }

    // Memory for what the rule remembers.
    void reserve(const std::vector<Parameter*>& parameters);
    // What the next step needs: its rate, and its number from 1.
    void begin_step(float rate, std::int64_t number);

    // Whether a piece of a gradient can be used without the rest of it.
    bool works_by_pieces() const {
        return options_.rule != Rule::muon && options_.clip_norm == 0 &&
               options_.global_clip_norm == 0;
    }
    void descend(Parameter& parameter, std::size_t at, const float* gradient, int count) const;

    // All parameters by their whole gradients. Called by all threads.
    void descend(const std::vector<Parameter*>& parameters, const Worker& worker);

private:
    struct Piece {
        Parameter* parameter;
        std::size_t at;
        int count;
    };

    void clip(const Worker& worker);
    void move_orthogonally(Parameter& parameter, const Worker& worker);
    template <Rule R>
    void move(Parameter& parameter, std::size_t at, const float* gradient, int count, float scale,
              float rate, float weight_decay) const;

    OptimizerOptions options_;
    float rate_ = 0;
    float correction_ = 1;        // Adam's, for moments that begin at 0
    std::vector<Piece> pieces_;
    std::vector<double> norms_;   // of each piece, squared
    std::vector<float> scales_;   // of each parameter's gradient
    std::vector<Parameter*> parameters_;
    // Muon's matrices, row by row: X, its transpose, X X', the polynomial of it, and the next X.
    Buffer<float> x_, transposed_, square_, polynomial_, next_;
};

}  // namespace inkproof
