// What softmax and cross-entropy need, for a vector of lanes at a time.
#pragma once

#include <cmath>

#include "simd.hpp"

namespace inkproof {

constexpr float WORST_LOSS = 16.118095f;  // -ln(1e-7): Keras clips probabilities there

// Finds each lane's greatest output and its class, the first of equals.
static inline void find_likeliest(const float* z, int units, V& greatest, VI& where) {
    greatest = load(z);
    where = VI{};
    for (int u = 1; u < units; ++u) {
        const V zu = load(z + u * BLOCK);
        const VI more = zu > greatest;
        greatest = more ? zu : greatest;
        where = more ? VI{} + u : where;
    }
}

static inline V log_of(V x) {
    V y;
    for (int i = 0; i < VL; ++i) y[i] = static_cast<float>(std::log(static_cast<double>(x[i])));
    return y;
}

// -ln p where p = exp(shifted) / sum, for the label's output less the greatest.
static inline float cross_entropy(float sum, float shifted) {
    const float loss = static_cast<float>(std::log(static_cast<double>(sum))) - shifted;
    return loss > WORST_LOSS ? WORST_LOSS : loss;
}

}  // namespace inkproof
