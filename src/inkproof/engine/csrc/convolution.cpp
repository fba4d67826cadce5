// Convolution, its input's errors and its kernel's gradient, without rearranging the images: the
// batch is the vector, so an output is a sum of weights times rows of lanes, as in a dense layer.
//
// The kernel is a matrix whose rows are (y, x, channel) of the window and whose columns are the
// filters. What an output position sees of one row of the image is a run of features that lie one
// after the other, and so do their rows of the kernel. Images of few channels are the exception:
// there the runs are too short, and a position's window is copied together first.
#include <vector>

#include "convolution.hpp"
#include "ops_half.hpp"
#include "positions.hpp"
#include "tiles.hpp"
#include "winograd.hpp"

namespace inkproof {

namespace {

constexpr int FEW_CHANNELS = 8;
constexpr int POSITIONS = 8;     // whose errors stay in the first-level cache for the gradient
constexpr int TILE_POSITIONS = 24;  // the same where the products are of tiles
constexpr int LANE_POSITIONS = 24;  // whose windows do, where images have few channels
constexpr int LANE_ROWS = VL == 16 ? 12 : 5, LANE_FILTERS = 2;  // of a tile of sums by lanes
constexpr std::size_t MOST_GROUP_BYTES = std::size_t{1} << 20;  // of outputs that are pooled together
constexpr int LEAST_TASKS = 16;  // into which the kernel's gradient is cut

// How training may round the factors of a convolution's products.
Factors possible_factors([[maybe_unused]] const Window& window, [[maybe_unused]] int filters,
                         [[maybe_unused]] Factors wanted) {
#if INKPROOF_HALF
    const auto are_whole = [&](int some) {
        return window.channels % some == 0 && filters % some == 0;
    };
    if (wanted == Factors::halves && window.channels >= FEW_CHANNELS && are_whole(2)) return wanted;
    if (wanted != Factors::halves && are_whole(TILE_DEPTH)) return wanted;
#endif
    return Factors::floats;
}

// factors: as they may be rounded.
class ConvolutionOp : public Convolution {
public:
    ConvolutionOp(Tensor& in, Tensor& out, const Window& window, int filters, bool has_bias,
                  bool is_relu, Factors factors)
        : Convolution(in, out, window, filters, has_bias, is_relu),
          is_copied_(window.channels < FEW_CHANNELS),
          halves_(factors == Factors::halves),
          tiles_(halves_ ? Factors::floats : factors),
          rows_(window.kernel_height * window.kernel_width * window.channels),
          panels_((filters + PANEL - 1) / PANEL), positions_(window.out_height * window.out_width),
          parts_(std::max(1, LEAST_TASKS / panels_)) {
        for (int row = 0; is_copied_ && row < rows_; ++row) {
            const int place = row / window.channels, channel = row % window.channels;
            const int y = place / window.kernel_width, x = place % window.kernel_width;
            rows_seen_.push_back(
                static_cast<std::size_t>((y * window.width + x) * window.channels + channel) * BLOCK);
            rows_copied_.push_back(static_cast<std::size_t>(row) * BLOCK);
        }
    }

    void reserve(int blocks, int members, bool training) override {
        if (training) reserve_halves(blocks);
        if (static_cast<int>(scratch_.size()) < members)
            for (int i = 0; i < members; ++i) scratch_.emplace_back(*this);
        if (!training || shares_.size() > 0) return;
        shares_ = Buffer<float>(static_cast<std::size_t>(parts_ * panels_) * share_size());
        turned_ = Buffer<float>(turned_size());
    }

    void forward(const Step& step, const Worker& worker) override {
        if (by_tiles() && step.training) return forward_by_tiles(step, worker);
        const bool halves = halves_ && step.training;
        if (halves) take_halves(step, worker);
        const int groups = row_groups();
        worker.each(step.blocks * groups, [&](int task) {
            const int block = task / groups, group = task % groups;
            const Range rows = rows_of(group);
            Scratch& scratch = scratch_[static_cast<std::size_t>(worker.member())];
            const Place outputs = place_of(out_.value(block, 0), rows, scratch);
            for (int oy = rows.begin; oy < rows.end; ++oy)
                forward_row(step, block, oy, halves, outputs, scratch);
            if (pooling_) pooling_->pool(step, block, group, outputs);
        });
    }

    // A task is one image's row of outputs. Positions that see the whole width of the window see
    // runs of the same lengths, and go together.
    void forward_few(const Step& step, const Worker& worker) override {
        worker.each(step.lanes * w_.out_height, [&](int task) {
            const int row = task / w_.out_height, oy = task % w_.out_height;
            Scratch& scratch = scratch_[static_cast<std::size_t>(worker.member())];
            const auto is_whole = [&](int ox) {
                const Range xs = w_.columns(ox);
                return xs.end - xs.begin == w_.kernel_width;
            };
            for (int ox = 0; ox < w_.out_width;) {
                int together = 1;
                while (is_whole(ox) && together < UPDATE_INPUTS && ox + together < w_.out_width &&
                       is_whole(ox + together))
                    ++together;
                const int runs = list_runs(oy, ox, scratch.runs.data());
                with_constant<UPDATE_INPUTS>(together, [&](auto count) {
                    few_positions<decltype(count)::value>(
                        scratch.runs.data(), runs, in_.row(row),
                        out_.row(row) + (oy * w_.out_width + ox) * filters_);
                });
                ox += together;
            }
        });
    }

    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        // Where errors are read once or twice only, ReLU's part is taken then.
        if (input_errors && !by_tiles()) mask_errors(step, worker);
        if (by_tiles()) {
            backward_by_tiles(step, worker, input_errors);
        } else if (input_errors) {
            turn_kernel(worker);
            if (halves_) round_turned(step, worker);
            worker.each(step.blocks * w_.height, [&](int task) {
                send_back(task / w_.height, task % w_.height, step,
                          scratch_[static_cast<std::size_t>(worker.member())]);
            });
        }
        worker.each(by_tiles() ? 0 : parts_ * panels_, [&](int task) {
            Scratch& scratch = scratch_[static_cast<std::size_t>(worker.member())];
            if (is_copied_)
                add_share_by_lanes(step, task / panels_, task % panels_, scratch);
            else
                add_share(step, task / panels_, task % panels_, scratch);
        });
        constexpr int some = 32;
        const int groups = (rows_ + 1 + some - 1) / some;
        worker.each(panels_ * groups, [&](int task) {
            const int panel = task / groups, first = task % groups * some;
            sum_shares(step, panel, first, std::min(first + some, rows_ + 1));
        });
    }

    bool watch(Moments& moments) override {
        moments_ = &moments;
        moments.divide(w_.out_height);
        return true;
    }

    // Where images have few channels, it is the way of the outputs to memory that takes the time. Of tall
    // windows a row is more than a cache holds, and a task too large.
    bool adopt(RowPooling& pooling) override {
        if (!is_copied_) return false;
        pooling_ = &pooling;
        const auto features = most_positions() * static_cast<std::size_t>(filters_);
        if (features * BLOCK * sizeof(float) > MOST_GROUP_BYTES) pooling_ = nullptr;
        return pooling_ != nullptr;
    }

private:
    using Place = RowPooling::Place;

    struct Scratch {  // of one thread
        explicit Scratch(const ConvolutionOp& op)
            : runs(static_cast<std::size_t>(op.w_.kernel_height * op.w_.kernel_width)),
#if INKPROOF_HALF
              tile_runs(runs.size()),
#endif
              window(static_cast<std::size_t>(op.is_copied_ ? op.rows_ * BLOCK * LANE_POSITIONS : 0)),
              lane_sums(static_cast<std::size_t>(op.is_copied_ ? PANEL * (op.rows_ + 1) * VL : 0)),
              rows(op.pooling_ ? op.most_positions() * op.filters_ * BLOCK : 0),
              errors(POSITIONS * BLOCK * PANEL),
              error_pairs(op.halves_     ? POSITIONS * BLOCK * PANEL / 2
                          : op.by_tiles() ? TILE_POSITIONS * BLOCK * PANEL / 2
                                          : 0) {}
        std::vector<Run> runs;
#if INKPROOF_HALF
        std::vector<TileRun> tile_runs;
#endif
        Buffer<float> window;  // [position][row][lane]
        Buffer<float> lane_sums;  // [filter][row, bias][lane of a vector]
        Buffer<float> rows;  // [position][filter][lane] of a group's rows: outputs or their errors
        Buffer<float> errors;  // [position][lane][16 filters]
        Buffer<Pair> error_pairs;  // [position][pair of lanes][16 filters]
    };

    // Of a panel of the turned kernel, and of all.
    std::size_t turned_stride() const {
        return static_cast<std::size_t>(w_.kernel_height * w_.kernel_width * filters_) * PANEL;
    }
    std::size_t turned_size() const {
        return turned_stride() * static_cast<std::size_t>((w_.channels + PANEL - 1) / PANEL);
    }

    // To whoever watches, a finished row of outputs.
    void show_row(const Step& step, int block, int oy) const {
        if (moments_ && step.training)
            moments_->see(step, block, oy, oy * w_.out_width, w_.out_width);
    }

    std::size_t share_size() const { return static_cast<std::size_t>(rows_ + 1) * PANEL; }

    // Rows of outputs that are worked on together: one, or those of a row of the pooling's windows.
    int row_groups() const { return pooling_ ? pooling_->window_rows() : w_.out_height; }
    Range rows_of(int group) const {
        return pooling_ ? pooling_->input_rows(group) : Range{group, group + 1};
    }

    // Where a group's outputs are, or their errors: with a pooling that is done here nobody else needs
    // them, and they go no further than a cache.
    Place place_of(float* numbers, Range rows, Scratch& scratch) const {
        const std::size_t stride = static_cast<std::size_t>(filters_) * BLOCK;
        if (!pooling_) return {numbers, 0, stride};
        return {scratch.rows.get(), rows.begin * w_.out_width, stride};
    }

    // Of a group's rows.
    std::size_t most_positions() const {
        int most = 0;
        for (int group = 0; group < row_groups(); ++group) {
            const Range rows = rows_of(group);
            most = std::max(most, rows.end - rows.begin);
        }
        return static_cast<std::size_t>(most * w_.out_width);
    }

    void forward_row(const Step& step, int block, int oy, bool halves, Place to, Scratch& scratch) {
        const int vectors = step.vectors(block);
        for (int ox = 0; ox < w_.out_width; ++ox) {
            const float* x = in_.value(block, 0);
            int runs = 0;
            if (is_copied_) {
                copy_window(x, oy, ox, scratch.window.get(), vectors);
                x = scratch.window.get();
                scratch.runs[runs++] = {0, 0, rows_};
            } else {
                runs = list_runs(oy, ox, scratch.runs.data());
            }
            float* y = to.pixel(oy * w_.out_width + ox);
            for (int p = 0; p < panels_ && halves; ++p)
                product_of_halves(p, block, scratch.runs.data(), runs, y, vectors);
            for (int p = 0; p < panels_ && !halves; ++p)
                product(kernel_.values.get() + p * kernel_.panel_stride, scratch.runs.data(), runs, x,
                        y + p * PANEL * BLOCK, bias_.values.get() + p * PANEL, is_relu_,
                        std::min(PANEL, filters_ - p * PANEL), vectors);
        }
        show_row(step, block, oy);
    }

    // What the output at (oy, ox) sees, one run for each row of the image.
    int list_runs(int oy, int ox, Run* runs) const {
        const Range ys = w_.rows(oy), xs = w_.columns(ox);
        if (xs.begin >= xs.end) return 0;
        int count = 0;
        for (int iy = ys.begin; iy < ys.end; ++iy) {
            const int ky = iy - oy * w_.stride_y + w_.pad_top;
            const int kx = xs.begin - ox * w_.stride_x + w_.pad_left;
            const int row = (ky * w_.kernel_width + kx) * w_.channels;
            const int feature = (iy * w_.width + xs.begin) * w_.channels;
            runs[count++] = {static_cast<std::size_t>(row) * PANEL,
                             static_cast<std::size_t>(feature) * BLOCK,
                             (xs.end - xs.begin) * w_.channels};
        }
        return count;
    }

    template <int K>
    void few_positions(const Run* runs, int run_count, const float* x, float* y) const {
        const auto apart = static_cast<std::size_t>(w_.stride_x * w_.channels);
        for (int p = 0; p < panels_; ++p) {
            V sum[K][VP];
            for (int i = 0; i < K; ++i)
                for (int j = 0; j < VP; ++j)
                    sum[i][j] = load(bias_.values.get() + p * PANEL + j * VL);
            const float* w = kernel_.values.get() + p * kernel_.panel_stride;
            for (int r = 0; r < run_count; ++r)
                add_rows<K, 1>(sum, w + runs[r].row, 0, runs[r].count,
                               x + runs[r].feature / BLOCK, apart);
            // What belongs to no filter must not fall on the next position, which another thread
            // may have written.
            const int units = std::min(PANEL, filters_ - p * PANEL);
            for (int i = 0; i < K; ++i)
                for (int j = 0; j < VP && j * VL < units; ++j)
                    store_some(y + i * filters_ + p * PANEL + j * VL,
                               is_relu_ ? relu(sum[i][j]) : sum[i][j], units - j * VL);
        }
    }

    // The same as [row][lane], zero outside the image.
    void copy_window(const float* x, int oy, int ox, float* to, int vectors) const {
        for (int ky = 0; ky < w_.kernel_height; ++ky) {
            const int iy = oy * w_.stride_y - w_.pad_top + ky;
            for (int kx = 0; kx < w_.kernel_width; ++kx) {
                const int ix = ox * w_.stride_x - w_.pad_left + kx;
                const bool inside = iy >= 0 && iy < w_.height && ix >= 0 && ix < w_.width;
                const float* from =
                    inside ? x + static_cast<std::size_t>((iy * w_.width + ix) * w_.channels) * BLOCK
                           : nullptr;
                for (int c = 0; c < w_.channels; ++c, to += BLOCK)
                    for (int v = 0; v < vectors * VL; v += VL)
                        store(to + v, inside ? load(from + c * BLOCK + v) : V{});
            }
        }
    }

    // The kernel with filters and channels exchanged: [panel of channels][(y, x, filter)][16].
    void turn_kernel(const Worker& worker) {
        const int places = w_.kernel_height * w_.kernel_width;
        const std::size_t stride = turned_stride();
        worker.each(places, [&](int place) {
            for (int c = 0; c < w_.channels; ++c) {
                const int row = place * w_.channels + c;
                float* to = turned_.get() + c / PANEL * stride + c % PANEL +
                            static_cast<std::size_t>(place * filters_) * PANEL;
                for (int f = 0; f < filters_; ++f)
                    to[f * PANEL] = kernel_.values[f / PANEL * kernel_.panel_stride +
                                                   static_cast<std::size_t>(row * PANEL) +
                                                   f % PANEL];
            }
        });
    }

    // Calls f(place, position) for each place of the window in which an output sees a pixel.
    template <typename F>
    void each_seen_by(int iy, int ix, F&& f) const {
        for (int ky = 0; ky < w_.kernel_height; ++ky) {
            const int above = iy + w_.pad_top - ky, oy = above / w_.stride_y;
            if (above < 0 || above % w_.stride_y != 0 || oy >= w_.out_height) continue;
            for (int kx = 0; kx < w_.kernel_width; ++kx) {
                const int before = ix + w_.pad_left - kx, ox = before / w_.stride_x;
                if (before < 0 || before % w_.stride_x != 0 || ox >= w_.out_width) continue;
                f(ky * w_.kernel_width + kx, oy * w_.out_width + ox);
            }
        }
    }

    // The errors of one row of the input: what each pixel did to the outputs that saw it.
    void send_back(int block, int iy, const Step& step, Scratch& scratch) const {
        const std::size_t stride = turned_stride();
        for (int ix = 0; ix < w_.width; ++ix) {
            int runs = 0;
            each_seen_by(iy, ix, [&](int place, int position) {
                scratch.runs[static_cast<std::size_t>(runs++)] = {
                    static_cast<std::size_t>(place * filters_) * PANEL,
                    static_cast<std::size_t>(position * filters_) * BLOCK, filters_};
            });
            float* d = in_.error(block, (iy * w_.width + ix) * w_.channels);
            for (int first = 0; first < w_.channels && halves_; first += PANEL)
                send_back_halves(first, block, scratch.runs.data(), runs, d, step.vectors(block));
            for (int first = 0; first < w_.channels && !halves_; first += PANEL)
                product(turned_.get() + first / PANEL * stride, scratch.runs.data(), runs,
                        out_.error(block, 0), d + first * BLOCK, nullptr, false,
                        std::min(PANEL, w_.channels - first), step.vectors(block));
        }
    }

    // Some lanes' errors of an output, before its activation.
    V error_vector(int block, int feature, int lane) const {
        const V error = load(out_.error(block, feature) + lane);
        if (!is_relu_ || is_masked_) return error;
        return load(out_.value(block, feature) + lane) > V{} ? error : V{};
    }

    // One part of the sum over the batch's positions, which is the kernel's gradient; its last row
    // is the bias'.
    void add_share(const Step& step, int part, int panel, Scratch& scratch) const {
        float* g = shares_.get() + static_cast<std::size_t>(part * panels_ + panel) * share_size();
        std::fill(g, g + share_size(), 0.0f);
        const int chunks = (positions_ + POSITIONS - 1) / POSITIONS;
        const Range mine = share(step.blocks * chunks, 1, part, parts_);
        for (int chunk = mine.begin; chunk < mine.end; ++chunk) {
            const int block = chunk / chunks, first = chunk % chunks * POSITIONS;
            const int count = std::min(POSITIONS, positions_ - first);
            const int vectors = step.vectors(block), lanes = step.block_lanes(block);
            for (int i = 0; i < count; ++i) {
                alignas(64) float errors[PANEL * BLOCK];
                const int feature = (first + i) * filters_ + panel * PANEL;
                for (int u = 0; u < PANEL; ++u)
                    for (int v = 0; v < vectors * VL; v += VL) {
                        // The same position of the next chunk: the processor does not foresee it, since
                        // other panels' errors lie in between.
                        if (v % PANEL == 0)
                            __builtin_prefetch(
                                out_.error(block, feature + u + POSITIONS * filters_) + v);
                        store(errors + u * BLOCK + v, error_vector(block, feature + u, v));
                    }
                to_lanes(errors, scratch.errors.get() + i * BLOCK * PANEL, PANEL, PANEL, vectors);
            }
            // Filters beyond the last belong to the next position; their columns are padding.
            if (halves_)
                add_chunk_half(block, first, count, lanes, g, scratch);
            else
                add_chunk(block, first, count, lanes, g, scratch);
            float* bias = g + static_cast<std::size_t>(rows_) * PANEL;
            for (int j = 0; j < PANEL; j += VL) {
                V sum = load(bias + j);
                for (int i = 0; i < count; ++i)
                    for (int b = 0; b < lanes; ++b)
                        sum += load(scratch.errors.get() + (i * BLOCK + b) * PANEL + j);
                store(bias + j, sum);
            }
        }
    }

    void add_chunk(int block, int first, int count, int lanes, float* g, Scratch& scratch) const {
        const float* x[POSITIONS];
        const float* t[POSITIONS];
        each_place(first, count, [&](int row, const int* seen_by, const int* features, int seen) {
            for (int i = 0; i < seen; ++i) t[i] = scratch.errors.get() + seen_by[i] * BLOCK * PANEL;
            in_pieces(w_.channels, GRADIENT_ROWS, [&](int channel, int rows) {
                for (int i = 0; i < seen; ++i) x[i] = in_.value(block, features[i] + channel);
                with_constant<GRADIENT_ROWS>(rows, [&](auto wanted) {
                    gradient_tile<decltype(wanted)::value>(
                        g + static_cast<std::size_t>(row + channel) * PANEL, x, t, seen, lanes);
                });
            });
        });
    }

    // As add_share, where images have few channels: each lane of a vector adds up by itself.
    void add_share_by_lanes(const Step& step, int part, int panel, Scratch& scratch) const {
        const std::size_t stride = static_cast<std::size_t>(rows_ + 1) * VL;
        float* sums = scratch.lane_sums.get();
        std::fill(sums, sums + PANEL * stride, 0.0f);
        const int filters = std::min(PANEL, filters_ - panel * PANEL);
        const int groups = row_groups();
        const Range mine = share(step.blocks * groups, 1, part, parts_);
        for (int group = mine.begin; group < mine.end; ++group) {
            const int block = group / groups;
            const Range rows = rows_of(group % groups);
            const Place errors = place_of(out_.error(block, 0), rows, scratch);
            if (pooling_)
                pooling_->send_back(step, block, group % groups,
                                    {panel * PANEL, panel * PANEL + filters}, errors);
            in_pieces((rows.end - rows.begin) * w_.out_width, LANE_POSITIONS, [&](int first, int count) {
                add_positions_by_lanes(block, step.vectors(block), rows.begin * w_.out_width + first,
                                       count, panel, filters, errors, scratch);
            });
        }
        float* g = shares_.get() + static_cast<std::size_t>(part * panels_ + panel) * share_size();
        for (int row = 0; row <= rows_; ++row)
            for (int f = 0; f < PANEL; f += VL) {
                V tile[VL];
#pragma GCC unroll 16
                for (int i = 0; i < VL; ++i) tile[i] = load(sums + (f + i) * stride + row * VL);
                transpose(tile);
                V sum = tile[0];
#pragma GCC unroll 16
                for (int i = 1; i < VL; ++i) sum += tile[i];
                store(g + row * PANEL + f, sum);
            }
    }

    void add_positions_by_lanes(int block, int vectors, int first, int count, int panel, int filters,
                                Place place, Scratch& scratch) const {
        const std::size_t stride = static_cast<std::size_t>(rows_ + 1) * VL;
        const int feature = first * filters_ + panel * PANEL;  // whose outputs are read, if any
        const float* x[LANE_POSITIONS];
        const std::size_t* rows = find_windows(block, first, count, vectors, x, scratch);
        for (int v = 0; v < vectors * VL; v += VL) {
            for (int f = 0; f < filters; f += LANE_FILTERS)
                in_pieces(rows_, LANE_ROWS, [&](int row, int some) {
                    const float* errors = place.pixel(first) + (panel * PANEL + f) * BLOCK + v;
                    const float* outputs =
                        is_relu_ && !is_masked_ ? out_.value(block, feature + f) + v : nullptr;
                    float* to = scratch.lane_sums.get() + static_cast<std::size_t>(f) * stride;
                    with_constant<LANE_FILTERS>(std::min(LANE_FILTERS, filters - f), [&](auto n) {
                        with_constant<LANE_ROWS>(some, [&](auto wanted) {
                            lane_sums_tile<decltype(wanted)::value, decltype(n)::value>(
                                to + row * VL, stride, x, rows + row, errors, outputs, place.stride,
                                count, row == 0 ? to + rows_ * VL : nullptr);
                        });
                    });
                });
            for (int i = 0; i < count; ++i) x[i] += VL;
        }
    }

    // Where some positions' windows begin, and where each one's rows are from there: in the image or,
    // if one of them sees something beyond its edge, in copies.
    const std::size_t* find_windows(int block, int first, int count, int vectors, const float** x,
                                    Scratch& scratch) const {
        bool are_inside = true;
        for (int i = 0; i < count; ++i) {
            const int iy = (first + i) / w_.out_width * w_.stride_y - w_.pad_top;
            const int ix = (first + i) % w_.out_width * w_.stride_x - w_.pad_left;
            are_inside = are_inside && iy >= 0 && iy + w_.kernel_height <= w_.height && ix >= 0 &&
                         ix + w_.kernel_width <= w_.width;
            if (are_inside) x[i] = in_.value(block, (iy * w_.width + ix) * w_.channels);
        }
        if (are_inside) return rows_seen_.data();
        for (int i = 0; i < count; ++i) {
            float* to = scratch.window.get() + static_cast<std::size_t>(i * rows_) * BLOCK;
            copy_window(in_.value(block, 0), (first + i) / w_.out_width, (first + i) % w_.out_width,
                        to, vectors);
            x[i] = to;
        }
        return rows_copied_.data();
    }

    // Calls f(row, positions, features, count) for each place of the window: its first row of the
    // kernel, and which of some positions see a pixel there, and which.
    template <int MOST = POSITIONS, typename F>
    void each_place(int first, int count, F&& f) const {
        for (int ky = 0; ky < w_.kernel_height; ++ky)
            for (int kx = 0; kx < w_.kernel_width; ++kx) {
                int positions[MOST], features[MOST], seen = 0;
                for (int i = 0; i < count; ++i) {
                    const int iy = (first + i) / w_.out_width * w_.stride_y - w_.pad_top + ky;
                    const int ix = (first + i) % w_.out_width * w_.stride_x - w_.pad_left + kx;
                    if (iy < 0 || iy >= w_.height || ix < 0 || ix >= w_.width) continue;
                    positions[seen] = i;
                    features[seen++] = (iy * w_.width + ix) * w_.channels;
                }
                f((ky * w_.kernel_width + kx) * w_.channels, positions, features, seen);
            }
    }

#if INKPROOF_HALF
    void reserve_halves(int blocks) {
        if (!halves_ && !by_tiles()) return;
        in_halves_.reserve(in_, blocks, true);
        out_halves_.reserve(out_, blocks, false);
        if (by_tiles()) {
            const auto size = static_cast<std::size_t>(rows_ * filters_);
            if (forward_kernel_.size() == 0) {
                forward_kernel_ = Buffer<Half>(size);
                back_kernel_ = Buffer<Half>(size);
            }
            return;
        }
        if (kernel_pairs_.size() > 0) return;
        kernel_pairs_ = Buffer<Pair>(kernel_.values.size() / 2);
        turned_pairs_ = Buffer<Pair>(turned_size() / 2);
    }

    void take_halves(const Step& step, const Worker& worker) {
        in_halves_.take(step, worker, in_.values, in_.features);
        worker.each(panels_, [&](int panel) {
            round_panel(kernel_.values.get() + panel * kernel_.panel_stride,
                        kernel_pairs_.get() + panel * kernel_.panel_stride / 2, nullptr, rows_);
        });
    }

    void product_of_halves(int panel, int block, const Run* runs, int run_count, float* y,
                           int vectors) const {
        product(kernel_pairs_.get() + panel * kernel_.panel_stride / 2, runs, run_count,
                in_halves_.pairs(block, 0), y + panel * PANEL * BLOCK,
                static_cast<const float*>(bias_.values.get()) + panel * PANEL, is_relu_,
                std::min(PANEL, filters_ - panel * PANEL), vectors);
    }

    void round_turned(const Step& step, const Worker& worker) {
        out_halves_.take(step, worker, out_.errors, out_.features);
        const std::size_t stride = turned_stride();
        worker.each((w_.channels + PANEL - 1) / PANEL, [&](int panel) {
            round_panel(turned_.get() + panel * stride, turned_pairs_.get() + panel * stride / 2,
                        nullptr, static_cast<int>(stride / PANEL));
        });
    }

    void send_back_halves(int channel, int block, const Run* runs, int run_count, float* d,
                          int vectors) const {
        product(turned_pairs_.get() + channel / PANEL * turned_stride() / 2, runs, run_count,
                out_halves_.pairs(block, 0), d + channel * BLOCK, nullptr, false,
                std::min(PANEL, w_.channels - channel), vectors);
    }

    void add_chunk_half(int block, int first, int count, int lanes, float* g,
                        Scratch& scratch) const {
        constexpr int size = BLOCK * PANEL;  // of a position's errors
        for (int i = 0; i < count; ++i)
            for (int b = 0; b < BLOCK; b += 2) {
                const float* from = scratch.errors.get() + i * size + b * PANEL;
                pair_transposed(from, from + PANEL,
                                scratch.error_pairs.get() + (i * size + b * PANEL) / 2, PANEL);
            }
        const Pair* x[POSITIONS];
        const Pair* t[POSITIONS];
        each_place(first, count, [&](int row, const int* seen_by, const int* features, int seen) {
            for (int i = 0; i < seen; ++i)
                t[i] = scratch.error_pairs.get() + seen_by[i] * size / 2;
            in_pieces(w_.channels, GRADIENT_ROWS, [&](int channel, int rows) {
                for (int i = 0; i < seen; ++i) x[i] = in_halves_.lanes(block, features[i] + channel);
                with_constant<GRADIENT_ROWS>(rows, [&](auto wanted) {
                    gradient_tile<decltype(wanted)::value>(
                        g + static_cast<std::size_t>(row + channel) * PANEL, x, t, seen, lanes);
                });
            });
        });
    }

    bool by_tiles() const { return tiles_ != Factors::floats; }

    // Calls f(unit) with whatever multiplies tiles.
    template <typename F>
    void with_unit(F&& f) const {
        if (tiles_ == Factors::tiles) {
            Amx unit;
            f(unit);
        } else {
            Emulated unit;
            f(unit);
        }
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
                constexpr std::size_t tile = TILE_ROWS * TILE_DEPTH;
                for (int i = 0; i < 2; ++i)
                    std::memcpy(forward_kernel_.get() +
                                    (static_cast<std::size_t>(p + i) * groups_of(rows_) +
                                     static_cast<std::size_t>(group)) * tile,
                                turned + i * tile, tile * sizeof(Half));
                // Back: the rows of a group are 32 channels of one place.
                const int place = group * TILE_DEPTH / w_.channels;
                const int channel = group * TILE_DEPTH % w_.channels;
                const std::size_t filter_groups = groups_of(filters_);
                for (int i = 0; i < 2; ++i)
                    std::memcpy(back_kernel_.get() +
                                    (static_cast<std::size_t>(channel / PANEL + i) * back_groups() +
                                     static_cast<std::size_t>(place) * filter_groups +
                                     static_cast<std::size_t>(p / 2)) * tile,
                                lines + i * tile, tile * sizeof(Half));
            }
        });
    }
    static std::size_t groups_of(int k) { return static_cast<std::size_t>(k / TILE_DEPTH); }
    std::size_t back_groups() const {
        return static_cast<std::size_t>(w_.kernel_height * w_.kernel_width) * groups_of(filters_);
    }

    void forward_by_tiles(const Step& step, const Worker& worker) {
        round_kernel(worker);
        in_halves_.take(step, worker, in_.values, in_.features);
        constexpr std::size_t tile = TILE_ROWS * TILE_DEPTH;
        worker.each(step.blocks * w_.out_height, [&](int task) {
            const int block = task / w_.out_height, oy = task % w_.out_height;
            Scratch& scratch = scratch_[static_cast<std::size_t>(worker.member())];
            with_unit([&](auto& unit) {
                for (int ox = 0; ox < w_.out_width; ++ox) {
                    const int count = list_runs(oy, ox, scratch.runs.data());
                    for (int i = 0; i < count; ++i) {
                        const Run& run = scratch.runs[static_cast<std::size_t>(i)];
                        scratch.tile_runs[static_cast<std::size_t>(i)] = {
                            run.row / (PANEL * TILE_DEPTH) * tile, run.feature / 2, run.count};
                    }
                    float* y = out_.value(block, (oy * w_.out_width + ox) * filters_);
                    for (int p = 0; p < panels_; p += 2) {
                        float* at = y + p * PANEL * BLOCK;
                        multiply_runs(unit,
                                      forward_kernel_.get() +
                                          static_cast<std::size_t>(p) * groups_of(rows_) * tile,
                                      groups_of(rows_) * tile, 2, scratch.tile_runs.data(), count,
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
            });
            show_row(step, block, oy);
        });
    }

    void backward_by_tiles(const Step& step, const Worker& worker, bool input_errors) {
        if (input_errors)
            out_halves_.take(step, worker, out_.errors, out_.features,
                             is_relu_ && !is_masked_ ? &out_.values : nullptr);
        worker.each(input_errors ? step.blocks * w_.height : 0, [&](int task) {
            Scratch& scratch = scratch_[static_cast<std::size_t>(worker.member())];
            with_unit([&](auto& unit) {
                send_back_by_tiles(unit, task / w_.height, task % w_.height, scratch);
            });
        });
        worker.each(parts_ * panels_, [&](int task) {
            Scratch& scratch = scratch_[static_cast<std::size_t>(worker.member())];
            with_unit([&](auto& unit) {
                add_share_by_tiles(unit, step, task / panels_, task % panels_, scratch);
            });
        });
    }

    template <typename Unit>
    void send_back_by_tiles(Unit& unit, int block, int iy, Scratch& scratch) const {
        constexpr std::size_t tile = TILE_ROWS * TILE_DEPTH;
        for (int ix = 0; ix < w_.width; ++ix) {
            int runs = 0;
            each_seen_by(iy, ix, [&](int place, int position) {
                scratch.tile_runs[static_cast<std::size_t>(runs++)] = {
                    static_cast<std::size_t>(place) * groups_of(filters_) * tile,
                    static_cast<std::size_t>(position * filters_) * (BLOCK / 2), filters_};
            });
            for (int first = 0; first < w_.channels; first += 2 * PANEL)
                multiply_runs(unit,
                              back_kernel_.get() +
                                  static_cast<std::size_t>(first / PANEL) * back_groups() * tile,
                              back_groups() * tile, 2, scratch.tile_runs.data(), runs,
                              out_halves_.pairs(block, 0),
                              in_.error(block, (iy * w_.width + ix) * w_.channels + first));
        }
    }

    // As add_share.
    template <typename Unit>
    void add_share_by_tiles(Unit& unit, const Step& step, int part, int panel, Scratch& scratch) const {
        float* g = shares_.get() + static_cast<std::size_t>(part * panels_ + panel) * share_size();
        std::fill(g, g + share_size(), 0.0f);
        float* bias = g + static_cast<std::size_t>(rows_) * PANEL;
        const int chunks = (positions_ + TILE_POSITIONS - 1) / TILE_POSITIONS;
        const Range mine = share(step.blocks * chunks, 1, part, parts_);
        for (int chunk = mine.begin; chunk < mine.end; ++chunk) {
            const int block = chunk / chunks, first = chunk % chunks * TILE_POSITIONS;
            const int count = std::min(TILE_POSITIONS, positions_ - first);
            for (int i = 0; i < count; ++i)
                pair_errors(block, (first + i) * filters_ + panel * PANEL, step.vectors(block),
                            scratch.error_pairs.get() + i * BLOCK * PANEL / 2, bias);
            const Half* x[TILE_POSITIONS];
            const Pair* t[TILE_POSITIONS];
            each_place<TILE_POSITIONS>(first, count, [&](int row, const int* seen_by,
                                                         const int* features, int seen) {
                for (int i = 0; i < seen; ++i)
                    t[i] = scratch.error_pairs.get() + seen_by[i] * BLOCK * PANEL / 2;
                for (int channel = 0; channel < w_.channels; channel += TILE_DEPTH) {
                    for (int i = 0; i < seen; ++i)
                        x[i] = reinterpret_cast<const Half*>(
                            in_halves_.lanes(block, features[i] + channel));
                    add_positions(unit, g + static_cast<std::size_t>(row + channel) * PANEL, x, t,
                                  seen);
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

    TensorHalves in_halves_, out_halves_;
    Buffer<Pair> kernel_pairs_, turned_pairs_;
    Buffer<Half> forward_kernel_, back_kernel_;
#else
    bool by_tiles() const { return false; }
    void forward_by_tiles(const Step&, const Worker&) {}
    void backward_by_tiles(const Step&, const Worker&, bool) {}
    void reserve_halves(int) {}
    void take_halves(const Step&, const Worker&) {}
    void product_of_halves(int, int, const Run*, int, float*, int) const {}
    void round_turned(const Step&, const Worker&) {}
    void send_back_halves(int, int, const Run*, int, float*, int) const {}
    void add_chunk_half(int, int, int, int, float*, Scratch&) const {}
#endif

    // The parts' sums together, in their order, for some rows of one panel.
    void sum_shares(const Step& step, int panel, int begin, int end) const {
        const int filled = std::min(PANEL, filters_ - panel * PANEL);
        for (int row = begin; row < end; ++row) {
            alignas(64) float sum[PANEL] = {};
            for (int part = 0; part < parts_; ++part) {
                const float* from = shares_.get() +
                                    static_cast<std::size_t>(part * panels_ + panel) *
                                        share_size() + static_cast<std::size_t>(row) * PANEL;
                for (int i = 0; i < filled; ++i) sum[i] += from[i];
            }
            const auto at = static_cast<std::size_t>(row) * PANEL;
            if (row < rows_)
                deliver(step, kernel_, panel * kernel_.panel_stride + at, sum, PANEL);
            else if (has_bias_)
                deliver(step, bias_, static_cast<std::size_t>(panel * PANEL), sum, PANEL);
        }
    }

    const bool is_copied_;    // each window together, before it is multiplied
    const bool halves_;       // training rounds the factors of its products to bfloat16
    const Factors tiles_;     // the same by tiles, or not
    const int rows_, panels_, positions_, parts_;
    RowPooling* pooling_ = nullptr;  // of the output, done here
    std::vector<std::size_t> rows_seen_, rows_copied_;  // of a window, see find_windows
    Buffer<float> turned_;
    Buffer<float> shares_;  // [part][panel][row, and one for the bias][16]
    std::vector<Scratch> scratch_;
};

}  // namespace

std::unique_ptr<Op> make_convolution(Tensor& in, Tensor& out, const Window& window, int filters,
                                     bool has_bias, bool is_relu, Factors factors) {
    const Factors possible = possible_factors(window, filters, factors);
    if (possible == Factors::floats && suits_winograd(window, filters))
        return make_winograd_convolution(in, out, window, filters, has_bias, is_relu);
    return std::make_unique<ConvolutionOp>(in, out, window, filters, has_bias, is_relu, possible);
}

}  // namespace inkproof
