// Where the time of a pass of training goes.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace inkproof {

// What one operation does and how long it took.
struct OpTime {
    const char* name;
    int inputs, outputs;    // features
    std::int64_t products;  // multiply-adds of the way forward for one row, zeros counted
    double forward = 0, backward = 0;  // seconds; updates count with what they go along with
};

// Of one thread: the seconds since the last lap go to what has just been done.
class Stopwatch {
public:
    void start() { last_ = Clock::now(); }
    void lap(double& seconds) {
        const auto now = Clock::now();
        seconds += std::chrono::duration<double>(now - last_).count();
        last_ = now;
    }

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point last_;
};

}  // namespace inkproof
