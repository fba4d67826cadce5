// Convolution with windows of 3 x 3 by fewer multiplications.
#pragma once

#include <memory>

#include "ops.hpp"

namespace inkproof {

// Whether a convolution can go this way: whole panels of channels and of filters, not too many.
bool suits_winograd(const Window& window, int filters);
std::unique_ptr<Op> make_winograd_convolution(Tensor& in, Tensor& out, const Window& window,
                                              int filters, bool has_bias, bool is_relu);

}  // namespace inkproof
