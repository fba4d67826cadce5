// The arrays that training moves, and the rules by which a step moves each number of them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "buffer.hpp"
#include "simd.hpp"

namespace inkproof {

// One array of weights. A matrix lies in panels, [panel][row][16 columns], its padding zero; a
// vector is a matrix of one row.
struct Parameter {
    // padded_rows: as many as a panel takes up; 0: no more than there are.
    Parameter(int rows, int columns, bool trainable, float initial = 0, int padded_rows = 0);

    // Keras' layout: [row][column].
    void put(Buffer<float>& into, const float* from) const;
    void take(const Buffer<float>& from, float* into) const;
    std::size_t count() const { return static_cast<std::size_t>(rows) * columns; }
    int panels() const { return (columns + PANEL - 1) / PANEL; }
    // Where a column lies in row 0.
    std::size_t column_at(int c) const {
        return c / PANEL * panel_stride + static_cast<std::size_t>(c % PANEL);
    }
    void reserve_gradients();

    const int rows, columns;
    const bool trainable;
    bool is_kernel = false;   // of a layer that has inputs and outputs
    bool orthogonal = false;  // a hidden layer's kernel, which Muon moves its own way
    const std::size_t panel_stride;
    Buffer<float> values;
    Buffer<float> gradients;      // where they are wanted by themselves
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

// What to do with a vector of a gradient, each for numbers from `at` of a parameter's memory.

// To add it to some numbers, times a scale.
struct Add {
    void expect(std::size_t at) const { __builtin_prefetch(to + at, 1); }
    void operator()(std::size_t at, V gradient) const {
        store(to + at, multiply_add(gradient, splat(scale), load(to + at)));
    }

    float* to;
    float scale;
};

// To move the weights by SGD with momentum or by Adam; is_bare: by nothing else.
template <Rule R, bool is_bare>
struct Move {
    Move(Parameter& parameter, const OptimizerOptions& options, float rate, float correction)
        : values(parameter.values.get()), first(parameter.first.get()),
          second(parameter.second.get()), average(parameter.average.get()), o(options), rate(rate),
          adam_rate(rate * correction) {}

    void expect(std::size_t at) const {
        __builtin_prefetch(values + at, 1);
        __builtin_prefetch(first + at, 1);
        if (R == Rule::adam) __builtin_prefetch(second + at, 1);
    }
    void operator()(std::size_t at, V gradient) const {
        if constexpr (is_bare)
            move(at, gradient);
        else
            move_with_all(at, gradient);
    }

private:
    __attribute__((always_inline)) void move(std::size_t at, V g) const {
        if (!is_bare && o.clip_value != 0) {
            const V limit = splat(o.clip_value);
            g = g > limit ? limit : g;
            g = g < -limit ? -limit : g;
        }
        V value = load(values + at);
        if (!is_bare && o.weight_decay != 0)
            value = multiply_add(value, splat(-o.weight_decay * rate), value);
        if constexpr (R == Rule::adam) {
            const V m = load(first + at), v = load(second + at);
            const V m_next = multiply_add(g - m, splat(1 - o.beta_1), m);
            const V v_next = multiply_add(multiply_add(g, g, -v), splat(1 - o.beta_2), v);
            store(first + at, m_next);
            store(second + at, v_next);
            value -= adam_rate * m_next / (square_root(v_next) + o.epsilon);
        } else if (is_bare || o.momentum != 0) {
            const V step = g * -rate;
            const V m = multiply_add(load(first + at), splat(o.momentum), step);
            store(first + at, m);
            value += o.nesterov ? multiply_add(m, splat(o.momentum), step) : m;
        } else {
            value = multiply_add(g, splat(-rate), value);
        }
        store(values + at, value);
        if (!is_bare && o.average_momentum != 0)
            store(average + at, multiply_add(load(average + at), splat(o.average_momentum),
                                             value * (1 - o.average_momentum)));
    }
    __attribute__((noinline)) void move_with_all(std::size_t at, V g) const { move(at, g); }

    float *const values, *const first, *const second, *const average;
    const OptimizerOptions o;
    const float rate, adam_rate;
};

// One step of an optimiser that moves each number by its own gradient alone, so that any piece of an
// array can be moved as soon as its gradient is there: as Keras 3's optimisers of the same names do.
class Descent {
public:
    // number: of the step, from 1.
    Descent(const OptimizerOptions& options, float rate, std::int64_t number);

    float rate() const { return rate_; }
    std::int64_t number() const { return number_; }
    // Whether numbers move whose gradient is 0.
    bool moves_all() const {
        return options_.rule != Rule::sgd || options_.momentum != 0 ||
               options_.weight_decay != 0 || options_.average_momentum != 0;
    }

    // Calls f with what to do with a vector of the parameter's gradient.
    template <typename F>
    void with(Parameter& parameter, F&& f) const {
        const OptimizerOptions& o = options_;
        const bool is_bare = o.weight_decay == 0 && o.clip_value == 0 && o.average_momentum == 0;
        const auto by = [&](auto rule, auto bare) {
            f(Move<decltype(rule)::value, decltype(bare)::value>(parameter, o, rate_, correction_));
        };
        using Sgd = std::integral_constant<Rule, Rule::sgd>;
        using Adam = std::integral_constant<Rule, Rule::adam>;
        if (o.rule != Rule::sgd)
            is_bare ? by(Adam{}, std::true_type{}) : by(Adam{}, std::false_type{});
        else if (!is_bare)
            by(Sgd{}, std::false_type{});
        else if (o.momentum != 0)
            by(Sgd{}, std::true_type{});
        else
            f(Add{parameter.values.get(), -rate_});
    }

    // Moves numbers from `at` on by a piece of their gradient.
    void move(Parameter& parameter, std::size_t at, const float* gradient, int count,
              float scale = 1) const;

private:
    OptimizerOptions options_;
    float rate_;
    std::int64_t number_;
    float correction_ = 1;  // Adam's, for moments that begin at 0
};

// Calls f with what to do with a vector of the parameter's gradient: a step of descent or, where
// there is none, adding it to the sum of its gradients.
template <typename F>
static inline void with_use(const Descent* descent, Parameter& parameter, F&& f) {
    if (descent)
        descent->with(parameter, f);
    else
        f(Add{parameter.gradients.get(), 1.0f});
}

}  // namespace inkproof
