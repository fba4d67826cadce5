// How whole arrays are moved: what needs all of a gradient before it moves any number.
#pragma once

#include <cstdint>
#include <vector>

#include "descent.hpp"
#include "kernels.hpp"
#include "pass.hpp"

namespace inkproof {

class Worker;

// Moves parameters by their gradients, as Keras 3's optimisers of the same names do; Muon as in
// Jordan 2024, "Muon: an optimizer for hidden layers in neural networks".
class Optimizer {
public:
    void set(const OptimizerOptions& options) { options_ = options; }
    const OptimizerOptions& options() const { return options_; }

    // Memory for what the rule remembers.
    void reserve(const std::vector<Parameter*>& parameters);
    // A pass' step, from 0; where there are no rates, gradients alone are wanted.
    Descent step(const PassOptions& pass, std::int64_t number) const {
        return {options_, pass.rates ? pass.rates[number] : 0.0f, pass.first_step + number + 1};
    }

    // Whether a piece of a gradient can be used without the rest of it.
    bool works_by_pieces() const {
        return options_.rule != Rule::muon && options_.clip_norm == 0 &&
               options_.global_clip_norm == 0;
    }

    // Moves all parameters by their whole gradients. Called by all threads.
    void descend(const Descent& step, const Worker& worker);

private:
    struct Piece {
        Parameter* parameter;
        std::size_t at;
        int count;
    };

    void clip(const Worker& worker);
    void move_orthogonally(Parameter& parameter, float rate, const Worker& worker);

    OptimizerOptions options_;
    std::vector<Piece> pieces_;
    std::vector<double> norms_;   // of each piece, squared
    std::vector<float> scales_;   // of each parameter's gradient
    std::vector<Parameter*> parameters_;
    // Muon's matrices, row by row: X, its transpose, X X', the polynomial of it, and the next X.
    Buffer<float> x_, transposed_, square_, polynomial_, next_;
};

}  // namespace inkproof
