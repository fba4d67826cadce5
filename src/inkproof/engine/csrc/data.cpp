#include "data.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "augment.hpp"

namespace inkproof {

namespace {

constexpr std::int64_t LOOKED_AT = 1024;  // rows that decide whether data count as sparse
constexpr float SPARSE_BELOW = 0.4f;      // share of inputs that are not zero
constexpr int MOST_LISTED = 65535;        // inputs that 16 bits can name

template <typename T>
bool mostly_zero(const T* raw, std::int64_t rows, int features) {
    const auto values = static_cast<std::size_t>(std::min(rows, LOOKED_AT)) *
                        static_cast<std::size_t>(features);
    std::size_t filled = 0;
    for (std::size_t i = 0; i < values; ++i) filled += raw[i] != 0;
    return static_cast<float>(filled) <= SPARSE_BELOW * static_cast<float>(values);
}

// Entries of VL inputs, one after the other.
void store_entries(Entry* to, const std::uint16_t* inputs, V values) {
    typedef std::uint16_t H __attribute__((vector_size(VL * 2)));
    H numbers;
    std::memcpy(&numbers, inputs, sizeof numbers);
    const VU offsets = __builtin_convertvector(numbers, VU) * std::uint32_t{PANEL};
    V both[2];
    interleave(reinterpret_cast<V>(offsets), values, both[0], both[1]);
    std::memcpy(to, both, sizeof both);
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
    sparse_ = offset_ == 0 && features_ <= MOST_LISTED && mostly_zero(raw, rows_, features_);
    if (!sparse_) return;
    const auto rows = static_cast<std::size_t>(rows_);
    const auto width = static_cast<std::size_t>(features_);
    std::size_t filled = 0;
    for (std::size_t i = 0; i < rows * width; ++i) filled += raw[i] != 0;
    // More than is filled: what follows the last is read, and without a branch written, too.
    features_of_ = Buffer<std::uint16_t>(filled + VL);
    if constexpr (std::is_same_v<T, float>)
        float_values_ = Buffer<float>(filled + VL);
    else
        byte_values_ = Buffer<std::uint8_t>(filled + VL);
    starts_.reserve(rows);
    bounds_.reserve(rows * static_cast<std::size_t>(parts(features_) + 1));
    std::size_t at = 0;
    for (std::size_t row = 0; row < rows; ++row) {
        const T* values = raw + row * width;
        const std::size_t start = at;
        starts_.push_back(start);
        for (int begin = 0; begin < features_; begin += SPARSE_INPUTS) {
            bounds_.push_back(static_cast<std::uint16_t>(at - start));
            const int end = std::min(begin + SPARSE_INPUTS, features_);
            for (int k = begin; k < end; ++k) {
                features_of_[at] = static_cast<std::uint16_t>(k);
                if constexpr (std::is_same_v<T, float>)
                    float_values_[at] = values[k] * scale_;
                else
                    byte_values_[at] = values[k];
                at += values[k] != 0;
            }
        }
        bounds_.push_back(static_cast<std::uint16_t>(at - start));
    }
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
    const int end = std::min(parts.end * SPARSE_INPUTS, features_);
    for (int block = 0; block * BLOCK < lanes; ++block) {
        const int here = std::min(BLOCK, lanes - block * BLOCK);
        const T* rows[BLOCK];
        for (int b = 0; b < here; ++b) {
            const std::int64_t at = first + block * BLOCK + b;
            rows[b] = raw + static_cast<std::size_t>(order ? order[at] : at) * width;
        }
        float* x = inputs.x.get() + static_cast<std::size_t>(block) * inputs.block_stride;
        for (int k = parts.begin * SPARSE_INPUTS; k < end; k += VL)
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
    const auto whole = static_cast<std::size_t>(this->parts(features_));
    const auto begin = static_cast<std::size_t>(std::min(parts.begin * SPARSE_INPUTS, features_));
    const auto end = static_cast<std::size_t>(std::min(parts.end * SPARSE_INPUTS, features_));
    for (std::int64_t at = first; order && at < first + lanes; ++at) {
        const auto row = static_cast<std::size_t>(order[at]);
        if (as_lists) {
            const std::size_t start = starts_[row], filled = bounds_[row * (whole + 1) + whole];
            ahead.add(&features_of_[start], filled * sizeof(std::uint16_t));
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
    const auto width = static_cast<std::size_t>(inputs.parts + 1);
    const auto row_of = [&](int lane) {
        return static_cast<std::size_t>(order ? order[first + lane] : first + lane);
    };
    inputs.row_bounds.resize(static_cast<std::size_t>(lanes) * width);
    std::size_t filled = 0;
    for (int lane = 0; lane < lanes; ++lane) {
        const std::uint16_t* bounds = &bounds_[row_of(lane) * width];
        std::uint32_t* to = &inputs.row_bounds[static_cast<std::size_t>(lane) * width];
        for (std::size_t part = 0; part < width; ++part)
            to[part] = static_cast<std::uint32_t>(filled) + bounds[part];
        filled = to[width - 1];
    }
    if (inputs.rows.size() < filled + VL) inputs.rows = Buffer<Entry>(filled + filled / 8 + VL);
    // By whole vectors: what is beyond a row's last is overwritten by the next row.
    const auto bring = [&](const auto* values, float scale) {
        for (int lane = 0; lane < lanes; ++lane) {
            const std::uint32_t* bounds = &inputs.row_bounds[static_cast<std::size_t>(lane) * width];
            const std::size_t start = starts_[row_of(lane)];
            const std::uint32_t count = bounds[width - 1] - bounds[0];
            for (std::uint32_t i = 0; i < count; i += VL)
                store_entries(inputs.rows.get() + bounds[0] + i, &features_of_[start + i],
                              read_vector(values + start + i, VL) * scale);
        }
    };
    if (bytes_)
        bring(byte_values_.get(), scale_);
    else
        bring(float_values_.get(), 1.0f);
}

// From the rows; counting sorts by input and, of each part's inputs, by the length of their lists.
void SparseInputs::list_columns(int features, int lanes, std::size_t lane_stride,
                                bool lists_all) {
    counts.assign(static_cast<std::size_t>(features), 0);
    const Entry* end = row(lanes - 1, parts);
    for (const Entry* entry = rows.get(); entry != end; ++entry) ++counts[entry->offset / PANEL];
    if (by_input.size() < rows.size()) by_input = Buffer<Entry>(rows.size());
    columns.resize(static_cast<std::size_t>(features));
    column_bounds.assign(1, 0);
    std::uint32_t begin = 0;
    const std::uint32_t shortest = lists_all ? 0 : 1;
    for (int first = 0; first < features; first += SPARSE_INPUTS) {
        const int after = std::min(first + SPARSE_INPUTS, features);
        of_length.assign(static_cast<std::size_t>(lanes) + 1, 0);
        for (int k = first; k < after; ++k) ++of_length[counts[static_cast<std::size_t>(k)]];
        int at = column_bounds.back();
        for (std::size_t length = shortest; length < of_length.size(); ++length)
            at += std::exchange(of_length[length], at);
        column_bounds.push_back(at);
        for (int k = first; k < after; ++k) {
            std::uint32_t& count = counts[static_cast<std::size_t>(k)];
            if (count < shortest) continue;
            columns[static_cast<std::size_t>(of_length[count]++)] = {
                static_cast<std::uint32_t>(k * PANEL), begin, begin + count};
            begin += std::exchange(count, begin);
        }
    }
    for (int lane = 0; lane < lanes; ++lane) {
        const auto offset = static_cast<std::uint32_t>(static_cast<std::size_t>(lane) * lane_stride);
        for (const Entry *entry = row(lane, 0), *last = row(lane, parts); entry != last; ++entry)
            by_input[counts[entry->offset / PANEL]++] = {offset, entry->value};
    }
}

}  // namespace inkproof
