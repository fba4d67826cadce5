// A fully connected layer.
#include "ops.hpp"
#include "ops_half.hpp"

namespace inkproof {

namespace {

constexpr int LEAST_UNITS = 64;  // fewer are too little work to round their factors for
constexpr int GROUP = 96;  // inputs whose gradients a task works out: a multiple of every tile

class DenseOp : public Op {
public:
    DenseOp(Tensor& in, Tensor& out, bool has_bias, bool is_relu, Factors factors)
        : Op(in, out), has_bias_(has_bias), is_relu_(is_relu),
          halves_(INKPROOF_HALF && factors == Factors::halves && in.features % 2 == 0 &&
                  out.features % 2 == 0 && out.features >= LEAST_UNITS),
          panels_((out.features + PANEL - 1) / PANEL),
          lane_stride_(static_cast<std::size_t>(panels_ | 1) * PANEL),
          kernel_(in.features, out.features, true), bias_(1, out.features, has_bias) {
        kernel_.is_kernel = true;
        for (int u = 0; u < out.features; ++u) units_.push_back(kernel_.column_at(u));
    }

    void reserve(int blocks, int, bool training) override {
        const std::size_t wanted = static_cast<std::size_t>(blocks) * BLOCK * lane_stride_;
        if (!training || transposed_.size() >= wanted) return;
        transposed_ = Buffer<float>(wanted);
        reserve_halves(blocks);
    }

    // Few units are split by lanes as well.
    void forward(const Step& step, const Worker& worker) override {
        const bool halves = halves_ && step.training;
        if (halves) take_halves(step, worker);
        const int parts = panels_ >= 8 ? 1 : VB / TILE_VECTORS;
        const int lanes_a_part = VB / parts;
        worker.each(panels_ * step.blocks * parts, [&](int task) {
            const int panel = task / (step.blocks * parts);
            const int block = task / parts % step.blocks;
            const int first = task % parts * lanes_a_part;
            const int vectors = std::min(lanes_a_part, step.vectors(block) - first);
            if (vectors <= 0) return;
            const int units = std::min(PANEL, out_.features - panel * PANEL);
            float* y = out_.value(block, panel * PANEL);
            const float* w = kernel_.values.get() + panel * kernel_.panel_stride;
            for (int k = 0; k < in_.features; k += INPUTS_AT_ONCE) {
                const float* bias = k == 0 ? bias_.values.get() + panel * PANEL : nullptr;
                const int count = std::min(INPUTS_AT_ONCE, in_.features - k);
                if (halves)
                    add_halves(panel, block, units, {first, first + vectors}, k, count, bias, y);
                else
                    forward_panel(w, nullptr, k, count, in_.value(block, 0), bias, y, units, first,
                                  vectors);
            }
            if (!is_relu_) return;
            for (int u = 0; u < units; ++u)
                for (int v = first; v < first + vectors; ++v)
                    store(y + u * BLOCK + v * VL, relu(load(y + u * BLOCK + v * VL)));
        });
    }

    void forward_few(const Step& step, const Worker& worker) override {
        worker.each((panels_ + FEW_PANELS - 1) / FEW_PANELS, [&](int task) {
            const int first = task * FEW_PANELS;
            with_constant<FEW_PANELS>(std::min(FEW_PANELS, panels_ - first), [&](auto count) {
                constexpr int P = decltype(count)::value;
                for (int row = 0; row < step.lanes; ++row) {
                    V sum[1][P * VP];
                    for (int j = 0; j < P * VP; ++j)
                        sum[0][j] = load(bias_.values.get() + first * PANEL + j * VL);
                    add_rows<1, P>(sum, kernel_.values.get() + first * kernel_.panel_stride,
                                   kernel_.panel_stride, in_.features, in_.row(row), 0);
                    float* y = out_.row(row) + first * PANEL;
                    for (int j = 0; j < P * VP; ++j)
                        store(y + j * VL, is_relu_ ? relu(sum[0][j]) : sum[0][j]);
                }
            });
        });
    }

    void backward(const Step& step, const Worker& worker, bool input_errors) override {
        worker.each(panels_ * step.blocks, [&](int task) {
            const int panel = task / step.blocks, block = task % step.blocks;
            const int begin = panel * PANEL, end = std::min(begin + PANEL, out_.features);
            if (is_relu_) mask_by_output(out_, block, begin, end, step.vectors(block));
            to_lanes(out_.error(block, begin), lane(block) + begin, lane_stride_, PANEL,
                     step.vectors(block));
            if (halves_) pair_errors(block, begin);
        });
        if (input_errors && halves_) {
            send_back_halves(step, worker);
        } else if (input_errors) {
            const int groups = (in_.features + BACKWARD_INPUTS - 1) / BACKWARD_INPUTS;
            worker.each(groups * step.blocks, [&](int task) {
                const int first = task / step.blocks * BACKWARD_INPUTS;
                const int block = task % step.blocks;
                const int end = std::min(first + BACKWARD_INPUTS, in_.features);
                for (int u = 0; u < out_.features; u += UNITS_AT_ONCE)
                    backward_rows<false>(kernel_.values.get(), nullptr, {first, end}, units_.data() + u,
                                  std::min(UNITS_AT_ONCE, out_.features - u),
                                  out_.error(block, u), in_.error(block, 0), step.vectors(block),
                                  u == 0);
            });
        }
        const int groups = (in_.features + GROUP - 1) / GROUP;
        worker.each(panels_ * groups, [&](int task) {
            const int panel = task / groups, first = task % groups * GROUP;
            const int count = std::min(GROUP, in_.features - first);
            if (halves_)
                use_gradient_half(step, panel, first, count);
            else
                use_gradient(step, panel, first, count);
            if (first == 0 && has_bias_) use_bias_gradient(step, panel);
        });
    }

    bool reads_output() const override { return is_relu_; }

    std::vector<Parameter*> parameters() override {
        if (has_bias_) return {&kernel_, &bias_};
        return {&kernel_};
    }

    const char* name() const override { return "dense"; }
    std::int64_t products() const override {
        return std::int64_t{in_.features} * out_.features;
    }

private:
    void use_gradient(const Step& step, int panel, int first, int count) {
        const std::size_t at = panel * kernel_.panel_stride;
        if (!step.descent && !step.adds_gradients) {
            float* from = kernel_.gradients.get() + at + first * PANEL;
            std::fill(from, from + count * PANEL, 0.0f);
        }
        with_use(step.descent, kernel_, [&](const auto& use) {
            update_panels(use, at, 0, 1, nullptr, {first, first + count}, in_.value(0, 0),
                          in_.stride, lane(0) + panel * PANEL, lane_stride_, step.lanes,
                          kernel_.values.size() * sizeof(float) > BEYOND_CACHES);
        });
    }

    void use_bias_gradient(const Step& step, int panel) {
        alignas(64) float gradient[PANEL];
        for (int j = 0; j < PANEL; j += VL) {
            V sum{};
            const float* errors = lane(0) + panel * PANEL + j;
            for (int b = 0; b < step.lanes; ++b, errors += lane_stride_) sum += load(errors);
            store(gradient + j, sum);
        }
        deliver(step, bias_, static_cast<std::size_t>(panel * PANEL), gradient, PANEL);
    }

#if INKPROOF_HALF
    void reserve_halves(int blocks) {
        if (!halves_) return;
        in_halves_.reserve(in_, blocks, true);
        out_halves_.reserve(out_, blocks, false);
        transposed_pairs_ = Buffer<Pair>(transposed_.size() / 2);
        by_input_ = Buffer<Pair>(kernel_.values.size() / 2);
        by_unit_ = Buffer<Half>(kernel_.values.size());
        rows_ = Buffer<std::uint32_t>(static_cast<std::size_t>(in_.features));
        for (int k = 0; k < in_.features; ++k)
            rows_[static_cast<std::size_t>(k)] = static_cast<std::uint32_t>(k * PANEL);
        unit_pairs_.clear();
        for (int u = 0; u < out_.features; u += 2)
            unit_pairs_.push_back(units_[static_cast<std::size_t>(u)]);
    }

    // The roundings of the weights and of the inputs, for this step's way forward and back.
    void take_halves(const Step& step, const Worker& worker) {
        in_halves_.take(step, worker, in_.values, in_.features);
        constexpr int rows = 64;
        const int groups = (in_.features + rows - 1) / rows;
        worker.each(panels_ * groups, [&](int task) {
            const int first = task % groups * rows;
            const std::size_t at = task / groups * kernel_.panel_stride +
                                   static_cast<std::size_t>(first * PANEL);
            round_panel(kernel_.values.get() + at, by_input_.get() + at / 2, by_unit_.get() + at,
                        std::min(rows, in_.features - first));
        });
    }

    void add_halves(int panel, int block, int units, Range vectors, int first, int count,
                    const float* bias, float* y) const {
        forward_panel_half(by_input_.get() + panel * kernel_.panel_stride / 2, rows_.get() + first,
                           count / 2, in_halves_.pairs(block, first), bias, y, units,
                           vectors.begin, vectors.end - vectors.begin);
    }

    void pair_errors(int block, int unit) const {
        for (int b = 0; b < BLOCK; b += 2) {
            const std::size_t at = static_cast<std::size_t>(b) * lane_stride_;
            const float* from = lane(block) + at + unit;
            pair_transposed(from, from + lane_stride_,
                            transposed_pairs_.get() + (lane(block) - lane(0) + at) / 2 + unit,
                            PANEL);
        }
    }

    void send_back_halves(const Step& step, const Worker& worker) {
        out_halves_.take(step, worker, out_.errors, out_.features);
        constexpr int rows = 32;
        const int groups = (in_.features + rows - 1) / rows;
        const auto pairs = static_cast<int>(unit_pairs_.size());
        worker.each(groups * step.blocks, [&](int task) {
            const int first = task / step.blocks * rows, block = task % step.blocks;
            for (int u = 0; u < pairs; u += INPUTS_AT_ONCE)
                backward_rows_half(by_unit_.get(), rows_.get() + first,
                                   std::min(rows, in_.features - first), unit_pairs_.data() + u,
                                   std::min(INPUTS_AT_ONCE, pairs - u),
                                   out_halves_.pairs(block, 2 * u), in_.error(block, 0),
                                   step.vectors(block), u == 0);
        });
    }

    void use_gradient_half(const Step& step, int panel, int first, int count) {
        alignas(64) float gradient[GROUP * PANEL] = {};
        update_panels_half(Add{gradient, 1.0f}, {}, 0, 0, 1, rows_.get(), count,
                           in_halves_.lanes(0, first), in_halves_.stride(),
                           transposed_pairs_.get() + panel * PANEL, lane_stride_, step.lanes);
        deliver(step, kernel_,
                panel * kernel_.panel_stride + static_cast<std::size_t>(first * PANEL), gradient,
                count * PANEL);
    }

    TensorHalves in_halves_, out_halves_;
    Buffer<std::uint32_t> rows_;     // where each input's row of a panel begins
    Buffer<Pair> transposed_pairs_;  // the errors, [block][pair of lanes][unit]
    Buffer<Pair> by_input_;          // the weights' roundings, see half.hpp
    Buffer<Half> by_unit_;
    std::vector<std::size_t> unit_pairs_;  // where they lie in each input's row
#else
    void reserve_halves(int) {}
    void take_halves(const Step&, const Worker&) {}
    void add_halves(int, int, int, Range, int, int, const float*, float*) const {}
    void pair_errors(int, int) const {}
    void send_back_halves(const Step&, const Worker&) {}
    void use_gradient_half(const Step&, int, int, int) {}
#endif

    float* lane(int block) const {
        return transposed_.get() + static_cast<std::size_t>(block) * BLOCK * lane_stride_;
    }

    const bool has_bias_, is_relu_;
    const bool halves_;  // training rounds the factors of its products to bfloat16
    const int panels_;
    const std::size_t lane_stride_;  // an odd number of cache lines, which spread over the sets
    Parameter kernel_, bias_;
    std::vector<std::size_t> units_;  // where each unit's weight lies in an input's row
    Buffer<float> transposed_;       // the errors, [block][lane][unit]
};

}  // namespace

std::unique_ptr<Op> make_dense(Tensor& in, Tensor& out, bool has_bias, bool is_relu,
                               Factors factors) {
    return std::make_unique<DenseOp>(in, out, has_bias, is_relu, factors);
}

}  // namespace inkproof
