// Memory that will be wanted, asked for between other work.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace inkproof {

// A list of cache lines, to be asked for a few at a time: many at once keep everything else waiting.
class Ahead {
public:
    void add(const void* from, std::size_t bytes) {
        const char* at = static_cast<const char*>(from);
        const char* end = at + bytes;
        for (at -= reinterpret_cast<std::uintptr_t>(at) % 64; at < end; at += 64)
            lines_.push_back(at);
    }
    void clear() { lines_.clear(), next_ = 0; }
    void some(std::size_t count) {
        for (const std::size_t end = std::min(next_ + count, lines_.size()); next_ < end; ++next_)
            __builtin_prefetch(lines_[next_], 0, 2);
    }

private:
    std::vector<const char*> lines_;
    std::size_t next_ = 0;
};

}  // namespace inkproof
