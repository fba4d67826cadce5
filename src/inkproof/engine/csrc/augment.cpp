#include "augment.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "random.hpp"
#include "simd.hpp"

namespace inkproof {

namespace {

constexpr int BORDER = 3;  // one column or row of fill before the image, two behind it

// The numbers' places among an image's draws. Places are never reused.
enum Place : std::uint32_t { first_draws = 0, second_draws = 1, elastic_draws = 2 };

typedef float Unaligned __attribute__((vector_size(VL * 4), may_alias, aligned(4)));
typedef double Pairs __attribute__((vector_size(VL * 4), may_alias));  // VL / 2 pairs of floats
typedef double Pair __attribute__((may_alias, aligned(4)));            // two floats, only moved

inline V load_unaligned(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store_unaligned(float* p, V v) { *reinterpret_cast<Unaligned*>(p) = v; }
inline V clamp(V a, float high) {  // also makes a place of what is not a number
    a = a > V{} ? a : V{};
    return a < splat(high) ? a : splat(high);
}

// Pixels are taken in groups of four, half of each group in one vector of pairs and half in the
// other, so that no number has to leave its 128 bits.
constexpr int lower(int pair) { return pair / 2 * 4 + pair % 2; }

template <int offset, std::size_t... P>
inline V gather(const float* base, const std::int32_t* places, std::index_sequence<P...>) {
    const Pairs found = {
        *reinterpret_cast<const Pair*>(base + places[lower(static_cast<int>(P)) + offset])...};
    V pairs;
    std::memcpy(&pairs, &found, sizeof pairs);
    return pairs;
}

template <int offset, std::size_t... L>
inline V twice(V a, std::index_sequence<L...>) {
    return __builtin_shufflevector(a, a, (lower(static_cast<int>(L) / 2) + offset)...);
}

template <int offset, std::size_t... L>
inline V every_other(V a, V b, std::index_sequence<L...>) {
    return __builtin_shufflevector(
        a, b, (static_cast<int>(L) / 4 * 4 + L % 2 * 2 + (L / 2 % 2 ? VL : 0) + offset)...);
}

// Bilinear interpolation at VL places of one padded plane. Two neighbours in a row are one load.
inline V bilinear(const float* plane, int stride, const std::int32_t* places, V fx, V fy) {
    constexpr std::make_index_sequence<VL / 2> half;
    constexpr std::make_index_sequence<VL> all;
    const V a = gather<0>(plane, places, half), b = gather<0>(plane + stride, places, half);
    const V c = gather<2>(plane, places, half), d = gather<2>(plane + stride, places, half);
    const V low = a + twice<0>(fy, all) * (b - a);
    const V high = c + twice<2>(fy, all) * (d - c);
    const V left = every_other<0>(low, high, all), right = every_other<1>(low, high, all);
    return left + fx * (right - left);
}

// The functions below are written out, since the C library's differ between its versions, and
// between processors that run the same variant.

// ln a for a from (0, 1], no denormal, to about one unit in the last place: a = 2^e m with m in
// [sqrt(1/2), sqrt(2)), and ln m = 2 artanh((m - 1) / (m + 1)), |.| < 0.172, from its series, whose
// remainder is below 1e-9.
inline V natural_log(V a) {
    VI bits;
    std::memcpy(&bits, &a, sizeof bits);
    // Taking sqrt(1/2)'s bits away makes the exponent's field that of a / sqrt(1/2).
    const VI e = (bits - 0x3f3504f3) >> 23;
    bits -= e << 23;
    V m;
    std::memcpy(&m, &bits, sizeof m);
    const V s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
    V p = splat(2.0f / 9);
    p = p * s2 + 2.0f / 7;
    p = p * s2 + 2.0f / 5;
    p = p * s2 + 2.0f / 3;
    p = p * s2 + 2.0f;
    return __builtin_convertvector(e, V) * 0.693147180559945f + p * s;
}

// Sine and cosine of so many whole turns, |turns| <= 1: from their Taylor polynomials within an
// eighth of a turn, whose remainders are below 3e-9.
inline void sine_cosine(V turns, V& sine, V& cosine) {
    const V quarters = turns * 4.0f;
    const VI n = __builtin_convertvector(quarters + 8.5f, VI) - 8;  // the nearest
    const V a = (quarters - __builtin_convertvector(n, V)) * 1.57079632679489662f, a2 = a * a;
    V s = splat(1.0f / 362880);
    s = s * a2 - 1.0f / 5040;
    s = s * a2 + 1.0f / 120;
    s = s * a2 - 1.0f / 6;
    s = a + a * a2 * s;
    V c = splat(-1.0f / 3628800);
    c = c * a2 + 1.0f / 40320;
    c = c * a2 - 1.0f / 720;
    c = c * a2 + 1.0f / 24;
    c = c * a2 - 0.5f;
    c = c * a2 + 1.0f;
    const VI is_odd = (n & 1) != 0;
    const V sine_size = is_odd ? c : s, cosine_size = is_odd ? s : c;
    sine = (n & 2) != 0 ? -sine_size : sine_size;
    cosine = ((n + 1) & 2) != 0 ? -cosine_size : cosine_size;
}

// From [-1, 1).
inline double signed_unit(std::uint32_t word) { return 2.0 * unit_float(word) - 1.0; }

// From 0 .. count - 1, without a rounding that a processor might do otherwise.
inline int whole_below(std::uint32_t word, int count) {
    return static_cast<int>((static_cast<std::uint64_t>(word) * static_cast<unsigned>(count)) >>
                            32);
}

}  // namespace

Augmenter::Augmenter(const AugmentSpec& spec, int height, int width, int channels)
    : spec_(spec),
      height_(height),
      width_(width),
      channels_(channels),
      stride_(width + BORDER),
      plane_((height + BORDER) * (width + BORDER)),
      line_(round_up(width, PANEL)),
      control_(spec.elastic_grid + 2) {
    is_elastic_ = spec.elastic_alpha > 0;
    resamples_ = is_elastic_ || spec.shift_x > 0 || spec.shift_y > 0 || spec.rotation > 0 ||
                 spec.scale > 0 || spec.shear > 0;
    if (spec.cutout > 0) {
        const double side = static_cast<double>(spec.cutout) * std::min(height, width);
        cutout_side_ = std::max(1, static_cast<int>(std::floor(side + 0.5)));
    }
    if (resamples_) scratch_floats_ = static_cast<std::size_t>(channels) * plane_;
    if (!is_elastic_) return;
    // Behind the padded image: the displacements of whole lines, x and y; the control points.
    scratch_floats_ += 2 * static_cast<std::size_t>(control_) * line_;
    scratch_floats_ += 2 * static_cast<std::size_t>(round_up(control_ * control_, VL));
    columns_ = Buffer<float>(static_cast<std::size_t>(control_) * line_);
    for (int x = 0; x < width; ++x) {
        const Knots knots = knots_of(x, width, spec.elastic_grid);
        for (int k = 0; k < 4; ++k) columns_[(knots.first + k) * line_ + x] = knots.weights[k];
    }
    rows_ = Buffer<Knots>(height);
    for (int y = 0; y < height; ++y) rows_[y] = knots_of(y, height, spec.elastic_grid);
}

// A uniform cubic B-spline whose first and last knots are the first and last pixel. One control
// point more lies beyond each end.
Augmenter::Knots Augmenter::knots_of(int place, int places, int grid) {
    const double at = places > 1 ? static_cast<double>(place) * (grid - 1) / (places - 1) : 0.0;
    const int cell = std::min(static_cast<int>(at), grid - 2);
    const double t = at - cell, s = 1 - t;
    return {cell,
            {static_cast<float>(s * s * s / 6), static_cast<float>((4 - 3 * t * t * (2 - t)) / 6),
             static_cast<float>((4 - 3 * s * s * (2 - s)) / 6),
             static_cast<float>(t * t * t / 6)}};
}

template <typename T>
void Augmenter::apply(const T* raw, float* out, std::uint64_t seed, std::uint32_t epoch,
                      std::uint32_t row, float* scratch) const {
    const auto use = static_cast<std::uint32_t>(Draw::augmentation);
    const Words first = philox(seed, {first_draws, row, epoch, use});
    const bool is_touched = !is_identity() && unit_float(first.word[0]) < spec_.probability;
    if (!is_touched || !resamples_) {
        const int count = height_ * width_ * channels_;
        for (int i = 0; i < count; ++i) out[i] = raw[i];
        if (!is_touched) return;
    }
    const Words second = philox(seed, {second_draws, row, epoch, use});

    if (resamples_) {
        // The image is scaled, sheared, rotated and shifted, in this order, about its centre; a
        // pixel of the result is looked up where it came from.
        const double shift_x = signed_unit(first.word[1]) * spec_.shift_x;
        const double shift_y = signed_unit(first.word[2]) * spec_.shift_y;
        const double turns = signed_unit(first.word[3]) * spec_.rotation / 360;
        const double scale = 1 + signed_unit(second.word[0]) * spec_.scale;
        const double shear = signed_unit(second.word[1]) * spec_.shear;
        V sine, cosine;
        sine_cosine(splat(static_cast<float>(turns)), sine, cosine);
        const double s = sine[0], c = cosine[0];  // y points down
        Map map;
        map.xx = (c - shear * s) / scale;
        map.xy = (-s - shear * c) / scale;
        map.yx = s / scale;
        map.yy = c / scale;
        const double centre_x = 0.5 * (width_ - 1), centre_y = 0.5 * (height_ - 1);
        const double from_x = centre_x + shift_x, from_y = centre_y + shift_y;
        map.x0 = centre_x + 1 - map.xx * from_x - map.xy * from_y;
        map.y0 = centre_y + 1 - map.yx * from_x - map.yy * from_y;
        pad(raw, scratch);
        float* lines = scratch + static_cast<std::size_t>(channels_) * plane_;
        if (is_elastic_) {
            displace(seed, epoch, row, lines, lines + 2 * control_ * line_);
            resample<true>(scratch, lines, map, out);
        } else {
            resample<false>(scratch, nullptr, map, out);
        }
    }

    if (cutout_side_ > 0) {
        const int left = whole_below(second.word[2], width_) - cutout_side_ / 2;
        const int top = whole_below(second.word[3], height_) - cutout_side_ / 2;
        const int begin = std::max(left, 0), end = std::min(left + cutout_side_, width_);
        for (int y = std::max(top, 0); y < std::min(top + cutout_side_, height_); ++y)
            std::fill(out + (y * width_ + begin) * channels_, out + (y * width_ + end) * channels_,
                      spec_.fill);
    }
}

// One plane for each channel, with fill around it.
template <typename T>
void Augmenter::pad(const T* raw, float* padded) const {
    const float fill = spec_.fill;
    for (int channel = 0; channel < channels_; ++channel) {
        float* plane = padded + channel * plane_;
        std::fill(plane, plane + stride_, fill);
        for (int y = 0; y < height_; ++y) {
            const T* from = raw + y * width_ * channels_ + channel;
            float* to = plane + (y + 1) * stride_;
            to[0] = fill;
            if (channels_ == 1)
                for (int x = 0; x < width_; ++x) to[x + 1] = from[x];
            else
                for (int x = 0; x < width_; ++x) to[x + 1] = from[x * channels_];
            to[width_ + 1] = to[width_ + 2] = fill;
        }
        std::fill(plane + (height_ + 1) * stride_, plane + plane_, fill);
    }
}

// Draws the control points' displacements and spreads them along the columns: lines is
// [x or y][control row][line_].
void Augmenter::displace(std::uint64_t seed, std::uint32_t epoch, std::uint32_t row, float* lines,
                         float* control) const {
    const auto use = static_cast<std::uint32_t>(Draw::augmentation);
    const int count = control_ * control_, padded = round_up(count, VL);
    float* control_x = control;
    float* control_y = control + padded;
    for (int i = 0; i < count; i += 2) {
        const Words words =
            philox(seed, {elastic_draws + static_cast<std::uint32_t>(i / 2), row, epoch, use});
        for (int k = i; k < std::min(i + 2, count); ++k) {
            control_x[k] = unit_float(words.word[2 * (k - i)]) + 0x1p-24f;
            control_y[k] = unit_float(words.word[2 * (k - i) + 1]);
        }
    }
    std::fill(control_x + count, control_x + padded, 1.0f);
    std::fill(control_y + count, control_y + padded, 0.0f);
    // At a knot a spline's variance is a quarter of its control points': (1 + 16 + 1) / 36 along
    // each axis. Between knots it is a little less.
    const float deviation = 2 * spec_.elastic_alpha;
    for (int k = 0; k < padded; k += VL) {  // Box and Muller (1958)
        const V squares = -2.0f * natural_log(load_unaligned(control_x + k));
        V radius, sine, cosine;
        for (int i = 0; i < VL; ++i) radius[i] = std::sqrt(squares[i]);
        sine_cosine(load_unaligned(control_y + k), sine, cosine);
        store_unaligned(control_x + k, deviation * radius * cosine);
        store_unaligned(control_y + k, deviation * radius * sine);
    }
    for (const float* points : {control_x, control_y}) {
        for (int line = 0; line < control_; ++line, points += control_, lines += line_) {
            for (int x = 0; x < line_; x += VL) {
                V sum{};
                for (int j = 0; j < control_; ++j)
                    sum += points[j] * load(&columns_[j * line_ + x]);
                store_unaligned(lines + x, sum);
            }
        }
    }
}

template <bool is_elastic>
void Augmenter::resample(const float* padded, const float* lines, const Map& map,
                         float* out) const {
    alignas(64) static constexpr float iota[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                   8, 9, 10, 11, 12, 13, 14, 15};
    const V lanes = load(iota);
    const float xx = static_cast<float>(map.xx), yx = static_cast<float>(map.yx);
    const float right = static_cast<float>(width_ + 1), bottom = static_cast<float>(height_ + 1);
    for (int y = 0; y < height_; ++y, out += width_ * channels_) {
        const V row_x = splat(static_cast<float>(map.xy * y + map.x0));
        const V row_y = splat(static_cast<float>(map.yy * y + map.y0));
        // The last vector of a row ends with it, and does some pixels again.
        for (int begin = 0; begin < width_; begin += VL) {
            const int x = std::max(0, std::min(begin, width_ - VL));
            const V column = lanes + static_cast<float>(x);
            V from_x = column * xx + row_x, from_y = column * yx + row_y;
            if constexpr (is_elastic) {
                const Knots& knots = rows_[y];
                const float* line = lines + knots.first * line_ + x;
                for (int k = 0; k < 4; ++k, line += line_) {
                    from_x += knots.weights[k] * load_unaligned(line);
                    from_y += knots.weights[k] * load_unaligned(line + control_ * line_);
                }
            }
            from_x = clamp(from_x, right);
            from_y = clamp(from_y, bottom);
            const VI left = __builtin_convertvector(from_x, VI);
            const VI top = __builtin_convertvector(from_y, VI);
            const V fx = from_x - __builtin_convertvector(left, V);
            const V fy = from_y - __builtin_convertvector(top, V);
            alignas(64) std::int32_t places[VL];
            const VI at = top * stride_ + left;
            std::memcpy(places, &at, sizeof at);
            const int count = std::min(VL, width_ - x);
            for (int channel = 0; channel < channels_; ++channel) {
                const V found = bilinear(padded + channel * plane_, stride_, places, fx, fy);
                if (channels_ == 1 && count == VL) {
                    store_unaligned(out + x, found);
                } else {
                    alignas(64) float pixels[VL];
                    store(pixels, found);
                    for (int i = 0; i < count; ++i) out[(x + i) * channels_ + channel] = pixels[i];
                }
            }
        }
    }
}

template void Augmenter::apply(const std::uint8_t*, float*, std::uint64_t, std::uint32_t,
                               std::uint32_t, float*) const;
template void Augmenter::apply(const float*, float*, std::uint64_t, std::uint32_t, std::uint32_t,
                               float*) const;

}  // namespace inkproof
