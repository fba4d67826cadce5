// What a pass over the data is told, and what it tells.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>

#include "buffer.hpp"

namespace inkproof {

class Augmenter;

// How a pass of training goes through its rows.
struct PassOptions {
    std::int64_t batch_size = 32;
    const float* rates = nullptr;        // of each step
    std::int64_t first_step = 0;         // steps that were made before this pass
    std::uint64_t seed = 0;
    std::uint32_t epoch = 1;
    float label_smoothing = 0;
    const float* row_weights = nullptr;  // of each row of the data; none: 1
    const float* mixing = nullptr;       // of each step: how much of its own image a row keeps
    const Augmenter* augmenter = nullptr;
};

struct Totals {
    double loss = 0;
    std::int64_t correct = 0;
    std::int64_t steps = 0;      // done
    std::int64_t bad_step = -1;  // the first whose loss was not finite
    double last_loss = -1;       // the mean of the last batch, or part of one, that was finite
    bool stopped = false;        // by poll

    // Takes in a batch, or part of one; says whether its loss is finite.
    bool add(const Buffer<float>& losses, const Buffer<std::int32_t>& hits, int lanes) {
        double sum = 0;
        for (int i = 0; i < lanes; ++i) {
            sum += losses[static_cast<std::size_t>(i)];
            correct += hits[static_cast<std::size_t>(i)];
        }
        loss += sum;
        const bool is_finite = std::isfinite(sum);
        if (is_finite)
            last_loss = sum / lanes;
        else
            bad_step = steps;
        return is_finite;
    }
};

// Asks every 50 ms whether the work shall stop.
class Pulse {
public:
    explicit Pulse(const std::function<bool(std::int64_t)>& poll) : poll_(poll) {}

    bool stops(std::int64_t done) {
        const auto now = std::chrono::steady_clock::now();
        if (!poll_ || now - asked_ <= std::chrono::milliseconds(50)) return false;
        asked_ = now;
        return poll_(done);
    }

private:
    const std::function<bool(std::int64_t)>& poll_;
    std::chrono::steady_clock::time_point asked_ = std::chrono::steady_clock::now();
};

}  // namespace inkproof
