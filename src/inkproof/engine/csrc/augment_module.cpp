// The Python face of augmentation. Shapes, dtypes and ranges are checked by the caller in Python
// (inkproof/engine/augment.py), which is the only one that may call this.
#include "augment_module.hpp"

#include <nanobind/ndarray.h>

#include "simd.hpp"

namespace nb = nanobind;

namespace inkproof {

namespace {

template <typename T>
using Images = nb::ndarray<const T, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Rows = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Result = nb::ndarray<float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

template <typename T>
void augment(const Images<T>& images, const Result& result, const AugmentSpec& spec,
             std::uint64_t seed, std::uint32_t epoch, const Rows& rows) {
    const auto height = static_cast<int>(images.shape(1));
    const auto width = static_cast<int>(images.shape(2));
    const auto channels = static_cast<int>(images.shape(3));
    const std::size_t size = images.shape(1) * images.shape(2) * images.shape(3);
    nb::gil_scoped_release unlock;
    FlushDenormals flush;
    const Augmenter augmenter(spec, height, width, channels);
    const Buffer<float> scratch(augmenter.scratch_floats());
    for (std::size_t i = 0; i < images.shape(0); ++i)
        augmenter.apply(images.data() + i * size, result.data() + i * size, seed, epoch,
                        rows.data()[i], scratch.get());
}

}  // namespace

AugmentSpec augment_spec(const nb::dict& options) {
    AugmentSpec spec;
    const auto take = [&](const char* key, float& value) {
        if (options.contains(key)) value = nb::cast<float>(options[key]);
    };
    take("shift_x", spec.shift_x);
    take("shift_y", spec.shift_y);
    take("rotation", spec.rotation);
    take("scale", spec.scale);
    take("shear", spec.shear);
    take("elastic", spec.elastic_alpha);
    float grid = static_cast<float>(spec.elastic_grid);
    take("elastic_grid", grid);
    spec.elastic_grid = static_cast<int>(grid);
    take("cutout", spec.cutout);
    take("fill", spec.fill);
    take("probability", spec.probability);
    return spec;
}

void bind_augment(nb::module_& m) {
    m.def("augment",
          [](const nb::object& images, Result result, const nb::dict& options, std::uint64_t seed,
             std::uint32_t epoch, Rows rows) {
              const AugmentSpec spec = augment_spec(options);
              Images<std::uint8_t> bytes;
              if (nb::try_cast(images, bytes, false))
                  augment(bytes, result, spec, seed, epoch, rows);
              else
                  augment(nb::cast<Images<float>>(images, false), result, spec, seed, epoch, rows);
          });
}

}  // namespace inkproof
