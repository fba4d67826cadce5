// A team of threads that do one piece of work together, with barriers inside it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "buffer.hpp"
#include "simd.hpp"

namespace inkproof {

// Waits until all threads of the team have arrived. Spins for a while, and then sleeps, because
// other programs share the machine.
class Barrier {
public:
    explicit Barrier(int count) : count_(count) {}

    void wait() {
        wait([] {}, [] {});
    }

    // Calls last() where all have arrived, before any goes on, and sleepy() before a sleep.
    template <typename Last, typename Sleepy>
    void wait(Last&& last, Sleepy&& sleepy) {
        if (count_ == 1) return;
        const unsigned generation = generation_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
            arrived_.store(0, std::memory_order_relaxed);
            last();
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
        sleepy();
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

// Its members' shares of the work follow from how fast each has been of late, where that differs by
// much: the cores of a shared machine do, and not always in the same way. No result depends on the
// shares.
class Team {
public:
    explicit Team(int size)
        : size_(size), barrier_(size), start_(size), end_(size),
          members_(static_cast<std::size_t>(size)) {
        for (int i = 0; i <= size; ++i) cuts_.push_back(even_cut(i));
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
        take_part(0);
        end_.wait();
    }

    // Called by every member from inside its work.
    void barrier(int member) {
        if (size_ == 1) return;
        Member& own = members_[static_cast<std::size_t>(member)];
        own.busy += seconds_since(own.resumed);
        own.sit();
        barrier_.wait(
            [this] {
                if (++barriers_ % BARRIERS_A_CUT == 0) cut();
            },
            [this, member] { keep_apart(member); });
        own.resumed = Clock::now();
    }

    // The member's part of count things. It may be another one after each barrier.
    Range part(int count, int member) const {
        const auto at = [&](int i) {
            return static_cast<int>(std::lround(share_begin(i) * count));
        };
        return {at(member), at(member + 1)};
    }

    // Called by every member from inside its work: f(task) once for each task, by whichever member
    // claims it first. A member takes its own share, in order, and then what others have not begun,
    // since the cores of a shared machine are not equally fast. Does not wait for the others.
    template <typename F>
    void each(int member, int tasks, F&& f) {
        Member& own = members_[static_cast<std::size_t>(member)];
        const std::uint64_t phase = ++own.phase;
        for (int i = 0; i < size_; ++i) {
            const int owner = (member + i) % size_;
            const Range range = part(tasks, owner);
            int done;
            while ((done = claim(owner, phase, range.end - range.begin)) >= 0) {
                f(range.begin + done);
                own.done += 1.0 / tasks;
            }
        }
    }

    // Called by every member from inside its work: f(range) for ranges that make up its part of 0 ..
    // count - 1: whole grains, and no more than most, a multiple of the grain. For work on what lies
    // in its own caches from the last time: another member would have to fetch that, and the owner to
    // fetch it back, which takes longer than waiting, and makes the owner late the next time.
    template <typename F>
    void own_pieces(int member, int count, int grain, int most, F&& f) {
        const int grains = (count + grain - 1) / grain;
        const Range mine = part(grains, member);
        const int length = mine.end - mine.begin;
        const int pieces = (length * grain + most - 1) / most;
        for (int i = 0; i < pieces; ++i) {
            const Range piece = share(length, 1, i, pieces);
            f(Range{(mine.begin + piece.begin) * grain,
                    std::min((mine.begin + piece.end) * grain, count)});
        }
        if (grains > 0)
            members_[static_cast<std::size_t>(member)].done += static_cast<double>(length) / grains;
    }

private:
    using Clock = std::chrono::steady_clock;

    struct alignas(64) Member {
        std::atomic<std::uint64_t> claimed{0};  // the phase, and how many of its tasks are claimed
        std::uint64_t phase = 0;                // in which this member is
        double busy = 0;                        // seconds at work since the last cut, and
        double done = 0;                        // the work that was done by pieces, of 1 a phase
        Clock::time_point resumed;
        std::atomic<int> seat{-1};  // the processor on which it last was

        void sit() {
#if defined(__linux__)
            seat.store(sched_getcpu(), std::memory_order_relaxed);
#endif
        }
    };
    static constexpr int COUNT_BITS = 24;
    static constexpr unsigned BARRIERS_A_CUT = 256;
    // Cuts that differ from equal ones by no more than this, in shares of a member's, count as equal:
    // work that changes hands takes its memory along. Once they differ, they do for somewhat longer.
    static constexpr double NEARLY_EVEN = 0.12, EVEN_AGAIN = 0.06;

    static double seconds_since(Clock::time_point then) {
        return std::chrono::duration<double>(Clock::now() - then).count();
    }

    double even_cut(int i) const { return static_cast<double>(i) / size_; }
    double share_begin(int i) const {
        return are_even_ ? even_cut(i) : cuts_[static_cast<std::size_t>(i)];
    }

    // Moves the cuts half of the way to where all would have been busy for the same time.
    void cut() {
        double speeds = 0;
        for (int i = 0; i < size_; ++i) {
            Member& member = members_[static_cast<std::size_t>(i)];
            const double work =
                member.done > 0 ? member.done : share_begin(i + 1) - share_begin(i);
            member.done = work / std::max(member.busy, 1e-9);  // from here on its speed
            speeds += member.done;
        }
        double at = 0, before = 0;
        for (std::size_t i = 0; i < members_.size(); ++i) {
            const double had = cuts_[i + 1] - before;
            before = cuts_[i + 1];
            const double equal = 1.0 / size_;
            const double wanted = std::clamp(members_[i].done / speeds, equal / 3, equal * 3);
            at += (had + wanted) / 2;
            cuts_[i + 1] = at;
            members_[i].busy = members_[i].done = 0;
        }
        double off = 0;
        for (int i = 0; i <= size_; ++i) {
            double& each = cuts_[static_cast<std::size_t>(i)];
            each /= at;
            off = std::max(off, std::abs(each - even_cut(i)) * size_);
        }
        are_even_ = off <= (are_even_ ? NEARLY_EVEN : EVEN_AGAIN);
    }

    // Threads that wait for each other on one processor look like little work to the system, which
    // then leaves them there. So whoever finds itself beside another member moves once.
    void keep_apart(int member) {
#if defined(__linux__)
        const int here = sched_getcpu();
        cpu_set_t allowed;
        if (member == 0 || here < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
        cpu_set_t free = allowed;
        bool is_shared = false;
        for (int i = 0; i < size_; ++i) {
            const int seat = members_[static_cast<std::size_t>(i)].seat.load(std::memory_order_relaxed);
            if (i == member || seat < 0) continue;
            is_shared = is_shared || seat == here;
            CPU_CLR(static_cast<unsigned>(seat), &free);
        }
        if (!is_shared || CPU_COUNT(&free) == 0) return;
        sched_setaffinity(0, sizeof free, &free);
        sched_setaffinity(0, sizeof allowed, &allowed);
#else
        (void)member;
#endif
    }

    void take_part(int member) {
        Member& own = members_[static_cast<std::size_t>(member)];
        own.resumed = Clock::now();
        own.sit();
        (*work_)(member);
    }

    // The number of a task in its owner's share, or -1 where all are claimed.
    int claim(int owner, std::uint64_t phase, int tasks) {
        auto& word = members_[static_cast<std::size_t>(owner)].claimed;
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
            take_part(member);
            end_.wait();
        }
    }

    const int size_;
    Barrier barrier_, start_, end_;
    const std::function<void(int)>* work_ = nullptr;
    std::vector<double> cuts_;  // where each member's share would begin, of 1
    bool are_even_ = true;      // equal shares are near enough
    unsigned barriers_ = 0;
    std::vector<Member> members_;
    std::vector<std::thread> threads_;
};

}  // namespace inkproof
