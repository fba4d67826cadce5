// The Python face of one variant of the engine. Shapes and dtypes are checked by the caller in
// Python (inkproof/engine/__init__.py), which is the only one that may import this.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "augment_module.hpp"
#include "ceilings.hpp"
#include "graph.hpp"
#include "network.hpp"

namespace nb = nanobind;
using namespace inkproof;

namespace {

template <typename T>
using Array1 = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Array2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Kernel = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

Data data_of(const nb::object& inputs, float scale, float offset, bool lists) {
    Array2<std::uint8_t> bytes;
    if (nb::try_cast(inputs, bytes, false))
        return {bytes.data(), static_cast<std::int64_t>(bytes.shape(0)),
                static_cast<int>(bytes.shape(1)), scale, offset, lists};
    const auto floats = nb::cast<Array2<float>>(inputs, false);
    return {floats.data(), static_cast<std::int64_t>(floats.shape(0)),
            static_cast<int>(floats.shape(1)), scale, offset, lists};
}

Factors factors_of(const std::string& name) {
    if (name == "halves") return Factors::halves;
    if (name == "tiles") return Factors::tiles;
    if (name == "emulated tiles") return Factors::emulated_tiles;
    if (name != "floats") throw std::invalid_argument("no factors are called " + name);
    return Factors::floats;
}

// Calls the Python function; an exception that it raises is kept and stops the work.
class Poll {
public:
    explicit Poll(const nb::object& function) : function_(function) {}

    bool operator()(std::int64_t done) {
        nb::gil_scoped_acquire lock;
        try {
            if (!function_.is_none()) function_(done);
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
            return false;
        } catch (nb::python_error& error) {
            error_ = std::make_unique<nb::python_error>(std::move(error));
            return true;
        }
    }

    void rethrow() {
        if (error_) throw nb::python_error(std::move(*error_));
    }

private:
    nb::object function_;
    std::unique_ptr<nb::python_error> error_;
};

// Copies out one array of a network, in Keras' layout; (columns,) where there is one row.
nb::object array_of(const Parameter& parameter, const Buffer<float>& values) {
    auto* numbers = new float[parameter.count()];
    nb::capsule owner(numbers, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    parameter.take(values, numbers);
    return Kernel(numbers,
                  {static_cast<std::size_t>(parameter.rows),
                   static_cast<std::size_t>(parameter.columns)},
                  owner).cast();
}

Buffer<float>& slot_of(Parameter& parameter, const std::string& slot) {
    if (slot == "values") return parameter.values;
    if (slot == "gradients") return parameter.gradients;
    if (slot == "first") return parameter.first;
    if (slot == "second") return parameter.second;
    if (slot == "average") return parameter.average;
    throw std::invalid_argument("no slot is called " + slot);
}

OptimizerOptions optimizer_of(const std::map<std::string, double>& given) {
    const auto number = [&](const char* key) {
        const auto found = given.find(key);
        return found == given.end() ? 0.0f : static_cast<float>(found->second);
    };
    OptimizerOptions o;
    o.rule = static_cast<Rule>(static_cast<int>(number("kind")));
    o.momentum = number("momentum");
    o.nesterov = number("nesterov") != 0;
    o.beta_1 = number("beta_1");
    o.beta_2 = number("beta_2");
    o.epsilon = number("epsilon");
    o.weight_decay = number("weight_decay");
    o.clip_value = number("clipvalue");
    o.clip_norm = number("clipnorm");
    o.global_clip_norm = number("global_clipnorm");
    o.average_momentum = number("ema_momentum");
    o.muon_steps = static_cast<int>(number("muon_steps"));
    o.muon_holds_norm = number("muon_hold_norm") != 0;
    o.adam_ratio = number("adam_ratio");
    o.adam_weight_decay = number("adam_weight_decay");
    return o;
}

// What Python says of a pass; arrays stay its own.
PassOptions pass_of(const nb::dict& given) {
    PassOptions options;
    const auto array = [&](const char* key) -> const float* {
        if (!given.contains(key) || nb::object(given[key]).is_none()) return nullptr;
        return nb::cast<Array1<float>>(given[key], false).data();
    };
    options.batch_size = nb::cast<std::int64_t>(given["batch_size"]);
    options.rates = array("rates");
    options.first_step = nb::cast<std::int64_t>(given["first_step"]);
    options.seed = nb::cast<std::uint64_t>(given["seed"]);
    options.epoch = nb::cast<std::uint32_t>(given["epoch"]);
    options.label_smoothing = nb::cast<float>(given["label_smoothing"]);
    options.row_weights = array("row_weights");
    options.mixing = array("mixing");
    if (given.contains("augmenter") && !nb::object(given["augmenter"]).is_none())
        options.augmenter = nb::cast<const Augmenter*>(given["augmenter"]);
    return options;
}

nb::list as_list(const std::vector<OpTime>& times) {
    nb::list result;
    for (const OpTime& t : times)
        result.append(nb::make_tuple(t.name, t.inputs, t.outputs, t.products, t.forward,
                                     t.backward));
    return result;
}

nb::tuple as_tuple(const Totals& totals) {
    return nb::make_tuple(totals.loss, totals.correct, totals.steps, totals.bad_step,
                          totals.last_loss);
}

// What both kinds of networks can do.
template <typename Net>
void bind_network(nb::class_<Net>& network) {
    network
        .def("set_optimizer",
             [](Net& self, const std::map<std::string, double>& options) {
                 self.optimizer().set(optimizer_of(options));
             })
        .def("shapes",
             [](const Net& self) {
                 std::vector<std::tuple<int, int, bool>> shapes;
                 for (const Parameter* p : self.parameters())
                     shapes.emplace_back(p->rows, p->columns, p->trainable);
                 return shapes;
             })
        .def("set",
             [](Net& self, std::size_t index, const std::string& slot, Array2<float> values) {
                 Parameter& parameter = *self.parameters().at(index);
                 Buffer<float>& into = slot_of(parameter, slot);
                 if (into.size() == 0) into = Buffer<float>(parameter.values.size());
                 parameter.put(into, values.data());
             })
        .def("get",
             [](const Net& self, std::size_t index, const std::string& slot) -> nb::object {
                 Parameter& parameter = *self.parameters().at(index);
                 const Buffer<float>& from = slot_of(parameter, slot);
                 if (from.size() == 0) return nb::none();
                 return array_of(parameter, from);
             })
        .def("train",
             [](Net& self, const Data& data, Array1<std::int64_t> labels,
                Array1<std::int64_t> order, const nb::dict& given, const nb::object& function) {
                 const PassOptions options = pass_of(given);
                 Poll poll(function);
                 Totals totals;
                 {
                     nb::gil_scoped_release unlock;
                     totals = self.train(data, labels.data(), order.data(),
                                         static_cast<std::int64_t>(order.shape(0)), options,
                                         [&](std::int64_t done) { return poll(done); });
                 }
                 poll.rethrow();
                 return as_tuple(totals);
             },
             nb::arg("data"), nb::arg("labels"), nb::arg("order"), nb::arg("options"),
             nb::arg("poll").none())
        .def("times", [](const Net& self) { return as_list(self.times()); })
        .def("gradients",
             [](Net& self, const Data& data, Array1<std::int64_t> labels, const nb::dict& given) {
                 const PassOptions options = pass_of(given);
                 Totals totals;
                 {
                     nb::gil_scoped_release unlock;
                     totals = self.gradients(data, labels.data(), options);
                 }
                 return as_tuple(totals);
             })
        .def("infer",
             [](Net& self, const Data& data, const nb::object& labels,
                const nb::object& probabilities, bool averaged, const nb::object& function) {
                 Poll poll(function);
                 const std::int64_t* wanted =
                     labels.is_none() ? nullptr
                                      : nb::cast<Array1<std::int64_t>>(labels, false).data();
                 using Table = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
                 float* into = probabilities.is_none()
                                   ? nullptr
                                   : nb::cast<Table>(probabilities, false).data();
                 Totals totals;
                 {
                     nb::gil_scoped_release unlock;
                     totals = self.infer(data, wanted, into, averaged,
                                         [&](std::int64_t done) { return poll(done); });
                 }
                 poll.rethrow();
                 return as_tuple(totals);
             },
             nb::arg("data"), nb::arg("labels").none(), nb::arg("probabilities").none(),
             nb::arg("averaged"), nb::arg("poll").none());
}

void bind_networks(nb::module_& m) {
    nb::class_<Augmenter>(m, "Augmenter")
        .def("__init__", [](Augmenter* self, const nb::dict& options, int height, int width,
                            int channels) {
            new (self) Augmenter(augment_spec(options), height, width, channels);
        });

    nb::class_<Graph> graph(m, "Graph");
    using Operation = std::tuple<std::string, std::vector<int>, std::vector<float>>;
    graph.def("__init__", [](Graph* self, const std::vector<Operation>& operations, int features,
                             int threads, const std::string& factors) {
        std::vector<OpSpec> specs;
        for (const auto& [kind, integers, floats] : operations)
            specs.push_back({kind, integers, floats});
        new (self) Graph(specs, features, threads, factors_of(factors));
    });
    bind_network(graph);

    nb::class_<Network> network(m, "Network");
    using Dense = std::tuple<int, int, bool>;
    network.def("__init__", [](Network* self, const std::vector<Dense>& layers, int threads,
                               const std::string& factors) {
        std::vector<LayerSpec> specs;
        for (const auto& [inputs, units, is_relu] : layers)
            specs.push_back({inputs, units, is_relu ? Activation::relu : Activation::linear});
        new (self) Network(specs, threads, factors_of(factors));
    });
    bind_network(network);
}

}  // namespace

NB_MODULE(INKPROOF_MODULE, m) {
    bind_augment(m);
    bind_networks(m);

    m.attr("HAS_HALVES") = INKPROOF_HALF != 0;
    m.def("multiply_add_rate",
          [](double seconds, const std::string& factors) {
              return multiply_add_rate(seconds, factors_of(factors));
          },
          nb::arg("seconds"), nb::arg("factors"), nb::call_guard<nb::gil_scoped_release>());
    m.def("memory_rate", &memory_rate, nb::arg("bytes"), nb::arg("seconds"), nb::arg("writes"),
          nb::call_guard<nb::gil_scoped_release>());

    nb::class_<Data>(m, "Data")
        .def("__init__",
             [](Data* self, const nb::object& inputs, float scale, float offset, bool lists) {
                 new (self) Data(data_of(inputs, scale, offset, lists));
             },
             nb::keep_alive<1, 2>());  // the numbers stay where they are

}
