#include "graph.hpp"

#include <algorithm>
#include <stdexcept>

#include "softmax.hpp"

namespace inkproof {

namespace {

constexpr int CHUNK = 512;  // rows that go through together at most, where layers allow it
constexpr std::size_t CHUNK_BYTES = std::size_t{16} << 20;  // of values and errors: they stay in
                                                            // the last-level cache
constexpr int INFERENCE_LANES = 256;
constexpr std::int64_t ALONE_PRODUCTS = std::int64_t{1} << 24;  // a third of a millisecond: waking
                                                                // others up would not pay

}  // namespace

Graph::Graph(const std::vector<OpSpec>& specs, int features, int threads, Factors factors)
    : factors_(factors), team_(threads), scratch_(static_cast<std::size_t>(threads)) {
    add_tensor(features);
    std::vector<Tensor*> forks;
    std::vector<std::size_t> fork_ops;
    for (std::size_t at = 0; at < specs.size();) at += add(specs, at, forks, fork_ops);
    bool learns = false;
    std::vector<Parameter*> kernels;
    for (const auto& op : ops_) {
        input_errors_.push_back(learns);
        products_ += op->products();
        for (Parameter* p : op->parameters()) {
            parameters_.push_back(p);
            p->reserve_gradients();
            learns = learns || p->trainable;
            if (p->is_kernel) kernels.push_back(p);
        }
    }
    // The output layer's kernel is no hidden layer's.
    for (std::size_t i = 0; i + 1 < kernels.size(); ++i) kernels[i]->orthogonal = true;
    const auto padded = static_cast<std::size_t>(round_up(features, PANEL));
    for (Scratch& scratch : scratch_) scratch.rows = Buffer<float>(padded * VL);
}

Tensor& Graph::add_tensor(int features) {
    tensors_.push_back(std::make_unique<Tensor>(features));
    return *tensors_.back();
}

namespace {

// As a specification names it, from its first integer on that is of the window.
Window window_of(const std::vector<int>& n, std::size_t kernel, std::size_t same) {
    return Window::of(n.at(0), n.at(1), n.at(2), n.at(kernel), n.at(kernel + 1), n.at(kernel + 2),
                      n.at(kernel + 3), n.at(same) != 0);
}

}  // namespace

// Adds the operation that begins at a specification; says how many of those it is made of.
std::size_t Graph::add(const std::vector<OpSpec>& specs, std::size_t at,
                       std::vector<Tensor*>& forks, std::vector<std::size_t>& fork_ops) {
    const OpSpec& spec = specs[at];
    Tensor& in = ops_.empty() ? *tensors_.front() : ops_.back()->out();
    const std::vector<int>& n = spec.integers;
    const auto function = [](int number) { return static_cast<Function>(number); };
    const auto is_forked = [&](const Tensor& tensor) {
        return std::find(forks.begin(), forks.end(), &tensor) != forks.end();
    };
    // Where nobody else reads a value, an activation may take its place.
    const auto activate = [&](Tensor& from, Function wanted) {
        const bool is_read = ops_.empty() || ops_.back()->reads_output() || is_forked(from);
        Tensor& to = is_read || wanted == Function::gelu ? add_tensor(from.features) : from;
        ops_.push_back(make_activation(from, to, wanted));
    };
    // Who writes what comes in, if nobody else reads that and nothing learns before; or else null.
    const auto first_to_learn = [&]() -> Op* {
        const bool is_it = !ops_.empty() && !is_forked(in) &&
                           std::all_of(ops_.begin(), ops_.end() - 1,
                                       [](const auto& op) { return op->parameters().empty(); });
        return is_it ? ops_.back().get() : nullptr;
    };
    std::size_t next = at + 1;
    const auto is_next = [&](const char* kind) {
        return next < specs.size() && specs[next].kind == kind;
    };
    // An activation that stands by itself goes with the layer before it, if that has none.
    const auto activation = [&](Function own) {
        if (own != Function::linear || !is_next("activation")) return own;
        return function(specs[next++].integers.at(0));
    };
    if (spec.kind == "dense") {
        Tensor& out = add_tensor(n.at(0));
        const Function f = activation(function(n.at(2)));
        ops_.push_back(make_dense(in, out, n.at(1) != 0, f == Function::relu, factors_));
        if (f != Function::relu && f != Function::linear) activate(out, f);
    } else if (spec.kind == "convolution") {
        const Window w = window_of(n, 4, 8);
        Tensor& out = add_tensor(w.out_height * w.out_width * n.at(3));
        const Function f = activation(function(n.at(10)));
        ops_.push_back(make_convolution(in, out, w, n.at(3), n.at(9) != 0, f == Function::relu,
                                       factors_));
        if (f != Function::relu && f != Function::linear) activate(out, f);
    } else if (spec.kind == "max_pool" || spec.kind == "average_pool") {
        const Window w = window_of(n, 3, 7);
        Tensor& out = add_tensor(w.out_height * w.out_width * w.channels);
        const bool is_max = spec.kind == "max_pool";
        const bool is_alone = !ops_.empty() && !is_forked(in);
        const bool masks = is_max && is_alone && ops_.back()->leave_mask();
        ops_.push_back(make_pooling(in, out, w, is_max, masks, first_to_learn()));
    } else if (spec.kind == "global_average") {
        ops_.push_back(make_global_average(in, add_tensor(n.at(1)), n.at(0), n.at(1)));
    } else if (spec.kind == "batch_normalization") {
        needs_whole_batch_ = true;
        const Function f = activation(Function::linear);
        const bool is_whole = f == Function::linear || f == Function::relu;
        Window w = Window::of(n.at(0), 1, n.at(1), 1, 1, 1, 1, false);
        if (is_whole && is_next("max_pool")) {
            const Window pool = window_of(specs[next].integers, 3, 7);
            if (can_normalize_with(pool)) w = pool, ++next;
        }
        Tensor& out = add_tensor(w.out_height * w.out_width * w.channels);
        ops_.push_back(make_batch_normalization(
            in, out, w, {n.at(2) != 0, n.at(3) != 0, spec.floats.at(0), spec.floats.at(1)},
            f == Function::relu, ops_.empty() ? nullptr : ops_.back().get(), first_to_learn()));
        if (!is_whole) activate(out, f);
    } else if (spec.kind == "dropout") {
        ops_.push_back(make_dropout(in, add_tensor(in.features), spec.floats.at(0),
                                    static_cast<std::uint32_t>(n.at(0))));
    } else if (spec.kind == "activation") {
        activate(in, function(n.at(0)));
    } else if (spec.kind == "fork") {
        // Made when its block closes: it needs what comes out there.
        forks.push_back(&in);
        fork_ops.push_back(ops_.size());
    } else if (spec.kind == "join") {
        if (forks.empty()) throw std::invalid_argument("a join without its fork");
        Tensor& forked = *forks.back();
        Tensor& out = add_tensor(in.features);
        ops_.insert(ops_.begin() + static_cast<std::ptrdiff_t>(fork_ops.back()),
                    make_fork(forked, out));
        ops_.push_back(make_join(in, out, forked));
        forks.pop_back();
        fork_ops.pop_back();
    } else {
        throw std::invalid_argument("no operation is called " + spec.kind);
    }
    return next - at;
}

// How many rows of a batch go through together: where every layer looks at one row at a time, no
// more than the caches hold.
std::int64_t Graph::chunk_of(std::int64_t batch_size, bool mixes) const {
    if (needs_whole_batch_ || mixes) return batch_size;
    std::size_t bytes = 0;
    for (const auto& tensor : tensors_) bytes += tensor->stride * 2 * sizeof(float);
    const auto blocks = static_cast<std::int64_t>(CHUNK_BYTES / bytes);
    const std::int64_t most = std::clamp<std::int64_t>(blocks * BLOCK, BLOCK, CHUNK);
    return std::min(batch_size, most);
}

void Graph::reserve(int lanes, bool training) {
    const int blocks = (lanes + BLOCK - 1) / BLOCK;
    int& have = training ? training_blocks_ : blocks_;
    if (blocks <= have) return;
    for (auto& tensor : tensors_) tensor->reserve(blocks, training);
    for (auto& op : ops_) op->reserve(blocks, threads(), training);
    const auto rows = static_cast<std::size_t>(blocks) * BLOCK;
    if (losses_.size() < rows) {
        losses_ = Buffer<float>(rows);
        hits_ = Buffer<std::int32_t>(rows);
        powers_ = Buffer<float>(rows * static_cast<std::size_t>(classes()));
    }
    have = blocks;
    blocks_ = std::max(blocks_, blocks);
}

// A vector of lanes at a time: their rows one below the other, and then transposed.
void Graph::gather(const Data& data, const std::int64_t* order, std::int64_t first,
                   const Step& step, const Augmenter* augmenter, const Worker& worker) {
    Tensor& to = *tensors_.front();
    const int features = to.features, padded = round_up(features, PANEL);
    worker.each(step.blocks * VB, [&](int task) {
        const int block = task / VB, v = task % VB;
        if (v >= step.vectors(block)) return;
        Scratch& scratch = scratch_[static_cast<std::size_t>(worker.member())];
        for (int i = 0; i < VL; ++i) {
            const int lane = block * BLOCK + v * VL + i;
            float* row = scratch.rows.get() + i * padded;
            if (lane >= step.lanes) {
                std::fill(row, row + features, 0.0f);
                continue;
            }
            const std::int64_t at = order ? order[first + lane] : first + lane;
            data.read(at, row, augmenter, step.seed, step.epoch, scratch.augmented.get());
        }
        to_features(scratch.rows.get(), static_cast<std::size_t>(padded),
                    to.value(block, 0) + v * VL, padded, 1);
    });
}

// Mixup (Zhang, Cisse, Dauphin, Lopez-Paz 2018): row i of the batch meets row n - 1 - i.
void Graph::mix(const Step& step, float share, const Worker& worker) {
    const Tensor& x = *tensors_.front();
    constexpr int some = 16;
    worker.each((x.features + some - 1) / some, [&](int task) {
        for (int k = task * some; k < std::min(task * some + some, x.features); ++k)
            for (int i = 0; i < step.lanes / 2; ++i) {
                const int j = step.lanes - 1 - i;
                float& a = x.value(i / BLOCK, k)[i % BLOCK];
                float& b = x.value(j / BLOCK, k)[j % BLOCK];
                const float mixed = share * a + (1 - share) * b;
                b = share * b + (1 - share) * a;
                a = mixed;
            }
    });
}

// Softmax, the loss and its gradient with respect to the last outputs. Targets q are the labels,
// smoothed and mixed; d loss / d z = p - q.
void Graph::errors(const Step& step, const Targets& targets, const Worker& worker) {
    const Tensor& last = *tensors_.back();
    const int classes = last.features;
    const float smooth = targets.smoothing, even = smooth / static_cast<float>(classes);
    const bool mixes = targets.mixing < 1;
    worker.each(step.blocks * VB, [&](int task) {
        const int block = task / VB, v = task % VB;
        const float* z = last.value(block, 0) + v * VL;
        float* e = last.error(block, 0) + v * VL;
        if (v >= step.vectors(block)) {
            for (int u = 0; u < classes; ++u) store(e + u * BLOCK, V{});
            return;
        }
        VI target{}, other = VI{} - 1;
        V weight{};
        const auto label_at = [&](std::int64_t at) {
            return static_cast<std::int32_t>(
                targets.labels[targets.order ? targets.order[at] : at]);
        };
        for (int i = 0; i < VL; ++i) {
            const std::int64_t lane = block * BLOCK + v * VL + i;
            if (lane >= step.lanes) continue;
            const std::int64_t at = targets.first + lane;
            target[i] = label_at(at);
            if (mixes)
                other[i] = label_at(2 * targets.batch_first + targets.batch_rows - 1 - at);
            const std::int64_t row = targets.order ? targets.order[at] : at;
            weight[i] = (targets.row_weights ? targets.row_weights[row] : 1.0f) /
                        static_cast<float>(targets.batch_rows);
        }
        V best;
        VI where;
        find_likeliest(z, classes, best, where);
        V sum{}, others{};
        for (int u = 0; u < classes; ++u) {
            const V power = exp_nonpositive(load(z + u * BLOCK) - best);
            store(e + u * BLOCK, power);
            sum += power;
            others += target == u ? V{} : power;
        }
        const V log_sum = log_of(sum);
        const V per_sum = 1.0f / sum;
        const float own = (1 - smooth) * targets.mixing, theirs = (1 - smooth) - own;
        V loss{};
        for (int u = 0; u < classes; ++u) {
            const VI is_own = target == u;
            V q = splat(even);
            q += is_own ? splat(own) : V{};
            if (mixes) q += other == u ? splat(theirs) : V{};
            V cost = log_sum - (load(z + u * BLOCK) - best);
            cost = cost > splat(WORST_LOSS) ? splat(WORST_LOSS) : cost;
            loss += q * cost;
            // For the label p - 1 is minus the other classes' share, which stays exact.
            const V p = load(e + u * BLOCK) * per_sum;
            store(e + u * BLOCK, weight * (is_own ? (1.0f - q) - others * per_sum : p - q));
        }
        for (int i = 0; i < VL; ++i) {
            const int lane = block * BLOCK + v * VL + i;
            if (lane >= step.lanes) break;
            losses_[static_cast<std::size_t>(lane)] =
                loss[i] * weight[i] * static_cast<float>(targets.batch_rows);
            hits_[static_cast<std::size_t>(lane)] = where[i] == target[i];
        }
    });
}

Totals Graph::train(const Data& data, const std::int64_t* labels, const std::int64_t* order,
                    std::int64_t count, const PassOptions& options,
                    const std::function<bool(std::int64_t)>& poll) {
    return pass(true, data, labels, order, count, options, poll);
}

Totals Graph::gradients(const Data& data, const std::int64_t* labels,
                        const PassOptions& options) {
    PassOptions whole = options;
    whole.batch_size = data.rows();
    return pass(false, data, labels, nullptr, data.rows(), whole, nullptr);
}

Totals Graph::pass(bool descends, const Data& data, const std::int64_t* labels,
                   const std::int64_t* order, std::int64_t count, const PassOptions& options,
                   const std::function<bool(std::int64_t)>& poll) {
    const std::int64_t batch_size = std::min(options.batch_size, count);
    const std::int64_t chunk = chunk_of(batch_size, options.mixing != nullptr);
    reserve(static_cast<int>(chunk), true);
    optimizer_.reserve(parameters_);
    is_prepared_ = false;
    if (options.augmenter)
        for (Scratch& scratch : scratch_)
            if (scratch.augmented.size() < options.augmenter->scratch_floats())
                scratch.augmented = Buffer<float>(options.augmenter->scratch_floats());
    const bool by_pieces = descends && chunk == batch_size && optimizer_.works_by_pieces();
    Totals totals;
    bool stop = false;
    Pulse pulse(poll);
    times_.clear();
    for (const auto& op : ops_)
        times_.push_back({op->name(), op->in().features, op->out().features, op->products()});

    team_.run([&](int member) {
        const Worker worker(team_, member);
        Stopwatch watch;
        double others = 0;  // what belongs to no operation
        const auto lap = [&](double& seconds) {
            if (member == 0) watch.lap(seconds);
        };
        watch.start();
        for (std::int64_t first = 0; first < count && !stop;) {
            const std::int64_t batch_first = first / batch_size * batch_size;
            const std::int64_t batch_end = std::min(count, batch_first + batch_size);
            const std::int64_t next = std::min(batch_end, first + chunk);
            const auto number = static_cast<std::size_t>(batch_first / batch_size);
            Step step;
            step.lanes = static_cast<int>(next - first);
            step.blocks = (step.lanes + BLOCK - 1) / BLOCK;
            step.training = true;
            step.moves_statistics = descends;
            step.adds_gradients = first != batch_first;
            step.seed = options.seed;
            step.epoch = options.epoch;
            step.number = static_cast<std::uint32_t>(number);
            step.first_block = static_cast<int>((first - batch_first) / BLOCK);
            const Descent descent = optimizer_.step(options, static_cast<std::int64_t>(number));
            if (by_pieces) step.descent = &descent;
            gather(data, order, first, step, options.augmenter, worker);
            const float mixing = options.mixing ? options.mixing[number] : 1.0f;
            if (mixing < 1) mix(step, mixing, worker);
            lap(others);
            for (std::size_t i = 0; i < ops_.size(); ++i) {
                ops_[i]->forward(step, worker);
                lap(times_[i].forward);
            }
            errors(step,
                   {labels, order, first, batch_first, batch_end - batch_first,
                    options.label_smoothing, mixing, options.row_weights},
                   worker);
            if (member == 0) {
                if (!totals.add(losses_, hits_, step.lanes)) stop = true;
                if (pulse.stops(first)) stop = totals.stopped = true;
                totals.steps += next == batch_end;
            }
            lap(others);
            for (std::size_t i = ops_.size(); i-- > 0;) {
                ops_[i]->backward(step, worker, input_errors_[i]);
                lap(times_[i].backward);
            }
            if (descends && !by_pieces && next == batch_end)
                optimizer_.descend(descent, worker);
            worker.barrier();  // so that all see the same stop
            first = next;
        }
    });
    return totals;
}

// --- Inference -----------------------------------------------------------------------------------

void Graph::probabilities(const Step& step, const std::int64_t* labels, std::int64_t first,
                          float* into, const Worker& worker) {
    const Tensor& last = *tensors_.back();
    const int classes = last.features;
    worker.each(step.blocks * VB, [&](int task) {
        const int block = task / VB, v = task % VB;
        if (v >= step.vectors(block)) return;
        const float* z = last.value(block, 0) + v * VL;
        float* powers = powers_.get() + static_cast<std::size_t>(block) * classes * BLOCK + v * VL;
        V best;
        VI where;
        find_likeliest(z, classes, best, where);
        V sum{};
        for (int u = 0; u < classes; ++u) {
            const V power = exp_nonpositive(load(z + u * BLOCK) - best);
            store(powers + u * BLOCK, power);
            sum += power;
        }
        for (int i = 0; i < VL; ++i) {
            const int lane = block * BLOCK + v * VL + i;
            if (lane >= step.lanes) break;
            const std::int64_t row = first + lane;
            if (into)
                for (int u = 0; u < classes; ++u)
                    into[row * classes + u] = powers[u * BLOCK + i] / sum[i];
            if (!labels) continue;
            const auto label = static_cast<std::int32_t>(labels[row]);
            losses_[static_cast<std::size_t>(lane)] =
                cross_entropy(sum[i], z[label * BLOCK + i] - best[i]);
            hits_[static_cast<std::size_t>(lane)] = where[i] == label;
        }
    });
}

// As gather and the operations' way forward.
void Graph::run_few(const Data& data, std::int64_t first, const Step& step, const Worker& worker) {
    worker.each(step.lanes, [&](int lane) {
        data.read(first + lane, tensors_.front()->row(lane), nullptr, 0, 0, nullptr);
    });
    for (auto& op : ops_) op->forward_few(step, worker);
    if (worker.member() == 0) tensors_.back()->to_lanes();
    worker.barrier();
}

Totals Graph::infer(const Data& data, const std::int64_t* labels, float* probabilities_into,
                    bool averaged, const std::function<bool(std::int64_t)>& poll) {
    const std::int64_t count = data.rows();
    const std::int64_t chunk = std::min<std::int64_t>(count, INFERENCE_LANES);
    reserve(static_cast<int>(chunk), false);
    if (averaged) {
        exchange_averages(parameters_);
        is_prepared_ = false;
    }
    if (!is_prepared_)
        team_.run([&](int member) {
            for (auto& op : ops_) op->prepare(Worker(team_, member));
        });
    is_prepared_ = true;
    Totals totals;
    bool stop = false;
    Pulse pulse(poll);
    const bool is_little = count <= VL && count * products_ <= ALONE_PRODUCTS;
    Team& team = is_little ? alone_ : team_;
    team.run([&](int member) {
        const Worker worker(team, member);
        for (std::int64_t first = 0; first < count && !stop; first += chunk) {
            Step step;
            step.lanes = static_cast<int>(std::min(chunk, count - first));
            step.blocks = (step.lanes + BLOCK - 1) / BLOCK;
            if (step.lanes <= FEW_LANES) {
                run_few(data, first, step, worker);
            } else {
                gather(data, nullptr, first, step, nullptr, worker);
                for (auto& op : ops_) op->forward(step, worker);
            }
            probabilities(step, labels, first, probabilities_into, worker);
            if (member == 0) {
                for (int i = 0; labels && i < step.lanes; ++i) {
                    totals.loss += static_cast<double>(losses_[static_cast<std::size_t>(i)]);
                    totals.correct += hits_[static_cast<std::size_t>(i)];
                }
                if (pulse.stops(first)) stop = totals.stopped = true;
            }
            worker.barrier();
        }
    });
    if (averaged) {
        exchange_averages(parameters_);
        is_prepared_ = false;
    }
    return totals;
}

}  // namespace inkproof
