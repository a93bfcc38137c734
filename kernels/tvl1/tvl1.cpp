// TV-L1 optical flow, one core per pair: pyramid, cubic warp, median, fused semi-implicit primal-dual iterations.
//
// Model: Zach, Pock and Bischof 2007, with an image-driven weight of the total variation. kernels/tvl1/oracle.py is the
// same computation in plain torch; the names agree.
//
// One pass over the rows does the primal step of a row and the dual step of the row above it.

#include "common.h"
#include "iterate.h"
#include "lanes.h"
#include "median.h"
#include "resample.h"
#include "retreat.h"
#include "warp.h"

extern "C" struct TVL1Schedule {  // kernels/tvl1/params.py says what each is
    float data_weight, theta, tau, scale_step, epsilon, cubic_a, presmooth, edge_sensitivity, light_residual;
    int levels, warps, median_rounds, iterations, median_px, five_point, final_median_px, retreat;
};

namespace {

const InnerRow widest = inner_row(LANES);

struct Arena {  // scratch that outlives a call: fresh pages would cost as much as an iteration each
    std::unique_ptr<float, decltype(&std::free)> data{nullptr, &std::free};
    size_t floats = 0;
    float *reserve(size_t wanted) {
        if (wanted > floats) {
            data.reset();
            data.reset(static_cast<float *>(std::aligned_alloc(64, round_up(wanted * sizeof(float), (size_t)64))));
            floats = data ? wanted : 0;
            if (!data) throw std::bad_alloc();
        }
        return data.get();
    }
};

struct Level {
    int width, height;
    int stride() const {
        const int stride = round_up(width + 2, LANES);
        return stride % 1024 ? stride : stride + LANES;  // rows a multiple of 4 KB apart share their L1 sets
    }
    // Planes must not lie a multiple of 4 KB apart either.
    size_t plane() const { return round_up((size_t)stride() * height + LANES, (size_t)1024) + 5 * LANES; }
    size_t edge_floats() const { return round_up((size_t)stride() * height / 4 + 2 * LANES, (size_t)LANES); }
    size_t state() const { return 8 * plane() + edge_floats() + LANES; }
    size_t first() const { return round_up((size_t)width * height, (size_t)LANES); }
    int second_stride() const { return width + 2 * MARGIN; }
    size_t second() const { return round_up((size_t)second_stride() * (height + 2 * MARGIN) + LANES, (size_t)LANES); }
};

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
          taps(make_taps(schedule.cubic_a, schedule.five_point)),
          gradient(schedule.five_point ? Gradient{8.f / 12, -1.f / 12} : Gradient{.5f, 0}),
          step{schedule.data_weight * schedule.theta, schedule.theta, schedule.tau / schedule.theta} {
        // Scratch: rows, the second image of the finest level, and a region where the state of a level grows from the
        // start while the coarser images, dead one after the other, lie at the end.
        const size_t line = round_up(width, LANES) + 2 * LANES;
        region_floats = levels[0].state();
        size_t images = 0;
        for (size_t l = 1; l < levels.size(); ++l) {
            images += levels[l].first() + levels[l].second();
            region_floats = std::max(region_floats, levels[l].state() + images);
        }
        float *cursor = arena.reserve((MEDIAN_LINES + 4) * line + levels[0].second() + region_floats);
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
        if (s.retreat && l) retreat(l);
    }

    // The median of every other pixel of every other row.
    float middle(const float *plane) {
        float *end = f.rc;
        for (int y = 0; y < f.height; y += 2)
            for (int x = 0; x < f.width; x += 2) *end++ = plane[(ptrdiff_t)y * f.stride + x];
        float *at = f.rc + (end - f.rc - 1) / 2;
        std::nth_element(f.rc, at, end);
        return *at;
    }

    // On a coarse level, whose p and data term are done with.
    void retreat(int l) {
        const float du = middle(f.u), dv = middle(f.v);
        float *padded[2][2];  // of either turn, a row of u and of v between replicated pixels
        for (int i = 0; i < 4; ++i) padded[i / 2][i % 2] = lines + i * (round_up(levels[0].width, LANES) + 2 * LANES) + LANES;
        for (int y = 0; y < f.height; ++y) {
            const ptrdiff_t o = (ptrdiff_t)y * f.stride;
            int turn = 0;
            std::copy_n(f.u + o, f.width, padded[0][0]), std::copy_n(f.v + o, f.width, padded[0][1]);
            for (const int stride : RETREAT_STRIDES) {
                float *u = padded[turn][0], *v = padded[turn][1];
                for (float *row : {u, v})
                    for (int m = 1; m <= stride; ++m) row[-m] = row[0], row[f.width - 1 + m] = row[f.width - 1];
                const float *us[] = {u, u - stride, u + stride}, *vs[] = {v, v - stride, v + stride};
                turn = 1 - turn;
                nearest_row(us, vs, du, dv, padded[turn][0], padded[turn][1], f.width);
            }
            std::copy_n(padded[turn][0], f.width, f.p11 + o), std::copy_n(padded[turn][1], f.width, f.p12 + o);
        }
        float *u = f.p11, *v = f.p12, *to_u = f.p21, *to_v = f.p22;
        for (const int stride : RETREAT_STRIDES) {
            for (int y = 0; y < f.height; ++y) {
                const ptrdiff_t at[] = {y * (ptrdiff_t)f.stride, std::max(y - stride, 0) * (ptrdiff_t)f.stride,
                                        std::min(y + stride, f.height - 1) * (ptrdiff_t)f.stride};
                const float *us[] = {u + at[0], u + at[1], u + at[2]}, *vs[] = {v + at[0], v + at[1], v + at[2]};
                nearest_row(us, vs, du, dv, to_u + at[0], to_v + at[0], f.width);
            }
            std::swap(u, to_u), std::swap(v, to_v);
        }
        float *worse = f.ix;
        for (int y = 0; y < f.height; ++y) {
            const ptrdiff_t o = (ptrdiff_t)y * f.stride;
            worse_row(seconds[l], firsts[l] + (ptrdiff_t)y * f.width, light, y, u + o, v + o, f.u + o, f.v + o, worse + o);
        }
        for (int y = 0; y < f.height; ++y) {
            const float *rows[5];
            for (int i = 0; i < 5; ++i) rows[i] = worse + (ptrdiff_t)std::min(std::max(y + i - 2, 0), f.height - 1) * f.stride;
            float *sum = padded[0][0];
            sum5_row(rows, sum, f.width);
            sum[-1] = sum[-2] = sum[0], sum[f.width] = sum[f.width + 1] = sum[f.width - 1];
            const ptrdiff_t o = (ptrdiff_t)y * f.stride;
            take_row(sum, u + o, v + o, f.u + o, f.v + o, f.width);
        }
    }
};

// Arenas of finished calls, for the next ones: as many as there ever were pairs in flight.
struct ArenaPool {
    std::mutex mutex;
    std::vector<std::unique_ptr<Arena>> idle;
    std::unique_ptr<Arena> take() {
        const std::lock_guard<std::mutex> lock(mutex);
        if (idle.empty()) return std::make_unique<Arena>();
        auto arena = std::move(idle.back());
        idle.pop_back();
        return arena;
    }
    void give(std::unique_ptr<Arena> arena) {
        const std::lock_guard<std::mutex> lock(mutex);
        idle.push_back(std::move(arena));
    }
} pool;

}  // namespace

// Flow of `batch` contiguous pairs (batch, height, width), float or uint8, into out (batch, height, width, 2), at most
// `threads` of them at a time. Returns 0, or 1 where memory ran out.
extern "C" int tvl1_flow(const void *first, const void *second, int is_float, int batch, int height, int width,
                         const TVL1Schedule *schedule, int threads, float *out) {
    std::atomic<int> next{0}, failed{0};
    const size_t pixels = (size_t)height * width;
    auto work = [&] {
        const FlushDenormals guard;
        try {
            auto arena = pool.take();
            for (int b; (b = next++) < batch;) {
                float *to = out + 2 * pixels * b;
                if (is_float)
                    Pair<float>((const float *)first + pixels * b, (const float *)second + pixels * b, width, height,
                                *schedule, *arena, to).run();
                else
                    Pair<uint8_t>((const uint8_t *)first + pixels * b, (const uint8_t *)second + pixels * b, width, height,
                                  *schedule, *arena, to).run();
            }
            pool.give(std::move(arena));
        } catch (const std::bad_alloc &) {
            failed = 1;
        }
    };
    std::vector<std::thread> helpers;
    try {
        for (int t = 1; t < std::min(threads, batch); ++t) helpers.emplace_back(work);
    } catch (const std::system_error &) {
        // No more threads to be had: those that are there do all the pairs.
    }
    work();
    for (auto &helper : helpers) helper.join();
    return failed;
}

// What kernels/tvl1/native.py compares with its own.
extern "C" int tvl1_schedule_bytes() { return sizeof(TVL1Schedule); }

// For tests: `iterations` of one linearisation on contiguous planes, with at most `lanes` lanes by hand; state is u, v, p11,
// p12, p21, p22, in place. Returns the lanes that it took.
extern "C" int tvl1_iterate(float *const *state, const float *ix, const float *iy, const float *rc, const uint8_t *edge,
                            int height, int width, float data_weight, float theta, float tau, int iterations, int lanes) {
    const Level level{width, height};
    std::vector<float> planes(level.state() + LANES, 0.0f), rest((size_t)2 * height * width), rows(4 * (width + 2 * LANES), 0.0f);
    Fields f{};
    f.width = width, f.height = height, f.stride = level.stride(), f.inner = inner_row(lanes);
    f.edged = std::any_of(edge, edge + (size_t)height * width, [](uint8_t weight) { return weight != 0; });
    float *cursor = planes.data() + LANES;
    for (float **plane : {&f.u, &f.v, &f.p11, &f.p12, &f.p21, &f.p22, &f.ix, &f.iy}) *plane = cursor, cursor += level.plane();
    f.edge = reinterpret_cast<uint8_t *>(cursor);
    float *const inner[6] = {f.u, f.v, f.p11, f.p12, f.p21, f.p22};
    f.rc = rest.data(), f.ig = rest.data() + (size_t)height * width;
    float *rc_last = rows.data(), *ig_last = rc_last + width + 2 * LANES;
    f.rc_last = rc_last, f.ig_last = ig_last, f.zero = ig_last + width + 2 * LANES, f.counts = f.zero + width + 2 * LANES;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const size_t o = (size_t)y * f.stride + x, c = (size_t)y * width + x;
            for (int k = 0; k < 6; ++k) inner[k][o] = state[k][c];
            f.ix[o] = ix[c], f.iy[o] = iy[c], f.edge[o] = edge[c], f.rc[c] = rc[c];
            const float norm = ix[c] * ix[c] + iy[c] * iy[c];
            f.ig[c] = norm > 1.1920929e-7f ? 1.0f / norm : 0.0f;
            if (y == height - 1) rc_last[x] = f.rc[c], ig_last[x] = f.ig[c];
        }
    for (int y = 0; y < height; ++y) seal_flow(f, y);
    iterate(f, {data_weight * theta, theta, tau / theta}, iterations);
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
            for (int k = 0; k < 6; ++k) state[k][(size_t)y * width + x] = inner[k][(size_t)y * f.stride + x];
    return f.inner.lanes;
}

// For tests: the median of a contiguous plane, in place.
extern "C" void tvl1_median(float *plane, int height, int width, int side) {
    std::vector<float> lines((size_t)MEDIAN_LINES * (round_up(width, LANES) + 2 * LANES));
    median(plane, width, height, width, side, lines.data());
}
