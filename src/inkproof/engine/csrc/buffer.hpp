// Aligned memory, and how work is shared out.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace inkproof {

// Memory for numbers, aligned to a cache line and zero to begin with.
template <typename T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t count) : size_(count) {
        // No more than whole cache lines, so that sanitizers see a read beyond the last one.
        const std::size_t bytes = ((count == 0 ? 1 : count) * sizeof(T) + 63) / 64 * 64;
        data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
        if (!data_) throw std::bad_alloc();
        std::memset(static_cast<void*>(data_.get()), 0, bytes);
    }
    T* get() const { return data_.get(); }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) const { return data_.get()[i]; }

private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T[], Free> data_;
    std::size_t size_ = 0;
};

struct Range {
    int begin, end;
};

// The member's share of count things, in whole grains.
static inline Range share(int count, int grain, int member, int members) {
    const long grains = (count + grain - 1) / grain;
    const int begin = static_cast<int>(grains * member / members) * grain;
    const int end = static_cast<int>(grains * (member + 1) / members) * grain;
    return {begin < count ? begin : count, end < count ? end : count};
}

static inline int round_up(int n, int to) { return (n + to - 1) / to * to; }

}  // namespace inkproof
