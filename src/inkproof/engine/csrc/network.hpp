// A stack of dense layers: its weights, and how a team of threads trains it and runs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "data.hpp"
#include "half.hpp"
#include "kernels.hpp"
#include "laps.hpp"
#include "optimizer.hpp"
#include "pass.hpp"
#include "team.hpp"

namespace inkproof {

enum class Activation { linear, relu };

struct LayerSpec {
    int inputs, units;
    Activation activation;
};

struct Layer {
    Layer(const LayerSpec& spec, int padded_inputs)
        : spec(spec), kernel(spec.inputs, spec.units, true, 0, padded_inputs),
          bias(1, spec.units, true), panels(kernel.panels()), padded(panels * PANEL),
          lane_stride(static_cast<std::size_t>(panels | 1) * PANEL),
          halves(panels >= 8 ? 2 : 1) {
        for (int unit = 0; unit < spec.units; ++unit) units.push_back(kernel.column_at(unit));
    }

    LayerSpec spec;
    Parameter kernel, bias;
    std::vector<std::size_t> units;  // where each unit's weight lies in an input's row
    int panels, padded;  // padded: panels * PANEL
    std::size_t lane_stride;  // of the transposed errors: an odd number of cache lines, so that
                              // one unit's errors of all lanes spread over the cache's sets
    bool wide = false;  // split over the threads by panels, or else by lanes (forward) and inputs
                        // (update)
    int halves;  // into which its units fall for the gradient of its inputs
    bool half = false;  // its products are of numbers rounded to bfloat16, in this pass
    bool by_bits = false;  // may leave out each lane's inputs that are zero
    Buffer<Pair> by_input;  // the weights' roundings, see half.hpp
    Buffer<Half> by_unit;
};

// The inputs of a layer that are not zero in the whole batch, one after the other; or all inputs,
// where they lie, if hardly any could be left out.
struct Rows {
    bool are_all = false;
    Buffer<std::uint32_t> offsets;  // input * PANEL
    int count = 0;
    Buffer<float> x;  // [block][listed input][lane]
    // Of a layer that works with halves, whose list is of whole pairs of neighbours, instead:
    Buffer<Pair> pairs;  // [block][listed pair][lane]
    Buffer<Pair> lanes;  // [block][listed input][pair of lanes]
    // Of a layer that may leave out each lane's zeros; where it does, x is not wanted:
    bool by_bits = false;
    Buffer<std::uint32_t> filled_lanes;   // [block][input]: bits of the lanes that are not zero
    Buffer<std::uint64_t> filled_inputs;  // [lane][word of inputs]: bits of the inputs
    Buffer<float> by_lane;  // [lane][input], as far apart as the lanes' errors; see ROW_VALUES
};

// One batch (or a part of one) on its way through the network.
struct Batch {
    int lanes = 0, blocks = 0;
    Inputs inputs;
    std::vector<SparseInputs> sparse;  // instead, of each thread
    Buffer<Pair> input_pairs, input_lanes;  // the same as halves: [block][pair][lane], and as Rows
    std::vector<Buffer<float>> outputs;  // of each layer, [block][unit][lane]
    std::vector<Buffer<std::uint16_t>> alive;  // of each layer, [panel]: units that are not zero
    std::vector<std::vector<Rows>> rows;       // [thread][layer], of all but the first

    const Rows& rows_of(int layer, int member) const {
        return rows[static_cast<std::size_t>(member)][static_cast<std::size_t>(layer)];
    }
};

// Calls f(row) for each input of a range that is not among the listed, in steps of 1 or of pairs.
template <typename F>
static inline void each_unlisted(const std::uint32_t* rows, Range listed, Range inputs, int step,
                                 F&& f) {
    if (listed.end - listed.begin == inputs.end - inputs.begin) return;
    int next = listed.begin;
    for (int k = inputs.begin; k < inputs.end; k += step) {
        const auto row = static_cast<std::uint32_t>(k * PANEL);
        if (next < listed.end && rows[next] == row)
            next += step;
        else
            f(row);
    }
}

// What a product of a layer reads.
struct Operand {
    const std::uint32_t* rows;  // null: all
    int count;
    const float* x;
    std::size_t block_stride;  // of x; and of the halves, which need half the memory
    const Pair* pairs;
    const Pair* lanes;
};

// Where in an operand's list some inputs are.
static inline Range listed(const Operand& operand, Range inputs) {
    if (!operand.rows)
        return {std::min(inputs.begin, operand.count), std::min(inputs.end, operand.count)};
    const auto* end = operand.rows + operand.count;
    const auto find = [&](int input) {
        return static_cast<int>(
            std::lower_bound(operand.rows, end, static_cast<std::uint32_t>(input * PANEL)) -
            operand.rows);
    };
    return {find(inputs.begin), find(inputs.end)};
}

struct Tiles;
template <typename Unit>
class TileWorker;

class Network {
public:
    Network(const std::vector<LayerSpec>& specs, int threads, Factors factors);

    int threads() const { return team_.size(); }

    // Kernel and bias of each layer.
    const std::vector<Parameter*>& parameters() const { return parameters_; }
    // Its rule must work by pieces.
    Optimizer& optimizer() { return optimizer_; }

    // One pass over the rows named in order. Of the options only the batch size, the rates and the
    // first step count. poll is called about every 50 ms with the number of rows done, and ends the
    // pass early by returning true.
    Totals train(const Data& data, const std::int64_t* labels, const std::int64_t* order,
                 std::int64_t count, const PassOptions& options,
                 const std::function<bool(std::int64_t)>& poll);

    // The gradients of the mean loss over all rows as one batch; kept in the parameters.
    Totals gradients(const Data& data, const std::int64_t* labels, const PassOptions& options);

    // How long each layer took in the last pass of training; of the first thread.
    std::vector<OpTime> times() const { return times_; }

    // Probabilities [row][class] and, where there are labels, the sum of the losses; either may be
    // null. averaged: with the averages of the parameters in their place.
    Totals infer(const Data& data, const std::int64_t* labels, float* probabilities, bool averaged,
                 const std::function<bool(std::int64_t)>& poll);

private:
    struct Scratch {  // of one thread
        Buffer<float> transposed;
        Buffer<int> units;             // those listed of a layer,
        Buffer<std::size_t> unit_at;   // where each one's weight lies in an input's row,
        Buffer<float> errors;          // and its errors, [block][listed unit][lane]
        Buffer<Pair> error_pairs;         // [block][listed pair of units][lane]
        std::vector<std::size_t> pair_at;  // where their weights lie in each row
        Buffer<float> row;                 // of few: one layer's outputs,
        std::vector<std::uint64_t> filled;  // bits of those that are not zero,
        Buffer<float> values;              // and those
        Ahead ahead;  // of the next batch
    };

    // descends: or else only the gradients are wanted.
    // Some of a layer's units, and their errors.
    struct Units {
        const std::size_t* at;  // where each one's weight lies in an input's row
        int count;
        const float* errors;  // [block][unit][lane]
        std::size_t block_stride;
    };
    Units units_of(int layer, const Batch& batch, int member, Range panels, Scratch& scratch) const;

    Totals pass(bool descends, const Data& data, const std::int64_t* labels,
                const std::int64_t* order, std::int64_t count, const PassOptions& options,
                const std::function<bool(std::int64_t)>& poll);

    void clear_times();
    Batch make_batch(int lanes, int members) const;
    void reserve_training(int lanes);
    void clear_sums();

    void list_rows(int layer, Batch& batch, int member, Range read) const;
    Operand operand(int layer, const Batch& batch, int member) const;
    void forward(int layer, Batch& batch, int member, Range panels, Range vectors,
                 Scratch& scratch) const;
    void forward_sparse(int layer, const Batch* before, const Descent* descent, Batch& batch,
                        int member, Range panels, Range vectors, Scratch& scratch);
    template <int P>
    void add_part(int layer, const Batch& batch, int member, int part, Range lanes, const float* w,
                  float* sums, Scratch& scratch) const;
    void activate(int layer, Batch& batch, Range panels, Range vectors) const;
    void note_alive(int layer, Batch& batch, int panel, std::uint32_t units) const;
    bool list_filled(int layer, const Batch& batch, Rows& rows) const;
    void forward_row(Batch& batch, bool sparse, int lane, Scratch& scratch) const;
    void forward_shares(const Batch& batch, int member);
    void softmax_errors(const Batch& batch, const std::int64_t* labels, const std::int64_t* rows,
                        std::int64_t first, float share_of_mean, Range vectors);
    template <typename F>
    void each_share(int layer, const Operand& below, int member, F&& f);
    const Buffer<float>& share_of(int layer, int half, int first, int listed) const;
    void backward_shares(int layer, const Batch& batch, int member, Scratch& scratch);
    int list_units(int layer, const Batch& batch, int member, Range panels, int* list) const;
    void backward_sum(int layer, const Batch& batch, int member);
    // descent: null where the gradients are summed.
    void update(int layer, const Batch& batch, bool sparse, int member, Range panels,
                Range inputs, const Descent* descent);
    template <typename Use>
    void update_listed(int layer, const Batch& batch, const Operand& from, Range inputs,
                       Range panels, bool moves_all, const Use& use) const;
    template <typename Use>
    void update_columns(const SparseInputs& inputs, Range columns, Range panels,
                        const Use& use) const;
    template <typename Use>
    void update_filled(int layer, const Batch& batch, int member, Range inputs, Range panels,
                       bool moves_all, const Use& use) const;
    template <typename Lists, typename Use>
    void update_lists(int layer, const Lists& lists, Range wanted, Range panels,
                      const Use& use) const;
    void update_biases(int layer, const Batch& batch, Range panels, const Descent* descent);
    void apply_sums(int member, const Descent& descent);

    // With factors rounded to bfloat16, in network_half.cpp.
    void choose_halves(bool sparse);
    void round_weights(int member);
    void pair_inputs(Batch& batch, Range parts, int lanes) const;
    void list_pairs(int layer, Batch& batch, int member) const;
    void add_inputs_half(int layer, const Operand& from, int panel, std::size_t block, Range vectors,
                         Range pairs, const float* bias, float* y) const;
    void backward_shares_half(int layer, const Batch& batch, int member, Scratch& scratch);
    void pair_errors(int layer, int block, int begin, int rows);
    void update_half(int layer, const Batch& batch, const Operand& from, Range listed,
                     Range inputs, Range panels, const Descent* descent);
    void softmax(const Batch& batch, const std::int64_t* labels, std::int64_t first,
                 float* probabilities, float* losses, std::int32_t* hits) const;

    int panels_in_cache(const Layer& layer) const;
    Range my_panels(const Layer& layer, int member) const;
    Range my_inputs(const Layer& layer, int member) const;
    Range my_share_inputs(int member) const;
    Range my_outputs(const Layer& layer, int member) const;
    Range my_vectors(const Batch& batch, int member) const;

    // By tiles, in network_tiles.cpp.
    template <typename Unit>
    friend class TileWorker;
    Totals pass_by_tiles(bool descends, const Data& data, const std::int64_t* labels,
                         const std::int64_t* order, std::int64_t count, const PassOptions& options,
                         const std::function<bool(std::int64_t)>& poll);
    template <typename Unit>
    Totals pass_by(bool descends, const Data& data, const std::int64_t* labels,
                   const std::int64_t* order, std::int64_t count, const PassOptions& options,
                   const std::function<bool(std::int64_t)>& poll);

    const Factors factors_;
    const bool uses_halves_, uses_tiles_;
    std::vector<Layer> layers_;
    std::vector<Parameter*> parameters_;
    Optimizer optimizer_;
    mutable Team team_;
    Team alone_{1};
    int input_parts_;
    Buffer<std::uint32_t> all_inputs_;  // the first layer's, as its Rows would list them
    std::vector<Scratch> scratch_;
    int capacity_ = 0;
    Batch batches_[2];
    std::vector<Batch> inference_;  // of each thread
    std::vector<Buffer<float>> errors_;       // of each layer, [block][unit][lane]
    std::vector<Buffer<float>> transposed_;   // the same, [lane][unit]
    std::vector<Buffer<Pair>> transposed_pairs_;  // and [pair of lanes][unit]
    bool is_large_ = false;                   // its weights come from memory each step
    bool last_in_shares_;                     // the last layer's outputs are sums of two shares
    Buffer<float> output_shares_[2];          // of the last layer, by half of its inputs
    Buffer<float> other_share_;               // of the errors, [block][unit][lane], see share_of
    Buffer<float> losses_;
    Buffer<std::int32_t> hits_;
    std::vector<OpTime> times_;
    std::shared_ptr<Tiles> tiles_;  // not unique: its type is whole in one file only
};

// Calls f(half, inputs) for shares of a layer's input gradients: of a half of its units and some of
// the listed inputs. Where the units are one half, the inputs are those whose sums the member takes.
template <typename F>
void Network::each_share(int index, const Operand& below, int member, F&& f) {
    const auto at = static_cast<std::size_t>(index);
    if (layers_[at].halves == 1) {
        const Range mine = listed(below, my_outputs(layers_[at - 1], member));
        for (int k = mine.begin; k < mine.end; k += BACKWARD_INPUTS)
            f(0, Range{k, std::min(k + BACKWARD_INPUTS, mine.end)});
        return;
    }
    const int groups = (below.count + BACKWARD_INPUTS - 1) / BACKWARD_INPUTS;
    team_.own_pieces(member, 2 * groups, 1, 1, [&](Range task) {
        const int first = task.begin % groups * BACKWARD_INPUTS;
        f(task.begin / groups, Range{first, std::min(first + BACKWARD_INPUTS, below.count)});
    });
}

}  // namespace inkproof
