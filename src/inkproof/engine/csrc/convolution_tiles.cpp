// Convolution whose training rounds the factors of its products to bfloat16, and multiplies them by
// whole tiles.
#include "convolution_rounded.hpp"
#include "tiles.hpp"

#if INKPROOF_HALF

namespace inkproof {

namespace {

constexpr int TILE_POSITIONS = 24;  // whose errors stay in the first-level cache for the gradient
constexpr std::size_t TILE_SIZE = TILE_ROWS * TILE_DEPTH;

// Unit: whatever multiplies tiles.
template <typename Unit>
class TileConvolution : public RoundedConvolution {
public:
    using RoundedConvolution::RoundedConvolution;

private:
    void reserve_factors(int members) override {
        if (forward_kernel_.size() > 0) return;
        forward_kernel_ = Buffer<Half>(static_cast<std::size_t>(rows_ * filters_));
        back_kernel_ = Buffer<Half>(static_cast<std::size_t>(rows_ * filters_));
        while (static_cast<int>(tiles_.size()) < members)
            tiles_.push_back(
                {std::vector<TileRun>(static_cast<std::size_t>(w_.kernel_height * w_.kernel_width)),
                 Buffer<Pair>(TILE_POSITIONS * BLOCK * PANEL / 2)});
    }

    void forward_rounded(const Step& step, const Worker& worker) override {
        round_kernel(worker);
        worker.each(step.blocks * w_.out_height, [&](int task) {
            Unit unit;
            forward_row(unit, step, task / w_.out_height, task % w_.out_height,
                        scratch_of(worker).runs, tiles_of(worker).runs);
        });
    }

    struct TileScratch {  // of one thread
        std::vector<TileRun> runs;
        Buffer<Pair> errors;  // [position][pair of lanes][16 filters]
    };

    TileScratch& tiles_of(const Worker& worker) {
        return tiles_[static_cast<std::size_t>(worker.member())];
    }

    static std::size_t groups_of(int k) { return static_cast<std::size_t>(k / TILE_DEPTH); }
    std::size_t back_groups() const {
        return static_cast<std::size_t>(w_.kernel_height * w_.kernel_width) * groups_of(filters_);
    }

    // The kernel as multiply_runs wants it: the way forward rows are filters and k is (y, x,
    // channel); the way back rows are channels and k is (y, x, filter).
    void round_kernel(const Worker& worker) {
        worker.each(rows_ / TILE_DEPTH, [&](int group) {
            alignas(64) Half lines[TILE_DEPTH * TILE_DEPTH];
            for (int p = 0; p < panels_; p += 2) {
                const float* w = kernel_.values.get() + p * kernel_.panel_stride +
                                 static_cast<std::size_t>(group * TILE_DEPTH) * PANEL;
                round_units(w, kernel_.panel_stride, 2, lines);
                // lines: [row of the kernel][32 filters]; forward: [filter][32 rows].
                alignas(64) Half turned[TILE_DEPTH * TILE_DEPTH];
                transpose_halves(lines, TILE_DEPTH, turned);
                for (int i = 0; i < 2; ++i)
                    std::memcpy(forward_kernel_.get() +
                                    (static_cast<std::size_t>(p + i) * groups_of(rows_) +
                                     static_cast<std::size_t>(group)) * TILE_SIZE,
                                turned + i * TILE_SIZE, TILE_SIZE * sizeof(Half));
                // Back: the rows of a group are 32 channels of one place.
                const int place = group * TILE_DEPTH / w_.channels;
                const int channel = group * TILE_DEPTH % w_.channels;
                const std::size_t filter_groups = groups_of(filters_);
                for (int i = 0; i < 2; ++i)
                    std::memcpy(back_kernel_.get() +
                                    (static_cast<std::size_t>(channel / PANEL + i) * back_groups() +
                                     static_cast<std::size_t>(place) * filter_groups +
                                     static_cast<std::size_t>(p / 2)) * TILE_SIZE,
                                lines + i * TILE_SIZE, TILE_SIZE * sizeof(Half));
            }
        });
    }

    void forward_row(Unit& unit, const Step& step, int block, int oy, std::vector<Run>& runs,
                     std::vector<TileRun>& tile_runs) const {
        for (int ox = 0; ox < w_.out_width; ++ox) {
            const int count = list_runs(oy, ox, runs.data());
            for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
                tile_runs[i] = {runs[i].row / (PANEL * TILE_DEPTH) * TILE_SIZE, runs[i].feature / 2,
                                runs[i].count};
            float* y = out_.value(block, (oy * w_.out_width + ox) * filters_);
            for (int p = 0; p < panels_; p += 2) {
                float* at = y + p * PANEL * BLOCK;
                multiply_runs(unit,
                              forward_kernel_.get() +
                                  static_cast<std::size_t>(p) * groups_of(rows_) * TILE_SIZE,
                              groups_of(rows_) * TILE_SIZE, 2, tile_runs.data(), count,
                              in_halves_.pairs(block, 0), at);
                for (int u = 0; u < 2 * PANEL; ++u, at += BLOCK) {
                    const V bias = splat(bias_.values[static_cast<std::size_t>(p * PANEL + u)]);
                    for (int v = 0; v < BLOCK; v += VL) {
                        const V value = load(at + v) + bias;
                        store(at + v, is_relu_ ? relu(value) : value);
                    }
                }
            }
        }
        show_row(step, block, oy);
    }

    // ReLU's part is taken where errors are rounded, which is once.
    void send_back(const Step& step, const Worker& worker) override {
        out_halves_.take(step, worker, out_.errors, out_.features,
                         is_relu_ && !is_masked_ ? &out_.values : nullptr);
        worker.each(step.blocks * w_.height, [&](int task) {
            Unit unit;
            send_back_row(unit, task / w_.height, task % w_.height, tiles_of(worker).runs);
        });
    }

    void send_back_row(Unit& unit, int block, int iy, std::vector<TileRun>& runs) const {
        for (int ix = 0; ix < w_.width; ++ix) {
            int count = 0;
            each_seen_by(iy, ix, [&](int place, int position) {
                runs[static_cast<std::size_t>(count++)] = {
                    static_cast<std::size_t>(place) * groups_of(filters_) * TILE_SIZE,
                    static_cast<std::size_t>(position * filters_) * (BLOCK / 2), filters_};
            });
            for (int first = 0; first < w_.channels; first += 2 * PANEL)
                multiply_runs(unit,
                              back_kernel_.get() +
                                  static_cast<std::size_t>(first / PANEL) * back_groups() * TILE_SIZE,
                              back_groups() * TILE_SIZE, 2, runs.data(), count,
                              out_halves_.pairs(block, 0),
                              in_.error(block, (iy * w_.width + ix) * w_.channels + first));
        }
    }

    void add_share(const Step& step, int part, int panel, float* g, const Worker& worker) override {
        Unit unit;
        Pair* errors = tiles_of(worker).errors.get();
        float* bias = g + static_cast<std::size_t>(rows_) * PANEL;
        const int chunks = (positions_ + TILE_POSITIONS - 1) / TILE_POSITIONS;
        const Range mine = part_of(step.blocks * chunks, part);
        for (int chunk = mine.begin; chunk < mine.end; ++chunk) {
            const int block = chunk / chunks, first = chunk % chunks * TILE_POSITIONS;
            const int count = std::min(TILE_POSITIONS, positions_ - first);
            for (int i = 0; i < count; ++i)
                pair_errors(block, (first + i) * filters_ + panel * PANEL, step.vectors(block),
                            errors + i * BLOCK * PANEL / 2, bias);
            const Half* x[TILE_POSITIONS];
            const Pair* t[TILE_POSITIONS];
            each_place<TILE_POSITIONS>(first, count, [&](int row, const int* seen_by,
                                                         const int* features, int seen) {
                for (int i = 0; i < seen; ++i) t[i] = errors + seen_by[i] * BLOCK * PANEL / 2;
                for (int channel = 0; channel < w_.channels; channel += TILE_DEPTH) {
                    for (int i = 0; i < seen; ++i)
                        x[i] = reinterpret_cast<const Half*>(
                            in_halves_.lanes(block, features[i] + channel));
                    inkproof::add_positions(
                        unit, g + static_cast<std::size_t>(row + channel) * PANEL, x, t, seen);
                }
            });
        }
    }

    // A panel's errors, [filter][lane], as [pair of lanes][filter]; their sums over the lanes go to
    // the bias' gradient.
    __attribute__((target("avx512bf16"))) void pair_errors(int block, int feature, int vectors,
                                                           Pair* to, float* bias) const {
        V sum = load(bias);
        for (int v = 0; v < BLOCK; v += VL) {
            V rows[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; ++i)
                rows[i] = v < vectors * VL ? error_vector(block, feature + i, v) : V{};
            transpose(rows);
#pragma GCC unroll 16
            for (int i = 0; i < VL; i += 2) {
                sum += rows[i];
                sum += rows[i + 1];
                store_pairs(to + (v + i) / 2 * PANEL, paired(halves_of(rows[i], rows[i + 1])));
            }
        }
        store(bias, sum);
    }

    Buffer<Half> forward_kernel_, back_kernel_;
    std::vector<TileScratch> tiles_;
};

}  // namespace

std::unique_ptr<Op> make_tile_convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                          SharedWeights weights, std::unique_ptr<Op> running,
                                          bool is_emulated) {
    if (is_emulated)
        return std::make_unique<TileConvolution<Emulated>>(in, out, spec, std::move(weights),
                                                           std::move(running));
    return std::make_unique<TileConvolution<Amx>>(in, out, spec, std::move(weights),
                                                  std::move(running));
}

}  // namespace inkproof

#endif
