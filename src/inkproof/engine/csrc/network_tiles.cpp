// How a stack of dense layers is trained by products of whole tiles.
//
// The weights stay float32 where they lie; roundings live only as long as a product needs them, in
// the first-level cache. A pair of panels goes, some inputs at a time, through the update of the
// step before, is rounded as it is written back, and then multiplied by the next batch.
//
// A thread keeps to its own units of a layer: it alone updates their weights, and it alone takes
// the errors of the outputs below through their activation. So few barriers are left: after each
// layer's outputs, after the loss, and before and after the two halves of an error's sum. Each
// thread gathers the whole batch for itself: moving it between cores takes longer. From barrier to
// barrier units may change hands (Team::part).
#include <algorithm>
#include <cmath>

#include "network.hpp"
#include "tiles.hpp"

#if INKPROOF_HALF

namespace inkproof {

namespace {

constexpr int TILE_INPUTS = 128;  // of two panels, that are updated and then multiplied at once
// Lanes that go through together; larger batches in parts, for each of which the sums of the gradients
// move through the caches once more, which costs as much as the products.
constexpr int TILED_CHUNK_LANES = 512;

Range times(Range range, int factor) { return {range.begin * factor, range.end * factor}; }

}  // namespace

// What a layer reads: the outputs of the layer below, or a batch of the data.
struct TileInputs {
    TileInputs() = default;
    TileInputs(int features, int blocks)
        : padded(round_up(features, TILE_DEPTH)),
          lane_stride(static_cast<std::size_t>(padded / TILE_DEPTH | 1) * TILE_DEPTH),
          by_lane(static_cast<std::size_t>(blocks) * BLOCK * lane_stride) {
        for (auto& features : by_feature)
            features = Buffer<Half>(static_cast<std::size_t>(blocks) * BLOCK *
                                    static_cast<std::size_t>(padded));
    }

    int padded = 0;
    std::size_t lane_stride = 0;
    Buffer<Half> by_lane;  // [block][lane][feature]
    // Of the batch and the one before, whose gradient is still wanted, by turns:
    Buffer<Half> by_feature[2];      // [block][feature][lane]
    Buffer<std::uint8_t> filled[2];  // of each 16 features of the data, whether any is not zero

    Half* lanes(int block) const {
        return by_lane.get() + static_cast<std::size_t>(block) * BLOCK * lane_stride;
    }
    Half* features(int turn, int block) const {
        return by_feature[turn].get() + static_cast<std::size_t>(block) * block_stride();
    }
    std::size_t block_stride() const { return static_cast<std::size_t>(padded * BLOCK); }
    const std::uint8_t* filled_from(int feature, int turn) const {
        return filled[turn].size() > 0 ? filled[turn].get() + feature / TILE_ROWS : nullptr;
    }
};

// The errors of a layer's outputs.
struct TileErrors {
    TileErrors(const Layer& layer, int blocks)
        : padded(round_up(layer.padded, TILE_DEPTH)),
          pairs(static_cast<std::size_t>(blocks * padded * BLOCK / 2)),
          transposed(static_cast<std::size_t>(blocks) * BLOCK / 2 * layer.lane_stride),
          bias_sums(static_cast<std::size_t>(layer.padded)) {
        for (auto& share : shares)
            share = Buffer<float>(static_cast<std::size_t>(blocks * padded * BLOCK));
    }

    int padded;
    Buffer<Pair> pairs;       // [block][pair of units][lane]
    Buffer<Pair> transposed;  // [block][pair of lanes][unit]
    Buffer<float> bias_sums;  // over the lanes
    Buffer<float> shares[2];  // [block][unit][lane], of the halves of the layer above

    Pair* pairs_of(int block, int unit) const { return pairs.get() + at(block, unit) / 2; }
    float* share_of(int half, int block, int unit) const {
        return shares[half].get() + at(block, unit);
    }

private:
    std::size_t at(int block, int unit) const {
        return static_cast<std::size_t>((block * padded + unit) * BLOCK);
    }
};

struct Tiles {
    struct Member {
        TileInputs data;
        Buffer<Pair> rounded;
        Buffer<float> sums;
    };

    Tiles(const std::vector<Layer>& layers, int threads, int lanes)
        : blocks((lanes + BLOCK - 1) / BLOCK) {
        std::size_t most = 2 * TILE_INPUTS / 2 * PANEL;
        for (const Layer& layer : layers) {
            inputs.emplace_back(&layer == &layers.front() ? 0 : layer.spec.inputs, blocks);
            errors.emplace_back(layer, blocks);
            const int inputs_padded = round_up(layer.spec.inputs, TILE_DEPTH);
            most = std::max(
                {most, static_cast<std::size_t>(round_up(layer.panels, 2)) * TILE_DEPTH * PANEL / 2,
                 layer.wide ? 0
                            : static_cast<std::size_t>(layer.panels * inputs_padded) * PANEL / 2});
        }
        for (int i = 0; i < threads; ++i) {
            Member member;
            member.data = TileInputs(layers.front().spec.inputs, blocks);
            for (auto& filled : member.data.filled)
                filled =
                    Buffer<std::uint8_t>(static_cast<std::size_t>(member.data.padded / TILE_ROWS));
            member.rounded = Buffer<Pair>(most);
            member.sums = Buffer<float>(static_cast<std::size_t>(blocks * BLOCK * 2 * PANEL));
            members.push_back(std::move(member));
        }
    }

    int blocks;
    std::vector<TileInputs> inputs;  // of each layer but the first
    std::vector<TileErrors> errors;  // of each layer
    std::vector<Member> members;
};

// One row of data as halves; features beyond the last are zero.
template <typename T>
HALF_CODE void gather_row(const T* row, int features, float scale, float offset, Half* to) {
    Pair* at = reinterpret_cast<Pair*>(to);
    int k = 0;
    for (; k + TILE_DEPTH <= features; k += TILE_DEPTH, at += VL)
        store_pairs(at, halves_of(read_vector(row + k, VL) * scale + offset,
                                  read_vector(row + k + VL, VL) * scale + offset));
    for (; k < features; k += TILE_DEPTH, at += VL) {
        V last[2] = {};
        for (int i = 0; i < 2 && k + i * VL < features; ++i) {
            const int left = std::min(features - k - i * VL, VL);
            const V value = read_vector(row + k + i * VL, left) * scale + offset;
            last[i] = left == VL ? value : from_bits((1u << left) - 1) ? value : V{};
        }
        store_pairs(at, halves_of(last[0], last[1]));
    }
}

// One thread's part in a pass by tiles.
template <typename Unit>
class TileWorker {
public:
    TileWorker(Network& network, Tiles& tiles, int member)
        : layers_(network.layers_), network_(network), tiles_(tiles), member_(member),
          threads_(network.threads()), mine_(tiles.members[static_cast<std::size_t>(member)]) {}

    // Brings a batch of the data; lanes without a row are zero.
    void gather(const Data& data, const std::int64_t* order, std::int64_t first, int lanes,
                int turn) {
        TileInputs& into = mine_.data;
        Buffer<std::uint8_t>& filled = into.filled[turn];
        std::fill(filled.get(), filled.get() + filled.size(), std::uint8_t{0});
        const auto width = static_cast<std::size_t>(data.features());
        for (int block = 0; block * BLOCK < lanes; ++block) {
            Half* by_lane = into.lanes(block);
            Half* by_feature = into.features(turn, block);
            data.with_raw([&](const auto* raw) {
                for (int b = 0; b < BLOCK; ++b) {
                    Half* to = by_lane + static_cast<std::size_t>(b) * into.lane_stride;
                    const std::int64_t at = first + block * BLOCK + b;
                    if (block * BLOCK + b >= lanes) {
                        std::memset(to, 0, static_cast<std::size_t>(into.padded) * sizeof(Half));
                        continue;
                    }
                    const auto row = static_cast<std::size_t>(order ? order[at] : at);
                    gather_row(raw + row * width, data.features(), data.scale(), data.offset(), to);
                }
            });
            for (int k = 0; k < into.padded; k += TILE_DEPTH) {
                const unsigned some =
                    transpose_halves(by_lane + k, into.lane_stride, by_feature + k * BLOCK);
                for (int i = 0; i < 2; ++i)
                    filled[static_cast<std::size_t>(k / TILE_ROWS + i)] |= some >> i & 1;
            }
        }
    }

    // The outputs of a layer's units that are this thread's; their weights are brought up to date
    // first, where there was a step before.
    void forward(int index, int blocks, int turn, int blocks_before, const Descent& descent) {
        const Range pairs = my_pairs(index);
        const TileInputs& x = inputs(index);
        if (index > 0 && threads_ > 1) {
            fetch(x.lanes(0), x.lanes(blocks));
            fetch(x.features(turn ^ 1, 0), x.features(turn ^ 1, blocks_before));
        }
        for (int pair = pairs.begin; pair < pairs.end; ++pair)
            forward_pair(index, pair, blocks, turn, blocks_before, descent);
    }

    // Names the rows of a batch, to be asked for by the next updates of weights.
    void expect(const Data& data, const std::int64_t* order, std::int64_t first, int lanes) {
        data.expect(ahead_, order, first, lanes, {0, network_.input_parts_}, false);
    }

    // The outputs of a narrow last layer, for this thread's lanes; as are those below.
    void forward_narrow(const Batch& batch, int turn) {
        const int index = last();
        const Layer& layer = layer_at(index);
        const TileInputs& x = inputs(index);
        const Range groups = my_lanes(batch);
        if (groups.begin == groups.end) return;
        const std::uint8_t* filled = x.filled_from(0, turn);
        for (int p = 0; p < layer.panels; ++p)
            round_rows(layer.kernel.values.get() + p * layer.kernel.panel_stride, x.padded,
                       rounded(p, x.padded));
        alignas(64) float sums[TILE_ROWS * PANEL];
        for (int group = groups.begin; group < groups.end; ++group) {
            const int block = group / 2, first = group % 2 * TILE_ROWS;
            const Half* rows = x.lanes(block) + static_cast<std::size_t>(first) * x.lane_stride;
            for (int p = 0; p < layer.panels; ++p) {
                unit_.template clear<0>();
                for (int k = 0; k < x.padded; k += TILE_DEPTH) {
                    if (filled && !filled[k / TILE_ROWS] && !filled[k / TILE_ROWS + 1]) continue;
                    unit_.template load<1>(rows + k, x.lane_stride * sizeof(Half));
                    unit_.template load<2>(rounded(p, x.padded) + k * (PANEL / 2),
                                           PANEL * sizeof(Pair));
                    unit_.template multiply<0, 1, 2>();
                }
                unit_.template store<0>(sums, PANEL * sizeof(float));
                const V bias = load(layer.bias.values.get() + p * PANEL);
                for (int i = 0; i < TILE_ROWS * PANEL; i += PANEL)
                    store(sums + i, load(sums + i) + bias);
                to_features(sums, PANEL,
                            batch.outputs.back().get() +
                                static_cast<std::size_t>(
                                    (block * layer.padded + p * PANEL) * BLOCK + first),
                            PANEL, 1);
            }
        }
    }

    // The loss of this thread's lanes and the last layer's errors there.
    void softmax(const Batch& batch, const std::int64_t* labels, const std::int64_t* order,
                 std::int64_t first, float share_of_mean) {
        const Range groups = my_lanes(batch);
        network_.softmax_errors(batch, labels, order, first, share_of_mean, groups);
        const Layer& layer = layers_.back();
        TileErrors& errors = tiles_.errors.back();
        for (int group = groups.begin; group < groups.end; ++group) {
            const int block = group / 2, from = group % 2 * TILE_ROWS;
            const float* e = network_.errors_.back().get() +
                             static_cast<std::size_t>(block * layer.padded * BLOCK + from);
            pair_units(e, layer.padded, errors.pairs_of(block, 0) + from);
            for (int b = 0; b < TILE_ROWS; b += 2) {
                const auto lane = static_cast<std::size_t>(block * BLOCK + from + b);
                const float* t = network_.transposed_.back().get() + lane * layer.lane_stride;
                pair_transposed(t, t + layer.lane_stride,
                                errors.transposed.get() + lane / 2 * layer.lane_stride,
                                layer.padded);
            }
        }
    }

    // Shares of the errors of a layer's inputs: of two halves of its units, for all of whose errors
    // the threads have to wait; or of all units, and then of inputs that are this thread's.
    bool is_split(int index) const { return layer_at(index).halves == 2; }
    void backward(int index, int blocks) {
        const int groups = round_up(layer_at(index).spec.inputs, TILE_DEPTH) / TILE_DEPTH;
        if (!is_split(index)) {
            const Range mine = my_pairs(index - 1);
            for (int group = mine.begin; group < mine.end; ++group)
                backward_group(index, 0, group, blocks);
            return;
        }
        const Range mine = network_.team_.part(2 * groups, member_);
        for (int task = mine.begin; task < mine.end; ++task)
            backward_group(index, task / groups, task % groups, blocks);
    }

    // The errors of a layer's outputs that are this thread's units, from their shares.
    void finish_errors(int index, int blocks, int turn) {
        const Layer& layer = layer_at(index);
        const bool are_two = is_split(index + 1);
        TileErrors& errors = errors_of(index);
        const TileInputs& outputs = inputs(index + 1);
        const Range panels = my_panels(index);
        for (int p = panels.begin; p < panels.end; ++p) {
            float* sums = errors.bias_sums.get() + p * PANEL;
            store(sums, V{});
            for (int block = 0; block < blocks; ++block) {
                finish_panel(errors.share_of(0, block, p * PANEL),
                             are_two ? errors.share_of(1, block, p * PANEL) : nullptr,
                             layer.spec.activation == Activation::relu
                                 ? outputs.features(turn, block) + p * PANEL * BLOCK
                                 : nullptr,
                             errors.pairs_of(block, p * PANEL),
                             errors.transposed.get() +
                                 static_cast<std::size_t>(block) * (BLOCK / 2) * layer.lane_stride +
                                 p * PANEL,
                             layer.lane_stride, sums);
            }
        }
    }

    // Uses the gradient, for this thread's units of a wide layer, or inputs of another. descent: null
    // where the gradients are summed.
    void update(int index, int blocks, int turn, const Descent* descent) {
        const Layer& layer = layer_at(index);
        const TileInputs& x = inputs(index);
        const Range panels = layer.wide ? my_panels(index) : Range{0, layer.panels};
        const Range groups = layer.wide  ? Range{0, x.padded / TILE_DEPTH}
                             : index > 0 ? my_pairs(index - 1)
                                         : share(x.padded / TILE_DEPTH, 1, member_, threads_);
        const int first = groups.begin * TILE_DEPTH,
                  count = (groups.end - groups.begin) * TILE_DEPTH;
        for (int p = panels.begin; count > 0 && p < panels.end; ++p)
            update_rows(index, p, first, count, turn, blocks, descent, nullptr);
        if (index == last() && (layer.wide || member_ == 0)) sum_last_biases(blocks, panels);
        if (layer.wide || member_ == 0) update_biases(index, panels, descent);
    }

private:
    // Asks for what another core has written: all at once, since each line takes long.
    static void fetch(const Half* from, const Half* end) {
        for (; from < end; from += 64 / sizeof(Half)) __builtin_prefetch(from, 0, 2);
        __asm__ volatile("");  // or GCC takes this for a function without effect
    }

    int last() const { return static_cast<int>(layers_.size()) - 1; }
    Layer& layer_at(int index) const { return layers_[static_cast<std::size_t>(index)]; }
    TileErrors& errors_of(int index) const {
        return tiles_.errors[static_cast<std::size_t>(index)];
    }
    Range my_pairs(int index) const {
        return network_.team_.part((layer_at(index).panels + 1) / 2, member_);
    }
    Range my_panels(int index) const {
        const int panels = layer_at(index).panels;
        const Range pairs = times(my_pairs(index), 2);
        return {std::min(pairs.begin, panels), std::min(pairs.end, panels)};
    }
    // Groups of 16 lanes, of whole blocks.
    Range my_lanes(const Batch& batch) const {
        return share(batch.blocks * 2, 1, member_, threads_);
    }
    const TileInputs& inputs(int index) const {
        return index == 0 ? mine_.data : tiles_.inputs[static_cast<std::size_t>(index)];
    }
    Pair* rounded(int panel, int inputs) const {
        return mine_.rounded.get() + static_cast<std::size_t>(panel * inputs) * PANEL / 2;
    }

    void update_rows(int index, int panel, int first, int count, int turn, int blocks,
                     const Descent* descent, Pair* rounded) {
        const TileInputs& x = inputs(index);
        Parameter& kernel = layer_at(index).kernel;
        with_use(descent, kernel, [&](const auto& use) {
            update_by_tiles(unit_, use, descent && descent->moves_all(), kernel.values.get(),
                            panel * kernel.panel_stride + static_cast<std::size_t>(first * PANEL),
                            count, x.features(turn, 0) + first * BLOCK, x.block_stride(),
                            errors_of(index).transposed.get() + panel * PANEL,
                            layer_at(index).lane_stride, blocks, x.filled_from(first, turn),
                            rounded, ahead_);
        });
    }

    void update_biases(int index, Range panels, const Descent* descent) const {
        const float* sums = errors_of(index).bias_sums.get();
        with_use(descent, layer_at(index).bias, [&](const auto& use) {
            for (int u = panels.begin * PANEL; u < panels.end * PANEL; u += VL)
                use(static_cast<std::size_t>(u), load(sums + u));
        });
    }

    void forward_pair(int index, int pair, int blocks, int turn, int blocks_before,
                      const Descent& descent) {
        const Layer& layer = layer_at(index);
        const TileInputs& x = inputs(index);
        const int first = 2 * pair, panels = std::min(2, layer.panels - first);
        for (int k = 0; k < x.padded; k += TILE_INPUTS) {
            const int count = std::min(TILE_INPUTS, x.padded - k);
            for (int p = 0; p < panels; ++p) {
                if (blocks_before > 0)
                    update_rows(index, first + p, k, count, turn ^ 1, blocks_before, &descent,
                                rounded(p, TILE_INPUTS));
                else
                    round_rows(layer.kernel.values.get() +
                                   (first + p) * layer.kernel.panel_stride + k * PANEL,
                               count, rounded(p, TILE_INPUTS));
            }
            for (int block = 0; block < blocks; ++block)
                forward_by_tiles(unit_, rounded(0, TILE_INPUTS),
                                 panels == 2 ? rounded(1, TILE_INPUTS) : nullptr, count,
                                 x.lanes(block) + k, x.lane_stride, x.filled_from(k, turn),
                                 sums_of(block), k == 0);
        }
        if (blocks_before > 0) {
            if (index == last()) sum_last_biases(blocks_before, {first, first + panels});
            update_biases(index, {first, first + panels}, &descent);
        }
        for (int block = 0; block < blocks; ++block) finish_outputs(index, pair, block, turn);
    }

    float* sums_of(int block) const {
        return mine_.sums.get() + static_cast<std::size_t>(block * BLOCK * 2 * PANEL);
    }

    // Bias and activation, and the layouts that the layer above reads.
    void finish_outputs(int index, int pair, int block, int turn) {
        const Layer& layer = layer_at(index);
        float* sums = sums_of(block);
        const bool is_whole = 2 * pair + 1 < layer.panels;
        const V bias = load(layer.bias.values.get() + 2 * pair * PANEL);
        const V other_bias = is_whole ? load(layer.bias.values.get() + (2 * pair + 1) * PANEL) : V{};
        if (index < last()) {
            TileInputs& to = tiles_.inputs[static_cast<std::size_t>(index + 1)];
            finish_pair(sums, bias, other_bias, layer.spec.activation == Activation::relu,
                        to.lanes(block) + pair * 2 * PANEL, to.lane_stride,
                        to.features(turn, block) + pair * 2 * PANEL * BLOCK);
            return;
        }
        for (int i = 0; i < BLOCK * 2 * PANEL; i += 2 * PANEL) {
            store(sums + i, load(sums + i) + bias);
            store(sums + i + PANEL, load(sums + i + PANEL) + other_bias);
        }
        float* y = network_.batches_[turn].outputs.back().get() +
                   static_cast<std::size_t>((block * layer.padded + 2 * pair * PANEL) * BLOCK);
        for (int p = 0; p <= is_whole; ++p)
            to_features(sums + p * PANEL, 2 * PANEL, y + p * PANEL * BLOCK, PANEL, VB);
    }

    HALF_CODE void finish_pair(const float* sums, V bias, V other_bias, bool is_relu, Half* by_lane,
                               std::size_t lane_stride, Half* by_feature) {
        V rows[VL], other_rows[VL];
        const auto done = [&](const float* at, V b) __attribute__((always_inline)) {
            const V value = load(at) + b;
            return is_relu ? relu(value) : value;
        };
#pragma GCC unroll 16
        for (int i = 0; i < VL; ++i) {
            const float* at = sums + i * 4 * PANEL;
            const V a = done(at, bias), other_a = done(at + PANEL, other_bias);
            const V b = done(at + 2 * PANEL, bias), other_b = done(at + 3 * PANEL, other_bias);
            Half* to = by_lane + static_cast<std::size_t>(2 * i) * lane_stride;
            store_pairs(reinterpret_cast<Pair*>(to), halves_of(a, other_a));
            store_pairs(reinterpret_cast<Pair*>(to + lane_stride), halves_of(b, other_b));
            rows[i] = reinterpret_cast<V>(paired(halves_of(a, b)));
            other_rows[i] = reinterpret_cast<V>(paired(halves_of(other_a, other_b)));
        }
        to_lanes_of_halves(rows, by_feature);
        to_lanes_of_halves(other_rows, by_feature + PANEL * BLOCK);
    }

    void backward_group(int index, int half, int group, int blocks) {
        const Layer& layer = layer_at(index);
        const Range panels = share(layer.panels, 2, half, layer.halves);
        const int count = panels.end - panels.begin;
        TileErrors& errors = errors_of(index);
        TileErrors& below = errors_of(index - 1);
        Half* rounded = reinterpret_cast<Half*>(mine_.rounded.get());
        round_units(
            layer.kernel.values.get() + panels.begin * layer.kernel.panel_stride +
                group * TILE_DEPTH * PANEL,
            layer.kernel.panel_stride, count, rounded);
        for (int block = 0; block < blocks; ++block)
            backward_by_tiles(unit_, rounded, count, errors.pairs_of(block, panels.begin * PANEL),
                              below.share_of(half, block, group * TILE_DEPTH));
    }

    // Adds up a panel's shares, takes them through the activation, and rounds them; sums: of the
    // lanes. outputs: of the units, [unit][lane]; missing: the activation is linear.
    HALF_CODE void finish_panel(const float* share, const float* other, const Half* outputs,
                                Pair* pairs, Pair* transposed, std::size_t t_stride, float* sums) {
        V total = load(sums);
        for (int from = 0; from < BLOCK; from += VL) {
            V e[VL];
#pragma GCC unroll 16
            for (int u = 0; u < VL; ++u) {
                e[u] = load(share + u * BLOCK + from);
                if (other) e[u] += load(other + u * BLOCK + from);
                if (outputs) {
                    const __m256i y = _mm256_load_si256(
                        reinterpret_cast<const __m256i*>(outputs + u * BLOCK + from));
                    const __mmask16 alive = _mm256_cmpgt_epi16_mask(y, _mm256_setzero_si256());
                    e[u] = reinterpret_cast<V>(
                        _mm512_maskz_mov_ps(alive, reinterpret_cast<__m512>(e[u])));
                }
            }
#pragma GCC unroll 16
            for (int u = 0; u < VL; u += 2)
                store_pairs(pairs + u / 2 * BLOCK + from, paired(halves_of(e[u], e[u + 1])));
            transpose(e);
#pragma GCC unroll 16
            for (int b = 0; b < VL; ++b) total += e[b];
#pragma GCC unroll 16
            for (int b = 0; b < VL; b += 2)
                store_pairs(transposed + static_cast<std::size_t>((from + b) / 2) * t_stride,
                            paired(halves_of(e[b], e[b + 1])));
        }
        store(sums, total);
    }

    // Rows of units' errors, [unit][lane], as pairs of units, for 16 lanes.
    HALF_CODE void pair_units(const float* e, int units, Pair* to) {
        for (int u = 0; u < units; u += 2)
            store_pairs(to + u / 2 * BLOCK,
                        paired(halves_of(load(e + u * BLOCK), load(e + (u + 1) * BLOCK))));
    }

    void sum_last_biases(int blocks, Range panels) {
        const Layer& layer = layers_.back();
        for (int u = panels.begin * PANEL; u < panels.end * PANEL; u += VL) {
            V sum{};
            for (int lane = 0; lane < blocks * BLOCK; ++lane)
                sum += load(network_.transposed_.back().get() +
                            static_cast<std::size_t>(lane) * layer.lane_stride + u);
            store(tiles_.errors.back().bias_sums.get() + u, sum);
        }
    }

    std::vector<Layer>& layers_;
    Network& network_;
    Tiles& tiles_;
    const int member_, threads_;
    Tiles::Member& mine_;
    Ahead ahead_;
    Unit unit_;
};

template <typename Unit>
Totals Network::pass_by(bool descends, const Data& data, const std::int64_t* labels,
                        const std::int64_t* order, std::int64_t count, const PassOptions& options,
                        const std::function<bool(std::int64_t)>& poll) {
    const auto batch_size = static_cast<int>(std::min(options.batch_size, count));
    const int chunk = std::min(batch_size, TILED_CHUNK_LANES);
    const bool fused = descends && batch_size <= TILED_CHUNK_LANES;
    reserve_training(chunk);
    if (!tiles_ || tiles_->blocks < (chunk + BLOCK - 1) / BLOCK)
        tiles_ = std::make_shared<Tiles>(layers_, threads(), chunk);
    if (!fused) clear_sums();
    const int last = static_cast<int>(layers_.size()) - 1;
    const bool is_narrow = !layers_.back().wide;
    Totals totals;
    bool stop = false;
    Pulse pulse(poll);
    clear_times();

    team_.run([&](int member) {
        TileWorker<Unit> worker(*this, *tiles_, member);
        Stopwatch watch;
        double others = 0;  // what belongs to no layer
        const auto lap = [&](double& seconds) {
            if (member == 0) watch.lap(seconds);
        };
        const auto batch_end = [&](std::int64_t first) {
            return std::min(count, first / batch_size * batch_size + batch_size);
        };
        const auto lanes_from = [&](std::int64_t first) {
            return static_cast<int>(std::min<std::int64_t>(chunk, batch_end(first) - first));
        };
        if (count > 0) worker.gather(data, order, 0, lanes_from(0), 0);
        watch.start();
        const auto meet = [&] {
            team_.barrier(member);
            return true;
        };
        int turn = 0, blocks_before = 0, blocks = 0;
        // By which weights are still to move, where blocks_before > 0.
        Descent descent = optimizer_.step(options, 0);
        for (std::int64_t first = 0; first < count && !stop; turn ^= 1) {
            Batch& batch = batches_[turn];
            const int lanes = lanes_from(first);
            blocks = (lanes + BLOCK - 1) / BLOCK;
            const std::int64_t next = first + lanes;
            const std::int64_t in_batch = batch_end(first) - first / batch_size * batch_size;
            if (next < count) worker.expect(data, order, next, lanes_from(next));
            for (int i = 0; i < last + !is_narrow; ++i) {
                worker.forward(i, blocks, turn, blocks_before, descent);
                if (member == 0) batch.lanes = lanes, batch.blocks = blocks;
                meet();
                lap(times_[static_cast<std::size_t>(i)].forward);
            }
            if (last == 0 && is_narrow) {
                if (member == 0) batch.lanes = lanes, batch.blocks = blocks;
                meet();
            }
            if (is_narrow) worker.forward_narrow(batch, turn);
            lap(times_.back().forward);
            worker.softmax(batch, labels, order, first, 1.0f / static_cast<float>(in_batch));
            if (next < count) worker.gather(data, order, next, lanes_from(next), turn ^ 1);
            meet();
            if (member == 0) {
                if (!totals.add(losses_, hits_, lanes)) stop = true;
                if (pulse.stops(first)) stop = totals.stopped = true;
                totals.steps += next == batch_end(first);
            }
            lap(others);
            bool have_met = false;  // since stop was written
            for (int i = last; i >= 1; --i) {
                if (i < last) have_met = meet();
                worker.backward(i, blocks);
                if (worker.is_split(i)) have_met = meet();
                worker.finish_errors(i - 1, blocks, turn);
                lap(times_[static_cast<std::size_t>(i)].backward);
            }
            descent = optimizer_.step(options, first / batch_size);
            if (fused) {
                if (is_narrow) worker.update(last, blocks, turn, &descent);
                blocks_before = blocks;
            } else {
                for (int i = 0; i <= last; ++i) worker.update(i, blocks, turn, nullptr);
                have_met = meet();
                if (descends && next == batch_end(first)) {
                    apply_sums(member, descent);
                    meet();
                }
            }
            if (!have_met) meet();
            lap(others);
            first = next;
        }
        meet();  // others may still read weights that are updated now
        for (int i = 0; blocks_before > 0 && i <= last; ++i) {
            const Layer& layer = layers_[static_cast<std::size_t>(i)];
            if (layer.wide) worker.update(i, blocks_before, turn ^ 1, &descent);
        }
    });
    return totals;
}

Totals Network::pass_by_tiles(bool descends, const Data& data, const std::int64_t* labels,
                              const std::int64_t* order, std::int64_t count,
                              const PassOptions& options,
                              const std::function<bool(std::int64_t)>& poll) {
    if (factors_ == Factors::tiles)
        return pass_by<Amx>(descends, data, labels, order, count, options, poll);
    return pass_by<Emulated>(descends, data, labels, order, count, options, poll);
}

}  // namespace inkproof

#else

namespace inkproof {

struct Tiles {};
Totals Network::pass_by_tiles(bool, const Data&, const std::int64_t*, const std::int64_t*,
                              std::int64_t, const PassOptions&,
                              const std::function<bool(std::int64_t)>&) {
    return {};
}

}  // namespace inkproof

#endif
