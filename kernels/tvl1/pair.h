// The phases of one pair: pyramid, and on every level warps, medians, iterations, retreat.
#pragma once

#include "iterate.h"
#include "lanes.h"
#include "median.h"
#include "resample.h"
#include "retreat.h"
#include "scratch.h"
#include "warp.h"

extern "C" struct TVL1Schedule {  // kernels/tvl1/params.py says what each is
    float data_weight, theta, tau, scale_step, epsilon, cubic_a, presmooth, edge_sensitivity, light_residual;
    int levels, warps, median_rounds, iterations, median_px, five_point, final_median_px, retreat;
};

namespace {

const InnerRow widest = inner_row(LANES);

std::vector<Level> pyramid(int width, int height, const TVL1Schedule &s) {
    std::vector<Level> levels{{width, height}};
    while ((int)levels.size() < s.levels) {
        const Level next{(int)std::lrint(levels.back().width * (double)s.scale_step),
                         (int)std::lrint(levels.back().height * (double)s.scale_step)};
        if (std::min(next.width, next.height) < MIN_SIDE) break;
        levels.push_back(next);
    }
    return levels;
}

template <class Grey>
class Pair {
  public:
    Pair(const Grey *first, const Grey *second, int width, int height, const TVL1Schedule &schedule, Arena &arena, float *out)
        : s(schedule), first0(first), out(out), levels(pyramid(width, height, schedule)),
          line(round_up(width, LANES) + 2 * LANES), taps(make_taps(schedule.cubic_a, schedule.five_point)),
          gradient(schedule.five_point ? Gradient{8.f / 12, -1.f / 12} : Gradient{.5f, 0}),
          step{schedule.data_weight * schedule.theta, schedule.theta, schedule.tau / schedule.theta} {
        // Scratch: rows, the second image of the finest level, and a region where the state of a level grows from the
        // start while the coarser images, dead one after the other, lie at the end.
        region_floats = levels[0].state();
        size_t images = 0;
        for (size_t l = 1; l < levels.size(); ++l) {
            images += levels[l].first() + levels[l].second();
            region_floats = std::max(region_floats, levels[l].state() + images);
        }
        float *cursor = arena.reserve((size_t)(MEDIAN_LINES + 4) * line + levels[0].second() + region_floats);
        lines = cursor, cursor += MEDIAN_LINES * line;
        zero = cursor, cursor += line;
        rc_last = cursor, cursor += line;
        ig_last = cursor, cursor += line;
        counts = cursor, cursor += line;
        std::memset(zero, 0, 4 * line * sizeof(float));
        seconds.push_back({cursor, width, height, levels[0].second_stride()});
        cursor += levels[0].second();
        region = cursor;
        firsts.push_back(nullptr);
        float *end = region + region_floats;
        for (size_t l = 1; l < levels.size(); ++l) {
            seconds.push_back({end -= levels[l].second(), levels[l].width, levels[l].height, levels[l].second_stride()});
            firsts.push_back(end -= levels[l].first());
        }
        for (int y = 0; y < height; ++y) std::copy_n(second + (size_t)y * width, width, seconds[0].row(y));
    }

    void run() {
        build();
        for (int l = (int)levels.size() - 1; l >= 0; --l) solve(l);
        const Level &finest = levels[0];
        median(f.u, f.width, f.height, f.stride, s.final_median_px, lines);
        median(f.v, f.width, f.height, f.stride, s.final_median_px, lines);
        for (int y = 0; y < finest.height; ++y) {
            const float *u = f.u + (ptrdiff_t)y * f.stride, *v = f.v + (ptrdiff_t)y * f.stride;
            float *row = out + (size_t)2 * y * finest.width;
            for (int x = 0; x < finest.width; ++x) row[2 * x] = u[x], row[2 * x + 1] = v[x];
        }
    }

  private:
    const TVL1Schedule &s;
    const Grey *first0;
    float *out;
    std::vector<Level> levels;
    int line;  // floats of a padded row of the finest level
    Taps taps;
    Gradient gradient;
    Step step;
    Light light;
    float *lines, *zero, *rc_last, *ig_last, *counts, *region;
    size_t region_floats;
    std::vector<float *> firsts;
    std::vector<Image> seconds;
    Fields f{};

    void build() {
        const float sigma = s.presmooth * std::sqrt(1 / (s.scale_step * s.scale_step) - 1);
        for (size_t l = 1; l < levels.size(); ++l) {
            const Level from = levels[l - 1], to = levels[l];
            std::vector<float> converted(l == 1 ? from.width : 0);
            auto first_row = [&](int y) -> const float * {
                if (l > 1) return firsts[l - 1] + (size_t)y * from.width;
                std::copy_n(first0 + (size_t)y * from.width, from.width, converted.data());
                return converted.data();
            };
            resample(from.width, from.height, first_row, to.width, to.height,
                     [&](int y) { return firsts[l] + (size_t)y * to.width; }, 1.0f, sigma);
            resample(from.width, from.height, [&](int y) { return seconds[l - 1].row(y); }, to.width, to.height,
                     [&](int y) { return seconds[l].row(y); }, 1.0f, sigma);
        }
        for (const Image &image : seconds) replicate(image);
    }

    void copy_first(int l, int y, float *to) const {
        const int width = levels[l].width;
        if (l) std::copy_n(firsts[l] + (size_t)y * width, width, to);
        else std::copy_n(first0 + (size_t)y * width, width, to);
    }

    auto ring(int l) {
        auto source = [this, l](int y, float *to) { copy_first(l, y, to); };
        return Ring<decltype(source)>(source, levels[l].width, levels[l].height, lines);
    }

    // The planes of level l, with u from the level above and p = 0.
    void begin(int l) {
        const Level here = levels[l];
        const bool coarsest = l + 1 == (int)levels.size();
        const Level above = levels[coarsest ? l : l + 1];
        if (!coarsest)  // the planes move: keep the coarser flow in the output meanwhile
            for (int y = 0; y < above.height; ++y) {
                std::copy_n(f.u + (ptrdiff_t)y * f.stride, above.width, out + (size_t)y * above.width);
                std::copy_n(f.v + (ptrdiff_t)y * f.stride, above.width, out + (size_t)(y + above.height) * above.width);
            }
        f.width = here.width, f.height = here.height, f.stride = here.stride();
        std::fill_n(region, LANES, 0.0f);
        float *cursor = region + LANES;
        for (float **plane : {&f.u, &f.v, &f.p11, &f.p12, &f.p21, &f.p22, &f.ix, &f.iy}) *plane = cursor, cursor += here.plane();
        f.edge = reinterpret_cast<uint8_t *>(cursor);
        std::memset(f.p11, 0, 4 * here.plane() * sizeof(float));
        std::memset(f.edge, 0, here.edge_floats() * sizeof(float));
        for (float *plane : {f.u, f.v, f.ix, f.iy}) {  // what is read beyond the frame must be numbers
            for (int y = 0; y < f.height; ++y) std::fill_n(plane + (ptrdiff_t)y * f.stride + f.width, f.stride - f.width, 0.0f);
            std::fill(plane + (ptrdiff_t)f.height * f.stride, plane + here.plane(), 0.0f);
        }
        f.rc = out, f.ig = out + (size_t)here.width * here.height;
        f.zero = zero, f.rc_last = rc_last, f.ig_last = ig_last, f.counts = counts, f.inner = widest;
        f.edged = s.edge_sensitivity > 0;
        std::fill_n(counts, here.width, 1.0f);  // levels come in growing width
        if (coarsest) {
            std::memset(f.u, 0, 2 * here.plane() * sizeof(float));
            return;
        }
        for (int axis = 0; axis < 2; ++axis) {
            const float *from = out + (size_t)axis * above.height * above.width;
            float *plane = axis ? f.v : f.u;
            const float gain = axis ? (float)here.height / above.height : (float)here.width / above.width;
            resample(above.width, above.height, [&](int y) { return from + (size_t)y * above.width; }, here.width, here.height,
                     [&](int y) { return plane + (ptrdiff_t)y * f.stride; }, gain, 0);
        }
    }

    void warp(int l) {
        auto *warp_row = s.five_point ? warp_five_point : warp_central;
        const float sharpness = s.light_residual > 0 ? 1 / (s.light_residual * s.light_residual) : 0;
        LightFit fit;
        for (int y = 0; y < f.height; ++y) {
            const ptrdiff_t o = (ptrdiff_t)y * f.stride, c = (ptrdiff_t)y * f.width;
            copy_first(l, y, lines);
            const DataRow row{lines, f.u + o, f.v + o, f.ix + o, f.iy + o, f.rc + c, f.ig + c};
            warp_row(seconds[l], taps, row, y, light, sharpness, fit);
        }
        if (s.light_residual > 0) {
            light = fit.solve((double)f.width * f.height);
            for (int y = 0; y < f.height; ++y) {
                copy_first(l, y, lines);
                take_light(lines, light, f.rc + (ptrdiff_t)y * f.width, f.width);
            }
        }
        std::copy_n(f.rc + (ptrdiff_t)(f.height - 1) * f.width, f.width, rc_last);
        std::copy_n(f.ig + (ptrdiff_t)(f.height - 1) * f.width, f.width, ig_last);
    }

    void solve(int l) {
        begin(l);
        if (s.edge_sensitivity > 0) {
            auto rows = ring(l);
            for (int y = 0; y < f.height; ++y)
                edges(rows.around(y), gradient, s.edge_sensitivity, f.edge + (ptrdiff_t)y * f.stride, f.width);
        }
        for (int w = 0; w < s.warps; ++w) {
            warp(l);
            bool done = false;
            for (int round = 0; round < s.median_rounds && !done; ++round) {
                median(f.u, f.width, f.height, f.stride, s.median_px, lines);
                median(f.v, f.width, f.height, f.stride, s.median_px, lines);
                for (int y = 0; y < f.height; ++y) seal_flow(f, y);
                if (s.epsilon > 0) done = iterate_until(f, step, s.iterations, (double)s.epsilon * s.epsilon);
                else iterate(f, step, s.iterations);
            }
        }
        if (s.retreat && l) retreat(f, seconds[l], firsts[l], light, lines, line);
    }
};

}  // namespace
