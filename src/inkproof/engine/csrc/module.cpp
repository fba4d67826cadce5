// The Python face of one variant of the engine. Shapes and dtypes are checked by the caller in
// Python (inkproof/engine/__init__.py), which is the only one that may import this.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "augment_module.hpp"
#include "network.hpp"

namespace nb = nanobind;
using namespace inkproof;

namespace {

template <typename T>
using Array1 = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Array2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Kernel = nb::ndarray<nb::numpy, float, nb::ndim<2>>;
using Bias = nb::ndarray<nb::numpy, float, nb::ndim<1>>;

Data data_of(const nb::object& inputs, float scale, float offset) {
    Array2<std::uint8_t> bytes;
    if (nb::try_cast(inputs, bytes, false))
        return {bytes.data(), static_cast<std::int64_t>(bytes.shape(0)),
                static_cast<int>(bytes.shape(1)), scale, offset};
    const auto floats = nb::cast<Array2<float>>(inputs, false);
    return {floats.data(), static_cast<std::int64_t>(floats.shape(0)),
            static_cast<int>(floats.shape(1)), scale, offset};
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

template <typename Get>
nb::list arrays(const Network& network, Get&& get) {
    nb::list result;
    for (std::size_t i = 0; i < network.layers().size(); ++i) {
        const LayerSpec& spec = network.layers()[i].spec;
        const auto inputs = static_cast<std::size_t>(spec.inputs);
        const auto units = static_cast<std::size_t>(spec.units);
        auto* kernel = new float[inputs * units];
        nb::capsule kernel_owner(kernel, [](void* p) noexcept { delete[] static_cast<float*>(p); });
        auto* bias = new float[units];
        nb::capsule bias_owner(bias, [](void* p) noexcept { delete[] static_cast<float*>(p); });
        get(static_cast<int>(i), kernel, bias);
        result.append(Kernel(kernel, {inputs, units}, kernel_owner).cast());
        result.append(Bias(bias, {units}, bias_owner).cast());
    }
    return result;
}

nb::tuple as_tuple(const Totals& totals) {
    return nb::make_tuple(totals.loss, totals.correct, totals.steps, totals.bad_step);
}

}  // namespace

NB_MODULE(INKPROOF_MODULE, m) {
    bind_augment(m);
    nb::class_<Data>(m, "Data")
        .def("__init__",
             [](Data* self, const nb::object& inputs, float scale, float offset) {
                 new (self) Data(data_of(inputs, scale, offset));
             },
             nb::keep_alive<1, 2>());  // the numbers stay where they are

    nb::class_<Network>(m, "Network")
        .def("__init__",
             [](Network* self, const std::vector<std::tuple<int, int, bool>>& layers, int threads) {
                 std::vector<LayerSpec> specs;
                 for (const auto& [inputs, units, is_relu] : layers)
                     specs.push_back(
                         {inputs, units, is_relu ? Activation::relu : Activation::linear});
                 new (self) Network(specs, threads);
             })
        .def("set_weights",
             [](Network& self, int layer, Array2<float> kernel, Array1<float> bias) {
                 self.set_weights(layer, kernel.data(), bias.data());
             })
        .def("weights",
             [](const Network& self) {
                 return arrays(self, [&](int i, float* kernel, float* bias) {
                     self.get_weights(i, kernel, bias);
                 });
             })
        .def("train",
             [](Network& self, const Data& data, Array1<std::int64_t> labels,
                Array1<std::int64_t> order, int batch_size, float learning_rate,
                const nb::object& poll_function) {
                 Poll poll(poll_function);
                 Totals totals;
                 {
                     nb::gil_scoped_release unlock;
                     totals = self.train(data, labels.data(), order.data(),
                                         static_cast<std::int64_t>(order.shape(0)), batch_size,
                                         learning_rate,
                                         [&](std::int64_t done) { return poll(done); });
                 }
                 poll.rethrow();
                 return as_tuple(totals);
             },
             nb::arg("data"), nb::arg("labels"), nb::arg("order"), nb::arg("batch_size"),
             nb::arg("learning_rate"), nb::arg("poll").none())
        .def("gradients",
             [](Network& self, const Data& data, Array1<std::int64_t> labels) {
                 {
                     nb::gil_scoped_release unlock;
                     self.gradients(data, labels.data());
                 }
                 return arrays(self, [&](int i, float* kernel, float* bias) {
                     self.get_gradients(i, kernel, bias);
                 });
             })
        .def("predict",
             [](Network& self, const Data& data,
                nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu> probabilities) {
                 Poll poll{nb::none()};
                 {
                     nb::gil_scoped_release unlock;
                     self.infer(data, nullptr, probabilities.data(),
                                [&](std::int64_t done) { return poll(done); });
                 }
                 poll.rethrow();
             })
        .def("evaluate",
             [](Network& self, const Data& data, Array1<std::int64_t> labels,
                const nb::object& poll_function) {
                 Poll poll(poll_function);
                 Totals totals;
                 {
                     nb::gil_scoped_release unlock;
                     totals = self.infer(data, labels.data(), nullptr,
                                         [&](std::int64_t done) { return poll(done); });
                 }
                 poll.rethrow();
                 return as_tuple(totals);
             },
             nb::arg("data"), nb::arg("labels"), nb::arg("poll").none());
}
