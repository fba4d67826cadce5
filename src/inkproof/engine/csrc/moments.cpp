#include "moments.hpp"

namespace inkproof {

namespace {

constexpr int CHANNELS_TOGETHER = 4;
constexpr int POSITIONS_A_SUM = 16;  // that are summed as float32

}  // namespace

Moments::Moments(const Tensor& tensor, int channels) : tensor_(tensor), channels_(channels) {}

void Moments::reserve(int blocks) {
    const auto wanted = static_cast<std::size_t>(blocks) * static_cast<std::size_t>(pieces_) *
                        static_cast<std::size_t>(channels_);
    if (parts_.size() < wanted) parts_ = Buffer<Part>(wanted);
}

// Differences from the mean of the first position, summed together with their squares in one pass. The
// positions that are summed together include the first one, so the square of its distance from their
// mean is at most their number times their variance: no more than that is lost to rounding.
void Moments::see(const Step& step, int block, int piece, int first, int count) {
    Part* parts = parts_.get() +
                  static_cast<std::size_t>(block * pieces_ + piece) * static_cast<std::size_t>(channels_);
    std::fill(parts, parts + channels_, Part{});
    const int lanes = step.block_lanes(block), vectors = step.vectors(block);
    const bool is_whole = lanes % VL == 0;
    const V last = is_whole ? splat(1.0f) : lane_mask(step, block, vectors - 1);
    for (int begin = first; begin < first + count; begin += POSITIONS_A_SUM) {
        const int end = std::min(begin + POSITIONS_A_SUM, first + count);
        const double filled = static_cast<double>(end - begin) * lanes;
        for (int channel = 0; channel < channels_; channel += CHANNELS_TOGETHER)
            with_constant<CHANNELS_TOGETHER>(
                std::min(CHANNELS_TOGETHER, channels_ - channel), [&](auto together) {
                    constexpr int N = decltype(together)::value;
                    V center[N], sum[N], squares[N];
                    const float* x = tensor_.value(block, begin * channels_ + channel);
                    for (int i = 0; i < N; ++i) {
                        V total{};
                        for (int v = 0; v < vectors; ++v) {
                            const V some = load(x + i * BLOCK + v * VL);
                            total += v + 1 == vectors ? some * last : some;
                        }
                        center[i] = splat(sum_of(total) / static_cast<float>(lanes));
                        sum[i] = squares[i] = V{};
                    }
                    for (int p = begin; p < end; ++p, x += channels_ * BLOCK)
                        for (int i = 0; i < N; ++i)
                            for (int v = 0; v < vectors; ++v) {
                                V apart = load(x + i * BLOCK + v * VL) - center[i];
                                if (!is_whole && v + 1 == vectors) apart *= last;
                                sum[i] += apart;
                                squares[i] += apart * apart;
                            }
                    for (int i = 0; i < N; ++i) {
                        const double shift = static_cast<double>(sum_of(sum[i])) / filled;
                        const double square = static_cast<double>(sum_of(squares[i]));
                        parts[channel + i].add({filled, static_cast<double>(center[i][0]) + shift,
                                                std::max(square - shift * shift * filled, 0.0)});
                    }
                });
    }
}

Moments::Of Moments::of(const Step& step, int channel) const {
    Part total;
    for (int piece = 0; piece < step.blocks * pieces_; ++piece)
        total.add(parts_[static_cast<std::size_t>(piece) * static_cast<std::size_t>(channels_) +
                         static_cast<std::size_t>(channel)]);
    return {total.mean, total.squares / total.count};
}

}  // namespace inkproof
