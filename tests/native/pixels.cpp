// Drives the pixel operations without Python, for sanitizers: pictures of many shapes with windows
// smaller and larger than they are, held against the plainest way to compute the same.
//
//     pixels [quick]
//
// All pictures lie in memory of exactly their size, so that a read beyond it is seen.
#include "pixels.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

namespace {

using namespace inkproof::pixels;

int checks = 0;

void expect(bool holds, const char* what, Shape shape, std::size_t size) {
    ++checks;
    if (holds) return;
    std::fprintf(stderr, "%s: wrong for %zux%zu, window %zu\n", what, shape.width, shape.height,
                 size);
    std::exit(1);
}

// Numbers in memory of their own.
template <typename T>
struct Pixels {
    explicit Pixels(Shape shape) : shape(shape), data(new T[shape.height * shape.width]()) {}
    T& at(std::size_t row, std::size_t column) const { return data[row * shape.width + column]; }
    std::size_t size() const { return shape.height * shape.width; }
    Shape shape;
    std::unique_ptr<T[]> data;
};

// The most or least of a window that is cut off at the edges.
template <typename T>
T extreme(const Pixels<T>& in, std::size_t row, std::size_t column, std::size_t before,
          std::size_t after, bool down, bool most) {
    const std::size_t place = down ? row : column;
    const std::size_t length = down ? in.shape.height : in.shape.width;
    T best = in.at(row, column);
    for (std::size_t i = place - std::min(place, before); i <= std::min(place + after, length - 1);
         ++i) {
        const T other = down ? in.at(i, column) : in.at(row, i);
        best = most ? std::max(best, other) : std::min(best, other);
    }
    return best;
}

template <typename T>
void check_extremes(const Pixels<T>& in, std::size_t before, std::size_t after) {
    Pixels<T> out(in.shape);
    for (const bool down : {false, true})
        for (const bool most : {false, true}) {
            (down ? extreme_down<T> : extreme_along<T>)(in.data.get(), out.data.get(), in.shape,
                                                        before, after,
                                                        most ? Extreme::most : Extreme::least);
            for (std::size_t row = 0; row < in.shape.height; ++row)
                for (std::size_t column = 0; column < in.shape.width; ++column)
                    expect(out.at(row, column) ==
                               extreme(in, row, column, before, after, down, most),
                           "running extreme", in.shape, before + after + 1);
        }
}

void check_filters(const Pixels<float>& in, std::size_t size) {
    Pixels<float> out(in.shape), flat(in.shape);
    std::fill_n(flat.data.get(), flat.size(), 3.5f);
    const std::unique_ptr<double[]> weights(new double[size + 1]);
    for (std::size_t i = 0; i <= size; ++i)
        weights[i] = 1.0 / static_cast<double>(2 * size + 1);
    for (const Edge edge : {Edge::reflect, Edge::nearest}) {
        convolve(in.data.get(), out.data.get(), in.shape, weights.get(), size, edge);
        convolve(flat.data.get(), out.data.get(), in.shape, weights.get(), size, edge);
        for (std::size_t i = 0; i < out.size(); ++i)
            expect(std::abs(out.data[i] - 3.5f) < 1e-4f, "convolve", in.shape, size);
    }
    mean(in.data.get(), out.data.get(), in.shape, size + 1);
    mean(flat.data.get(), out.data.get(), in.shape, size + 1);
    for (std::size_t i = 0; i < out.size(); ++i)
        expect(std::abs(out.data[i] - 3.5f) < 1e-4f, "mean", in.shape, size);
    dilate_disc(in.data.get(), out.data.get(), in.shape, size % 40);
    for (std::size_t i = 0; i < out.size(); ++i)
        expect(out.data[i] >= in.data[i], "dilate_disc", in.shape, size);
    Pixels<float> large({in.shape.height + size, in.shape.width + 2 * size});
    enlarge(in.data.get(), large.data.get(), in.shape, large.shape);
    const auto [least, most] = std::minmax_element(in.data.get(), in.data.get() + in.size());
    for (std::size_t i = 0; i < large.size(); ++i)
        expect(large.data[i] >= *least - 1e-3f && large.data[i] <= *most + 1e-3f, "enlarge",
               in.shape, size);
}

void check_masks(const Pixels<std::uint8_t>& in, std::size_t size) {
    const auto [height, width] = in.shape;
    Pixels<std::uint8_t> out(in.shape);
    close(in.data.get(), out.data.get(), in.shape, {size + 1, size % 5 + 1});
    close(in.data.get(), out.data.get(), in.shape, {size % 5 + 1, size + 1});
    for (const bool diagonally : {false, true}) {
        Pixels<std::int32_t> labels(in.shape);
        const auto found = label(in.data.get(), labels.data.get(), in.shape, diagonally);
        std::int64_t area = 0, ink = 0;
        for (const Component& one : found) area += one.area;
        for (std::size_t row = 0; row < height; ++row)
            for (std::size_t column = 0; column < width; ++column) {
                const std::int32_t own = labels.at(row, column);
                ink += own > 0;
                expect((own > 0) == (in.at(row, column) != 0), "label", in.shape, size);
                if (row > 0 && own > 0 && labels.at(row - 1, column) > 0)
                    expect(labels.at(row - 1, column) == own, "label", in.shape, size);
                if (column > 0 && own > 0 && labels.at(row, column - 1) > 0)
                    expect(labels.at(row, column - 1) == own, "label", in.shape, size);
            }
        expect(area == ink, "areas", in.shape, size);
        const std::unique_ptr<std::uint8_t[]> chosen(new std::uint8_t[found.size() + 1]);
        std::fill_n(chosen.get(), found.size() + 1, std::uint8_t{1});
        chosen[0] = 0;
        select(labels.data.get(), out.data.get(), in.shape, chosen.get(), found.size() + 1);
        for (std::size_t i = 0; i < out.size(); ++i)
            expect((out.data[i] != 0) == (in.data[i] != 0), "select", in.shape, size);
    }
    const double slopes[] = {-100.0, -0.3, 0.0, 0.26, 100.0};
    double sharpness[5];
    profile_sharpness(in.data.get(), in.shape, size + 1, slopes, sharpness, 5);
    const std::uint8_t first = in.data[0];
    in.data[0] = 0;
    Pixels<double> distance(in.shape);
    distances(in.data.get(), distance.data.get(), in.shape);
    for (std::size_t row = 0; row < std::min<std::size_t>(height, 12); ++row)
        for (std::size_t column = 0; column < std::min<std::size_t>(width, 12); ++column) {
            double nearest = 1e300;
            for (std::size_t y = 0; y < height; ++y)
                for (std::size_t x = 0; x < width; ++x)
                    if (in.at(y, x) == 0) {
                        const double dy = static_cast<double>(y) - static_cast<double>(row);
                        const double dx = static_cast<double>(x) - static_cast<double>(column);
                        nearest = std::min(nearest, dy * dy + dx * dx);
                    }
            expect(distance.at(row, column) == std::sqrt(nearest), "distances", in.shape, size);
        }
    in.data[0] = first;
}

}  // namespace

int main(int count, char** arguments) {
    const bool quick = count > 1 && std::strcmp(arguments[1], "quick") == 0;
    std::mt19937 draws(7);
    const std::size_t sides[] = {1, 2, 3, 7, 16, 33, 64, 65, 130};
    int turn = 0;
    for (const std::size_t height : sides)
        for (const std::size_t width : sides)
            for (const std::size_t size : {0, 1, 2, 6, 31, 140}) {
                if (quick && turn++ % 3 != 0) continue;
                const Shape shape{height, width};
                Pixels<float> grey(shape);
                Pixels<std::uint8_t> bytes(shape), mask(shape);
                const std::uint32_t density = draws() % 101;
                for (std::size_t i = 0; i < grey.size(); ++i) {
                    grey.data[i] = static_cast<float>(draws() % 2560) / 10;
                    bytes.data[i] = static_cast<std::uint8_t>(draws() % 256);
                    mask.data[i] = draws() % 100 < density;
                }
                check_extremes(grey, size, size / 2);
                check_extremes(bytes, size / 2, size);
                check_filters(grey, size);
                check_masks(mask, size);
                const std::unique_ptr<std::uint8_t[]> colours(new std::uint8_t[3 * grey.size()]());
                luma(colours.get(), bytes.data.get(), shape);
            }
    std::printf("%d checks\n", checks);
    return 0;
}
