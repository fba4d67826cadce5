// Drives the engine without Python, for sanitizers: trains and runs networks of every operation with
// every optimiser, and asks for finite losses and for the same bits from 1, 2 and 3 threads.
//
//     driver [quick] [bfloat16 | tiles]
//
// All that the engine is given lies in memory of exactly its size, so that a read beyond it is seen.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "graph.hpp"
#include "network.hpp"
#include "random.hpp"

namespace {

using namespace inkproof;

constexpr int CLASSES = 10;
int checks = 0;
Factors factors = Factors::floats;

[[noreturn]] void fail(const std::string& what, const char* why) {
    std::fprintf(stderr, "%s: %s\n", what.c_str(), why);
    std::exit(1);
}

void expect(bool holds, const std::string& what, const char* why) {
    ++checks;
    if (!holds) fail(what, why);
}

class Draws {
public:
    explicit Draws(std::uint64_t key) : key_(key) {}
    std::uint32_t word() { return philox(key_, {next_++, 0, 0, 0}).word[0]; }
    float between(float low, float high) { return low + (high - low) * unit_float(word()); }

private:
    const std::uint64_t key_;
    std::uint32_t next_ = 0;
};

// --- What is learnt from -------------------------------------------------------------------------

enum class Kind { sparse_bytes, bytes, sparse_floats, floats };
constexpr Kind KINDS[] = {Kind::sparse_bytes, Kind::bytes, Kind::sparse_floats, Kind::floats};

struct Rows {
    Rows(int count, int features, Kind kind) : count(count), features(features), kind(kind) {
        Draws draws(static_cast<std::uint64_t>(features) * 4 + static_cast<std::uint64_t>(kind));
        const auto size = static_cast<std::size_t>(count) * static_cast<std::size_t>(features);
        const bool is_sparse = kind == Kind::sparse_bytes || kind == Kind::sparse_floats;
        for (std::size_t i = 0; i < size; ++i) {
            const std::uint32_t word = draws.word();
            const bool is_zero = is_sparse && word % 5 != 0;
            if (kind == Kind::sparse_bytes || kind == Kind::bytes)
                bytes.push_back(static_cast<std::uint8_t>(is_zero ? 0 : word >> 24));
            else
                floats.push_back(is_zero ? 0.0f : unit_float(word) - 0.25f);
        }
        bytes.shrink_to_fit();
        floats.shrink_to_fit();
        for (int i = 0; i < count; ++i) {
            labels.push_back(draws.word() % CLASSES);
            weights.push_back(draws.between(0.2f, 2.0f));
        }
        labels.shrink_to_fit();
        weights.shrink_to_fit();
    }

    Data data(bool lists) const { return data(lists, count); }
    Data data(bool lists, int first_rows) const {
        if (!bytes.empty())
            return Data(bytes.data(), first_rows, features, 1.0f / 255,
                        kind == Kind::bytes ? -0.5f : 0.0f, lists);
        return Data(floats.data(), first_rows, features, 1.5f, 0.0f, lists);
    }

    // All rows, the last first, and some of them twice.
    std::vector<std::int64_t> order() const {
        std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
        for (int i = 0; i < count; ++i)
            rows[static_cast<std::size_t>(i)] = i % 7 == 0 ? count / 2 : count - 1 - i;
        return rows;
    }

    const int count, features;
    const Kind kind;
    std::vector<std::uint8_t> bytes;
    std::vector<float> floats, weights;
    std::vector<std::int64_t> labels;
};

void all_finite(const std::vector<float>& numbers, const std::string& what) {
    bool finite = true;
    for (const float number : numbers) finite = finite && std::isfinite(number);
    expect(finite, what, "a number is not finite");
}

void same_bits(const std::vector<float>& a, const std::vector<float>& b, const std::string& what) {
    expect(a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0,
           what, "other bits than one thread gives");
}

// --- Networks of any layers ----------------------------------------------------------------------

struct Case {
    std::string name;
    int features;
    std::vector<OpSpec> specs;
};

constexpr int LINEAR = 0, RELU = 1, LEAKY_RELU = 2, GELU = 3, TANH = 4, SIGMOID = 5;

OpSpec dense(int units, int function, bool has_bias = true) {
    return {"dense", {units, has_bias, function}, {}};
}
OpSpec last() { return dense(CLASSES, LINEAR); }
// sizes: height, width, channels, filters, kernel height and width, strides.
OpSpec convolution(std::vector<int> sizes, bool same, int function, bool has_bias = true) {
    sizes.insert(sizes.end(), {same, has_bias, function});
    return {"convolution", sizes, {}};
}
OpSpec pool(const char* kind, std::vector<int> sizes, bool same) {
    sizes.push_back(same);
    return {kind, sizes, {}};
}
OpSpec normalization(int positions, int channels, bool center = true, bool scale = true) {
    return {"batch_normalization", {positions, channels, center, scale}, {0.9f, 1e-3f}};
}
OpSpec dropout(int number, float rate) { return {"dropout", {number}, {rate}}; }
OpSpec activation(int function) { return {"activation", {function}, {}}; }
OpSpec fork() { return {"fork", {}, {}}; }
OpSpec join() { return {"join", {}, {}}; }

std::vector<Case> cases() {
    return {
        {"one layer", 5, {last()}},
        {"dense layers of every function", 37,
         {dense(33, RELU), dense(17, LEAKY_RELU), dense(31, GELU), dense(5, TANH), dense(16, SIGMOID),
          dense(130, LINEAR, false), activation(SIGMOID), activation(RELU), activation(GELU), last()}},
        {"few channels", 9 * 7 * 1,
         {convolution({9, 7, 1, 5, 3, 3, 1, 1}, true, RELU), pool("max_pool", {9, 7, 5, 2, 2, 2, 2}, false),
          convolution({4, 3, 5, 17, 3, 2, 1, 1}, false, LEAKY_RELU), activation(SIGMOID),
          convolution({2, 2, 17, 3, 2, 2, 2, 2}, true, GELU, false), last()}},
        {"colour, strides, a window larger than the image", 6 * 5 * 3,
         {convolution({6, 5, 3, 20, 7, 7, 3, 2}, true, TANH), activation(RELU),
          pool("max_pool", {2, 3, 20, 3, 2, 1, 2}, true), convolution({2, 2, 20, 1, 1, 2, 1, 1}, false, SIGMOID),
          activation(LEAKY_RELU), last()}},
        {"many channels", 6 * 6 * 10,
         {convolution({6, 6, 10, 17, 5, 2, 2, 1}, true, GELU), pool("average_pool", {3, 6, 17, 3, 2, 2, 1}, true),
          convolution({2, 6, 17, 33, 1, 1, 1, 3}, false, RELU),
          pool("average_pool", {2, 2, 33, 2, 1, 1, 1}, false), {"global_average", {2, 33}, {}}, last()}},
        {"channels and filters that fill tiles", 5 * 4 * 32,
         {convolution({5, 4, 32, 64, 3, 3, 1, 1}, true, RELU),
          convolution({5, 4, 64, 32, 2, 3, 2, 1}, false, LINEAR, false), last()}},
        {"normalization with ReLU and pooling", 7 * 8 * 3,
         {convolution({7, 8, 3, 16, 3, 3, 1, 1}, true, LINEAR, false), normalization(56, 16),
          activation(RELU), pool("max_pool", {7, 8, 16, 2, 2, 2, 2}, false),
          convolution({3, 4, 16, 80, 3, 3, 1, 1}, true, LINEAR), normalization(12, 80),
          pool("max_pool", {3, 4, 80, 1, 3, 1, 3}, false), normalization(3, 80), activation(RELU),
          last()}},
        {"few channels and filters with normalization alone", 7 * 8 * 3,
         {convolution({7, 8, 3, 4, 3, 3, 1, 1}, true, LINEAR, false), normalization(56, 4),
          activation(RELU), last()}},
        {"normalisation and dropout", 5 * 5 * 8,
         {normalization(25, 8, false, false), convolution({5, 5, 8, 9, 3, 3, 1, 1}, false, LINEAR, false),
          normalization(9, 9), activation(RELU), dropout(0, 0.3f), dense(21, LINEAR, false),
          normalization(1, 21, true, false), activation(TANH), normalization(1, 21, false, true),
          dropout(1, 0.5f), last()}},
        {"residual blocks in one another", 4 * 4 * 8,
         {fork(), convolution({4, 4, 8, 8, 3, 3, 1, 1}, true, RELU), fork(), normalization(16, 8),
          activation(LEAKY_RELU), convolution({4, 4, 8, 8, 1, 3, 1, 1}, true, SIGMOID), dropout(0, 0.25f),
          join(), activation(RELU), fork(), fork(), activation(GELU), join(), join(), join(),
          activation(TANH), fork(), join(), {"global_average", {16, 8}, {}}, last()}},
    };
}

struct Recipe {
    const char* name;
    OptimizerOptions options;
    float rate;
};

std::vector<Recipe> recipes() {
    const auto made = [](Rule rule, const std::function<void(OptimizerOptions&)>& change) {
        OptimizerOptions options;
        options.rule = rule;
        change(options);
        return options;
    };
    using O = OptimizerOptions;
    return {
        {"SGD", made(Rule::sgd, [](O&) {}), 0.05f},
        {"SGD with momentum, clipped by value",
         made(Rule::sgd, [](O& o) { o.momentum = 0.9f, o.clip_value = 0.01f; }), 0.02f},
        {"Nesterov with decay, clipped by norm",
         made(Rule::sgd, [](O& o) {
             o.momentum = 0.9f, o.nesterov = true, o.weight_decay = 1e-2f, o.clip_norm = 0.1f;
         }), 0.02f},
        {"SGD with momentum", made(Rule::sgd, [](O& o) { o.momentum = 0.9f; }), 0.02f},
        {"Adam", made(Rule::adam, [](O&) {}), 1e-3f},
        {"AdamW with an average, clipped by all norms",
         made(Rule::adam, [](O& o) {
             o.weight_decay = 4e-3f, o.average_momentum = 0.9f, o.global_clip_norm = 0.5f;
         }), 1e-3f},
        {"Adam with an average", made(Rule::adam, [](O& o) { o.average_momentum = 0.99f; }), 1e-3f},
        {"Muon", made(Rule::muon, [](O& o) { o.momentum = 0.95f, o.adam_ratio = 0.1f; }), 0.01f},
        {"Muon with Nesterov, decay, held norms and an average, clipped by all norms",
         made(Rule::muon, [](O& o) {
             o.momentum = 0.95f, o.nesterov = true, o.muon_holds_norm = true, o.adam_ratio = 0.1f;
             o.weight_decay = 1e-2f, o.adam_weight_decay = 1e-2f, o.average_momentum = 0.9f;
             o.global_clip_norm = 1;
         }), 0.01f},
    };
}

enum class Extra { none, smoothing, weights, mixing, augmentation };
constexpr Extra EXTRAS[] = {Extra::none, Extra::smoothing, Extra::weights, Extra::mixing,
                            Extra::augmentation};

struct Plan {
    std::string name;  // of the network
    const Recipe& recipe;
    Extra extra;
    const Augmenter* augmenter;  // where that is the extra
    const Rows& rows;
    bool lists;                    // whether the data list what is not zero
    std::vector<int> batch_sizes;  // of one pass after the other
};

// All that an augmentation can do; networks of dense layers see a column of pixels.
Augmenter augmenter_of(const Case& network) {
    AugmentSpec spec;
    spec.shift_x = 2.5f, spec.shift_y = 1.5f, spec.rotation = 20, spec.scale = 0.2f, spec.shear = 0.1f;
    spec.elastic_alpha = 0.7f, spec.elastic_grid = 3, spec.cutout = 0.4f, spec.probability = 0.9f;
    for (const OpSpec& op : network.specs)
        if (op.kind == "convolution" &&
            op.integers[0] * op.integers[1] * op.integers[2] == network.features)
            return Augmenter(spec, op.integers[0], op.integers[1], op.integers[2]);
    return Augmenter(spec, network.features, 1, 1);
}

// Sets all parameters at random; what the draws give goes on.
template <typename Net>
Draws draw_parameters(Net& network) {
    Draws draws(3);
    for (Parameter* p : network.parameters()) {
        std::vector<float> values(p->count());
        const float limit = 1.5f / std::sqrt(static_cast<float>(p->rows));
        for (float& value : values)
            value = p->rows > 1 ? draws.between(-limit, limit) : draws.between(0.1f, 0.9f);
        p->put(p->values, values.data());
    }
    return draws;
}

// Everything that one network comes to: weights, averages, gradients, probabilities, losses.
template <typename Net>
std::vector<float> results(Net& network, const Plan& plan, const std::string& what) {
    network.optimizer().set(plan.recipe.options);
    Draws draws = draw_parameters(network);
    const Data data = plan.rows.data(plan.lists);
    const std::vector<std::int64_t> order = plan.rows.order();
    const std::int64_t count = plan.rows.count;
    std::vector<float> found;
    PassOptions options;
    options.seed = 11;
    if (plan.extra == Extra::smoothing) options.label_smoothing = 0.1f;
    if (plan.extra == Extra::weights) options.row_weights = plan.rows.weights.data();
    if (plan.extra == Extra::augmentation) options.augmenter = plan.augmenter;
    for (const int batch_size : plan.batch_sizes) {
        const auto steps = static_cast<std::size_t>((count + batch_size - 1) / batch_size);
        std::vector<float> rates(steps, plan.recipe.rate), mixing;
        if (plan.extra == Extra::mixing)
            for (std::size_t i = 0; i < steps; ++i) mixing.push_back(draws.between(0.5f, 1.0f));
        options.batch_size = batch_size;
        options.rates = rates.data();
        options.mixing = mixing.empty() ? nullptr : mixing.data();
        const Totals totals = network.train(data, plan.rows.labels.data(), order.data(), count,
                                            options, [](std::int64_t) { return false; });
        expect(std::isfinite(totals.loss) && totals.bad_step < 0, what, "the loss is not finite");
        expect(totals.steps == static_cast<std::int64_t>(steps), what, "another number of steps");
        found.push_back(static_cast<float>(totals.loss));
        found.push_back(static_cast<float>(totals.correct));
        options.first_step += totals.steps;
        ++options.epoch;

        // In between, so that memory grows from either side.
        std::vector<float> probabilities(static_cast<std::size_t>(count) * CLASSES);
        const Totals seen = network.infer(data, plan.rows.labels.data(), probabilities.data(),
                                          plan.recipe.options.average_momentum != 0, nullptr);
        expect(std::isfinite(seen.loss), what, "the loss of inference is not finite");
        found.push_back(static_cast<float>(seen.loss));
        found.insert(found.end(), probabilities.begin(), probabilities.end());
        for (const int few : {1, 3, VL}) {
            if (few > count) continue;
            const Data some = plan.rows.data(plan.lists, few);
            std::vector<float> again(static_cast<std::size_t>(few) * CLASSES);
            network.infer(some, nullptr, again.data(), plan.recipe.options.average_momentum != 0,
                          nullptr);
            expect(std::memcmp(again.data(), probabilities.data(),
                               again.size() * sizeof(float)) == 0,
                   what, "a few rows give other bits than many");
        }
    }
    options.mixing = options.rates = nullptr;  // gradients alone need neither
    const Totals totals = network.gradients(data, plan.rows.labels.data(), options);
    expect(std::isfinite(totals.loss), what, "the loss of the gradients is not finite");
    for (Parameter* p : network.parameters())
        for (Buffer<float>* slot : {&p->values, &p->gradients, &p->first, &p->second, &p->average}) {
            if (slot->size() == 0) continue;
            std::vector<float> values(p->count());
            p->take(*slot, values.data());
            found.insert(found.end(), values.begin(), values.end());
        }
    return found;
}

// make(threads): the network.
template <typename Make>
void check(const Plan& plan, const Make& make) {
    std::string sizes;
    for (const int size : plan.batch_sizes) sizes += " " + std::to_string(size);
    const std::string what = plan.name + ", " + plan.recipe.name + ", batches of" + sizes;
    std::printf("%s\n", what.c_str());
    const auto by = [&](int threads) {
        const auto network = make(threads);
        const std::string here = what + ", " + std::to_string(threads) + " threads";
        expect(network->threads() == threads, here, "not what was asked for");
        return results(*network, plan, here);
    };
    const std::vector<float> one = by(1);
    all_finite(one, what);
    for (const int threads : {2, 3, 2})
        same_bits(by(threads), one, what + ", " + std::to_string(threads) + " threads");
}

void check_graph(const Case& network, const Recipe& recipe, Extra extra, const Rows& rows,
                 const std::vector<int>& batch_sizes) {
    const Augmenter augmenter = augmenter_of(network);
    check({network.name, recipe, extra, &augmenter, rows, false, batch_sizes}, [&](int threads) {
        auto graph = std::make_unique<Graph>(network.specs, network.features, threads, factors);
        expect(graph->classes() == CLASSES, network.name, "not what was asked for");
        return graph;
    });
}

void graphs(bool is_quick) {
    const std::vector<Case> networks = cases();
    const std::vector<Recipe> all = recipes();
    std::size_t turn = 0;
    // Each network with each optimiser; sizes of batches, data and extras take turns.
    for (const Case& network : networks)
        for (const Recipe& recipe : all) {
            const std::size_t now = turn++;
            if (is_quick && now % 3 != 0) continue;
            const Rows rows(is_quick ? 70 : 205, network.features, KINDS[now / 2 % 4]);
            const std::vector<std::vector<int>> sizes = {{31, 100}, {33, 205, 1}, {100, 31}};
            check_graph(network, recipe, EXTRAS[now % 5], rows, sizes[now % (is_quick ? 1 : 3)]);
        }
    // Batches that go through in parts, and parts that are no whole blocks.
    for (const Case& network : networks) {
        const std::size_t now = turn++;
        const Rows rows(609, network.features, KINDS[now % 4]);
        check_graph(network, all[(now * 3) % all.size()], EXTRAS[now % 3], rows, {600});
        if (is_quick) continue;
        check_graph(network, all[(now * 3 + 1) % all.size()], EXTRAS[now % 5], rows, {33, 600, 31});
    }
}

void endings() {
    // What poll says ends a pass, and so does a loss that is not finite.
    const Case network = cases()[2];
    Rows rows(64, network.features, Kind::floats);
    const std::vector<std::int64_t> order = rows.order();
    std::vector<float> rates(64, 1e30f);
    for (const int threads : {1, 2, 3}) {
        Graph graph(network.specs, network.features, threads, factors);
        Draws draws(5);
        for (Parameter* p : graph.parameters()) {
            std::vector<float> values(p->count());
            for (float& value : values) value = draws.between(-1, 1);
            p->put(p->values, values.data());
        }
        PassOptions options;
        options.batch_size = 1;
        options.rates = rates.data();
        const Totals totals = graph.train(rows.data(false), rows.labels.data(), order.data(), 64,
                                          options, nullptr);
        expect(totals.bad_step > 0 && totals.steps < 64, "a rate of 1e30", "no loss ended it");
    }
    for (const char* kind : {"join", "no such thing"}) {
        bool threw = false;
        try {
            Graph({{kind, {}, {}}}, 4, 2, factors);
        } catch (const std::invalid_argument&) {
            threw = true;
        }
        expect(threw, kind, "nothing was thrown");
    }
}

// --- Stacks of dense layers ----------------------------------------------------------------------

// The optimisers that move each number by its own gradient.
std::vector<Recipe> recipes_by_pieces() {
    std::vector<Recipe> found;
    for (const Recipe& recipe : recipes()) {
        Optimizer optimizer;
        optimizer.set(recipe.options);
        if (optimizer.works_by_pieces()) found.push_back(recipe);
    }
    return found;
}

void stacks(bool is_quick) {
    const auto relu = Activation::relu;
    const std::vector<std::vector<LayerSpec>> all = {
        {{5, CLASSES, Activation::linear}},
        {{61, 33, relu}, {33, CLASSES, Activation::linear}},
        {{200, 150, relu}, {150, 17, Activation::linear}, {17, 40, relu}, {40, CLASSES, Activation::linear}},
        {{700, 301, relu}, {301, 300, relu}, {300, CLASSES, Activation::linear}},
    };
    const std::vector<Recipe> learning = recipes_by_pieces();
    std::size_t turn = 0;
    for (std::size_t i = 0; i < all.size(); ++i)
        for (const Kind kind : KINDS)
            for (const int batch_size : {1, 31, 33, 100, 600}) {
                const bool is_wide = i == 3;
                const int number = static_cast<int>(kind) + batch_size;
                if ((is_quick || is_wide) && number % 3 != static_cast<int>(i) % 3) continue;
                if (is_quick && is_wide && batch_size != 33) continue;
                const int count = batch_size == 600 ? 609 : batch_size == 1 ? 9 : 205;
                const Rows rows(count, all[i][0].inputs, kind);
                const std::string name = "stack " + std::to_string(i) + ", data of kind " +
                                         std::to_string(static_cast<int>(kind));
                const Recipe& recipe = learning[turn++ % learning.size()];
                check({name, recipe, Extra::none, nullptr, rows, true, {batch_size, batch_size}},
                      [&](int threads) {
                          return std::make_unique<Network>(all[i], threads, factors);
                      });
            }
}

// A team does every task of a phase once, and does not wait for a member to come to its own.
void shared_tasks() {
    const auto begin = std::chrono::steady_clock::now();
    for (const int threads : {1, 2, 3}) {
        const std::string what = std::to_string(threads) + " threads";
        Team team(threads);
        std::vector<int> times(50);  // not atomic: ThreadSanitizer sees two members at one task
        constexpr int phases = 300;
        for (int round = 0; round < 2; ++round)
            team.run([&](int member) {
                for (int phase = 0; phase < phases; ++phase) {
                    const int tasks = phase % static_cast<int>(times.size() + 1);
                    team.each(member, tasks, [&](int task) { ++times[static_cast<std::size_t>(task)]; });
                    team.barrier(member);
                }
            });
        for (int task = 0; task < static_cast<int>(times.size()); ++task) {
            int wanted = 0;
            for (int phase = 0; phase < 2 * phases; ++phase)
                wanted += task < phase % phases % static_cast<int>(times.size() + 1);
            expect(times[static_cast<std::size_t>(task)] == wanted, what, "a task done once a phase");
        }
        std::vector<int> covered(97);
        team.run([&](int member) {
            for (int phase = 0; phase < phases; ++phase) {
                const int things = phase % static_cast<int>(covered.size() + 1), most = 2 + phase % 4 * 2;
                team.own_pieces(member, things, 2, most, [&](Range piece) {
                    if (piece.begin % 2 != 0 || piece.end - piece.begin > most) fail(what, "a piece");
                    for (int i = piece.begin; i < piece.end; ++i)
                        ++covered[static_cast<std::size_t>(i)];
                });
                team.barrier(member);
            }
        });
        for (int i = 0; i < static_cast<int>(covered.size()); ++i) {
            int wanted = 0;
            for (int phase = 0; phase < phases; ++phase)
                wanted += i < phase % static_cast<int>(covered.size() + 1);
            expect(covered[static_cast<std::size_t>(i)] == wanted, what, "each thing in one piece");
        }
        if (threads == 1) continue;
        std::atomic<int> others{0};
        int done_by_others = 0;
        constexpr int tasks = 30;
        team.run([&](int member) {
            team.each(member, tasks, [&](int task) {
                if (task != 0) {
                    ++others;
                    return;
                }
                while (others < tasks - 1 &&
                       std::chrono::steady_clock::now() - begin < std::chrono::seconds(60))
                    std::this_thread::yield();
                done_by_others = others;
            });
        });
        expect(done_by_others == tasks - 1, what, "the tasks of one who is late, done by others");
    }
}

// A step of few rows that is large enough for the whole team.
void few_large_rows() {
    constexpr int features = 22 * 22 * 3;
    const Rows rows(12, features, Kind::bytes);
    const std::vector<OpSpec> specs = {convolution({22, 22, 3, 40, 5, 5, 1, 1}, true, RELU),
                                       convolution({22, 22, 40, 70, 5, 5, 1, 1}, false, RELU),
                                       {"global_average", {18 * 18, 70}, {}},
                                       last()};
    std::vector<float> all;
    for (const int threads : {1, 2, 3}) {
        Graph graph(specs, features, threads, factors);
        draw_parameters(graph);
        for (const int count : {12, FEW_LANES, 2}) {
            const Data data = rows.data(false, count);
            std::vector<float> found(static_cast<std::size_t>(count) * CLASSES);
            graph.infer(data, nullptr, found.data(), false, nullptr);
            if (all.empty()) all = found;
            expect(std::memcmp(found.data(), all.data(), found.size() * sizeof(float)) == 0,
                   std::to_string(threads) + " threads, " + std::to_string(count) + " rows",
                   "other bits than 12 rows by one thread");
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
    bool is_quick = false;
    for (int i = 1; i < count; ++i) {
        is_quick = is_quick || std::strcmp(arguments[i], "quick") == 0;
        if (std::strcmp(arguments[i], "bfloat16") == 0) factors = Factors::halves;
        if (std::strcmp(arguments[i], "tiles") == 0) factors = Factors::emulated_tiles;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 1024);
    shared_tasks();
    endings();
    few_large_rows();
    graphs(is_quick);
    stacks(is_quick);
    std::printf("%d checks passed\n", checks);
}
