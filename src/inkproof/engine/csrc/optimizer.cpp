#include "optimizer.hpp"

#include <algorithm>
#include <cmath>

#include "ops.hpp"

namespace inkproof {

namespace {

constexpr int PIECE = 4096;  // numbers that a thread moves at a time

}  // namespace

void Optimizer::reserve(const std::vector<Parameter*>& parameters) {
    parameters_ = parameters;
    pieces_.clear();
    std::size_t largest = 0, longest = 0, shortest = 0;
    for (Parameter* p : parameters) {
        if (!p->trainable) continue;
        const std::size_t size = p->values.size();
        const bool is_muon = options_.rule == Rule::muon && p->orthogonal;
        const bool is_adam = options_.rule != Rule::sgd && !is_muon;
        if ((options_.momentum != 0 || is_adam || is_muon) && p->first.size() == 0)
            p->first = Buffer<float>(size);
        if (is_adam && p->second.size() == 0) p->second = Buffer<float>(size);
        if (options_.average_momentum != 0 && p->average.size() == 0) {
            p->average = Buffer<float>(size);
            std::copy(p->values.get(), p->values.get() + size, p->average.get());
        }
        for (std::size_t at = 0; at < size; at += PIECE)
            pieces_.push_back({p, at, static_cast<int>(std::min<std::size_t>(PIECE, size - at))});
        if (is_muon) {
            const auto less = static_cast<std::size_t>(
                round_up(std::min(p->rows, p->columns), PANEL));
            const auto more = static_cast<std::size_t>(
                round_up(std::max(p->rows, p->columns), PANEL));
            largest = std::max(largest, less * more);
            shortest = std::max(shortest, less);
            longest = std::max(longest, more);
        }
    }
    norms_.assign(pieces_.size(), 0);
    scales_.assign(parameters.size(), 1);
    if (x_.size() < largest) {
        x_ = Buffer<float>(largest);
        transposed_ = Buffer<float>(largest);
        next_ = Buffer<float>(largest);
    }
    if (square_.size() < shortest * shortest) {
        square_ = Buffer<float>(shortest * shortest);
        polynomial_ = Buffer<float>(shortest * shortest);
    }
}

void Optimizer::descend(const Descent& step, const Worker& worker) {
    const OptimizerOptions& o = options_;
    const bool by_norm = o.clip_norm != 0 || o.global_clip_norm != 0;
    if (by_norm) clip(worker);
    const bool is_muon = o.rule == Rule::muon;
    OptimizerOptions others = o;  // of what Muon leaves to Adam
    if (is_muon) others.weight_decay = o.adam_weight_decay;
    const Descent beside(others, step.rate() * o.adam_ratio, step.number());
    worker.each(static_cast<int>(pieces_.size()), [&](int task) {
        const Piece& piece = pieces_[static_cast<std::size_t>(task)];
        Parameter& p = *piece.parameter;
        if (is_muon && p.orthogonal) return;
        const auto at = std::find(parameters_.begin(), parameters_.end(), &p) - parameters_.begin();
        (is_muon ? beside : step)
            .move(p, piece.at, p.gradients.get() + piece.at, piece.count,
                  by_norm ? scales_[static_cast<std::size_t>(at)] : 1.0f);
    });
    if (!is_muon) return;
    for (Parameter* p : parameters_)
        if (p->trainable && p->orthogonal) move_orthogonally(*p, step.rate(), worker);
}

// Keras clips by one of three rules; the norms are sums over pieces in a fixed order.
void Optimizer::clip(const Worker& worker) {
    worker.each(static_cast<int>(pieces_.size()), [&](int task) {
        const Piece& piece = pieces_[static_cast<std::size_t>(task)];
        const float* g = piece.parameter->gradients.get() + piece.at;
        double sum = 0;
        for (int i = 0; i < piece.count; i += VL) {
            const V v = load(g + i);
            sum += static_cast<double>(sum_of(v * v));
        }
        norms_[static_cast<std::size_t>(task)] = sum;
    });
    if (worker.member() == 0) {
        double all = 0;
        std::vector<double> each(parameters_.size(), 0);
        for (std::size_t i = 0; i < pieces_.size(); ++i) {
            const auto at = std::find(parameters_.begin(), parameters_.end(),
                                      pieces_[i].parameter) - parameters_.begin();
            each[static_cast<std::size_t>(at)] += norms_[i];
            all += norms_[i];
        }
        for (std::size_t i = 0; i < each.size(); ++i) {
            const bool global = options_.global_clip_norm != 0;
            const double limit = global ? options_.global_clip_norm : options_.clip_norm;
            const double norm = std::sqrt(global ? all : each[i]);
            scales_[i] = norm > limit ? static_cast<float>(limit / norm) : 1.0f;
        }
    }
    worker.barrier();
}

// --- Muon ----------------------------------------------------------------------------------------

namespace {

// c = alpha * a b + beta * d for row-major matrices; all widths multiples of PANEL. d may be null.
template <int ROWS>
inline void multiply_rows(const float* a, int inner, const float* b, int columns, float* c,
                          const float* d, float alpha, float beta, int j) {
    V sum[ROWS][VP];
    for (auto& row : sum)
        for (auto& v : row) v = V{};
    for (int k = 0; k < inner; ++k) {
        const float* from = b + static_cast<std::size_t>(k) * columns + j;
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i) {
            const V s = splat(a[static_cast<std::size_t>(i) * inner + k]);
#pragma GCC unroll 4
            for (int v = 0; v < VP; ++v) sum[i][v] += s * load(from + v * VL);
        }
    }
    for (int i = 0; i < ROWS; ++i)
        for (int v = 0; v < VP; ++v) {
            const std::size_t at = static_cast<std::size_t>(i) * columns + j + v * VL;
            const V product = sum[i][v] * alpha;
            store(c + at, d ? product + load(d + at) * beta : product);
        }
}

void multiply(const Worker& worker, const float* a, int rows, int inner, const float* b,
              int columns, float* c, const float* d, float alpha, float beta) {
    constexpr int R = 4;
    worker.each(rows / R, [&](int task) {
        const std::size_t i = static_cast<std::size_t>(task) * R;
        for (int j = 0; j < columns; j += PANEL)
            multiply_rows<R>(a + i * inner, inner, b, columns, c + i * columns,
                             d ? d + i * columns : nullptr, alpha, beta, j);
    });
}

void transpose_matrix(const Worker& worker, const float* from, int rows, int columns, float* to) {
    worker.each(rows / PANEL, [&](int task) {
        for (int i = task * PANEL; i < task * PANEL + PANEL; i += VL)
            for (int j = 0; j < columns; j += VL) {
                V tile[VL];
                for (int k = 0; k < VL; ++k)
                    tile[k] = load(from + static_cast<std::size_t>(i + k) * columns + j);
                transpose(tile);
                for (int k = 0; k < VL; ++k)
                    store(to + static_cast<std::size_t>(j + k) * rows + i, tile[k]);
            }
    });
}

double norm_of(const float* x, std::size_t count) {
    double sum = 0;
    for (std::size_t i = 0; i < count; i += VL) {
        const V v = load(x + i);
        sum += static_cast<double>(sum_of(v * v));
    }
    return std::sqrt(sum);
}

}  // namespace

// Momentum, then the nearest orthogonal matrix by Newton and Schulz's iteration, whose quintic
// polynomial and coefficients are Jordan's.
void Optimizer::move_orthogonally(Parameter& p, float rate, const Worker& worker) {
    const OptimizerOptions& o = options_;
    const bool is_tall = p.rows > p.columns;  // x has the shorter side as its rows
    const int less = is_tall ? p.columns : p.rows, more = is_tall ? p.rows : p.columns;
    const int m = round_up(less, PANEL), n = round_up(more, PANEL);
    const auto size = static_cast<std::size_t>(m) * n;
    const auto place = [&](int r, int c) {  // of a row and a column of the parameter, in x
        return is_tall ? static_cast<std::size_t>(c) * n + r : static_cast<std::size_t>(r) * n + c;
    };
    const auto in_panel = [&](int r, int c) {
        return c / PANEL * p.panel_stride + static_cast<std::size_t>(r * PANEL + c % PANEL);
    };
    worker.each(m, [&](int i) {
        std::fill(x_.get() + static_cast<std::size_t>(i) * n,
                  x_.get() + static_cast<std::size_t>(i + 1) * n, 0.0f);
    });
    worker.each(p.rows, [&](int r) {
        for (int c = 0; c < p.columns; ++c) {
            const std::size_t at = in_panel(r, c);
            const float g = p.gradients[at];
            const float buffer = p.first[at] * o.momentum + g;
            p.first[at] = buffer;
            x_[place(r, c)] = o.nesterov ? g + o.momentum * buffer : buffer;
        }
    });
    const auto scale = static_cast<float>(1 / (norm_of(x_.get(), size) + 1e-7));
    worker.barrier();
    worker.each(m, [&](int i) {
        for (int j = 0; j < n; ++j) x_[static_cast<std::size_t>(i) * n + j] *= scale;
    });
    Buffer<float>*x = &x_, *next = &next_;
    for (int step = 0; step < o.muon_steps; ++step) {
        transpose_matrix(worker, x->get(), m, n, transposed_.get());
        multiply(worker, x->get(), m, n, transposed_.get(), m, square_.get(), nullptr, 1, 0);
        multiply(worker, square_.get(), m, m, square_.get(), m, polynomial_.get(), square_.get(),
                 2.0315f, -4.7750f);
        multiply(worker, polynomial_.get(), m, m, x->get(), n, next->get(), x->get(), 1, 3.4445f);
        std::swap(x, next);
    }
    const double norm = o.muon_holds_norm ? norm_of(p.values.get(), p.values.size()) : 0;
    const float held =
        norm > 0 ? static_cast<float>(std::sqrt(static_cast<double>(p.columns)) / norm) : 1.0f;
    worker.barrier();
    worker.each(p.rows, [&](int r) {
        for (int c = 0; c < p.columns; ++c) {
            const std::size_t at = in_panel(r, c);
            float value = p.values[at] * held;
            value -= value * (o.weight_decay * rate);
            value -= rate * (*x)[place(r, c)];
            p.values[at] = value;
            if (o.average_momentum != 0)
                p.average[at] = p.average[at] * o.average_momentum +
                                value * (1 - o.average_momentum);
        }
    });
}

}  // namespace inkproof
