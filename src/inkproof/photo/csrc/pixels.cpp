#include "pixels.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace inkproof::pixels {

namespace {

// Where a pixel beyond the edge is taken from.
std::size_t inside(std::ptrdiff_t place, std::size_t length, Edge edge) {
    const auto n = static_cast<std::ptrdiff_t>(length);
    if (place >= 0 && place < n) return static_cast<std::size_t>(place);
    if (edge == Edge::nearest) return place < 0 ? 0 : length - 1;
    std::ptrdiff_t turn = place % (2 * n);
    if (turn < 0) turn += 2 * n;
    return static_cast<std::size_t>(turn < n ? turn : 2 * n - 1 - turn);
}

// A line with so many pixels before and after it; `line` begins at its own first one.
void extend(double* line, std::size_t length, std::size_t before, std::size_t after, Edge edge) {
    for (std::size_t i = 1; i <= before; ++i) {
        const auto place = -static_cast<std::ptrdiff_t>(i);
        line[place] = line[inside(place, length, edge)];
    }
    for (std::size_t i = length; i < length + after; ++i)
        line[i] = line[inside(static_cast<std::ptrdiff_t>(i), length, edge)];
}

template <Extreme which, typename T>
inline T better(T a, T b) {
    if constexpr (which == Extreme::most) return a > b ? a : b;
    return a < b ? a : b;
}

// What changes nothing.
template <Extreme which, typename T>
constexpr T neutral() {
    using Limits = std::numeric_limits<T>;
    if constexpr (Limits::has_infinity)
        return which == Extreme::most ? -Limits::infinity() : Limits::infinity();
    return which == Extreme::most ? Limits::lowest() : Limits::max();
}

// Running extremes over windows of 2, 4, 8, ... pixels: an idempotent operation needs no more than
// two of them, which overlap, for a window of any size (Bender, Farach-Colton, "The LCA problem
// revisited", LATIN 2000, section 3). Every step is a loop without branches, which the compiler
// turns into vectors; van Herk's and Gil and Werman's three comparisons a pixel would not be.
//
// `line` holds length + size - 1 lines of `lanes` numbers, which are overwritten.
template <Extreme which, typename T>
void slide(T* __restrict line, T* out, std::size_t out_step, std::size_t length, std::size_t size,
           std::size_t lanes) {
    std::size_t span = 1, lines = length + size - 1;
    for (; 2 * span <= size; span *= 2) {
        lines -= span;
        const std::size_t ahead = span * lanes;
        for (std::size_t i = 0; i < lines * lanes; ++i)
            line[i] = better<which>(line[i], line[i + ahead]);
    }
    for (std::size_t i = 0; i < length; ++i) {
        const T* a = line + i * lanes;
        const T* b = a + (size - span) * lanes;
        T* __restrict to = out + i * out_step;
        for (std::size_t lane = 0; lane < lanes; ++lane) to[lane] = better<which>(a[lane], b[lane]);
    }
}

template <Extreme which, typename T>
void down(const T* in, T* out, Shape shape, std::size_t before, std::size_t after) {
    const auto [height, width] = shape;
    before = std::min(before, height - 1);
    after = std::min(after, height - 1);
    const std::size_t size = before + after + 1, strip = 64 / sizeof(T);  // a cache line
    std::vector<T> line((height + size - 1) * strip);
    for (std::size_t left = 0; left < width; left += strip) {
        const std::size_t lanes = std::min(strip, width - left);
        std::fill(line.begin(), line.end(), neutral<which, T>());
        for (std::size_t row = 0; row < height; ++row)
            std::copy_n(in + row * width + left, lanes, line.data() + (before + row) * lanes);
        slide<which>(line.data(), out + left, width, height, size, lanes);
    }
}

template <Extreme which, typename T>
void along(const T* in, T* out, Shape shape, std::size_t before, std::size_t after) {
    const auto [height, width] = shape;
    before = std::min(before, width - 1);
    after = std::min(after, width - 1);
    const std::size_t size = before + after + 1;
    std::vector<T> line(width + size - 1);
    for (std::size_t row = 0; row < height; ++row) {
        std::fill(line.begin(), line.end(), neutral<which, T>());
        std::copy_n(in + row * width, width, line.data() + before);
        slide<which>(line.data(), out + row * width, 1, width, size, 1);
    }
}

// Which pixels of a line make one of a longer line, and their weights.
struct Share {
    std::size_t first, count;
    double weight[3];
};

std::vector<Share> shares(std::size_t from, std::size_t to) {
    std::vector<Share> result(to);
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    for (std::size_t i = 0; i < to; ++i) {
        const double middle = (static_cast<double>(i) + 0.5) * scale;
        Share& share = result[i];
        share.first = static_cast<std::size_t>(std::max(middle - 0.5, 0.0));
        share.count = std::min(static_cast<std::size_t>(middle + 1.5), from) - share.first;
        double sum = 0;
        for (std::size_t k = 0; k < share.count; ++k) {
            const double off = static_cast<double>(share.first + k) - middle + 0.5;
            share.weight[k] = std::max(1 - std::abs(off), 0.0);
            sum += share.weight[k];
        }
        for (std::size_t k = 0; k < share.count; ++k) share.weight[k] /= sum;
    }
    return result;
}

// Whether a pixel lies closer to the edge than a window reaches.
struct Reach {
    std::size_t before, after, length;
    bool over(std::size_t place) const { return place < before || place + after >= length; }
};

struct Run {
    std::int32_t row, begin, end;
};

std::vector<Run> runs_of(const std::uint8_t* in, Shape shape) {
    const auto [height, width] = shape;
    std::vector<Run> runs;
    for (std::size_t row = 0; row < height; ++row) {
        const std::uint8_t* line = in + row * width;
        std::size_t i = 0;
        while (i < width) {
            std::uint64_t eight = 0;
            while (i + 8 <= width && (std::memcpy(&eight, line + i, 8), eight == 0)) i += 8;
            while (i < width && line[i] == 0) ++i;
            if (i == width) break;
            const std::size_t begin = i;
            while (i < width && line[i] != 0) ++i;
            runs.push_back({static_cast<std::int32_t>(row), static_cast<std::int32_t>(begin),
                            static_cast<std::int32_t>(i)});
        }
    }
    return runs;
}

std::size_t root(std::vector<std::size_t>& parent, std::size_t i) {
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

}  // namespace

void convolve(const float* in, float* out, Shape shape, const double* weights, std::size_t radius,
              Edge edge) {
    const auto [height, width] = shape;
    std::vector<double> sum_line(width), wide_line(width + 2 * radius);
    double* __restrict sums = sum_line.data();
    double* wide = wide_line.data() + radius;
    // Terms are added from the outermost inwards, after the middle one, as SciPy does: so the
    // roundings are the same, too.
    for (std::size_t row = 0; row < height; ++row) {
        const float* middle = in + row * width;
        for (std::size_t i = 0; i < width; ++i) sums[i] = middle[i] * weights[0];
        for (std::size_t k = radius; k > 0; --k) {
            const auto at = static_cast<std::ptrdiff_t>(row), off = static_cast<std::ptrdiff_t>(k);
            const float* above = in + inside(at - off, height, edge) * width;
            const float* below = in + inside(at + off, height, edge) * width;
            const double weight = weights[k];
            for (std::size_t i = 0; i < width; ++i)
                sums[i] += (static_cast<double>(above[i]) + static_cast<double>(below[i])) * weight;
        }
        for (std::size_t i = 0; i < width; ++i) wide[i] = static_cast<float>(sums[i]);
        extend(wide, width, radius, radius, edge);
        for (std::size_t i = 0; i < width; ++i) sums[i] = wide[i] * weights[0];
        for (std::size_t k = radius; k > 0; --k) {
            const double* before = wide - k;
            const double* after = wide + k;
            const double weight = weights[k];
            for (std::size_t i = 0; i < width; ++i) sums[i] += (before[i] + after[i]) * weight;
        }
        for (std::size_t i = 0; i < width; ++i)
            out[row * width + i] = static_cast<float>(sums[i]);
    }
}

void mean(const float* in, float* out, Shape shape, std::size_t size) {
    const auto [height, width] = shape;
    const std::size_t before = size / 2, after = size - before - 1;
    const double count = static_cast<double>(size);
    const auto row_at = [&, h = shape.height, w = shape.width](std::ptrdiff_t row) {
        return in + inside(row, h, Edge::reflect) * w;
    };
    std::vector<double> sum_line(width, 0.0), wide_line(width + size);
    double* __restrict sums = sum_line.data();
    double* wide = wide_line.data() + before + 1;  // one more: what leaves the first window
    const auto reach = static_cast<std::ptrdiff_t>(before);
    for (std::ptrdiff_t k = 0; k < static_cast<std::ptrdiff_t>(size); ++k) {
        const float* line = row_at(k - reach);
        for (std::size_t i = 0; i < width; ++i) sums[i] += line[i];
    }
    for (std::size_t row = 0; row < height; ++row) {
        const auto at = static_cast<std::ptrdiff_t>(row);
        if (row > 0) {
            const float* enters = row_at(at + static_cast<std::ptrdiff_t>(after));
            const float* leaves = row_at(at - reach - 1);
            for (std::size_t i = 0; i < width; ++i)
                sums[i] += static_cast<double>(enters[i]) - static_cast<double>(leaves[i]);
        }
        for (std::size_t i = 0; i < width; ++i) wide[i] = static_cast<float>(sums[i] / count);
        extend(wide, width, before + 1, after, Edge::reflect);
        double sum = 0;
        for (std::ptrdiff_t k = -reach; k <= static_cast<std::ptrdiff_t>(after); ++k)
            sum += wide[k];
        float* to = out + row * width;
        to[0] = static_cast<float>(sum / count);
        for (std::size_t i = 1; i < width; ++i) {
            const double* now = wide + i;
            sum += now[after] - now[-reach - 1];
            to[i] = static_cast<float>(sum / count);
        }
    }
}

void enlarge(const float* in, float* out, Shape shape, Shape larger) {
    const auto [height, width] = larger;
    const std::vector<Share> rows = shares(shape.height, height);
    const std::vector<Share> columns = shares(shape.width, width);
    std::vector<float> wide(shape.height * width);
    for (std::size_t row = 0; row < shape.height; ++row) {
        const float* line = in + row * shape.width;
        for (std::size_t i = 0; i < width; ++i) {
            double sum = 0;
            for (std::size_t k = 0; k < columns[i].count; ++k)
                sum += line[columns[i].first + k] * columns[i].weight[k];
            wide[row * width + i] = static_cast<float>(sum);
        }
    }
    std::vector<double> sum_line(width);
    double* __restrict sums = sum_line.data();
    for (std::size_t row = 0; row < height; ++row) {
        const Share& share = rows[row];
        std::fill(sum_line.begin(), sum_line.end(), 0.0);
        for (std::size_t k = 0; k < share.count; ++k) {
            const float* line = wide.data() + (share.first + k) * width;
            const double weight = share.weight[k];
            for (std::size_t i = 0; i < width; ++i) sums[i] += line[i] * weight;
        }
        for (std::size_t i = 0; i < width; ++i)
            out[row * width + i] = static_cast<float>(sums[i]);
    }
}

void luma(const std::uint8_t* in, std::uint8_t* __restrict out, Shape shape) {
    for (std::size_t i = 0; i < shape.height * shape.width; ++i) {
        const std::uint32_t red = in[3 * i], green = in[3 * i + 1], blue = in[3 * i + 2];
        // In 1/65536; the half is for rounding.
        out[i] = static_cast<std::uint8_t>(
            (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
    }
}

template <typename T>
void extreme_down(const T* in, T* out, Shape shape, std::size_t before, std::size_t after,
                  Extreme which) {
    if (which == Extreme::most)
        down<Extreme::most>(in, out, shape, before, after);
    else
        down<Extreme::least>(in, out, shape, before, after);
}

template <typename T>
void extreme_along(const T* in, T* out, Shape shape, std::size_t before, std::size_t after,
                   Extreme which) {
    if (which == Extreme::most)
        along<Extreme::most>(in, out, shape, before, after);
    else
        along<Extreme::least>(in, out, shape, before, after);
}

template void extreme_down(const std::uint8_t*, std::uint8_t*, Shape, std::size_t, std::size_t,
                           Extreme);
template void extreme_down(const float*, float*, Shape, std::size_t, std::size_t, Extreme);
template void extreme_along(const std::uint8_t*, std::uint8_t*, Shape, std::size_t, std::size_t,
                            Extreme);
template void extreme_along(const float*, float*, Shape, std::size_t, std::size_t, Extreme);

void dilate_disc(const float* in, float* out, Shape shape, std::size_t reach) {
    const auto [height, width] = shape;
    const std::size_t size = height * width;
    std::vector<float> widened(size);
    std::copy_n(in, size, out);
    const double radius = static_cast<double>(reach) + 0.3;
    for (std::size_t off = 0; off <= std::min(reach, height - 1); ++off) {
        const double step = static_cast<double>(off);
        const auto half = static_cast<std::size_t>(std::sqrt(radius * radius - step * step));
        along<Extreme::most>(in, widened.data(), shape, half, half);
        // Rows that are so far apart; both ways.
        const std::size_t shift = off * width;
        for (std::size_t i = shift; i < size; ++i) out[i] = std::max(out[i], widened[i - shift]);
        for (std::size_t i = shift; i < size; ++i)
            out[i - shift] = std::max(out[i - shift], widened[i]);
    }
}

void close(const std::uint8_t* in, std::uint8_t* out, Shape shape, Shape bar) {
    const auto [height, width] = shape;
    std::vector<std::uint8_t> grown(height * width), part(height * width);
    // An even bar lies a pixel further to one side for the second step: so nothing moves.
    const Reach rows{bar.height / 2, bar.height - bar.height / 2 - 1, height};
    const Reach columns{bar.width / 2, bar.width - bar.width / 2 - 1, width};
    along<Extreme::most>(in, part.data(), shape, columns.after, columns.before);
    down<Extreme::most>(part.data(), grown.data(), shape, rows.after, rows.before);
    along<Extreme::least>(grown.data(), part.data(), shape, columns.before, columns.after);
    down<Extreme::least>(part.data(), out, shape, rows.before, rows.after);
    for (std::size_t row = 0; row < height; ++row) {
        std::uint8_t* line = out + row * width;
        if (rows.over(row)) {
            std::fill_n(line, width, std::uint8_t{0});
            continue;
        }
        std::fill_n(line, std::min(columns.before, width), std::uint8_t{0});
        const std::size_t last = std::min(columns.after, width);
        std::fill_n(line + width - last, last, std::uint8_t{0});
    }
}

// Runs of true pixels are joined with those that they touch in the row above, by union-find; the
// root is the first run. (Rosenfeld, Pfaltz, "Sequential operations in digital picture processing",
// Journal of the ACM 13, 1966; on runs: Suzuki, Horiba, Sugie, Computer Vision and Image
// Understanding 89, 2003.)
std::vector<Component> label(const std::uint8_t* in, std::int32_t* out, Shape shape,
                             bool diagonally) {
    const std::vector<Run> runs = runs_of(in, shape);
    std::vector<std::size_t> parent(runs.size());
    const std::int32_t more = diagonally ? 1 : 0;
    std::size_t above = 0;  // the first run that may touch this one from above
    for (std::size_t i = 0; i < runs.size(); ++i) {
        parent[i] = i;
        const Run& run = runs[i];
        const auto is_past = [&](const Run& other) {
            return other.row < run.row - 1 ||
                   (other.row == run.row - 1 && other.end + more <= run.begin);
        };
        while (above < i && is_past(runs[above])) ++above;
        for (std::size_t j = above;
             j < i && runs[j].row == run.row - 1 && runs[j].begin < run.end + more; ++j) {
            const std::size_t a = root(parent, j), b = root(parent, i);
            parent[std::max(a, b)] = std::min(a, b);
        }
    }
    std::fill_n(out, shape.height * shape.width, 0);
    std::vector<Component> found;
    std::vector<std::int32_t> number(runs.size());
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const Run& run = runs[i];
        if (parent[i] == i) {
            found.push_back({run.row, run.begin, run.row + 1, run.end, 0});
            number[i] = static_cast<std::int32_t>(found.size());
        } else {
            number[i] = number[parent[i]];  // a parent comes before its children
        }
        Component& own = found[static_cast<std::size_t>(number[i]) - 1];
        own.left = std::min<std::int64_t>(own.left, run.begin);
        own.right = std::max<std::int64_t>(own.right, run.end);
        own.bottom = run.row + 1;
        own.area += run.end - run.begin;
        std::int32_t* line = out + static_cast<std::size_t>(run.row) * shape.width;
        std::fill(line + run.begin, line + run.end, number[i]);
    }
    return found;
}

void select(const std::int32_t* labels, std::uint8_t* out, Shape shape, const std::uint8_t* chosen,
            std::size_t count) {
    for (std::size_t i = 0; i < shape.height * shape.width; ++i) {
        const auto own = static_cast<std::uint32_t>(labels[i]);
        out[i] = own < count ? chosen[own] : 0;
    }
}

void profile_sharpness(const std::uint8_t* in, Shape shape, std::size_t most, const double* slopes,
                       double* out, std::size_t count) {
    const std::vector<Run> runs = runs_of(in, shape);
    std::size_t points = 0, place = 0;
    for (const Run& run : runs) points += static_cast<std::size_t>(run.end - run.begin);
    const std::size_t every = points > most ? points / most + 1 : 1;
    std::vector<double> rows, columns;
    for (const Run& run : runs)
        for (std::int32_t column = run.begin; column < run.end; ++column)
            if (place++ % every == 0) {
                rows.push_back(run.row);
                columns.push_back(column);
            }
    points = rows.size();
    std::vector<std::int32_t> bins(points);
    std::vector<std::uint32_t> counts;
    for (std::size_t k = 0; k < count; ++k) {
        const double slope = slopes[k];
        double least = std::numeric_limits<double>::infinity();
        for (std::size_t i = 0; i < points; ++i)
            least = std::min(least, rows[i] - slope * columns[i]);
        std::int32_t last = 0;
        for (std::size_t i = 0; i < points; ++i) {
            bins[i] = static_cast<std::int32_t>(rows[i] - slope * columns[i] - least);
            last = std::max(last, bins[i]);
        }
        // Four counts of each bin, in turn: pixels of one bin come one after the other, and a
        // count that was just written cannot be read at once.
        const std::size_t size = static_cast<std::size_t>(last) + 1;
        counts.assign(4 * size, 0);
        for (std::size_t i = 0; i < points; ++i)
            ++counts[4 * static_cast<std::size_t>(bins[i]) + i % 4];
        double sum = 0, before = 0;  // of whole numbers
        for (std::size_t i = 0; i < size; ++i) {
            const std::uint32_t* four = counts.data() + 4 * i;
            const double here = static_cast<double>(four[0]) + four[1] + four[2] + four[3];
            if (i > 0) sum += (before + here) * (before + here);
            before = here;
        }
        out[k] = sum;
    }
}

// Felzenszwalb, Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 8
// (2012): squared distances along columns, then the lower envelope of one parabola a column. All
// squared distances are whole numbers below 2^53, so they are exact.
void distances(const std::uint8_t* in, double* out, Shape shape) {
    const auto [height, width] = shape;
    const double far = static_cast<double>(height + width);  // further than any pixel
    for (std::size_t column = 0; column < width; ++column) {
        double since = far;
        for (std::size_t row = 0; row < height; ++row) {
            since = in[row * width + column] ? std::min(since + 1, far) : 0;
            out[row * width + column] = since;
        }
        since = far;
        for (std::size_t row = height; row-- > 0;) {
            double& here = out[row * width + column];
            since = std::min(since + 1, here);
            here = since;
        }
    }
    std::vector<std::size_t> vertex(width);
    std::vector<double> squared(width), from(width + 1);
    for (std::size_t row = 0; row < height; ++row) {
        double* line = out + row * width;
        for (std::size_t i = 0; i < width; ++i) squared[i] = line[i] * line[i];
        const auto meet = [&](std::size_t a, std::size_t b) {
            const auto x = static_cast<double>(a), y = static_cast<double>(b);
            return (squared[b] + y * y - squared[a] - x * x) / (2 * (y - x));
        };
        std::size_t last = 0;
        vertex[0] = 0;
        from[0] = -std::numeric_limits<double>::infinity();
        for (std::size_t i = 1; i < width; ++i) {
            double at = meet(vertex[last], i);
            while (at <= from[last]) {  // never for the first, which begins at minus infinity
                --last;
                at = meet(vertex[last], i);
            }
            ++last;
            vertex[last] = i;
            from[last] = at;
        }
        std::size_t now = 0;
        for (std::size_t i = 0; i < width; ++i) {
            const auto x = static_cast<double>(i);
            while (now < last && from[now + 1] < x) ++now;
            const double off = x - static_cast<double>(vertex[now]);
            line[i] = std::sqrt(off * off + squared[vertex[now]]);
        }
    }
}

}  // namespace inkproof::pixels
