#include "convolution_direct.hpp"

namespace inkproof {

namespace {

constexpr int LEAST_TASKS = 16;  // into which the kernel's gradient is cut

}  // namespace

DirectConvolution::DirectConvolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                     SharedWeights weights)
    : Convolution(in, out, spec, std::move(weights)), rows_(spec.rows()),
      panels_((spec.filters + PANEL - 1) / PANEL), positions_(w_.out_height * w_.out_width),
      parts_(std::max(1, LEAST_TASKS / panels_)) {}

void DirectConvolution::reserve(int, int members, bool training) {
    const auto runs = static_cast<std::size_t>(w_.kernel_height * w_.kernel_width);
    while (static_cast<int>(scratch_.size()) < members)
        scratch_.push_back({std::vector<Run>(runs), Buffer<float>(POSITIONS * BLOCK * PANEL)});
    if (!training || shares_.size() > 0) return;
    shares_ = Buffer<float>(static_cast<std::size_t>(parts_ * panels_) * share_size());
    turned_ = Buffer<float>(turned_stride() *
                            static_cast<std::size_t>((w_.channels + PANEL - 1) / PANEL));
}

bool DirectConvolution::watch(Moments& moments) {
    moments_ = &moments;
    moments.divide(w_.out_height);
    return true;
}

void DirectConvolution::forward(const Step& step, const Worker& worker) {
    worker.each(step.blocks * w_.out_height, [&](int task) {
        const int block = task / w_.out_height;
        const float* kernel = kernel_.values.get();
        const float* x = in_.value(block, 0);
        forward_row(step, block, task % w_.out_height, kernel, kernel_.panel_stride, x,
                    scratch_of(worker).runs.data());
    });
}

// A task is one image's row of outputs. Positions that see the whole width of the window see runs of
// the same lengths, and go together.
void DirectConvolution::forward_few(const Step& step, const Worker& worker) {
    worker.each(step.lanes * w_.out_height, [&](int task) {
        const int row = task / w_.out_height, oy = task % w_.out_height;
        std::vector<Run>& runs = scratch_of(worker).runs;
        const auto is_whole = [&](int ox) {
            const Range xs = w_.columns(ox);
            return xs.end - xs.begin == w_.kernel_width;
        };
        for (int ox = 0; ox < w_.out_width;) {
            int together = 1;
            while (is_whole(ox) && together < UPDATE_INPUTS && ox + together < w_.out_width &&
                   is_whole(ox + together))
                ++together;
            const int count = list_runs(oy, ox, runs.data());
            with_constant<UPDATE_INPUTS>(together, [&](auto wanted) {
                few_positions<decltype(wanted)::value>(
                    runs.data(), count, in_.row(row),
                    out_.row(row) + (oy * w_.out_width + ox) * filters_);
            });
            ox += together;
        }
    });
}

template <int K>
void DirectConvolution::few_positions(const Run* runs, int run_count, const float* x,
                                      float* y) const {
    const auto apart = static_cast<std::size_t>(w_.stride_x * w_.channels);
    for (int p = 0; p < panels_; ++p) {
        V sum[K][VP];
        for (int i = 0; i < K; ++i)
            for (int j = 0; j < VP; ++j)
                sum[i][j] = load(bias_.values.get() + p * PANEL + j * VL);
        const float* w = kernel_.values.get() + p * kernel_.panel_stride;
        for (int r = 0; r < run_count; ++r)
            add_rows<K, 1>(sum, w + runs[r].row, 0, runs[r].count, x + runs[r].feature / BLOCK,
                           apart);
        // What belongs to no filter must not fall on the next position, which another thread may have
        // written.
        const int units = std::min(PANEL, filters_ - p * PANEL);
        for (int i = 0; i < K; ++i)
            for (int j = 0; j < VP && j * VL < units; ++j)
                store_some(y + i * filters_ + p * PANEL + j * VL,
                           is_relu_ ? relu(sum[i][j]) : sum[i][j], units - j * VL);
    }
}

int DirectConvolution::list_runs(int oy, int ox, Run* runs) const {
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

void DirectConvolution::backward(const Step& step, const Worker& worker, bool input_errors) {
    if (input_errors) send_back(step, worker);
    worker.each(parts_ * panels_, [&](int task) {
        float* g = shares_.get() + static_cast<std::size_t>(task) * share_size();
        std::fill(g, g + share_size(), 0.0f);
        add_share(step, task / panels_, task % panels_, g, worker);
    });
    constexpr int some = 32;
    const int groups = (rows_ + 1 + some - 1) / some;
    worker.each(panels_ * groups, [&](int task) {
        const int panel = task / groups, first = task % groups * some;
        sum_shares(step, panel, first, std::min(first + some, rows_ + 1));
    });
}

void DirectConvolution::turn_kernel(const Worker& worker) {
    const std::size_t stride = turned_stride();
    worker.each(w_.kernel_height * w_.kernel_width, [&](int place) {
        for (int c = 0; c < w_.channels; ++c) {
            const int row = place * w_.channels + c;
            float* to = turned_.get() + c / PANEL * stride + c % PANEL +
                        static_cast<std::size_t>(place * filters_) * PANEL;
            for (int f = 0; f < filters_; ++f)
                to[f * PANEL] = kernel_.values[f / PANEL * kernel_.panel_stride +
                                               static_cast<std::size_t>(row * PANEL) + f % PANEL];
        }
    });
}

// The errors are read more than once: so ReLU's part is taken first, from all of them.
void DirectConvolution::send_back(const Step& step, const Worker& worker) {
    mask_errors(step, worker);
    turn_kernel(worker);
    worker.each(step.blocks * w_.height, [&](int task) {
        const int block = task / w_.height;
        const float* turned = turned_.get();
        const float* errors = out_.error(block, 0);
        send_back_row(step, block, task % w_.height, turned, turned_stride(), errors,
                      scratch_of(worker).runs.data());
    });
}

void DirectConvolution::add_share(const Step& step, int part, int panel, float* g,
                                  const Worker& worker) {
    Scratch& scratch = scratch_of(worker);
    const int chunks = (positions_ + POSITIONS - 1) / POSITIONS;
    const Range mine = part_of(step.blocks * chunks, part);
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
                        __builtin_prefetch(out_.error(block, feature + u + POSITIONS * filters_) + v);
                    store(errors + u * BLOCK + v, error_vector(block, feature + u, v));
                }
            to_lanes(errors, scratch.errors.get() + i * BLOCK * PANEL, PANEL, PANEL, vectors);
        }
        // Filters beyond the last belong to the next position; their columns are padding.
        add_positions(block, first, count, lanes, g, worker);
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

void DirectConvolution::add_positions(int block, int first, int count, int lanes, float* g,
                                      const Worker& worker) {
    const float* errors = scratch_of(worker).errors.get();
    const float* x[POSITIONS];
    const float* t[POSITIONS];
    each_place<POSITIONS>(first, count, [&](int row, const int* seen_by, const int* features,
                                            int seen) {
        for (int i = 0; i < seen; ++i) t[i] = errors + seen_by[i] * BLOCK * PANEL;
        in_pieces(w_.channels, GRADIENT_ROWS, [&](int channel, int rows) {
            for (int i = 0; i < seen; ++i) x[i] = in_.value(block, features[i] + channel);
            with_constant<GRADIENT_ROWS>(rows, [&](auto wanted) {
                gradient_tile<decltype(wanted)::value>(
                    g + static_cast<std::size_t>(row + channel) * PANEL, x, t, seen, lanes);
            });
        });
    });
}

// The parts' sums together, in their order, for some rows of one panel.
void DirectConvolution::sum_shares(const Step& step, int panel, int begin, int end) const {
    const int filled = std::min(PANEL, filters_ - panel * PANEL);
    for (int row = begin; row < end; ++row) {
        alignas(64) float sum[PANEL] = {};
        for (int part = 0; part < parts_; ++part) {
            const float* from = shares_.get() +
                                static_cast<std::size_t>(part * panels_ + panel) * share_size() +
                                static_cast<std::size_t>(row) * PANEL;
            for (int i = 0; i < filled; ++i) sum[i] += from[i];
        }
        const auto at = static_cast<std::size_t>(row) * PANEL;
        if (row < rows_)
            deliver(step, kernel_, panel * kernel_.panel_stride + at, sum, PANEL);
        else if (has_bias_)
            deliver(step, bias_, static_cast<std::size_t>(panel * PANEL), sum, PANEL);
    }
}

std::unique_ptr<Op> make_direct_convolution(Tensor& in, Tensor& out, const ConvolutionSpec& spec,
                                            SharedWeights weights) {
    return std::make_unique<DirectConvolution>(in, out, spec, std::move(weights));
}

}  // namespace inkproof
