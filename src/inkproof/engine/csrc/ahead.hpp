// Memory that will be wanted, asked for between other work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace inkproof {

// Pieces of memory, whose cache lines are asked for a few at a time: many at once keep everything else
// waiting.
class Ahead {
public:
    void add(const void* from, std::size_t bytes) {
        const char* at = static_cast<const char*>(from);
        if (bytes > 0) pieces_.push_back({at - reinterpret_cast<std::uintptr_t>(at) % 64, at + bytes});
    }
    void clear() { pieces_.clear(), next_ = 0; }
    void some(std::size_t count) {
        while (next_ < pieces_.size()) {
            Piece& piece = pieces_[next_];
            for (; piece.at < piece.end; piece.at += 64) {
                if (count-- == 0) return;
                __builtin_prefetch(piece.at, 0, 2);
            }
            ++next_;
        }
    }

private:
    struct Piece {
        const char *at, *end;
    };
    std::vector<Piece> pieces_;
    std::size_t next_ = 0;
};

}  // namespace inkproof
