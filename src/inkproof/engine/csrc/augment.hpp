// Images changed a little, anew in each epoch: one affine map, an elastic deformation, a cutout.
//
// What happens to an image depends on the seed, the epoch and the row of the data alone, so that
// neither threads nor batches change a bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "buffer.hpp"

namespace inkproof {

// Everything is off by default. A range r means a draw uniform in [-r, r).
struct AugmentSpec {
    float shift_x = 0, shift_y = 0;  // ranges, pixels
    float rotation = 0;              // range, degrees; counter-clockwise is positive
    float scale = 0;                 // the factor is 1 + a draw of this range, which is below 1
    float shear = 0;                 // range; pixels to the right for a pixel downwards
    float elastic_alpha = 0;         // standard deviation of the displacements, pixels
    int elastic_grid = 4;            // knots along each axis, at least 2
    float cutout = 0;                // the square's side, as a share of the image's shorter side
    float fill = 0;                  // what lies outside an image and in a cutout, raw units
    float probability = 1;           // that an image is touched at all
};

class Augmenter {
public:
    Augmenter(const AugmentSpec& spec, int height, int width, int channels);

    bool is_identity() const { return !resamples_ && cutout_side_ == 0; }
    std::size_t scratch_floats() const { return scratch_floats_; }

    // raw, out: [height][width][channels], out in raw units. T: std::uint8_t or float. scratch:
    // scratch_floats() numbers for this call alone; what they are before does not matter.
    template <typename T>
    void apply(const T* raw, float* out, std::uint64_t seed, std::uint32_t epoch,
               std::uint32_t row, float* scratch) const;

private:
    // The place of a pixel in the padded source: column = xx * x + xy * y + x0, and so the row.
    struct Map {
        double xx, xy, x0, yx, yy, y0;
    };
    // The four control points that move a pixel row, and how much each does.
    struct Knots {
        int first;
        float weights[4];
    };

    static Knots knots_of(int place, int places, int grid);
    template <typename T>
    void pad(const T* raw, float* padded) const;
    void displace(std::uint64_t seed, std::uint32_t epoch, std::uint32_t row, float* lines,
                  float* control) const;
    template <bool is_elastic>
    void resample(const float* padded, const float* lines, const Map& map, float* out) const;

    AugmentSpec spec_;
    int height_, width_, channels_;
    int stride_, plane_;       // of the padded source
    int line_;                 // width, rounded up to whole vectors
    int control_;              // control points along each axis
    int cutout_side_ = 0;      // pixels
    bool resamples_, is_elastic_;
    std::size_t scratch_floats_ = 0;
    Buffer<float> columns_;    // [control point][line_]: its weight in each column
    Buffer<Knots> rows_;       // of each row
};

}  // namespace inkproof
