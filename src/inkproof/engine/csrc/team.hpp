// A team of threads that do one piece of work together, with barriers inside it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "simd.hpp"

namespace inkproof {

// Waits until all threads of the team have arrived. Spins for a while, and then sleeps, because
// other programs share the machine.
class Barrier {
public:
    explicit Barrier(int count) : count_(count) {}

    void wait() {
        if (count_ == 1) return;
        const unsigned generation = generation_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
            arrived_.store(0, std::memory_order_relaxed);
            generation_.store(generation + 1, std::memory_order_seq_cst);
            if (sleepers_.load(std::memory_order_seq_cst) > 0) {
                std::lock_guard<std::mutex> lock(mutex_);
                wake_.notify_all();
            }
            return;
        }
        const auto begin = std::chrono::steady_clock::now();
        do {
            for (int spin = 0; spin < 64; ++spin) {
                if (generation_.load(std::memory_order_acquire) != generation) return;
                relax();
            }
        } while (std::chrono::steady_clock::now() - begin < SPIN_TIME);
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        wake_.wait(lock, [&] {
            return generation_.load(std::memory_order_seq_cst) != generation;
        });
        sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }

private:
    // Longer than the phases of a step differ by; falling asleep and waking up takes as long.
    static constexpr std::chrono::microseconds SPIN_TIME{100};

    static void relax() {
#if defined(__x86_64__)
        _mm_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }

    const int count_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> generation_{0};
    alignas(64) std::atomic<int> sleepers_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

class Team {
public:
    explicit Team(int size) : size_(size), barrier_(size), start_(size), end_(size) {
        for (int member = 1; member < size; ++member)
            threads_.emplace_back([this, member] { serve(member); });
    }

    ~Team() {
        work_ = nullptr;
        start_.wait();
        for (auto& thread : threads_) thread.join();
    }

    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const { return size_; }

    // Calls work(member) for each member, 0 on the calling thread, and returns when all are done.
    // The work must not throw.
    void run(const std::function<void(int)>& work) {
        const FlushDenormals flush;
        work_ = &work;
        start_.wait();
        work(0);
        end_.wait();
    }

    // Called by every member from inside its work.
    void barrier() { barrier_.wait(); }

private:
    void serve(int member) {
        const FlushDenormals flush;
        for (;;) {
            start_.wait();
            if (work_ == nullptr) return;
            (*work_)(member);
            end_.wait();
        }
    }

    const int size_;
    Barrier barrier_, start_, end_;
    const std::function<void(int)>* work_ = nullptr;
    std::vector<std::thread> threads_;
};

}  // namespace inkproof
