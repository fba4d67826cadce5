#include "convolution.hpp"

#include "tiles.hpp"

namespace inkproof {

// Factors that training rounds go in pairs of channels and filters, or in whole tiles of them; where
// there are not enough of those, they stay float32.
std::unique_ptr<Op> make_convolution(Tensor& in, Tensor& out, const Window& window, int filters,
                                     bool has_bias, bool is_relu,
                                     [[maybe_unused]] Factors factors) {
    const ConvolutionSpec spec{window, filters, has_bias, is_relu};
    const auto weights = std::make_shared<ConvolutionWeights>(spec);
    const bool has_few_channels = window.channels < FEW_CHANNELS;
    auto in_floats = suits_winograd(spec) ? make_winograd_convolution(in, out, spec, weights)
                     : has_few_channels   ? make_few_channels_convolution(in, out, spec, weights)
                                          : make_direct_convolution(in, out, spec, weights);
#if INKPROOF_HALF
    const auto are_whole = [&](int some) {
        return window.channels % some == 0 && filters % some == 0;
    };
    if (factors == Factors::halves && !has_few_channels && are_whole(2))
        return make_half_convolution(in, out, spec, weights, std::move(in_floats));
    if ((factors == Factors::tiles || factors == Factors::emulated_tiles) && are_whole(TILE_DEPTH))
        return make_tile_convolution(in, out, spec, weights, std::move(in_floats),
                                     factors == Factors::emulated_tiles);
#endif
    return in_floats;
}

}  // namespace inkproof
