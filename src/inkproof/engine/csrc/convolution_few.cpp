// Convolution of images of few channels. Runs of features are too short there: each position's window
// is copied together first. What takes the time is the way of the outputs to memory: a pooling that
// follows is done here, in registers where its windows are small, else in the cache. And the kernel
// has so few rows that the gradient is summed without turning the errors, by each lane of a vector for
// itself; these are asked for piece by piece of an operation that can tell.
#include "convolution_direct.hpp"

namespace inkproof {

namespace {

constexpr int LANE_POSITIONS = 24;  // whose windows stay in the first-level cache
constexpr int LANE_ROWS = VL == 16 ? 12 : 5, LANE_FILTERS = 2;  // of a tile of sums by lanes
constexpr int POOLED_PIXELS = 4, POOLED_UNITS = VL == 16 ? 4 : 2;  // of a tile that pools in registers
constexpr std::size_t MOST_PIECE_BYTES = std::size_t{1} << 20;  // of outputs or their errors

class FewChannelsConvolution : public DirectConvolution {
public:
    FewChannelsConvolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                           SharedWeights weights)
        : DirectConvolution(in, out, spec, std::move(weights)) {
        for (int row = 0; row < rows_; ++row) {
            const int place = row / w_.channels, channel = row % w_.channels;
            const int y = place / w_.kernel_width, x = place % w_.kernel_width;
            rows_seen_.push_back(
                static_cast<std::size_t>((y * w_.width + x) * w_.channels + channel) * BLOCK);
            rows_copied_.push_back(static_cast<std::size_t>(row) * BLOCK);
        }
    }

    void reserve(int blocks, int members, bool training) override {
        DirectConvolution::reserve(blocks, members, training);
        while (static_cast<int>(lanes_.size()) < members) lanes_.push_back(make_scratch());
    }

    void forward(const Step& step, const Worker& worker) override {
        if (pools_by_window_) return forward_by_window(step, worker);
        const int pieces = pieces_of(pooling_);
        worker.each(step.blocks * pieces, [&](int task) {
            const int block = task / pieces, piece = task % pieces;
            LaneScratch& scratch = lanes_of(worker);
            const Piece outputs = piece_of(pooling_, piece, out_.value(block, 0), scratch);
            const Range positions = outputs.positions;
            for (int position = positions.begin; position < positions.end; ++position)
                forward_position(step, block, position, outputs.place, scratch);
            if (pooling_)
                pooling_->pool(step, block, piece, outputs.place);
            else
                show_row(step, block, piece);
        });
    }

    bool adopt(PiecePooling& pooling) override {
        const Window& p = pooling.window();
        const bool is_small =
            p.kernel_height * p.kernel_width <= POOLED_PIXELS && p.stride_x >= p.kernel_width;
        if (!is_small && !fetch(pooling)) return false;
        pools_by_window_ = is_small;
        pooling_ = &pooling;
        errors_ = &pooling;
        return true;
    }

    // Pieces are kept in a cache: of tall windows one is more than that holds, and a task too large.
    bool fetch(PieceErrors& errors) override {
        const auto features = most_positions(errors) * static_cast<std::size_t>(filters_);
        if (features * BLOCK * sizeof(float) > MOST_PIECE_BYTES) return false;
        errors_ = &errors;
        return true;
    }

private:
    using Place = PieceErrors::Place;

    struct LaneScratch {  // of one thread
        Buffer<float> window;  // [position][row][lane]
        Buffer<float> sums;    // [filter][row, bias][lane of a vector]
        Buffer<float> piece;   // [position][filter][lane]: outputs or their errors
    };

    LaneScratch make_scratch() const {
        const auto rows = static_cast<std::size_t>(rows_);
        const auto features = static_cast<std::size_t>(filters_) * BLOCK;
        const bool has_pieces = errors_ && !pools_by_window_;
        return {Buffer<float>(rows * BLOCK * LANE_POSITIONS), Buffer<float>(PANEL * (rows + 1) * VL),
                Buffer<float>(has_pieces ? most_positions(*errors_) * features : 0)};
    }

    LaneScratch& lanes_of(const Worker& worker) {
        return lanes_[static_cast<std::size_t>(worker.member())];
    }

    // Positions that are worked on together, and where their outputs are, or the errors of those.
    struct Piece {
        Range positions;
        Place place;
    };

    int pieces_of(const PieceErrors* after) const { return after ? after->pieces() : w_.out_height; }

    // A row; or as whoever comes after the convolution has them: what nobody else needs goes no further
    // than a cache. numbers: the block's, where there is nobody.
    Piece piece_of(const PieceErrors* after, int piece, float* numbers, LaneScratch& scratch) const {
        const std::size_t stride = static_cast<std::size_t>(filters_) * BLOCK;
        if (!after)
            return {{piece * w_.out_width, (piece + 1) * w_.out_width}, {numbers, 0, stride}};
        const Range positions = after->pixels_of(piece);
        return {positions, {scratch.piece.get(), positions.begin, stride}};
    }

    static std::size_t most_positions(const PieceErrors& after) {
        int most = 0;
        for (int piece = 0; piece < after.pieces(); ++piece) {
            const Range positions = after.pixels_of(piece);
            most = std::max(most, positions.end - positions.begin);
        }
        return static_cast<std::size_t>(most);
    }

    void forward_position(const Step& step, int block, int position, Place to,
                          LaneScratch& scratch) const {
        const int vectors = step.vectors(block);
        const float* window = scratch.window.get();
        const Run run{0, 0, rows_};
        copy_window(in_.value(block, 0), position / w_.out_width, position % w_.out_width,
                    scratch.window.get(), vectors);
        for (int p = 0; p < panels_; ++p) {
            const float* kernel = kernel_.values.get() + p * kernel_.panel_stride;
            product(kernel, &run, 1, window, to.pixel(position) + p * PANEL * BLOCK,
                    bias_.values.get() + p * PANEL, is_relu_,
                    std::min(PANEL, filters_ - p * PANEL), vectors);
        }
    }

    // Where no output is seen by two windows of the pooling, and none of them is large.
    void forward_by_window(const Step& step, const Worker& worker) {
        const Window& p = pooling_->window();
        worker.each(step.blocks * p.out_height, [&](int task) {
            const int block = task / p.out_height, oy = task % p.out_height;
            const Range ys = p.rows(oy);
            for (int ox = 0; ox < p.out_width; ++ox) {
                const Range xs = p.columns(ox);
                int positions[POOLED_PIXELS];
                const int count = list_pixels(ys, xs, positions, 0);
                forward_window(step, block, positions, count,
                               pooling_->pooled(step, block, oy * p.out_width + ox),
                               lanes_of(worker));
            }
        });
    }

    // Adds a window's pixels, which are positions here, to a list that has `count`; says how many then.
    int list_pixels(Range ys, Range xs, int* positions, int count) const {
        for (int y = ys.begin; y < ys.end; ++y)
            for (int x = xs.begin; x < xs.end; ++x) positions[count++] = y * w_.out_width + x;
        return count;
    }

    void forward_window(const Step& step, int block, const int* positions, int count,
                        PiecePooling::Pooled to, LaneScratch& scratch) const {
        const float* x[POOLED_PIXELS];
        const int vectors = step.vectors(block);
        const std::size_t* rows = find_windows(block, positions, count, vectors, x, scratch);
        for (int v = 0; v < vectors * VL; v += VL) {
            for (int f = 0; f < filters_; f += POOLED_UNITS) {
                const float* kernel =
                    kernel_.values.get() + f / PANEL * kernel_.panel_stride + f % PANEL;
                const int at = f * BLOCK + v;
                with_constant<POOLED_UNITS>(std::min(POOLED_UNITS, filters_ - f), [&](auto units) {
                    with_constant<POOLED_PIXELS>(count, [&](auto pixels) {
                        pooled_tile<units.value, pixels.value>(
                            kernel, rows, rows_, x, bias_.values.get() + f, is_relu_,
                            to.greatest + at, to.chosen ? to.chosen + at : nullptr);
                    });
                });
            }
            for (int i = 0; i < count; ++i) x[i] += VL;
        }
    }

    // What an output sees as [row][lane], zero outside the image.
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

    void add_share(const Step& step, int part, int panel, float* g, const Worker& worker) override {
        LaneScratch& scratch = lanes_of(worker);
        const std::size_t stride = static_cast<std::size_t>(rows_ + 1) * VL;
        float* sums = scratch.sums.get();
        std::fill(sums, sums + PANEL * stride, 0.0f);
        const int filters = std::min(PANEL, filters_ - panel * PANEL);
        const int pieces = pieces_of(errors_);
        const Range mine = part_of(step.blocks * pieces, part);
        for (int task = mine.begin; task < mine.end; ++task) {
            const int block = task / pieces, piece = task % pieces;
            if (pools_by_window_)
                add_windows(step, block, piece, panel, filters, scratch);
            else
                add_piece(step, block, piece, panel, filters, scratch);
        }
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

    void add_piece(const Step& step, int block, int piece, int panel, int filters,
                   LaneScratch& scratch) const {
        const Piece errors = piece_of(errors_, piece, out_.error(block, 0), scratch);
        const Range positions = errors.positions;
        if (errors_)
            errors_->send_back(step, block, piece, {panel * PANEL, panel * PANEL + filters},
                               errors.place);
        in_pieces(positions.end - positions.begin, LANE_POSITIONS, [&](int first, int count) {
            add_positions_by_lanes(block, step.vectors(block), positions.begin + first, count, panel,
                                   filters, errors.place, scratch);
        });
    }

    void add_positions_by_lanes(int block, int vectors, int first, int count, int panel, int filters,
                                Place place, LaneScratch& scratch) const {
        const std::size_t stride = static_cast<std::size_t>(rows_ + 1) * VL;
        const int feature = first * filters_ + panel * PANEL;  // whose outputs are read, if any
        int positions[LANE_POSITIONS];
        for (int i = 0; i < count; ++i) positions[i] = first + i;
        const float* x[LANE_POSITIONS];
        const std::size_t* rows = find_windows(block, positions, count, vectors, x, scratch);
        each_tile(vectors, filters, x, count, [&](auto some_rows, auto some, int f, int v, int row) {
            const float* errors = place.pixel(first) + (panel * PANEL + f) * BLOCK + v;
            const float* outputs =
                is_relu_ && !is_masked_ ? out_.value(block, feature + f) + v : nullptr;
            float* to = scratch.sums.get() + static_cast<std::size_t>(f) * stride;
            lane_sums_tile<some_rows.value, some.value>(to + row * VL, stride, x, rows + row, errors,
                                                        outputs, place.stride, count,
                                                        row == 0 ? to + rows_ * VL : nullptr);
        });
    }

    // Calls f(Int<rows>, Int<filters>, filter, lane, row) for each tile of the kernel's rows and some
    // filters, and each vector of lanes, to whose first one the positions' x points then.
    template <typename F>
    void each_tile(int vectors, int filters, const float** x, int positions, F&& f) const {
        for (int v = 0; v < vectors * VL; v += VL) {
            for (int filter = 0; filter < filters; filter += LANE_FILTERS)
                in_pieces(rows_, LANE_ROWS, [&](int row, int count) {
                    with_constant<LANE_FILTERS>(
                        std::min(LANE_FILTERS, filters - filter), [&](auto some) {
                            with_constant<LANE_ROWS>(count, [&](auto some_rows) {
                                f(some_rows, some, filter, v, row);
                            });
                        });
                });
            for (int i = 0; i < positions; ++i) x[i] += VL;
        }
    }

    // A row of the pooling's windows; as many at a time as have the same number of pixels.
    void add_windows(const Step& step, int block, int oy, int panel, int filters,
                     LaneScratch& scratch) const {
        const Window& p = pooling_->window();
        const std::size_t stride = static_cast<std::size_t>(rows_ + 1) * VL;
        const Range ys = p.rows(oy);
        const auto pixels_at = [&](int ox) {
            const Range xs = p.columns(ox);
            return (ys.end - ys.begin) * (xs.end - xs.begin);
        };
        for (int ox = 0; ox < p.out_width;) {
            const int first = ox, pixels = pixels_at(ox);
            int positions[LANE_POSITIONS], count = 0;
            for (; ox < p.out_width && count + pixels <= LANE_POSITIONS && pixels_at(ox) == pixels;
                 ++ox)
                count = list_pixels(ys, p.columns(ox), positions, count);
            const float* x[LANE_POSITIONS];
            const int vectors = step.vectors(block);
            const std::size_t* rows = find_windows(block, positions, count, vectors, x, scratch);
            const PiecePooling::Pooled from =
                pooling_->pooled(step, block, oy * p.out_width + first);
            each_tile(vectors, filters, x, count, [&](auto some_rows, auto some, int f, int v,
                                                      int row) {
                const int at = (panel * PANEL + f) * BLOCK + v;
                float* to = scratch.sums.get() + static_cast<std::size_t>(f) * stride;
                pooled_sums_tile<some_rows.value, some.value>(
                    to + row * VL, stride, x, rows + row, from.errors + at,
                    is_relu_ ? from.greatest + at : nullptr, from.chosen + at,
                    static_cast<std::size_t>(filters_) * BLOCK, ox - first, pixels,
                    row == 0 ? to + rows_ * VL : nullptr);
            });
        }
    }

    // Where some positions' windows begin, and where each one's rows are from there: in the image or,
    // if one of them sees something beyond its edge, in copies.
    const std::size_t* find_windows(int block, const int* positions, int count, int vectors,
                                    const float** x, LaneScratch& scratch) const {
        bool are_inside = true;
        for (int i = 0; i < count; ++i) {
            const int iy = positions[i] / w_.out_width * w_.stride_y - w_.pad_top;
            const int ix = positions[i] % w_.out_width * w_.stride_x - w_.pad_left;
            are_inside = are_inside && iy >= 0 && iy + w_.kernel_height <= w_.height && ix >= 0 &&
                         ix + w_.kernel_width <= w_.width;
            if (are_inside) x[i] = in_.value(block, (iy * w_.width + ix) * w_.channels);
        }
        if (are_inside) return rows_seen_.data();
        for (int i = 0; i < count; ++i) {
            float* to = scratch.window.get() + static_cast<std::size_t>(i * rows_) * BLOCK;
            copy_window(in_.value(block, 0), positions[i] / w_.out_width,
                        positions[i] % w_.out_width, to, vectors);
            x[i] = to;
        }
        return rows_copied_.data();
    }

    PiecePooling* pooling_ = nullptr;  // of the output, done here
    bool pools_by_window_ = false;     // and in registers
    PieceErrors* errors_ = nullptr;    // where the output's errors are asked for; the same, if there is one
    std::vector<std::size_t> rows_seen_, rows_copied_;  // of a window, see find_windows
    std::vector<LaneScratch> lanes_;
};

}  // namespace

std::unique_ptr<Op> make_few_channels_convolution(Tensor& in, Tensor& out,
                                                  const ConvolutionSpec& spec,
                                                  SharedWeights weights) {
    return std::make_unique<FewChannelsConvolution>(in, out, spec, std::move(weights));
}

}  // namespace inkproof
