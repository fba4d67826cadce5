// Operations on the pixels of one picture: filters, morphology, what hangs together, distances.
//
// Pictures lie row after row without gaps; sides are 1 to 2^31 - 1, and so is their product. An
// output is as large as its input and may not be the same memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace inkproof::pixels {

struct Shape {
    std::size_t height, width;
};

// How a picture goes on beyond its edge: d c b a | a b c d | d c b a, or
// a a a a | a b c d | d d d d.
enum class Edge { reflect, nearest };

// Convolves rows and columns with one symmetric kernel, weights[0] its middle, up to
// weights[radius]. Sums are double, what comes out of the columns is rounded to float.
void convolve(const float* in, float* out, Shape shape, const double* weights, std::size_t radius,
              Edge edge);

// The mean over windows of size x size from size / 2 before a pixel, by running sums in double;
// reflected at the edges. What comes out of the columns is rounded to float.
void mean(const float* in, float* out, Shape shape, std::size_t size);

// Enlarges with linear interpolation between the middles of pixels, along rows and then along
// columns, as Pillow does; no side of `larger` is less than that of `shape`.
void enlarge(const float* in, float* out, Shape shape, Shape larger);

// (299 R + 587 G + 114 B) / 1000 of red, green, blue, red, ..., rounded as Pillow rounds it.
void luma(const std::uint8_t* in, std::uint8_t* out, Shape shape);

enum class Extreme { least, most };

// The least or the most of the pixels from `before` before to `after` after each one, along a
// column or along a row; the window is cut off at the edges. T is std::uint8_t or float.
template <typename T>
void extreme_down(const T* in, T* out, Shape shape, std::size_t before, std::size_t after,
                  Extreme which);
template <typename T>
void extreme_along(const T* in, T* out, Shape shape, std::size_t before, std::size_t after,
                   Extreme which);

// The most within a distance of reach + 0.3; the disc is cut off at the edges.
void dilate_disc(const float* in, float* out, Shape shape, std::size_t reach);

// Closes with a bar of bar.height x bar.width; beyond the edge all is false, for both steps.
void close(const std::uint8_t* in, std::uint8_t* out, Shape shape, Shape bar);

// What hangs together: its box (bottom and right are beyond it) and its number of pixels.
struct Component {
    std::int64_t top, left, bottom, right, area;
};

// Numbers the components from 1 in the order of their first pixels; 0 is what is false.
std::vector<Component> label(const std::uint8_t* in, std::int32_t* out, Shape shape,
                             bool diagonally);

// Whether each pixel's label is one that is chosen: chosen[label], for labels 0 to count - 1, and
// false for others.
void select(const std::int32_t* labels, std::uint8_t* out, Shape shape, const std::uint8_t* chosen,
            std::size_t count);

// How sharp the profile of rows is under each slope. True pixels are counted by the whole part of
// row - slope * column, above its least; the sum of squares of two neighbouring counts together.
// Of more than `most` pixels every second, third, ... is taken. slope * width + height must fit
// into 31 bits.
void profile_sharpness(const std::uint8_t* in, Shape shape, std::size_t most, const double* slopes,
                       double* out, std::size_t count);

// The distance of each pixel to the nearest that is false; there must be one.
void distances(const std::uint8_t* in, double* out, Shape shape);

}  // namespace inkproof::pixels
