// A team of threads that do one piece of work together, with barriers inside it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "buffer.hpp"
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
    explicit Team(int size)
        : size_(size), barrier_(size), start_(size), end_(size),
          claims_(static_cast<std::size_t>(size)) {
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

    // Called by every member from inside its work: f(task) once for each task, by whichever member
    // claims it first. A member takes its own share, in order, and then what others have not begun,
    // since the cores of a shared machine are not equally fast. Does not wait for the others.
    template <typename F>
    void each(int member, int tasks, F&& f) {
        if (size_ == 1) {
            for (int task = 0; task < tasks; ++task) f(task);
            return;
        }
        const std::uint64_t phase = ++claims_[static_cast<std::size_t>(member)].phase;
        for (int i = 0; i < size_; ++i) {
            const int owner = (member + i) % size_;
            const Range shared = share(tasks, 1, owner, size_);
            int done;
            while ((done = claim(owner, phase, shared.end - shared.begin)) >= 0)
                f(shared.begin + done);
        }
    }

private:
    struct alignas(64) Claims {
        std::atomic<std::uint64_t> done{0};  // the phase, and how many of its tasks are claimed
        std::uint64_t phase = 0;             // in which this member is
    };
    static constexpr int COUNT_BITS = 24;

    // The number of a task in its owner's share, or -1 where all are claimed.
    int claim(int owner, std::uint64_t phase, int tasks) {
        auto& word = claims_[static_cast<std::size_t>(owner)].done;
        std::uint64_t seen = word.load(std::memory_order_relaxed);
        for (;;) {
            // Who went on to a later phase has left nothing of this one.
            if (seen >> COUNT_BITS > phase) return -1;
            const int done = seen >> COUNT_BITS == phase
                                 ? static_cast<int>(seen & ((1u << COUNT_BITS) - 1)) : 0;
            if (done >= tasks) return -1;
            const std::uint64_t next = phase << COUNT_BITS | static_cast<std::uint64_t>(done + 1);
            if (word.compare_exchange_weak(seen, next, std::memory_order_relaxed)) return done;
        }
    }

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
    std::vector<Claims> claims_;  // on each member's share of the tasks
    std::vector<std::thread> threads_;
};

}  // namespace inkproof
