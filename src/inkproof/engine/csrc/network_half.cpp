// What a stack of dense layers does otherwise where factors are rounded to bfloat16.
#include <algorithm>

#include "network.hpp"

namespace inkproof {

// Layers of so few units are little work, and stay float32; so do the last layer, whose outputs the
// loss is made of, and sparse inputs, of which most are left out.
constexpr int LEAST_UNITS = 64;

void Network::choose_halves(bool sparse) {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        Layer& layer = layers_[i];
        layer.half = uses_halves_ && i + 1 < layers_.size() && !(i == 0 && sparse) &&
                     layer.spec.units >= LEAST_UNITS;
        if (!layer.half || layer.by_input.size() > 0) continue;
        layer.by_input = Buffer<Pair>(layer.kernel.values.size() / 2);
        layer.by_unit = Buffer<Half>(layer.kernel.values.size());
    }
}

#if INKPROOF_HALF

void Network::round_weights(int member) {
    for (Layer& layer : layers_) {
        if (!layer.half) continue;
        const Range panels = share(layer.panels, 1, member, threads());
        for (int p = panels.begin; p < panels.end; ++p) {
            const std::size_t at = p * layer.kernel.panel_stride;
            round_panel(layer.kernel.values.get() + at, layer.by_input.get() + at / 2,
                        layer.by_unit.get() + at, round_up(layer.spec.inputs, 2));
        }
    }
}

void Network::pair_inputs(Batch& batch, Range parts, int lanes) const {
    const int inputs = layers_.front().spec.inputs;
    const Inputs& in = batch.inputs;
    const int begin = std::min(parts.begin * WORD, inputs);
    const int end = round_up(std::min(parts.end * WORD, inputs), 2);
    for (int block = 0; block * BLOCK < lanes; ++block) {
        const std::size_t at = static_cast<std::size_t>(block) * in.block_stride;
        for (int k = begin; k < end; k += 2) {
            const float* x = in.x.get() + at + k * BLOCK;
            pair_rows(x, x + BLOCK, batch.input_pairs.get() + at / 2 + k / 2 * BLOCK);
            pair_lanes(x, batch.input_lanes.get() + at / 2 + k * (BLOCK / 2));
            pair_lanes(x + BLOCK, batch.input_lanes.get() + at / 2 + (k + 1) * (BLOCK / 2));
        }
    }
}

// Lists the pairs of a layer's inputs that are not both zero in the whole batch.
void Network::list_pairs(int index, Batch& batch, int member) const {
    const auto below_at = static_cast<std::size_t>(index - 1);
    const Layer& below = layers_[below_at];
    Rows& rows = batch.rows[static_cast<std::size_t>(member)][static_cast<std::size_t>(index)];
    const auto stride = static_cast<std::size_t>(below.padded * BLOCK);
    int count = 0;
    for (int p = 0; p < below.panels; ++p) {
        const unsigned alive = batch.alive[below_at][static_cast<std::size_t>(p)];
        for (unsigned mask = (alive | alive >> 1) & 0x5555; mask != 0; mask &= mask - 1) {
            const int k = p * PANEL + __builtin_ctz(mask);
            if (k >= below.spec.units) break;
            for (std::size_t block = 0; block < static_cast<std::size_t>(batch.blocks); ++block) {
                const float* x = batch.outputs[below_at].get() + block * stride + k * BLOCK;
                const std::size_t at = block * stride / 2;
                pair_rows(x, x + BLOCK, rows.pairs.get() + at + count / 2 * BLOCK);
                pair_lanes(x, rows.lanes.get() + at + count * (BLOCK / 2));
                pair_lanes(x + BLOCK, rows.lanes.get() + at + (count + 1) * (BLOCK / 2));
            }
            for (int i = 0; i < 2; ++i, ++count)
                rows.offsets[static_cast<std::size_t>(count)] =
                    static_cast<std::uint32_t>((k + i) * PANEL);
        }
    }
    rows.are_all = false;
    rows.count = count;
}

void Network::add_inputs_half(int index, const Operand& from, int panel, std::size_t block,
                              Range vectors, Range pairs, const float* bias, float* y) const {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    forward_panel_half(layer.by_input.get() + panel * layer.kernel.panel_stride / 2,
                       from.rows + 2 * pairs.begin, pairs.end - pairs.begin,
                       from.pairs + block * from.block_stride / 2 + pairs.begin * BLOCK, bias, y,
                       std::min(PANEL, layer.spec.units - panel * PANEL), vectors.begin,
                       vectors.end - vectors.begin);
}

// As backward_shares, with the errors of the listed pairs of units moved together first.
void Network::backward_shares_half(int index, const Batch& batch, int member, Scratch& scratch) {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const Operand below = operand(index, batch, member);
    const auto below_stride =
        static_cast<std::size_t>(layers_[static_cast<std::size_t>(index - 1)].padded * BLOCK);
    const auto stride = static_cast<std::size_t>(layer.padded * BLOCK);
    const float* errors = errors_[static_cast<std::size_t>(index)].get();
    int half_listed = -1;
    const auto list_half = [&](int half) {
        const Range panels = share(layer.panels, 1, half, layer.halves);
        const int count = list_units(index, batch, member, panels, scratch.units.get());
        scratch.pair_at.clear();
        for (int u = 0; u < count; ++u) {
            const int even = scratch.units[static_cast<std::size_t>(u)] & ~1;
            const std::size_t even_at = layer.units[static_cast<std::size_t>(even)];
            if (!scratch.pair_at.empty() && scratch.pair_at.back() == even_at) continue;
            for (std::size_t b = 0; b < static_cast<std::size_t>(batch.blocks); ++b) {
                const float* e = errors + b * stride + even * BLOCK;
                pair_rows(e, e + BLOCK,
                          scratch.error_pairs.get() + b * stride / 2 +
                              scratch.pair_at.size() * BLOCK);
            }
            scratch.pair_at.push_back(even_at);
        }
    };
    each_share(index, below, member, [&](int half, Range inputs) {
        if (half != half_listed) list_half(half_listed = half);
        const auto count = static_cast<int>(scratch.pair_at.size());
        const Buffer<float>& into = share_of(index, half, inputs.begin, below.count);
        for (int block = 0; block < batch.blocks; ++block) {
            const auto b = static_cast<std::size_t>(block);
            const int vectors = (std::min(BLOCK, batch.lanes - block * BLOCK) + VL - 1) / VL;
            for (int u = 0; u == 0 || u < count; u += INPUTS_AT_ONCE)
                backward_rows_half(layer.by_unit.get(), below.rows + inputs.begin,
                                   inputs.end - inputs.begin,
                                   scratch.pair_at.data() + u, std::min(INPUTS_AT_ONCE, count - u),
                                   scratch.error_pairs.get() + b * stride / 2 + u * BLOCK,
                                   into.get() + b * below_stride, vectors, u == 0);
        }
    });
}

// A layer's transposed errors, for some of its units and one block.
void Network::pair_errors(int index, int block, int begin, int rows) {
    const auto at = static_cast<std::size_t>(index);
    const std::size_t stride = layers_[at].lane_stride;
    for (int b = 0; b < BLOCK; b += 2) {
        const auto lane = static_cast<std::size_t>(block * BLOCK + b);
        const float* from = transposed_[at].get() + lane * stride + begin;
        pair_transposed(from, from + stride,
                        transposed_pairs_[at].get() + lane / 2 * stride + begin, rows);
    }
}

// listed, inputs: whole pairs, in the list and of all inputs.
void Network::update_half(int index, const Batch& batch, const Operand& from, Range listed,
                          Range inputs, Range panels, const Descent* descent) {
    Layer& layer = layers_[static_cast<std::size_t>(index)];
    const Pair* t = transposed_pairs_[static_cast<std::size_t>(index)].get();
    const std::size_t stride = layer.kernel.panel_stride;
    Roundings to;
    if (descent) to = {layer.by_input.get(), layer.by_unit.get()};
    with_use(descent, layer.kernel, [&](const auto& use) {
        for (int group = panels.begin; group < panels.end; group += UPDATE_PANELS)
            for (int k = listed.begin; k < listed.end; k += INPUTS_AT_ONCE)
                update_panels_half(use, to, group * stride, stride,
                                   std::min(UPDATE_PANELS, panels.end - group), from.rows + k,
                                   std::min(INPUTS_AT_ONCE, listed.end - k),
                                   from.lanes + k * (BLOCK / 2), from.block_stride / 2,
                                   t + group * PANEL, layer.lane_stride, batch.lanes);
        if (!descent || !descent->moves_all()) return;
        each_unlisted(from.rows, listed, inputs, 2, [&](std::uint32_t row) {
            move_rows_half(use, to, panels.begin * stride, stride, panels.end - panels.begin, row);
        });
    });
}

#else

void Network::round_weights(int) {}
void Network::pair_inputs(Batch&, Range, int) const {}
void Network::list_pairs(int, Batch&, int) const {}
void Network::add_inputs_half(int, const Operand&, int, std::size_t, Range, Range, const float*,
                              float*) const {}
void Network::backward_shares_half(int, const Batch&, int, Scratch&) {}
void Network::pair_errors(int, int, int, int) {}
void Network::update_half(int, const Batch&, const Operand&, Range, Range, Range, const Descent*) {}

#endif

}  // namespace inkproof
