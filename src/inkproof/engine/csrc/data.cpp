#include "data.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "augment.hpp"

namespace inkproof {

namespace {

constexpr std::int64_t LOOKED_AT = 1024;  // rows that decide whether data count as sparse
constexpr float SPARSE_BELOW = 0.55f;     // share of inputs that are not zero

template <typename T>
bool mostly_zero(const T* raw, std::int64_t rows, int features) {
    const auto values = static_cast<std::size_t>(std::min(rows, LOOKED_AT)) *
                        static_cast<std::size_t>(features);
    std::size_t filled = 0;
    for (std::size_t i = 0; i < values; ++i) filled += raw[i] != 0;
    return static_cast<float>(filled) <= SPARSE_BELOW * static_cast<float>(values);
}

}  // namespace

Inputs::Inputs(int features, int lanes) {
    const auto blocks = static_cast<std::size_t>((lanes + BLOCK - 1) / BLOCK);
    block_stride = static_cast<std::size_t>(round_up(features, PANEL)) * BLOCK;
    x = Buffer<float>(blocks * block_stride);
}

Data::Data(const std::uint8_t* bytes, std::int64_t rows, int features, float scale, float offset,
           bool lists)
    : bytes_(bytes), rows_(rows), features_(features), scale_(scale), offset_(offset) {
    if (lists) list_filled(bytes);
}

Data::Data(const float* floats, std::int64_t rows, int features, float scale, float offset,
           bool lists)
    : floats_(floats), rows_(rows), features_(features), scale_(scale), offset_(offset) {
    if (lists) list_filled(floats);
}

// Whether data count as sparse is decided by their first rows, so by the data alone.
template <typename T>
void Data::list_filled(const T* raw) {
    sparse_ = offset_ == 0 && mostly_zero(raw, rows_, features_);
    if (!sparse_) return;
    const auto rows = static_cast<std::size_t>(rows_);
    const auto width = static_cast<std::size_t>(features_);
    const auto words = static_cast<std::size_t>(parts(features_));
    std::size_t count = 0;
    for (std::size_t i = 0; i < rows * width; ++i) count += raw[i] != 0;
    // More than is filled: what follows the last is read, and without a branch written, too.
    if constexpr (std::is_same_v<T, float>)
        float_values_ = Buffer<float>(count + VL);
    else
        byte_values_ = Buffer<std::uint8_t>(count + VL);
    filled_ = Buffer<std::uint64_t>(rows * words);
    starts_.reserve(rows + 1);
    std::size_t at = 0;
    for (std::size_t row = 0; row < rows; ++row) {
        starts_.push_back(at);
        for (std::size_t k = 0; k < width; ++k) {
            const T value = raw[row * width + k];
            if constexpr (std::is_same_v<T, float>)
                float_values_[at] = value * scale_;
            else
                byte_values_[at] = value;
            const std::uint64_t is_filled = value != 0;
            filled_[row * words + k / WORD] |= is_filled << k % WORD;
            at += is_filled;
        }
    }
    starts_.push_back(at);
}

void Data::read(std::int64_t row, float* into, const Augmenter* augmenter, std::uint64_t seed,
                std::uint32_t epoch, float* scratch) const {
    const std::size_t begin = static_cast<std::size_t>(row) * static_cast<std::size_t>(features_);
    const auto fill = [&](const auto* raw) {
        if (augmenter) {
            augmenter->apply(raw, into, seed, epoch, static_cast<std::uint32_t>(row), scratch);
            for (int k = 0; k < features_; ++k) into[k] = into[k] * scale_ + offset_;
        } else {
            for (int k = 0; k < features_; ++k)
                into[k] = static_cast<float>(raw[k]) * scale_ + offset_;
        }
    };
    if (bytes_)
        fill(bytes_ + begin);
    else
        fill(floats_ + begin);
}

void Data::gather(Inputs& inputs, const std::int64_t* order, std::int64_t first, int lanes,
                  Range parts) const {
    if (bytes_)
        gather_rows(bytes_, inputs, order, first, lanes, parts);
    else
        gather_rows(floats_, inputs, order, first, lanes, parts);
}

// Lanes without a row get zeros.
template <typename T>
void Data::gather_rows(const T* raw, Inputs& inputs, const std::int64_t* order, std::int64_t first,
                       int lanes, Range parts) const {
    const auto width = static_cast<std::size_t>(features_);
    const int end = std::min(parts.end * WORD, features_);
    for (int block = 0; block * BLOCK < lanes; ++block) {
        const int here = std::min(BLOCK, lanes - block * BLOCK);
        const T* rows[BLOCK];
        for (int b = 0; b < here; ++b) {
            const std::int64_t at = first + block * BLOCK + b;
            rows[b] = raw + static_cast<std::size_t>(order ? order[at] : at) * width;
        }
        float* x = inputs.x.get() + static_cast<std::size_t>(block) * inputs.block_stride;
        for (int k = parts.begin * WORD; k < end; k += VL)
            for (int b = 0; b < BLOCK; b += VL) {
                V tile[VL];
#pragma GCC unroll 16
                for (int i = 0; i < VL; ++i)
                    tile[i] =
                        b + i < here ? read_vector(rows[b + i] + k, end - k) * scale_ + offset_ : V{};
                transpose(tile);
                const int wide = std::min(VL, end - k);
                for (int i = 0; i < wide; ++i) store(x + (k + i) * BLOCK + b, tile[i]);
            }
    }
}

void Data::expect(Ahead& ahead, const std::int64_t* order, std::int64_t first, int lanes,
                  Range parts, bool as_lists) const {
    ahead.clear();
    const auto width = static_cast<std::size_t>(features_);
    const auto words = static_cast<std::size_t>(this->parts(features_));
    const auto begin = static_cast<std::size_t>(std::min(parts.begin * WORD, features_));
    const auto end = static_cast<std::size_t>(std::min(parts.end * WORD, features_));
    for (std::int64_t at = first; order && at < first + lanes; ++at) {
        const auto row = static_cast<std::size_t>(order[at]);
        if (as_lists) {
            const std::size_t start = starts_[row], filled = starts_[row + 1] - start;
            ahead.add(&filled_[row * words], words * sizeof(std::uint64_t));
            if (bytes_)
                ahead.add(&byte_values_[start], filled);
            else
                ahead.add(&float_values_[start], filled * sizeof(float));
        } else {
            with_raw([&](const auto* raw) {
                ahead.add(raw + row * width + begin, (end - begin) * sizeof *raw);
            });
        }
    }
}

void Data::gather(SparseInputs& inputs, const std::int64_t* order, std::int64_t first,
                  int lanes) const {
    inputs.parts = parts(features_);
    const auto words = static_cast<std::size_t>(inputs.parts);
    const auto row_of = [&](int lane) {
        return static_cast<std::size_t>(order ? order[first + lane] : first + lane);
    };
    inputs.row_filled.resize(static_cast<std::size_t>(lanes) * words);
    inputs.row_begins.resize(static_cast<std::size_t>(lanes) * words + 1);
    std::uint32_t count = 0;
    for (int lane = 0; lane < lanes; ++lane) {
        const std::uint64_t* filled = filled_.get() + row_of(lane) * words;
        const std::size_t at = static_cast<std::size_t>(lane) * words;
        for (std::size_t part = 0; part < words; ++part) {
            inputs.row_filled[at + part] = filled[part];
            inputs.row_begins[at + part] = count;
            count += static_cast<std::uint32_t>(__builtin_popcountll(filled[part]));
        }
    }
    inputs.row_begins.back() = count;
    const std::size_t room = static_cast<std::size_t>(count) + std::max(VL, HELD);
    if (inputs.row_values.size() < room) inputs.row_values = Buffer<float>(room + count / 8);
    // By whole vectors: what is beyond a row's last is overwritten by the next row.
    const auto bring = [&](const auto* values, float scale) {
        for (int lane = 0; lane < lanes; ++lane) {
            std::size_t to = inputs.row_begins[static_cast<std::size_t>(lane) * words];
            const std::size_t end = starts_[row_of(lane) + 1];
            for (std::size_t at = starts_[row_of(lane)]; at < end; at += VL, to += VL) {
                const V scaled = read_vector(values + at, VL) * scale;
                std::memcpy(&inputs.row_values[to], &scaled, sizeof scaled);
            }
        }
    };
    if (bytes_)
        bring(byte_values_.get(), scale_);
    else
        bring(float_values_.get(), 1.0f);
}

// Part by part, from the rows: some inputs' values at a time are spread to their places, turned round,
// and put together again. Then a counting sort of the inputs by how many lanes fill them.
void SparseInputs::list_columns(int features, int lanes, bool lists_all) {
    const auto width = static_cast<std::size_t>(features);
    const auto words = static_cast<std::size_t>(parts);
    lane_words = (lanes + WORD - 1) / WORD;
    column_filled.assign(static_cast<std::size_t>(lane_words) * width, 0);
    columns.resize(width);
    column_bounds.assign(1, 0);
    if (column_values.size() < row_values.size()) column_values = Buffer<float>(row_values.size());
    std::uint32_t begin = 0;
    for (std::size_t part = 0; part < words; ++part) {
        std::uint64_t filled[CHUNK_LANES] = {}, any = 0;  // of each lane, its bits and
        std::uint32_t next[CHUNK_LANES] = {};             // where its next value is
        for (int lane = 0; lane < lanes; ++lane) {
            const std::size_t at = static_cast<std::size_t>(lane) * words + part;
            any |= filled[lane] = row_filled[at];
            next[lane] = row_begins[at];
        }
        const int first = static_cast<int>(part) * WORD, inputs = std::min(WORD, features - first);
        std::uint32_t begins[WORD] = {};
        int lengths[WORD] = {}, of_length[CHUNK_LANES + 1] = {}, longest = 0;
        for (int k = 0; k < inputs; k += VL) {
            std::uint64_t here = any >> k & ((1u << VL) - 1);
            if (here == 0) continue;
            alignas(64) float turned[VL][CHUNK_LANES];
            for (int b = 0; b < lanes; b += VL) {
                V tile[VL];
#pragma GCC unroll 16
                for (int i = 0; i < VL; ++i) {
                    const auto bits =
                        static_cast<std::uint32_t>(filled[b + i] >> k & ((1u << VL) - 1));
                    tile[i] = load_filled(&row_values[next[b + i]], bits);
                    next[b + i] += static_cast<std::uint32_t>(__builtin_popcount(bits));
                }
                transpose(tile);
#pragma GCC unroll 16
                for (int i = 0; i < VL; ++i) store(turned[i] + b, tile[i]);
            }
            for (; here != 0; here &= here - 1) {
                const int i = __builtin_ctzll(here);
                const std::uint32_t from = begin;
                std::uint64_t* column = &column_filled[static_cast<std::size_t>(first + k + i)];
                for (int b = 0; b < lanes; b += VL) {
                    const V values = load(turned[i] + b);
                    const std::uint32_t bits = filled_bits(values);
                    store_filled(&column_values[begin], values, bits);
                    begin += static_cast<std::uint32_t>(__builtin_popcount(bits));
                    column[static_cast<std::size_t>(b / WORD) * width] |=
                        std::uint64_t{bits} << b % WORD;
                }
                begins[k + i] = from;
                lengths[k + i] = static_cast<int>(begin - from);
                longest = std::max(longest, lengths[k + i]);
                ++of_length[lengths[k + i]];
            }
        }
        std::uint64_t listed = any;
        if (lists_all) {
            listed = ~std::uint64_t{0} >> (WORD - inputs);
            of_length[0] += inputs - __builtin_popcountll(any);
        }
        int end = column_bounds.back();
        for (int length = 0; length <= longest; ++length)
            end += std::exchange(of_length[length], end);
        column_bounds.push_back(end);
        for (; listed != 0; listed &= listed - 1) {
            const int i = __builtin_ctzll(listed);
            columns[static_cast<std::size_t>(of_length[lengths[i]]++)] = {
                static_cast<std::uint32_t>(first + i), begins[i]};
        }
    }
}

}  // namespace inkproof
