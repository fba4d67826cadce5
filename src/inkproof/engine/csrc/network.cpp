#include "network.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "softmax.hpp"

namespace inkproof {

namespace {

constexpr int INFERENCE_LANES = 128;
constexpr int LIST_PAYS = 16;        // a list that leaves out less than 1 of so many inputs does not
constexpr int NARROW_UNITS = 64;     // an output layer of no more units is split by lanes
constexpr int BIASES_AT_ONCE = 8;    // vectors of sums, that each waits for itself alone
constexpr int LANES_BETWEEN = 8;     // after which some of the next batch is asked for
// How a word's values lie in Rows::by_lane: in order, where it pays to pick them from registers.
constexpr Values ROW_VALUES = PICKS ? Values::in_order : Values::in_place;
// Inputs whose weights are updated together: a rule that remembers more than them would read and write
// too many places at once.
template <typename Use>
constexpr int INPUTS_TOGETHER = std::is_same_v<Use, Add> ? LISTS_AT_ONCE : 1;

// For sparse_forward: which inputs a lane of sparse data fills, of one part of them, and with what.
struct DataLists {
    static constexpr Values KIND = Values::in_order;
    static constexpr Int<1> words{};
    const std::uint64_t* filled(int lane) const { return bits + lane * parts; }
    const float* values(int lane) const { return x + begins[lane * parts]; }

    const std::uint64_t* bits;    // [lane][part], from the part on,
    const std::uint32_t* begins;  // and likewise
    std::ptrdiff_t parts;
    const float* x;
};

// And of those of a later layer.
struct LaneLists {
    static constexpr Values KIND = ROW_VALUES;
    static constexpr Int<1> words{};
    const std::uint64_t* filled(int lane) const { return bits + lane * parts; }
    const float* values(int lane) const { return x + lane * stride; }

    const std::uint64_t* bits;  // [lane][part], from the part on
    std::ptrdiff_t parts;
    const float* x;  // [lane][input], likewise
    std::ptrdiff_t stride;
};

// And all inputs of a lane that is alone.
struct OneLane {
    static constexpr Values KIND = Values::in_order;
    const std::uint64_t* filled(int) const { return bits; }
    const float* values(int) const { return x; }

    int words;
    const std::uint64_t* bits;
    const float* x;
};

// For sparse_update: which lanes fill the inputs of sparse data, and with what.
template <typename Words>
struct ColumnLists {
    static constexpr Values KIND = Values::in_order;
    static constexpr int LANES = WORD;
    std::size_t input(int i) const { return columns[i].input; }
    std::uint64_t filled(int i, int word) const {
        return bits[static_cast<std::size_t>(word) * features + columns[i].input];
    }
    const float* values(int i, int) const { return x + columns[i].begin; }
    bool asks() const { return true; }

    Words words;
    const SparseInputs::Column* columns;
    const std::uint64_t* bits;  // [word][input]
    std::size_t features;
    const float* x;
};

// And those of a later layer.
template <typename Words>
struct RowLists {
    static constexpr Values KIND = Values::in_place;
    static constexpr int LANES = BLOCK;
    std::size_t input(int i) const { return inputs[i]; }
    std::uint64_t filled(int i, int word) const { return bits[at(i, word)]; }
    const float* values(int i, int word) const { return x + at(i, word) * BLOCK; }
    bool asks() const { return is_large; }
    std::size_t at(int i, int word) const {
        return static_cast<std::size_t>(word) * padded + inputs[i];
    }

    Words words;
    const std::uint32_t* inputs;
    const std::uint32_t* bits;  // [word][input]
    std::size_t padded;
    const float* x;  // [word][input][lane]
    bool is_large;
};

// Calls f with a count, of a type of its own if it is one.
template <typename F>
void with_words(int words, F&& f) {
    if (words == 1)
        f(Int<1>{});
    else
        f(words);
}

Range all_vectors(const Batch& batch) { return {0, (batch.lanes + VL - 1) / VL}; }

// Whole pairs of inputs, or tiles; but no power of two, that one input's weights of all panels spread
// over the cache's sets.
int padded_inputs(int inputs, bool is_tiled) {
    const int padded = round_up(inputs, is_tiled ? 32 : 2);
    return padded % 64 == 0 && !is_tiled ? padded + 2 : padded;
}

}  // namespace

Network::Network(const std::vector<LayerSpec>& specs, int threads, Factors factors)
    : factors_(INKPROOF_HALF ? factors : Factors::floats),
      uses_halves_(factors_ == Factors::halves),
      uses_tiles_(factors_ == Factors::tiles || factors_ == Factors::emulated_tiles),
      team_(threads), scratch_(static_cast<std::size_t>(threads)) {
    for (const LayerSpec& spec : specs) {
        Layer layer(spec, padded_inputs(spec.inputs, uses_tiles_));
        const bool is_last = layers_.size() + 1 == specs.size();
        layer.wide = (layer.panels >= threads || uses_tiles_) &&
                     !(is_last && spec.units <= NARROW_UNITS);
        layers_.push_back(std::move(layer));
    }
    std::size_t weights = 0;
    for (Layer& layer : layers_) {
        parameters_.push_back(&layer.kernel);
        parameters_.push_back(&layer.bias);
        weights += layer.kernel.values.size();
    }
    for (std::size_t i = 1; i < layers_.size(); ++i)
        layers_[i].by_bits = !uses_tiles_ && layers_[i].wide && layers_[i - 1].wide &&
                             layers_[i - 1].spec.activation == Activation::relu;
    is_large_ = weights * sizeof(float) > BEYOND_CACHES;
    last_in_shares_ = !uses_tiles_ && layers_.size() > 1 && specs.back().units <= NARROW_UNITS;
    input_parts_ = Data::parts(specs.front().inputs);
    const int inputs = specs.front().inputs;
    all_inputs_ = Buffer<std::uint32_t>(static_cast<std::size_t>(round_up(inputs, 2)));
    for (int k = 0; k < round_up(inputs, 2); ++k)
        all_inputs_[static_cast<std::size_t>(k)] = static_cast<std::uint32_t>(k * PANEL);
}

Batch Network::make_batch(int lanes, int members) const {
    Batch batch;
    batch.inputs = Inputs(layers_.front().spec.inputs, lanes);
    batch.sparse.resize(static_cast<std::size_t>(members));
    const auto blocks = static_cast<std::size_t>((lanes + BLOCK - 1) / BLOCK);
    if (uses_halves_) {
        batch.input_pairs = Buffer<Pair>(blocks * batch.inputs.block_stride / 2);
        batch.input_lanes = Buffer<Pair>(blocks * batch.inputs.block_stride / 2);
    }
    for (const Layer& layer : layers_) {
        batch.outputs.emplace_back(blocks * static_cast<std::size_t>(layer.padded * BLOCK));
        Buffer<std::uint16_t> alive(static_cast<std::size_t>(layer.panels));
        for (int p = 0; p < layer.panels; ++p) alive[static_cast<std::size_t>(p)] = 0xffff;
        batch.alive.push_back(std::move(alive));
    }
    for (int member = 0; member < members; ++member) {
        std::vector<Rows> rows(layers_.size());
        for (std::size_t i = 1; i < layers_.size(); ++i) {
            const auto inputs = static_cast<std::size_t>(layers_[i - 1].padded);
            rows[i].offsets = Buffer<std::uint32_t>(inputs);
            rows[i].x = Buffer<float>(blocks * inputs * BLOCK);
            if (layers_[i].by_bits) {
                const int words = Data::parts(static_cast<int>(inputs));
                rows[i].filled_lanes = Buffer<std::uint32_t>(blocks * inputs);
                rows[i].filled_inputs =
                    Buffer<std::uint64_t>(blocks * BLOCK * static_cast<std::size_t>(words));
                rows[i].by_lane = Buffer<float>(blocks * BLOCK * layers_[i - 1].lane_stride + HELD);
            }
            if (!uses_halves_) continue;
            rows[i].pairs = Buffer<Pair>(blocks * inputs * BLOCK / 2);
            rows[i].lanes = Buffer<Pair>(blocks * inputs * BLOCK / 2);
        }
        batch.rows.push_back(std::move(rows));
    }
    return batch;
}

void Network::reserve_training(int lanes) {
    if (lanes <= capacity_) return;
    for (Batch& batch : batches_) batch = make_batch(lanes, threads());
    const auto blocks = static_cast<std::size_t>((lanes + BLOCK - 1) / BLOCK);
    errors_.clear();
    transposed_.clear();
    transposed_pairs_.clear();
    for (const Layer& layer : layers_) {
        transposed_pairs_.emplace_back(uses_halves_ ? blocks * BLOCK / 2 * layer.lane_stride : 0);
        errors_.emplace_back(blocks * static_cast<std::size_t>(layer.padded * BLOCK));
        transposed_.emplace_back(blocks * BLOCK * layer.lane_stride);
    }
    for (auto& share : output_shares_)
        share = Buffer<float>(blocks * static_cast<std::size_t>(layers_.back().padded * BLOCK));
    int widest = 0;
    for (const Layer& layer : layers_) widest = std::max(widest, layer.padded);
    other_share_ = Buffer<float>(blocks * static_cast<std::size_t>(widest * BLOCK));
    losses_ = Buffer<float>(blocks * BLOCK);
    hits_ = Buffer<std::int32_t>(blocks * BLOCK);
    for (Scratch& scratch : scratch_) {
        scratch.transposed = Buffer<float>(blocks * BLOCK * SPARSE_PANELS * PANEL);
        scratch.units = Buffer<int>(static_cast<std::size_t>(widest));
        scratch.unit_at = Buffer<std::size_t>(static_cast<std::size_t>(widest));
        scratch.errors = Buffer<float>(blocks * static_cast<std::size_t>(widest * BLOCK));
        scratch.row = Buffer<float>(static_cast<std::size_t>(widest));
        const int most = std::max(widest, layers_.front().spec.inputs);
        scratch.filled.reserve(static_cast<std::size_t>(Data::parts(most)));
        scratch.values = Buffer<float>(static_cast<std::size_t>(most + HELD));
        if (!uses_halves_) continue;
        scratch.error_pairs = Buffer<Pair>(blocks * static_cast<std::size_t>(widest * BLOCK / 2));
        scratch.pair_at.reserve(static_cast<std::size_t>(widest / 2));
    }
    capacity_ = static_cast<int>(blocks) * BLOCK;
}

// Lists which of a layer's inputs are not zero in the whole batch, and moves together those of them
// that are among the ones that the member reads.
void Network::list_rows(int index, Batch& batch, int member, Range read) const {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const auto below_at = static_cast<std::size_t>(index - 1);
    const Layer& below = layers_[below_at];
    Rows& rows = batch.rows[static_cast<std::size_t>(member)][static_cast<std::size_t>(index)];
    // Adam reads three arrays a weight: by bits, from six or eight panels each, it is slower.
    const bool may_pay = layer.by_bits && !layer.half && optimizer_.options().rule == Rule::sgd;
    rows.by_bits = may_pay && list_filled(index, batch, rows);
    if (layer.half) return list_pairs(index, batch, member);
    const auto stride = static_cast<std::size_t>(below.padded * BLOCK);
    const float* from = batch.outputs[below_at].get();
    int filled = 0;
    for (int p = 0; p < below.panels; ++p)
        filled += __builtin_popcount(batch.alive[below_at][static_cast<std::size_t>(p)]);
    rows.are_all = below.spec.units - filled < below.spec.units / LIST_PAYS;
    rows.count = below.spec.units;
    if (rows.are_all) return;
    int count = 0;
    for (int p = 0; p < below.panels; ++p)
        for (unsigned mask = batch.alive[below_at][static_cast<std::size_t>(p)]; mask != 0;
             mask &= mask - 1) {
            const int k = p * PANEL + __builtin_ctz(mask);
            if (k >= below.spec.units) break;
            rows.offsets[static_cast<std::size_t>(count)] = static_cast<std::uint32_t>(k * PANEL);
            const bool moves = !rows.by_bits && k >= read.begin && k < read.end;
            const int blocks = moves ? batch.blocks : 0;
            for (std::size_t block = 0; block < static_cast<std::size_t>(blocks); ++block)
                for (int i = 0; i < BLOCK; i += VL)
                    store(rows.x.get() + block * stride + count * BLOCK + i,
                          load(from + block * stride + k * BLOCK + i));
            ++count;
        }
    rows.count = count;
}

// Notes which of a layer's inputs are not zero, for this batch's update may go by bits though its way
// forward did not; and, if those are few enough for both, the inputs by lanes. Each thread does so for
// itself: what another one has written is read once.
bool Network::list_filled(int index, const Batch& batch, Rows& rows) const {
    const auto below_at = static_cast<std::size_t>(index - 1);
    const Layer& below = layers_[below_at];
    const float* x = batch.outputs[below_at].get();
    const auto words = static_cast<std::size_t>(Data::parts(below.padded));
    int count = 0;
    for (int block = 0; block < batch.blocks; ++block) {
        const int lanes = std::min(BLOCK, batch.lanes - block * BLOCK);
        const std::uint32_t wanted = ~std::uint32_t{0} >> (BLOCK - lanes);
        for (int i = block * below.padded; i < (block + 1) * below.padded; ++i) {
            const std::uint32_t bits = filled_bits<VB>(x + i * BLOCK) & wanted;
            rows.filled_lanes[static_cast<std::size_t>(i)] = bits;
            count += __builtin_popcount(bits);
        }
    }
    const int numbers = below.spec.units * batch.lanes;
    if (static_cast<float>(count) > BITS_PAY_BELOW * static_cast<float>(numbers)) return false;
    const std::size_t stride = below.lane_stride;
    for (int block = 0; block < batch.blocks; ++block) {
        const auto first = static_cast<std::size_t>(block * BLOCK);
        float* rows_at = rows.by_lane.get() + first * stride;
        std::uint64_t* filled = rows.filled_inputs.get() + first * words;
        std::fill(filled, filled + BLOCK * words, std::uint64_t{0});
        each_lane(
            below.padded, VB,
            [&](int k, int lane) __attribute__((always_inline)) {
                return load(x + (block * below.padded + k) * BLOCK + lane);
            },
            [&](std::size_t lane, int k, V v) __attribute__((always_inline)) {
                float* row = rows_at + lane * stride;
                std::uint64_t& bits = filled[lane * words + static_cast<std::size_t>(k / WORD)];
                const std::uint32_t here = filled_bits(v);
                if (ROW_VALUES == Values::in_order)
                    store_filled(row + k / WORD * WORD + __builtin_popcountll(bits), v, here);
                else
                    store(row + k, v);
                bits |= std::uint64_t{here} << k % WORD;
            });
    }
    return true;
}

Operand Network::operand(int index, const Batch& batch, int member) const {
    if (index == 0) {
        const Inputs& in = batch.inputs;
        const Layer& layer = layers_.front();
        const int count = layer.half ? round_up(layer.spec.inputs, 2) : layer.spec.inputs;
        return {layer.half ? all_inputs_.get() : nullptr, count, in.x.get(), in.block_stride,
                batch.input_pairs.get(), batch.input_lanes.get()};
    }
    const auto at = static_cast<std::size_t>(index);
    const Rows& rows = batch.rows[static_cast<std::size_t>(member)][at];
    return {rows.are_all ? nullptr : rows.offsets.get(), rows.count,
            (rows.are_all ? batch.outputs[at - 1] : rows.x).get(),
            static_cast<std::size_t>(layers_[at - 1].padded * BLOCK), rows.pairs.get(),
            rows.lanes.get()};
}

namespace {

// Calls f(block, first, count) for each block of which some vectors are wanted.
template <typename F>
void each_block(Range vectors, F&& f) {
    for (int v = vectors.begin; v < vectors.end;) {
        const int first = v % VB, count = std::min(VB - first, vectors.end - v);
        f(static_cast<std::size_t>(v / VB), first, count);
        v += count;
    }
}

// Calls f(group) for groups of the panels of about the same size, as the products of sparse inputs
// want them: a small last one would cost as much as a whole one.
template <typename F>
void each_group(Range panels, F&& f) {
    const int count = panels.end - panels.begin;
    const int groups = (count + SPARSE_PANELS - 1) / SPARSE_PANELS;
    for (int group = 0; group < groups; ++group) {
        const Range some = share(count, 1, group, groups);
        f(Range{panels.begin + some.begin, panels.begin + some.end});
    }
}

}  // namespace

// Computes one layer's outputs for some of its panels and some vectors of lanes.
void Network::forward(int index, Batch& batch, int member, Range panels, Range vectors,
                      Scratch& scratch) const {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const int units = layer.spec.units;
    const Operand from = operand(index, batch, member);
    float* y = batch.outputs[static_cast<std::size_t>(index)].get();
    const std::size_t y_stride = static_cast<std::size_t>(layer.padded) * BLOCK;
    for (int group = panels.begin; group < panels.end; group += PANELS_AT_ONCE) {
        const int group_end = std::min(group + PANELS_AT_ONCE, panels.end);
        for (int k = 0; k == 0 || k < from.count; k += INPUTS_AT_ONCE)
            for (int p = group; p < group_end; ++p)
                each_block(vectors, [&](std::size_t block, int first, int count) {
                    scratch.ahead.some(8);
                    const float* bias = k == 0 ? layer.bias.values.get() + p * PANEL : nullptr;
                    float* at = y + block * y_stride + p * PANEL * BLOCK;
                    if (layer.half)
                        return add_inputs_half(
                            index, from, p, block, {first, first + count},
                            {k / 2, std::min(k + INPUTS_AT_ONCE, from.count) / 2}, bias, at);
                    forward_panel(layer.kernel.values.get() + p * layer.kernel.panel_stride,
                                  from.rows, k, std::min(INPUTS_AT_ONCE, from.count - k),
                                  from.x + block * from.block_stride, bias, at,
                                  std::min(PANEL, units - p * PANEL), first, count);
                });
    }
    activate(index, batch, panels, vectors);
}

// Adds the share of one part of the inputs to some lanes' sums of P panels. w: the first of those.
template <int P>
void Network::add_part(int index, const Batch& batch, int member, int part, Range lanes,
                       const float* w, float* sums, Scratch& scratch) const {
    const auto at = static_cast<std::size_t>(index);
    const std::size_t panel_stride = layers_[at].kernel.panel_stride;
    w += part * WORD * PANEL;
    const auto add = [&](const auto& lists) {
        for (int lane = lanes.begin; lane < lanes.end; lane += LANES_BETWEEN) {
            scratch.ahead.some(LANES_BETWEEN);
            const Range some{lane, std::min(lane + LANES_BETWEEN, lanes.end)};
            sparse_forward<P>(w, panel_stride, lists, some, sums);
        }
    };
    const auto first = static_cast<std::size_t>(part);
    if (index == 0) {
        const SparseInputs& inputs = batch.sparse[static_cast<std::size_t>(member)];
        add(DataLists{&inputs.row_filled[first], &inputs.row_begins[first], inputs.parts,
                      inputs.row_values.get()});
    } else {
        const Rows& rows = batch.rows_of(index, member);
        const Layer& below = layers_[at - 1];
        add(LaneLists{&rows.filled_inputs[first], Data::parts(below.padded),
                      rows.by_lane.get() + part * WORD,
                      static_cast<std::ptrdiff_t>(below.lane_stride)});
    }
}

// The outputs of a layer whose inputs are taken by bits; where there is a batch before, after the
// update that it asks for. Each part of the inputs goes through both while its weights are in the
// cache.
void Network::forward_sparse(int index, const Batch* before, const Descent* descent, Batch& batch,
                             int member, Range panels, Range vectors, Scratch& scratch) {
    const auto layer_at = static_cast<std::size_t>(index);
    Layer& layer = layers_[layer_at];
    const int parts = Data::parts(layer.spec.inputs);
    const std::size_t y_stride = static_cast<std::size_t>(layer.padded) * BLOCK;
    const int begin = vectors.begin * VL, end = std::min(vectors.end * VL, batch.lanes);
    if (before) update_biases(index, *before, panels, descent);
    each_group(panels, [&](Range group) {
        const auto stride = static_cast<std::size_t>((group.end - group.begin) * PANEL);
        const float* w = layer.kernel.values.get() + group.begin * layer.kernel.panel_stride;
        const float* bias = layer.bias.values.get() + group.begin * PANEL;
        float* t = scratch.transposed.get();
        for (int lane = begin; lane < end; ++lane)
            std::copy(bias, bias + stride, t + static_cast<std::size_t>(lane) * stride);
        for (int part = 0; part < parts; ++part) {
            if (before)
                descent->with(layer.kernel, [&](const auto& use) {
                    const Range inputs{part * WORD, (part + 1) * WORD};
                    if (index > 0)
                        return update_filled(index, *before, member, inputs, group,
                                             descent->moves_all(), use);
                    const SparseInputs& filled = before->sparse[static_cast<std::size_t>(member)];
                    const int* bounds = &filled.column_bounds[static_cast<std::size_t>(part)];
                    update_columns(filled, {bounds[0], bounds[1]}, group, use);
                });
            with_constant<SPARSE_PANELS>(group.end - group.begin, [&](auto count) {
                add_part<decltype(count)::value>(index, batch, member, part, {begin, end}, w, t,
                                                 scratch);
            });
        }
        std::uint32_t alive[SPARSE_PANELS] = {};
        const bool is_relu = layer.spec.activation == Activation::relu;
        each_block(vectors, [&](std::size_t block, int first, int count) {
            to_features(
                t + (block * BLOCK + static_cast<std::size_t>(first * VL)) * stride, stride,
                batch.outputs[layer_at].get() + block * y_stride + group.begin * PANEL * BLOCK +
                    first * VL,
                static_cast<int>(stride), count, [&](int unit, V v) __attribute__((always_inline)) {
                    const V value = is_relu ? relu(v) : v;
                    alive[unit / PANEL] |= filled_bits(value) << unit % PANEL;
                    return value;
                });
        });
        for (int p = group.begin; is_relu && p < group.end; ++p)
            note_alive(index, batch, p, alive[p - group.begin]);
    });
}

// Notes which units of a panel are not zero in the whole batch. A linear unit hands on errors whatever
// its output, so all of those count; and all of a layer that is split by lanes, of which no thread knows.
void Network::note_alive(int index, Batch& batch, int panel, std::uint32_t units) const {
    const auto at = static_cast<std::size_t>(index);
    if (layers_[at].wide || threads() == 1)
        batch.alive[at][static_cast<std::size_t>(panel)] = static_cast<std::uint16_t>(units);
}

// Takes outputs through the activation.
void Network::activate(int index, Batch& batch, Range panels, Range vectors) const {
    const auto at = static_cast<std::size_t>(index);
    const Layer& layer = layers_[at];
    if (layer.spec.activation != Activation::relu) return;
    for (int p = panels.begin; p < panels.end; ++p) {
        unsigned alive = 0;
        each_block(vectors, [&](std::size_t block, int first, int count) {
            float* y = batch.outputs[at].get() +
                       (block * static_cast<std::size_t>(layer.padded) +
                        static_cast<std::size_t>(p * PANEL)) * BLOCK + first * VL;
            for (int u = 0; u < PANEL; ++u, y += BLOCK) {
                VI filled{};
                for (int v = 0; v < count; ++v) {
                    const V value = relu(load(y + v * VL));
                    store(y + v * VL, value);
                    filled |= value != V{};
                }
                alive |= static_cast<unsigned>(any(filled)) << u;
            }
        });
        note_alive(index, batch, p, alive);
    }
}

// One lane through all layers, with units as the vector: what few lanes are quicker by. Whatever is
// zero is left out.
void Network::forward_row(Batch& batch, bool sparse, int lane, Scratch& scratch) const {
    float* y = scratch.row.get();
    for (const Layer& layer : layers_) {
        const bool is_first = &layer == &layers_.front();
        const std::uint64_t* filled;
        const float* values;
        const int words = Data::parts(layer.spec.inputs);
        if (is_first && sparse) {
            const SparseInputs& inputs = batch.sparse.front();
            const auto i = static_cast<std::size_t>(lane * words);
            filled = &inputs.row_filled[i];
            values = inputs.row_values.get() + inputs.row_begins[i];
        } else {
            scratch.filled.assign(static_cast<std::size_t>(words), 0);
            float* to = scratch.values.get();
            for (int k = 0; k < layer.spec.inputs; ++k) {
                *to = is_first ? batch.inputs.x[static_cast<std::size_t>(k * BLOCK + lane)] : y[k];
                const std::uint64_t is_filled = *to != 0;
                scratch.filled[static_cast<std::size_t>(k / WORD)] |= is_filled << k % WORD;
                to += is_filled;
            }
            filled = scratch.filled.data();
            values = scratch.values.get();
        }
        std::copy(layer.bias.values.get(), layer.bias.values.get() + layer.padded, y);
        each_group({0, layer.panels}, [&](Range group) {
            with_constant<SPARSE_PANELS>(group.end - group.begin, [&](auto count) {
                sparse_forward<decltype(count)::value>(
                    layer.kernel.values.get() + group.begin * layer.kernel.panel_stride,
                    layer.kernel.panel_stride, OneLane{words, filled, values}, {0, 1},
                    y + group.begin * PANEL);
            });
        });
        if (&layer == &layers_.back()) break;
        if (layer.spec.activation == Activation::relu)
            for (int u = 0; u < layer.padded; u += VL) store(y + u, relu(load(y + u)));
    }
    for (int u = 0; u < layers_.back().spec.units; ++u)
        batch.outputs.back()[static_cast<std::size_t>(u * BLOCK + lane)] = y[u];
}

// The last layer's outputs without their sum: the share of a fixed half of its inputs, which are
// those that the same thread has computed, for the member's lanes.
void Network::forward_shares(const Batch& batch, int member) {
    const Layer& layer = layers_.back();
    const Operand from = operand(static_cast<int>(layers_.size()) - 1, batch, member);
    const auto y_stride = static_cast<std::size_t>(layer.padded * BLOCK);
    alignas(64) static const float nothing[NARROW_UNITS] = {};
    const bool by_half = threads() % 2 == 0;
    const int sharers = by_half ? threads() / 2 : threads();
    const Range vectors = share((batch.lanes + VL - 1) / VL, 1, member % sharers, sharers);
    for (int half = 0; half < 2; ++half) {
        if (by_half && half != member / sharers) continue;
        const Range mine = listed(from, share(layer.spec.inputs, PANEL, half, 2));
        each_block(vectors, [&](std::size_t block, int first, int count) {
            const float* begin = half == 0 ? layer.bias.values.get() : nothing;
            float* y = output_shares_[half].get() + block * y_stride;
            for (int p = 0; p < layer.panels; ++p)
                forward_panel(layer.kernel.values.get() + p * layer.kernel.panel_stride,
                              from.rows, mine.begin, mine.end - mine.begin,
                              from.x + block * from.block_stride, begin + p * PANEL,
                              y + p * PANEL * BLOCK,
                              std::min(PANEL, layer.spec.units - p * PANEL), first, count);
        });
    }
}

// Softmax, the loss and its gradient with respect to the last layer's outputs, for some vectors of
// lanes. Cross-entropy of softmax: d loss / d z = p - y (Bishop 2006, eq. 4.109).
void Network::softmax_errors(const Batch& batch, const std::int64_t* labels,
                             const std::int64_t* rows, std::int64_t first, float share_of_mean,
                             Range vectors) {
    const Layer& layer = layers_.back();
    const int units = layer.spec.units;
    for (int v = vectors.begin; v < vectors.end; ++v) {
        const std::size_t at = static_cast<std::size_t>(v / VB) *
                                   static_cast<std::size_t>(layer.padded * BLOCK) +
                               static_cast<std::size_t>(v % VB * VL);
        float* z = batch.outputs.back().get() + at;
        for (int u = 0; last_in_shares_ && u < units * BLOCK; u += BLOCK)
            store(z + u, load(output_shares_[0].get() + at + u) +
                             load(output_shares_[1].get() + at + u));
        float* e = errors_.back().get() + at;
        VI target{};
        V weight{};
        for (int i = 0; i < VL; ++i) {
            const int lane = v * VL + i;
            if (lane >= batch.lanes) continue;
            const std::int64_t row = rows ? rows[first + lane] : first + lane;
            target[i] = static_cast<std::int32_t>(labels[row]);
            weight[i] = share_of_mean;
        }
        V best;
        VI where;
        find_likeliest(z, units, best, where);
        V sum{}, others{}, wanted{};
        for (int u = 0; u < units; ++u) {
            const V shifted = load(z + u * BLOCK) - best;
            const V power = exp_nonpositive(shifted);
            store(e + u * BLOCK, power);
            sum += power;
            others += target == u ? V{} : power;
            wanted = target == u ? shifted : wanted;
        }
        // For the label p - 1 is minus the other classes' share, which stays exact where p nears 1.
        const V per_sum = weight / sum;
        for (int u = 0; u < units; ++u) {
            const V p = load(e + u * BLOCK) * per_sum;
            store(e + u * BLOCK, target == u ? -others * per_sum : p);
        }
        for (int i = 0; i < VL; ++i) {
            const int lane = v * VL + i;
            if (lane >= batch.lanes) break;
            losses_[static_cast<std::size_t>(lane)] = cross_entropy(sum[i], wanted[i]);
            hits_[static_cast<std::size_t>(lane)] = where[i] == target[i];
        }
        to_lanes(errors_.back().get() + at,
                 transposed_.back().get() + static_cast<std::size_t>(v * VL) * layer.lane_stride,
                 layer.lane_stride, layer.padded, 1);
    }
}

// Where a half's share of the gradient of some inputs goes, from the `first` of those listed: of two
// threads each writes among the errors only where it will take their sum, so that fewer lines move
// between the cores.
const Buffer<float>& Network::share_of(int index, int half, int first, int listed) const {
    const bool is_near = layers_[static_cast<std::size_t>(index)].halves == 1 ||
                         (2 * first < listed) == (half == 0);
    return is_near ? errors_[static_cast<std::size_t>(index - 1)] : other_share_;
}

// The gradient with respect to a layer's inputs, which are the outputs of the layer below, is the
// sum of the shares of two fixed halves of the layer's units, if it has more than a few. Each thread
// begins with the share of the units that it owns, so that few weights are read that another thread
// writes: moving those between the cores costs more than all the sums. The first half goes from its
// last unit to its first: upwards, a processor that looks ahead from panel to panel would go on into
// the other half, whose owner then had to claim those weights back before their update.
void Network::backward_shares(int index, const Batch& batch, int member, Scratch& scratch) {
    if (layers_[static_cast<std::size_t>(index)].half)
        return backward_shares_half(index, batch, member, scratch);
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const Operand below = operand(index, batch, member);
    const auto below_stride =
        static_cast<std::size_t>(layers_[static_cast<std::size_t>(index - 1)].padded * BLOCK);
    int half_listed = -1;
    Units units{};
    each_share(index, below, member, [&](int half, Range inputs) {
        if (half != half_listed) {
            const Range panels = share(layer.panels, 1, half, layer.halves);
            units = units_of(index, batch, member, panels, scratch);
            half_listed = half;
        }
        const Buffer<float>& into = share_of(index, half, inputs.begin, below.count);
        for (int block = 0; block < batch.blocks; ++block) {
            const auto b = static_cast<std::size_t>(block);
            const int vectors = (std::min(BLOCK, batch.lanes - block * BLOCK) + VL - 1) / VL;
            const auto add = [&](auto rows_by, int chunk, bool is_first) {
                const int u = chunk * UNITS_AT_ONCE;
                rows_by(layer.kernel.values.get(), below.rows, inputs, units.at + u,
                        std::min(UNITS_AT_ONCE, units.count - u),
                        units.errors + b * units.block_stride + u * BLOCK,
                        into.get() + b * below_stride, vectors, is_first);
            };
            const int chunks = std::max(1, (units.count + UNITS_AT_ONCE - 1) / UNITS_AT_ONCE);
            for (int i = 0; i < chunks; ++i)
                if (half + 1 < layer.halves)
                    add(backward_rows<true>, chunks - 1 - i, i == 0);
                else
                    add(backward_rows<false>, i, i == 0);
        }
    });
}

// Lists the units in some panels whose errors are not zero in the whole batch.
int Network::list_units(int index, const Batch& batch, int member, Range panels, int* list) const {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const bool is_last = &layer == &layers_.back();
    const Operand above = is_last ? Operand{} : operand(index + 1, batch, member);
    int count = 0;
    if (above.rows) {
        const Range here = listed(above, {panels.begin * PANEL, panels.end * PANEL});
        for (int i = here.begin; i < here.end; ++i)
            list[count++] = static_cast<int>(above.rows[i] / PANEL);
    } else {
        const int end = std::min(panels.end * PANEL, layer.spec.units);
        for (int unit = panels.begin * PANEL; unit < end; ++unit) list[count++] = unit;
    }
    return count;
}

// The same units with their errors moved together; or all of the panels, as they lie.
Network::Units Network::units_of(int index, const Batch& batch, int member, Range panels,
                                 Scratch& scratch) const {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const float* errors = errors_[static_cast<std::size_t>(index)].get();
    const auto stride = static_cast<std::size_t>(layer.padded * BLOCK);
    const bool is_last = &layer == &layers_.back();
    if (is_last || !operand(index + 1, batch, member).rows) {
        const int begin = panels.begin * PANEL;
        return {layer.units.data() + begin, std::min(panels.end * PANEL, layer.spec.units) - begin,
                errors + begin * BLOCK, stride};
    }
    const int count = list_units(index, batch, member, panels, scratch.units.get());
    for (int i = 0; i < count; ++i) {
        const auto to = static_cast<std::size_t>(i);
        const int unit = scratch.units[to];
        scratch.unit_at[to] = layer.units[static_cast<std::size_t>(unit)];
        for (std::size_t block = 0; block < static_cast<std::size_t>(batch.blocks); ++block) {
            const float* from = errors + block * stride + unit * BLOCK;
            std::copy(from, from + BLOCK, scratch.errors.get() + block * stride + i * BLOCK);
        }
    }
    return {scratch.unit_at.get(), count, scratch.errors.get(), stride};
}

// Adds up the shares, and takes the gradient through the activation of the layer below.
void Network::backward_sum(int index, const Batch& batch, int member) {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const auto below_at = static_cast<std::size_t>(index - 1);
    const Layer& below = layers_[below_at];
    const bool is_relu = below.spec.activation == Activation::relu;
    const Range mine = my_outputs(below, member);
    const int rows = std::min(mine.end, layer.spec.inputs) - mine.begin;
    if (rows <= 0) return;
    for (int block = 0; block < batch.blocks; ++block) {
        const std::size_t at = static_cast<std::size_t>(block) *
                               static_cast<std::size_t>(below.padded * BLOCK);
        const std::size_t from = at + static_cast<std::size_t>(mine.begin * BLOCK);
        const float* other = other_share_.get() + from;
        const float* a = batch.outputs[below_at].get() + from;
        float* d = errors_[below_at].get() + from;
        float* t = transposed_[below_at].get() +
                   static_cast<std::size_t>(block * BLOCK) * below.lane_stride + mine.begin;
        each_lane(
            round_up(rows, PANEL), VB,
            [&](int row, int lane) __attribute__((always_inline)) {
                if (row >= rows) return V{};
                const int i = row * BLOCK + lane;
                V sum = load(d + i);
                if (layer.halves == 2) sum += load(other + i);
                if (is_relu) sum = load(a + i) > V{} ? sum : V{};
                store(d + i, sum);
                return sum;
            },
            [&](std::size_t lane, int row, V v) __attribute__((always_inline)) {
                store(t + lane * below.lane_stride + row, v);
            });
        if (below.half) pair_errors(index - 1, block, mine.begin, round_up(rows, PANEL));
    }
}

// Uses the gradient, for some panels and some inputs. Whoever has input 0 has the biases.
void Network::update(int index, const Batch& batch, bool sparse, int member, Range panels,
                     Range inputs, const Descent* descent) {
    Layer& layer = layers_[static_cast<std::size_t>(index)];
    const Operand from = operand(index, batch, member);
    if (layer.half) {
        const Range whole{inputs.begin, round_up(inputs.end, 2)};
        update_half(index, batch, from, listed(from, whole), whole, panels, descent);
    } else {
        with_use(descent, layer.kernel, [&](const auto& use) {
            const bool moves_all = descent && descent->moves_all();
            if (index > 0 && batch.rows_of(index, member).by_bits)
                return each_group(panels, [&](Range group) {
                    update_filled(index, batch, member, inputs, group, moves_all, use);
                });
            if (index > 0 || !sparse)
                return update_listed(index, batch, from, inputs, panels, moves_all, use);
            const SparseInputs& filled = batch.sparse[static_cast<std::size_t>(member)];
            const int count = filled.column_bounds.back();
            const Range columns = layer.wide ? Range{0, count} : share(count, 1, member, threads());
            each_group(panels,
                       [&](Range group) { update_columns(filled, columns, group, use); });
        });
    }
    if (inputs.begin == 0 && inputs.end > 0) update_biases(index, batch, panels, descent);
}

// moves_all: uses the gradients of inputs that are not listed, too, which are 0.
template <typename Use>
void Network::update_listed(int index, const Batch& batch, const Operand& from, Range inputs,
                            Range panels, bool moves_all, const Use& use) const {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    const float* t = transposed_[static_cast<std::size_t>(index)].get();
    const Range mine = listed(from, inputs);
    for (int group = panels.begin; group < panels.end; group += UPDATE_PANELS)
        for (int k = mine.begin; k < mine.end; k += INPUTS_AT_ONCE)
            update_panels(use, group * layer.kernel.panel_stride, layer.kernel.panel_stride,
                          std::min(UPDATE_PANELS, panels.end - group), from.rows,
                          {k, std::min(k + INPUTS_AT_ONCE, mine.end)}, from.x, from.block_stride,
                          t + group * PANEL, layer.lane_stride, batch.lanes, is_large_);
    if (!moves_all) return;
    each_unlisted(from.rows, mine, inputs, 1, [&](std::uint32_t row) {
        for (int p = panels.begin; p < panels.end; ++p)
            for (int j = 0; j < PANEL; j += VL) use(p * layer.kernel.panel_stride + row + j, V{});
    });
}

// The same for some of the first layer's inputs that sparse data fill, and one group of its panels.
template <typename Use>
void Network::update_columns(const SparseInputs& inputs, Range columns, Range panels,
                             const Use& use) const {
    const Layer& layer = layers_.front();
    with_words(inputs.lane_words, [&](auto words) {
        const ColumnLists<decltype(words)> lists{
            words, inputs.columns.data(), inputs.column_filled.data(),
            static_cast<std::size_t>(layer.spec.inputs), inputs.column_values.get()};
        update_lists(0, lists, columns, panels, use);
    });
}

// The same for some of a later layer's inputs, by the bits of the layer below.
template <typename Use>
void Network::update_filled(int index, const Batch& batch, int member, Range inputs, Range panels,
                            bool moves_all, const Use& use) const {
    const auto below_at = static_cast<std::size_t>(index - 1);
    const auto padded = static_cast<std::size_t>(layers_[below_at].padded);
    const std::uint32_t* filled = batch.rows_of(index, member).filled_lanes.get();
    const int end = std::min(inputs.end, layers_[static_cast<std::size_t>(index)].spec.inputs);
    for (int begin = inputs.begin; begin < end; begin += WORD) {
        std::uint32_t chosen[WORD];
        int count = 0;
        for (int k = begin; k < std::min(begin + WORD, end); ++k) {
            const auto input = static_cast<std::uint32_t>(k);
            bool moves = moves_all;
            for (int block = 0; block < batch.blocks; ++block)
                moves = moves || filled[static_cast<std::size_t>(block) * padded + input] != 0;
            chosen[count] = input;
            count += moves;
        }
        with_words(batch.blocks, [&](auto words) {
            const RowLists<decltype(words)> lists{
                words, chosen, filled, padded, batch.outputs[below_at].get(), is_large_};
            update_lists(index, lists, {0, count}, panels, use);
        });
    }
}

// The same for one group of a layer's panels, and those inputs that come in a range of lists.
template <typename Lists, typename Use>
void Network::update_lists(int index, const Lists& lists, Range wanted, Range panels,
                           const Use& use) const {
    const auto at = static_cast<std::size_t>(index);
    const Layer& layer = layers_[at];
    const std::size_t panel_stride = layer.kernel.panel_stride;
    with_constant<SPARSE_PANELS>(panels.end - panels.begin, [&](auto count) {
        sparse_update<decltype(count)::value, INPUTS_TOGETHER<Use>>(
            use, panels.begin * panel_stride, panel_stride, lists, wanted,
            transposed_[at].get() + panels.begin * PANEL, layer.lane_stride);
    });
}

void Network::update_biases(int index, const Batch& batch, Range panels, const Descent* descent) {
    Layer& layer = layers_[static_cast<std::size_t>(index)];
    const float* t = transposed_[static_cast<std::size_t>(index)].get();
    with_use(descent, layer.bias, [&](const auto& use) {
        few_at_once<BIASES_AT_ONCE>({panels.begin * VP, panels.end * VP}, [&](auto count, int first) {
            V sum[decltype(count)::value] = {};
            for (int lane = 0; lane < batch.lanes; ++lane)
                for (int i = 0; i < count; ++i)
                    sum[i] += load(t + static_cast<std::size_t>(lane) * layer.lane_stride +
                                   (first + i) * VL);
            for (int i = 0; i < count; ++i)
                use(static_cast<std::size_t>((first + i) * VL), sum[i]);
        });
    });
}

// How many of a layer's panels are updated before they are used.
int Network::panels_in_cache(const Layer& layer) const {
    const int panel_bytes = layer.spec.inputs * PANEL * static_cast<int>(sizeof(float));
    const int fitting = BYTES_IN_CACHE / panel_bytes / UPDATE_PANELS * UPDATE_PANELS;
    return std::clamp(fitting, UPDATE_PANELS, threads() == 1 ? PANELS_IN_CACHE : PANELS_A_TASK);
}

Range Network::my_panels(const Layer& layer, int member) const {
    return layer.wide ? share(layer.panels, 1, member, threads()) : Range{0, layer.panels};
}

Range Network::my_inputs(const Layer& layer, int member) const {
    const int inputs = layer.spec.inputs;
    return layer.wide ? Range{0, inputs} : share(inputs, PANEL, member, threads());
}

// Those of the last layer, where its outputs are sums of two shares: one half, if the members can be
// halved.
Range Network::my_share_inputs(int member) const {
    const int inputs = layers_.back().spec.inputs;
    return threads() % 2 == 0 ? share(inputs, PANEL, member / (threads() / 2), 2)
                              : Range{0, inputs};
}

Range Network::my_outputs(const Layer& layer, int member) const {
    return share(layer.padded, PANEL, member, threads());
}

Range Network::my_vectors(const Batch& batch, int member) const {
    return share((batch.lanes + VL - 1) / VL, 1, member, threads());
}

void Network::clear_times() {
    times_.clear();
    for (const Layer& layer : layers_)
        times_.push_back({"dense", layer.spec.inputs, layer.spec.units,
                          std::int64_t{layer.spec.inputs} * layer.spec.units});
}

void Network::clear_sums() {
    for (Parameter* p : parameters_) {
        p->reserve_gradients();
        std::fill(p->gradients.get(), p->gradients.get() + p->gradients.size(), 0.0f);
    }
}

// Descends by the member's share of the sums, which then begin anew.
void Network::apply_sums(int member, const Descent& descent) {
    for (Parameter* p : parameters_) {
        const Range mine = share(static_cast<int>(p->values.size()), PANEL, member, threads());
        float* sums = p->gradients.get() + mine.begin;
        const int count = mine.end - mine.begin;
        descent.move(*p, static_cast<std::size_t>(mine.begin), sums, count);
        std::fill(sums, sums + count, 0.0f);
    }
}

Totals Network::train(const Data& data, const std::int64_t* labels, const std::int64_t* order,
                      std::int64_t count, const PassOptions& options,
                      const std::function<bool(std::int64_t)>& poll) {
    return pass(true, data, labels, order, count, options, poll);
}

Totals Network::gradients(const Data& data, const std::int64_t* labels,
                          const PassOptions& options) {
    PassOptions whole = options;
    whole.batch_size = data.rows();
    return pass(false, data, labels, nullptr, data.rows(), whole, nullptr);
}

// One pass over the data. The phases of a step, with a barrier after each:
//
//   each layer:   its update of the step before (a wide layer's panels, by whoever then needs them,
//                 while they are in its cache anyway), then its outputs
//   softmax       each thread its lanes; and each thread its share of the next batch's gathering
//   each layer, from the last: shares of the errors of the layer below; their sums
//
// A batch of more than CHUNK_LANES lanes goes through in parts, whose gradients are summed first.
Totals Network::pass(bool descends, const Data& data, const std::int64_t* labels,
                     const std::int64_t* order, std::int64_t count, const PassOptions& options,
                     const std::function<bool(std::int64_t)>& poll) {
    optimizer_.reserve(parameters_);
    if (uses_tiles_)
        return pass_by_tiles(descends, data, labels, order, count, options, poll);
    const auto batch_size = static_cast<int>(std::min(options.batch_size, count));
    const bool fused = descends && batch_size <= CHUNK_LANES;
    const int chunk = std::min(batch_size, CHUNK_LANES);
    reserve_training(chunk);
    if (!fused) clear_sums();
    const bool sparse = data.sparse();
    choose_halves(sparse);
    const bool moves_all = fused && optimizer_.step(options, 0).moves_all();
    const int last = static_cast<int>(layers_.size()) - 1;
    Totals totals;
    bool stop = false;
    Pulse pulse(poll);
    clear_times();

    team_.run([&](int member) {
        Stopwatch watch;
        double others = 0;  // what belongs to no layer
        const auto lap = [&](double& seconds) {
            if (member == 0) watch.lap(seconds);
        };
        Scratch& scratch = scratch_[static_cast<std::size_t>(member)];
        const Range parts = share(input_parts_, 1, member, threads());
        const auto batch_end = [&](std::int64_t first) {
            return std::min(count, first / batch_size * batch_size + batch_size);
        };
        const auto lanes_from = [&](std::int64_t first) {
            return static_cast<int>(std::min<std::int64_t>(chunk, batch_end(first) - first));
        };
        const auto fetch = [&](Batch& batch, std::int64_t first) {
            const int lanes = lanes_from(first);
            if (sparse) {
                SparseInputs& inputs = batch.sparse[static_cast<std::size_t>(member)];
                data.gather(inputs, order, first, lanes);
                inputs.list_columns(data.features(), lanes, moves_all);
            } else {
                data.gather(batch.inputs, order, first, lanes, parts);
            }
            if (layers_.front().half) pair_inputs(batch, parts, lanes);
            if (member != 0) return;
            batch.lanes = lanes;
            batch.blocks = (lanes + BLOCK - 1) / BLOCK;
        };
        const auto learn = [&](int index, const Batch& batch, Range panels,
                               const Descent* descent) {
            const Layer& layer = layers_[static_cast<std::size_t>(index)];
            update(index, batch, sparse, member, panels, my_inputs(layer, member), descent);
        };
        if (count > 0) fetch(batches_[0], 0);
        round_weights(member);
        team_.barrier(member);
        watch.start();
        const Batch* before = nullptr;  // of which wide layers are still to learn,
        Descent descent = optimizer_.step(options, 0);  // by this step
        int turn = 0;
        for (std::int64_t first = 0; first < count && !stop; turn ^= 1) {
            Batch& batch = batches_[turn];
            const std::int64_t next = first + batch.lanes;
            const std::int64_t in_batch = batch_end(first) - first / batch_size * batch_size;
            const Range vectors = my_vectors(batch, member);
            if (next < count)
                data.expect(scratch.ahead, order, next, lanes_from(next), parts, sparse);
            for (int i = 0; i <= last; ++i) {
                const Layer& layer = layers_[static_cast<std::size_t>(i)];
                const Range panels = my_panels(layer, member);
                const bool in_shares = i == last && last_in_shares_;
                if (i > 0)
                    list_rows(i, batch, member,
                              in_shares ? my_share_inputs(member) : Range{0, layer.spec.inputs});
                if (layer.wide) {
                    const bool by_bits = i == 0 ? sparse : batch.rows_of(i, member).by_bits;
                    const int most = by_bits ? (threads() == 1 ? layer.panels : SPARSE_PANELS)
                                             : panels_in_cache(layer);
                    team_.own_pieces(member, layer.panels, UPDATE_PANELS, most, [&](Range some) {
                        if (by_bits)
                            return forward_sparse(i, before, &descent, batch, member, some,
                                                  all_vectors(batch), scratch);
                        if (before) learn(i, *before, some, &descent);
                        forward(i, batch, member, some, all_vectors(batch), scratch);
                    });
                } else if (in_shares) {
                    forward_shares(batch, member);
                } else if (i == 0 && sparse) {
                    forward_sparse(0, nullptr, nullptr, batch, member, panels, vectors, scratch);
                } else {
                    forward(i, batch, member, panels, vectors, scratch);
                }
                if (i < last || layer.wide || last_in_shares_) team_.barrier(member);
                lap(times_[static_cast<std::size_t>(i)].forward);
            }
            softmax_errors(batch, labels, order, first, 1.0f / static_cast<float>(in_batch),
                           vectors);
            if (next < count) fetch(batches_[turn ^ 1], next);
            team_.barrier(member);
            if (member == 0) {
                if (!totals.add(losses_, hits_, batch.lanes)) stop = true;
                if (pulse.stops(first)) stop = totals.stopped = true;
                totals.steps += next == batch_end(first);
            }
            lap(others);
            for (int i = last; i >= 1; --i) {
                backward_shares(i, batch, member, scratch);
                if (layers_[static_cast<std::size_t>(i)].halves == 2) team_.barrier(member);
                backward_sum(i, batch, member);
                team_.barrier(member);
                lap(times_[static_cast<std::size_t>(i)].backward);
            }
            if (last == 0) team_.barrier(member);  // so that all see the same stop
            descent = optimizer_.step(options, first / batch_size);
            for (int i = 0; i <= last; ++i) {
                const Layer& layer = layers_[static_cast<std::size_t>(i)];
                if (!fused || !layer.wide)
                    learn(i, batch, my_panels(layer, member), fused ? &descent : nullptr);
                lap(times_[static_cast<std::size_t>(i)].backward);
            }
            if (fused) {
                before = &batch;
                if (!layers_.front().wide) team_.barrier(member);
            } else {
                team_.barrier(member);
                if (descends && next == batch_end(first)) {
                    apply_sums(member, descent);
                    if (uses_halves_) {
                        team_.barrier(member);
                        round_weights(member);
                    }
                }
                team_.barrier(member);
            }
            lap(others);
            first = next;
        }
        for (int i = 0; before && i <= last; ++i) {
            const Layer& layer = layers_[static_cast<std::size_t>(i)];
            if (layer.wide) learn(i, *before, my_panels(layer, member), &descent);
        }
    });
    for (Layer& layer : layers_) layer.half = false;
    return totals;
}

// Each lane's probabilities, loss and whether the likeliest class is the label's.
void Network::softmax(const Batch& batch, const std::int64_t* labels, std::int64_t first,
                      float* probabilities, float* losses, std::int32_t* hits) const {
    const Layer& layer = layers_.back();
    const auto units = static_cast<std::size_t>(layer.spec.units);
    Buffer<float> powers(units * VL);
    for (int v = 0; v * VL < batch.lanes; ++v) {
        const float* z = batch.outputs.back().get() +
                         static_cast<std::size_t>(v / VB) *
                             static_cast<std::size_t>(layer.padded * BLOCK) +
                         static_cast<std::size_t>(v % VB * VL);
        V best;
        VI where;
        find_likeliest(z, layer.spec.units, best, where);
        V sum{};
        for (int u = 0; u < layer.spec.units; ++u) {
            const V power = exp_nonpositive(load(z + u * BLOCK) - best);
            store(powers.get() + u * VL, power);
            sum += power;
        }
        for (int i = 0; i < VL && v * VL + i < batch.lanes; ++i) {
            const auto row = static_cast<std::size_t>(first + v * VL + i);
            if (probabilities)
                for (std::size_t u = 0; u < units; ++u)
                    probabilities[row * units + u] =
                        powers[u * VL + static_cast<std::size_t>(i)] / sum[i];
            if (!labels) continue;
            const auto label = static_cast<std::size_t>(labels[row]);
            const float shifted = z[label * BLOCK + static_cast<std::size_t>(i)] - best[i];
            losses[row] = cross_entropy(sum[i], shifted);
            hits[row] = where[i] == static_cast<std::int32_t>(label);
        }
    }
}

// Each thread takes a few blocks of rows at a time through the whole network.
Totals Network::infer(const Data& data, const std::int64_t* labels, float* probabilities,
                      bool averaged, const std::function<bool(std::int64_t)>& poll) {
    if (averaged) exchange_averages(parameters_);
    const std::int64_t count = data.rows();
    const std::int64_t per_thread = (count + threads() - 1) / threads();
    const int lanes = static_cast<int>(std::min<std::int64_t>(
        INFERENCE_LANES, (per_thread + BLOCK - 1) / BLOCK * BLOCK));
    if (inference_.empty())
        for (int i = 0; i < threads(); ++i) inference_.push_back(make_batch(INFERENCE_LANES, 1));
    reserve_training(INFERENCE_LANES);  // for the threads' scratch
    const auto rows = static_cast<std::size_t>(labels ? count : 0);
    Buffer<float> losses(rows);
    Buffer<std::int32_t> hits(rows);
    std::atomic<std::int64_t> next{0};
    std::atomic<bool> stop{false};
    Team& team = count <= lanes ? alone_ : team_;  // one block of rows is one thread's work
    team.run([&](int member) {
        Batch& batch = inference_[static_cast<std::size_t>(member)];
        Pulse pulse(poll);
        for (;;) {
            const std::int64_t first = next.fetch_add(lanes);
            if (first >= count || stop) return;
            batch.lanes = static_cast<int>(std::min<std::int64_t>(lanes, count - first));
            batch.blocks = (batch.lanes + BLOCK - 1) / BLOCK;
            if (data.sparse())
                data.gather(batch.sparse.front(), nullptr, first, batch.lanes);
            else
                data.gather(batch.inputs, nullptr, first, batch.lanes, {0, input_parts_});
            Scratch& scratch = scratch_[static_cast<std::size_t>(member)];
            const bool are_few = batch.lanes <= FEW_LANES;
            for (int lane = 0; are_few && lane < batch.lanes; ++lane)
                forward_row(batch, data.sparse(), lane, scratch);
            for (std::size_t i = 0; !are_few && i < layers_.size(); ++i) {
                const int index = static_cast<int>(i);
                const Range panels{0, layers_[i].panels}, vectors = all_vectors(batch);
                if (i > 0) list_rows(index, batch, 0, {0, layers_[i].spec.inputs});
                if (i == 0 ? data.sparse() : batch.rows_of(index, 0).by_bits)
                    forward_sparse(index, nullptr, nullptr, batch, 0, panels, vectors, scratch);
                else
                    forward(index, batch, 0, panels, vectors, scratch);
            }
            softmax(batch, labels, first, probabilities, losses.get(), hits.get());
            if (member == 0 && pulse.stops(first)) stop = true;
        }
    });
    if (averaged) exchange_averages(parameters_);
    Totals totals;
    totals.stopped = stop;
    for (std::size_t i = 0; i < rows; ++i) {
        totals.loss += losses[i];
        totals.correct += hits[i];
    }
    return totals;
}

}  // namespace inkproof
