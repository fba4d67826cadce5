// Aligned memory, and how work is shared out.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace inkproof {

// Memory aligned to a cache line. Much of it is asked for in pages of 2 MiB: with small ones every
// row that is read at random costs a walk through their tables, and chance decides how evenly
// weights fill the second-level cache. Null where there is none.
static inline void* allocate(std::size_t bytes) {
#if defined(__linux__)
    constexpr std::size_t large_page = std::size_t{1} << 21;
    if (bytes >= large_page / 2) {
        const std::size_t whole = (bytes + large_page - 1) / large_page * large_page;
        void* p = std::aligned_alloc(large_page, whole);
        if (p) madvise(p, whole, MADV_HUGEPAGE);  // a wish: whether it is granted does not matter
        return p;
    }
#endif
    // No more than whole cache lines, so that sanitizers see a read beyond the last one.
    return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
}

// Memory for numbers, zero to begin with.
template <typename T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t count) : size_(count) {
        const std::size_t bytes = (count == 0 ? 1 : count) * sizeof(T);
        data_.reset(static_cast<T*>(allocate(bytes)));
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
