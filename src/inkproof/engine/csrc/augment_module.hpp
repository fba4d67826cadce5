// The Python face of augmentation.
#pragma once

#include <nanobind/nanobind.h>

#include "augment.hpp"

namespace inkproof {

// From the dict that inkproof.Augmentation.engine_options() gives; keys that are missing keep
// their defaults. Ranges are checked in Python.
AugmentSpec augment_spec(const nanobind::dict& options);

void bind_augment(nanobind::module_& m);

}  // namespace inkproof
