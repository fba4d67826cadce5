// The rows that a network learns from or is asked about, and how a batch of them is gathered.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "ahead.hpp"
#include "buffer.hpp"
#include "kernels.hpp"

namespace inkproof {

class Augmenter;

// Up to VL numbers as floats; those beyond count are zero.
static inline V read_vector(const std::uint8_t* p, int count) {
    alignas(16) std::uint8_t bytes[VL < 16 ? 16 : VL] = {};
    if (count >= VL)
        std::memcpy(bytes, p, VL);
    else
        std::memcpy(bytes, p, static_cast<std::size_t>(count));
#if INKPROOF_VL == 16 && defined(__AVX512F__)
    const __m128i packed = _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
    return reinterpret_cast<V>(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(packed)));
#elif INKPROOF_VL == 8 && defined(__AVX2__)
    const __m128i packed = _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
    return reinterpret_cast<V>(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(packed)));
#else
    V v;
    for (int i = 0; i < VL; ++i) v[i] = bytes[i];
    return v;
#endif
}

static inline V read_vector(const float* p, int count) {
    V v{};
    if (count >= VL)
        std::memcpy(&v, p, sizeof v);
    else
        std::memcpy(&v, p, sizeof(float) * static_cast<std::size_t>(count));
    return v;
}

// The inputs of a batch, as the products of the first layer want them.
struct Inputs {
    Inputs() = default;
    Inputs(int features, int lanes);

    std::size_t block_stride = 0;  // of x
    Buffer<float> x;               // [block][input][lane]
};

// The same where most are zero, of one thread: whichever of the two the data are.
struct SparseInputs {
    Buffer<std::uint8_t> bytes;  // [block][input][lane], as they are
    Buffer<float> floats;        // as the network sees them
};

// A matrix of inputs, one row an image; the network sees scale * raw + offset. The memory stays the
// caller's. Where lists are wanted and most numbers are zero and stay so, the others are listed
// once, when this is made.
class Data {
public:
    Data(const std::uint8_t* bytes, std::int64_t rows, int features, float scale, float offset,
         bool lists);
    Data(const float* floats, std::int64_t rows, int features, float scale, float offset,
         bool lists);

    std::int64_t rows() const { return rows_; }
    int features() const { return features_; }
    bool sparse() const { return sparse_; }

    // How many parts the inputs fall into; a part's weights stay in the first-level cache.
    static int parts(int features) { return (features + SPARSE_INPUTS - 1) / SPARSE_INPUTS; }

    // Brings the rows order[first ...] (or just first ...) into some parts of the inputs of a batch.
    void gather(Inputs& inputs, const std::int64_t* order, std::int64_t first, int lanes,
                Range parts) const;
    // The same of sparse data, all parts.
    void gather(SparseInputs& inputs, const std::int64_t* order, std::int64_t first,
                int lanes) const;
    // Lists what gather will read; as_lists: of sparse data.
    void expect(Ahead& ahead, const std::int64_t* order, std::int64_t first, int lanes, Range parts,
                bool as_lists) const;

    // Of sparse data: calls f(list, bounds) for a row; bounds: where each part of its list begins.
    template <typename F>
    void with_list(std::int64_t row, F&& f) const {
        const auto at = static_cast<std::size_t>(row);
        const std::size_t start = starts_[at];
        const std::uint16_t* bounds = &bounds_[at * static_cast<std::size_t>(parts(features_) + 1)];
        const std::uint16_t* features = &features_of_[start];
        if (bytes_)
            f(ByteList{features, &byte_values_[start], scaled_}, bounds);
        else
            f(FloatList{features, &float_values_[start]}, bounds);
    }
    // Calls f(lanes) for what gather has brought.
    template <typename F>
    void with_lanes(const SparseInputs& inputs, F&& f) const {
        if (bytes_)
            f(ByteLanes{inputs.bytes.get(), scaled_});
        else
            f(FloatLanes{inputs.floats.get()});
    }
    std::size_t block_stride() const {
        return static_cast<std::size_t>(round_up(features_, PANEL)) * BLOCK;
    }

    // Calls f with the numbers as they are, [row][feature], of whichever type; and what makes of them
    // what the network sees.
    template <typename F>
    void with_raw(F&& f) const {
        bytes_ ? f(bytes_) : f(floats_);
    }
    float scale() const { return scale_; }
    float offset() const { return offset_; }

    // One row as the network sees it, [feature]; with an augmenter, distorted first.
    void read(std::int64_t row, float* into, const Augmenter* augmenter, std::uint64_t seed,
              std::uint32_t epoch, float* scratch) const;

private:
    template <typename T>
    void list_filled(const T* raw);
    template <typename T>
    void gather_rows(const T* raw, Inputs& inputs, const std::int64_t* order, std::int64_t first,
                     int lanes, Range parts) const;

    const std::uint8_t* bytes_ = nullptr;  // one of these two
    const float* floats_ = nullptr;
    std::int64_t rows_;
    int features_;
    float scale_, offset_;
    bool sparse_ = false;

    // Of sparse data: each row's inputs that are not zero.
    std::vector<std::size_t> starts_;      // [row]
    std::vector<std::uint16_t> bounds_;    // [row][parts + 1], from the row's start
    Buffer<std::uint16_t> features_of_;
    Buffer<std::uint8_t> byte_values_;
    Buffer<float> float_values_;
    float scaled_[256];                    // what each byte comes to
};

}  // namespace inkproof
