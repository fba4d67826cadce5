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

constexpr int CHUNK_LANES = 128;  // lanes that go through together: of more the activations leave
                                  // the second-level cache; larger batches in parts

// The same where most are zero, of one thread: which are not, and those.
struct SparseInputs {
    // Of each lane, part by part: bits of its inputs, and their values in order.
    std::vector<std::uint64_t> row_filled;  // [lane][part]
    std::vector<std::uint32_t> row_begins;  // [lane][part], and the end: of each part's values
    Buffer<float> row_values;

    // Of each input that is not zero in the whole batch (or all): bits of its lanes, and their values
    // in order. The inputs come part by part. Within a part those come together that are filled in as
    // many lanes: the processor foresees the end of a loop that is as long as the one before.
    struct Column {
        std::uint32_t input;
        std::uint32_t begin;  // of its values
    };
    std::vector<Column> columns;
    std::vector<int> column_bounds;            // [part + 1]
    std::vector<std::uint64_t> column_filled;  // [word of lanes][input]
    Buffer<float> column_values;

    void list_columns(int features, int lanes, bool lists_all);

    int parts = 0, lane_words = 0;
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
    static int parts(int features) { return (features + WORD - 1) / WORD; }

    // Brings the rows order[first ...] (or just first ...) into some parts of the inputs of a batch.
    void gather(Inputs& inputs, const std::int64_t* order, std::int64_t first, int lanes,
                Range parts) const;
    // The same of sparse data, all parts, by rows.
    void gather(SparseInputs& inputs, const std::int64_t* order, std::int64_t first,
                int lanes) const;
    // Lists what gather will read; as_lists: of sparse data.
    void expect(Ahead& ahead, const std::int64_t* order, std::int64_t first, int lanes, Range parts,
                bool as_lists) const;

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

    // Of sparse data: which of each row's inputs are not zero, as bits, and those.
    Buffer<std::uint64_t> filled_;     // [row][part]
    std::vector<std::size_t> starts_;  // [row + 1], of what follows
    Buffer<std::uint8_t> byte_values_;
    Buffer<float> float_values_;       // scaled
};

}  // namespace inkproof
