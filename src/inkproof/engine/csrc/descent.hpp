// The arrays that training moves, and the rules by which a step moves each number of them.
#pragma once

#include <cstdint>
#include <vector>

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

// Puts averages in the place of the values, where there are some; and back.
void exchange_averages(const std::vector<Parameter*>& parameters);

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

// What to do with a vector of a gradient, each for numbers from `at` of a parameter's memory; gives
// what is there then. They are small, for kernels take them by value: stores could else change what
// they hold, for all that the compiler knows, and it would be read again for each vector.

// To add it to some numbers, times a scale; so does plain descent.
struct Add {
    V moved(V value, std::size_t, V gradient) const {
        return multiply_add(gradient, splat(scale), value);
    }
    V operator()(std::size_t at, V gradient) const {
        const V value = moved(load(to + at), at, gradient);
        store(to + at, value);
        return value;
    }
    void expect(std::size_t at) const { __builtin_prefetch(to + at, 1); }

    float* to;
    float scale;
};

// To move the weights by descent with momentum.
struct Momentum {
    V moved(V value, std::size_t at, V gradient) const {
        const V step = gradient * -rate;
        const V m = multiply_add(load(first + at), splat(momentum), step);
        store(first + at, m);
        return value + (nesterov ? multiply_add(m, splat(momentum), step) : m);
    }
    V operator()(std::size_t at, V gradient) const {
        const V value = moved(load(to + at), at, gradient);
        store(to + at, value);
        return value;
    }
    void expect(std::size_t at) const {
        for (float* numbers : {to, first}) __builtin_prefetch(numbers + at, 1);
    }

    float *to, *first;
    float rate, momentum;
    bool nesterov;
};

// To move them by Adam: Kingma and Ba 2015, in the form before section 2.1.
struct Adam {
    V moved(V value, std::size_t at, V gradient) const {
        const V m = load(first + at), v = load(second + at);
        const V m_next = multiply_add(gradient - m, splat(1 - beta_1), m);
        const V v_next = multiply_add(multiply_add(gradient, gradient, -v), splat(1 - beta_2), v);
        store(first + at, m_next);
        store(second + at, v_next);
        return value - rate * m_next / (square_root(v_next) + epsilon);
    }
    V operator()(std::size_t at, V gradient) const {
        const V value = moved(load(to + at), at, gradient);
        store(to + at, value);
        return value;
    }
    void expect(std::size_t at) const {
        for (float* numbers : {to, first, second}) __builtin_prefetch(numbers + at, 1);
    }

    float *to, *first, *second;
    float rate, beta_1, beta_2, epsilon;
};

// One of these with all that may go along with it.
template <typename Inner>
struct WithAll {
    __attribute__((noinline)) V operator()(std::size_t at, V gradient) const {
        if (clip_value != 0) {
            const V limit = splat(clip_value);
            gradient = gradient > limit ? limit : gradient;
            gradient = gradient < -limit ? -limit : gradient;
        }
        V value = load(inner.to + at);
        if (decay != 0) value = multiply_add(value, splat(-decay), value);
        value = inner.moved(value, at, gradient);
        store(inner.to + at, value);
        if (average)
            store(average + at, multiply_add(load(average + at), splat(average_momentum),
                                             value * (1 - average_momentum)));
        return value;
    }
    void expect(std::size_t at) const { inner.expect(at); }

    Inner inner;
    float clip_value, decay;  // of a weight, in this step; 0: none
    float* average;           // null: none
    float average_momentum;
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
        float* const to = parameter.values.get();
        float *const first = parameter.first.get(), *const second = parameter.second.get();
        const auto with_all = [&](auto inner) {
            if (o.weight_decay == 0 && o.clip_value == 0 && o.average_momentum == 0)
                f(inner);
            else
                f(WithAll<decltype(inner)>{inner, o.clip_value, o.weight_decay * rate_,
                                           o.average_momentum != 0 ? parameter.average.get() : nullptr,
                                           o.average_momentum});
        };
        if (o.rule != Rule::sgd)
            with_all(Adam{to, first, second, rate_ * correction_, o.beta_1, o.beta_2, o.epsilon});
        else if (o.momentum != 0)
            with_all(Momentum{to, first, rate_, o.momentum, o.nesterov});
        else
            with_all(Add{to, -rate_});
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
