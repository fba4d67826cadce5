// The Python face of the pixel operations. What a user can get wrong is checked in Python
// (inkproof/photo/pixels.py), with the message for it; here all that keeps every access inside the
// arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>

#include "pixels.hpp"

namespace nb = nanobind;

namespace {

using namespace inkproof::pixels;

template <typename T>
using Picture = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Given = Picture<const T>;
template <typename T>
using Line = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

constexpr std::size_t MOST = std::numeric_limits<std::int32_t>::max();

template <typename T>
Shape shape_of(const Given<T>& in) {
    const std::size_t height = in.shape(0), width = in.shape(1);
    require(height > 0 && width > 0 && width <= MOST / height, "a picture of that size");
    return {height, width};
}

template <typename In, typename Out>
Shape shape_of(const Given<In>& in, const Picture<Out>& out) {
    const Shape shape = shape_of(in);
    require(out.shape(0) == shape.height && out.shape(1) == shape.width,
            "an output of another shape");
    require(static_cast<const void*>(in.data()) != static_cast<const void*>(out.data()),
            "an output that is the input");
    return shape;
}

// Keeps the memory for lines small, whatever is asked for.
void require_window(std::size_t size) { require(size <= 1u << 20, "a window of that size"); }

void bound_convolve(const Given<float>& in, const Picture<float>& out,
                    const Line<const double>& weights, bool reflect) {
    const Shape shape = shape_of(in, out);
    require(weights.shape(0) > 0, "no weights");
    require_window(weights.shape(0));
    nb::gil_scoped_release unlock;
    convolve(in.data(), out.data(), shape, weights.data(), weights.shape(0) - 1,
             reflect ? Edge::reflect : Edge::nearest);
}

void bound_mean(const Given<float>& in, const Picture<float>& out, std::size_t size) {
    const Shape shape = shape_of(in, out);
    require(size > 0, "an empty window");
    require_window(size);
    nb::gil_scoped_release unlock;
    mean(in.data(), out.data(), shape, size);
}

void bound_enlarge(const Given<float>& in, const Picture<float>& out) {
    const Shape shape = shape_of(in), larger{out.shape(0), out.shape(1)};
    require(larger.height >= shape.height && larger.width >= shape.width &&
                larger.width <= MOST / larger.height,
            "an output of that shape");
    nb::gil_scoped_release unlock;
    enlarge(in.data(), out.data(), shape, larger);
}

void bound_luma(const nb::ndarray<const std::uint8_t, nb::shape<-1, -1, 3>, nb::c_contig,
                                  nb::device::cpu>& in,
                const Picture<std::uint8_t>& out) {
    const Shape shape{in.shape(0), in.shape(1)};
    require(out.shape(0) == shape.height && out.shape(1) == shape.width,
            "an output of another shape");
    nb::gil_scoped_release unlock;
    luma(in.data(), out.data(), shape);
}

template <typename T>
void bound_extreme(const Given<T>& in, const Picture<T>& out, std::size_t size, int axis,
                   bool most) {
    const Shape shape = shape_of(in, out);
    require(size > 0, "an empty window");
    require(axis == 0 || axis == 1, "an axis of a picture");
    const auto filter = axis == 0 ? extreme_down<T> : extreme_along<T>;
    nb::gil_scoped_release unlock;
    filter(in.data(), out.data(), shape, size / 2, size - size / 2 - 1,
           most ? Extreme::most : Extreme::least);
}

void bound_dilate(const Given<float>& in, const Picture<float>& out, std::size_t reach) {
    const Shape shape = shape_of(in, out);
    require_window(reach);
    nb::gil_scoped_release unlock;
    dilate_disc(in.data(), out.data(), shape, reach);
}

void bound_close(const Given<std::uint8_t>& in, const Picture<std::uint8_t>& out,
                 std::size_t height, std::size_t width) {
    const Shape shape = shape_of(in, out);
    require(height > 0 && width > 0, "an empty bar");
    require_window(height);
    require_window(width);
    nb::gil_scoped_release unlock;
    close(in.data(), out.data(), shape, {height, width});
}

// int64 (count, 5): top, left, bottom, right, area.
nb::ndarray<nb::numpy, std::int64_t, nb::ndim<2>> bound_label(const Given<std::uint8_t>& in,
                                                              const Picture<std::int32_t>& out,
                                                              bool diagonally) {
    const Shape shape = shape_of(in, out);
    static_assert(sizeof(Component) == 5 * sizeof(std::int64_t));
    auto found = std::make_unique<std::vector<Component>>();
    {
        nb::gil_scoped_release unlock;
        *found = label(in.data(), out.data(), shape, diagonally);
    }
    const std::size_t count = found->size();
    auto* rows = reinterpret_cast<std::int64_t*>(found->data());
    nb::capsule owner(found.get(), [](void* p) noexcept {
        delete static_cast<std::vector<Component>*>(p);
    });
    found.release();  // NOLINT: the capsule has it
    return {rows, {count, 5}, owner};
}

void bound_select(const Given<std::int32_t>& labels, const Picture<std::uint8_t>& out,
                  const Line<const std::uint8_t>& chosen) {
    const Shape shape = shape_of(labels, out);
    nb::gil_scoped_release unlock;
    select(labels.data(), out.data(), shape, chosen.data(), chosen.shape(0));
}

void bound_sharpness(const Given<std::uint8_t>& in, const Line<double>& out,
                     const Line<const double>& slopes, std::size_t most) {
    const Shape shape = shape_of(in);
    require(most > 0, "no pixels at all");
    require(slopes.shape(0) == out.shape(0), "an output of another shape");
    const double room = static_cast<double>(MOST / 2) - static_cast<double>(shape.height);
    for (std::size_t i = 0; i < slopes.shape(0); ++i)
        require(std::abs(slopes.data()[i]) * static_cast<double>(shape.width) < room,
                "a slope that steep");
    nb::gil_scoped_release unlock;
    profile_sharpness(in.data(), shape, most, slopes.data(), out.data(), out.shape(0));
}

void bound_distances(const Given<std::uint8_t>& in, const Picture<double>& out) {
    const Shape shape = shape_of(in, out);
    nb::gil_scoped_release unlock;
    distances(in.data(), out.data(), shape);
}

}  // namespace

NB_MODULE(_pixels, m) {
    // Nothing is converted: an output would be a copy that nobody sees.
    const auto in = nb::arg("picture").noconvert(), out = nb::arg("out").noconvert();
    m.def("convolve", &bound_convolve, in, out, nb::arg("weights").noconvert(),
          nb::arg("reflect"));
    m.def("mean", &bound_mean, in, out, nb::arg("size"));
    m.def("enlarge", &bound_enlarge, in, out);
    m.def("luma", &bound_luma, in, out);
    m.def("extreme", &bound_extreme<std::uint8_t>, in, out, nb::arg("size"), nb::arg("axis"),
          nb::arg("most"));
    m.def("extreme", &bound_extreme<float>, in, out, nb::arg("size"), nb::arg("axis"),
          nb::arg("most"));
    m.def("dilate_disc", &bound_dilate, in, out, nb::arg("reach"));
    m.def("close", &bound_close, in, out, nb::arg("height"), nb::arg("width"));
    m.def("label", &bound_label, in, out, nb::arg("diagonally"));
    m.def("select", &bound_select, in, out, nb::arg("chosen").noconvert());
    m.def("profile_sharpness", &bound_sharpness, in, out, nb::arg("slopes").noconvert(),
          nb::arg("most"));
    m.def("distances", &bound_distances, in, out);
}
