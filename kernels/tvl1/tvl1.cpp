// TV-L1 optical flow, one core per pair: pyramid, cubic warp, median, fused semi-implicit primal-dual iterations.
//
// Model: Zach, Pock and Bischof 2007, with an image-driven weight of the total variation. kernels/tvl1/oracle.py is the
// same computation in plain torch; the names agree.
//
// One pass over the rows does the primal step of a row and the dual step of the row above it.

#include "pair.h"

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

extern "C" const char *tvl1_sources() { return SOURCES; }  // setup.py says it

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
