#include "descent.hpp"

#include <cmath>
#include <utility>

namespace inkproof {

Parameter::Parameter(int rows, int columns, bool trainable, float initial, int padded_rows)
    : rows(rows), columns(columns), trainable(trainable),
      panel_stride(static_cast<std::size_t>(padded_rows ? padded_rows : rows) * PANEL),
      values(static_cast<std::size_t>(panels()) * panel_stride) {
    for (int r = 0; initial != 0 && r < rows; ++r)
        for (int c = 0; c < columns; ++c)
            values[column_at(c) + static_cast<std::size_t>(r * PANEL)] = initial;
}

void Parameter::put(Buffer<float>& into, const float* from) const {
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < columns; ++c)
            into[column_at(c) + static_cast<std::size_t>(r * PANEL)] =
                from[static_cast<std::size_t>(r) * columns + c];
}

void Parameter::take(const Buffer<float>& from, float* into) const {
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < columns; ++c)
            into[static_cast<std::size_t>(r) * columns + c] =
                from[column_at(c) + static_cast<std::size_t>(r * PANEL)];
}

void Parameter::reserve_gradients() {
    if (trainable && gradients.size() == 0) gradients = Buffer<float>(values.size());
}

void exchange_averages(const std::vector<Parameter*>& parameters) {
    for (Parameter* p : parameters)
        if (p->average.size()) std::swap(p->values, p->average);
}

Descent::Descent(const OptimizerOptions& options, float rate, std::int64_t number)
    : options_(options), rate_(rate), number_(number) {
    const auto t = static_cast<double>(number);
    if (options.rule != Rule::sgd)
        correction_ = static_cast<float>(std::sqrt(1 - std::pow(double{options.beta_2}, t)) /
                                         (1 - std::pow(double{options.beta_1}, t)));
}

void Descent::move(Parameter& parameter, std::size_t at, const float* gradient, int count,
                   float scale) const {
    with(parameter, [&](const auto& move) {
        for (int i = 0; i < count; i += VL) move(at + i, load(gradient + i) * scale);
    });
}

}  // namespace inkproof
