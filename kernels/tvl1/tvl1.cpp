// TV-L1 optical flow, one core per pair: pyramid, cubic warp, median, fused semi-implicit primal-dual iterations.
//
// Model: Zach, Pock and Bischof 2007, with an image-driven weight of the total variation. kernels/tvl1/oracle.py is the
// same computation in plain torch; the names agree.
//
// Iterations run as a wavefront over rows: iteration k works one row behind iteration k-1, so that the rows in flight
// stay in the L2 cache while WAVE iterations pass over them. The order of reads and writes within a row makes
// this exact: the numbers are those of one iteration after the other.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>
#if defined(__x86_64__) && defined(__SSE__)
#include <xmmintrin.h>
#endif

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE inline __attribute__((always_inline))

extern "C" struct TVL1Schedule {  // kernels/tvl1/params.py says what each is
    float data_weight, theta, tau, scale_step, epsilon, cubic_a, presmooth, gradient_blend, edge_sensitivity;
    int levels, warps, median_rounds, iterations, median_px, five_point;
};

namespace {

constexpr int LANES = 16;          // floats of the widest vector
constexpr int MARGIN = 4;          // replicated border of the second image, for the taps of the warp
constexpr int MIN_SIDE = 16;       // of a coarser level
constexpr int WAVE = 8;             // iterations that follow each other through the rows
constexpr float EDGE_STEPS = 64;   // 1/g - 1 is kept in steps of 1/64, at most 255 of them

typedef float f4 __attribute__((vector_size(16)));
typedef float f8 __attribute__((vector_size(32)));

int round_up(int value, int to) { return (value + to - 1) / to * to; }
size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

struct FlushDenormals {  // they cost a hundred cycles each and carry nothing here
#if defined(__x86_64__) && defined(__SSE__)
    unsigned saved = _mm_getcsr();
    FlushDenormals() { _mm_setcsr(saved | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(saved); }
#endif
};

// ---- iterations ----

struct Fields {  // planes of one level; u and p have `stride` floats a row, rc and ig `width` (they live in the output)
    int width, height, stride;
    float *u, *v, *p11, *p12, *p21, *p22, *ix, *iy, *rc, *ig;
    uint8_t *edge;                             // (1/g - 1) * EDGE_STEPS
    const float *zero, *rc_last, *ig_last;     // a row of zeros; padded copies of the last rows of rc and ig
    const float *counts;                       // 1 on the columns of the frame, 0 on the padding
};

struct Step {
    float l_t, theta, t;
};

struct RowPair {  // the row whose u moves, and the row above it, whose p follows
    float *__restrict u, *__restrict v;
    const float *__restrict p11, *__restrict p12, *__restrict p21, *__restrict p22;
    const float *__restrict ix, *__restrict iy, *__restrict rc, *__restrict ig;
    const float *__restrict up_u, *__restrict up_v;
    float *__restrict up_p11, *__restrict up_p12, *__restrict up_p21, *__restrict up_p22;
    const uint8_t *__restrict up_edge;
    const float *__restrict counts;
};

// p of one pixel from the forward differences of u; one division serves both fields.
#define DUAL(u1x, u1y, u2x, u2y, weight, q11, q12, q21, q22)                      \
    const float d1 = 1.0f + weight * std::sqrt(u1x * u1x + u1y * u1y);            \
    const float d2 = 1.0f + weight * std::sqrt(u2x * u2x + u2y * u2y);            \
    const float both = 1.0f / (d1 * d2), r1 = both * d2, r2 = both * d1;          \
    q11 = (q11 + t * u1x) * r1, q12 = (q12 + t * u1y) * r1;                       \
    q21 = (q21 + t * u2x) * r2, q22 = (q22 + t * u2y) * r2;

// u of a row, then p of the row above it. Returns the summed squared change of u where MEASURE.
template <bool MEASURE>
INLINE float step_row(const RowPair &r, Step s, int columns) {
    float *__restrict hu = r.u, *__restrict hv = r.v;
    float *__restrict a11 = r.up_p11, *__restrict a12 = r.up_p12, *__restrict a21 = r.up_p21, *__restrict a22 = r.up_p22;
    const float *__restrict h11 = r.p11, *__restrict h12 = r.p12, *__restrict h21 = r.p21, *__restrict h22 = r.p22;
    const float *__restrict ix = r.ix, *__restrict iy = r.iy, *__restrict rc = r.rc, *__restrict ig = r.ig;
    const float *__restrict au = r.up_u, *__restrict av = r.up_v;
    const uint8_t *__restrict edge = r.up_edge;
    const float *__restrict counts = r.counts;
    const float l_t = s.l_t, theta = s.theta, t = s.t, t_edge = s.t / EDGE_STEPS;
    float change = 0;
#pragma GCC ivdep
    for (int x = 0; x < columns; ++x) {
        const float rho = rc[x] + ix[x] * hu[x] + iy[x] * hv[x];
        const float d = std::min(std::max(-rho * ig[x], -l_t), l_t);
        const float q12 = a12[x], q22 = a22[x];
        const float u = hu[x] + d * ix[x] + theta * ((h11[x] - h11[x - 1]) + (h12[x] - q12));
        const float v = hv[x] + d * iy[x] + theta * ((h21[x] - h21[x - 1]) + (h22[x] - q22));
        if (MEASURE) change += counts[x] * ((u - hu[x]) * (u - hu[x]) + (v - hv[x]) * (v - hv[x]));
        hu[x] = u, hv[x] = v;
        const float u1x = au[x + 1] - au[x], u1y = u - au[x], u2x = av[x + 1] - av[x], u2y = v - av[x];
        const float weight = t + t_edge * edge[x];
        float n11 = a11[x], n12 = q12, n21 = a21[x], n22 = q22;
        DUAL(u1x, u1y, u2x, u2y, weight, n11, n12, n21, n22)
        a11[x] = n11, a12[x] = n12, a21[x] = n21, a22[x] = n22;
    }
    return change;
}

CLONES void step_inner_row(const RowPair &r, Step s, int columns) { step_row<false>(r, s, columns); }
CLONES float step_inner_row_measured(const RowPair &r, Step s, int columns) { return step_row<true>(r, s, columns); }

CLONES float step_first_row(const RowPair &r, const float *zero, Step s, int columns) {  // no row above: p there is 0
    float change = 0;
#pragma GCC ivdep
    for (int x = 0; x < columns; ++x) {
        const float rho = r.rc[x] + r.ix[x] * r.u[x] + r.iy[x] * r.v[x];
        const float d = std::min(std::max(-rho * r.ig[x], -s.l_t), s.l_t);
        const float u = r.u[x] + d * r.ix[x] + s.theta * ((r.p11[x] - r.p11[x - 1]) + (r.p12[x] - zero[x]));
        const float v = r.v[x] + d * r.iy[x] + s.theta * ((r.p21[x] - r.p21[x - 1]) + (r.p22[x] - zero[x]));
        change += r.counts[x] * ((u - r.u[x]) * (u - r.u[x]) + (v - r.v[x]) * (v - r.v[x]));
        r.u[x] = u, r.v[x] = v;
    }
    return change;
}

CLONES void dual_last_row(const RowPair &r, Step s, int columns) {  // no row below: no vertical difference
    const float t = s.t, t_edge = s.t / EDGE_STEPS;
#pragma GCC ivdep
    for (int x = 0; x < columns; ++x) {
        const float u1x = r.up_u[x + 1] - r.up_u[x], u2x = r.up_v[x + 1] - r.up_v[x];
        const float weight = t + t_edge * r.up_edge[x];
        float n11 = r.up_p11[x], n12 = r.up_p12[x], n21 = r.up_p21[x], n22 = r.up_p22[x];
        DUAL(u1x, 0.0f, u2x, 0.0f, weight, n11, n12, n21, n22)
        r.up_p11[x] = n11, r.up_p12[x] = n12, r.up_p21[x] = n21, r.up_p22[x] = n22;
    }
}
#undef DUAL

RowPair row_pair(const Fields &f, int y) {
    const ptrdiff_t o = (ptrdiff_t)y * f.stride, up = o - f.stride, c = (ptrdiff_t)y * f.width;
    const bool last = y >= f.height - 1;  // reading whole vectors must not leave the output buffer
    return {f.u + o, f.v + o, f.p11 + o, f.p12 + o, f.p21 + o, f.p22 + o, f.ix + o, f.iy + o,
            last ? f.rc_last : f.rc + c, last ? f.ig_last : f.ig + c,
            f.u + up, f.v + up, f.p11 + up, f.p12 + up, f.p21 + up, f.p22 + up, f.edge + up, f.counts};
}

// Beyond the last column lies a copy of it (no difference there), before the first one a zero of p.
void seal_flow(const Fields &f, int y) {
    float *u = f.u + (ptrdiff_t)y * f.stride + f.width, *v = f.v + (ptrdiff_t)y * f.stride + f.width;
    u[0] = u[-1], v[0] = v[-1];
}
void seal_dual(const Fields &f, int y) {
    const ptrdiff_t end = (ptrdiff_t)(y + 1) * f.stride - 1;
    f.p11[end] = f.p21[end] = 0;
}

float step_at(const Fields &f, Step s, int y, int columns, bool measure) {
    const RowPair r = row_pair(f, y);
    float change = 0;
    if (y == 0) {
        change = step_first_row(r, f.zero, s, columns);
    } else if (y < f.height) {
        if (measure) change = step_inner_row_measured(r, s, columns);
        else step_inner_row(r, s, columns);
    } else {
        dual_last_row(r, s, columns);
    }
    if (y < f.height) seal_flow(f, y);
    if (y > 0) seal_dual(f, y - 1);
    return change;
}

void iterate(const Fields &f, Step s, int iterations) {
    const int columns = round_up(f.width, LANES);
    for (int done = 0; done < iterations; done += WAVE) {
        const int depth = std::min(WAVE, iterations - done);
        for (int time = 0; time < f.height + depth; ++time)
            for (int k = std::max(0, time - f.height); k < depth && k <= time; ++k)
                step_at(f, s, time - k, columns, false);
    }
}

// One iteration after the other until the mean squared change falls under `enough`; true where it did.
bool iterate_until(const Fields &f, Step s, int iterations, double enough) {
    const int columns = round_up(f.width, LANES);
    for (int k = 0; k < iterations; ++k) {
        double change = 0;
        for (int y = 0; y <= f.height; ++y) change += step_at(f, s, y, columns, true);
        if (change <= enough * f.width * f.height) return true;
    }
    return false;
}

// ---- warp ----

struct Image {  // with MARGIN replicated pixels on every side
    float *data;
    int width, height, stride;
    float *row(int y) const { return data + (ptrdiff_t)(y + MARGIN) * stride + MARGIN; }
};

// Weights of the eight taps x-3..x+4 as cubic polynomials of the fraction: value, and derivative.
struct Taps {
    f4 value[4];
    f8 slope[4];
};

Taps make_taps(float a, bool five_point) {
    // Keys: w(d) = (a+2)d^3-(a+3)d^2+1 for d<1, a d^3-5a d^2+8a d-4a for d<2; taps at distances 1+f, f, 1-f, 2-f.
    const float w[4][4] = {{0, a, -2 * a, a}, {1, 0, -(a + 3), a + 2}, {0, -a, 2 * a + 3, -(a + 2)}, {0, 0, a, -a}};
    Taps taps{};
    for (int k = 0; k < 4; ++k)
        for (int c = 0; c < 4; ++c) taps.value[c][k] = w[k][c];
    for (int k = 0; k < 4; ++k)
        for (int c = 0; c < 4; ++c) {
            if (!five_point) {  // central difference of the interpolant
                taps.slope[c][k + 1] -= .5f * w[k][c];
                taps.slope[c][k + 3] += .5f * w[k][c];
            } else {  // five-point difference
                taps.slope[c][k + 0] += w[k][c] / 12, taps.slope[c][k + 1] -= 8 * w[k][c] / 12;
                taps.slope[c][k + 3] += 8 * w[k][c] / 12, taps.slope[c][k + 4] -= w[k][c] / 12;
            }
        }
    return taps;
}

INLINE f4 load4(const float *p) { f4 r; std::memcpy(&r, p, sizeof r); return r; }
INLINE f8 load8(const float *p) { f8 r; std::memcpy(&r, p, sizeof r); return r; }
INLINE void store4(float *p, f4 a) { std::memcpy(p, &a, sizeof a); }
INLINE float cubic(const float *c, float f) { return ((c[3] * f + c[2]) * f + c[1]) * f + c[0]; }

// Where each pixel of a row lands in the second image, and its weights there.
struct Landing {
    std::vector<int32_t> offset;
    std::vector<float> fraction_x, inside, value_y[4], slope_y[8], sampled;
    explicit Landing(int width) : offset(width), fraction_x(width), inside(width), sampled((size_t)4 * width) {
        for (auto &w : value_y) w.resize(width);
        for (auto &w : slope_y) w.resize(width);
    }
};

CLONES void land(const Image &second, const float *u, const float *v, int y, int32_t *__restrict offset,
                 float *__restrict fraction_x, float *__restrict fraction_y, float *__restrict inside) {
    const float right = second.width - 1, bottom = second.height - 1;
    const int stride = second.stride;
#pragma GCC ivdep
    for (int x = 0; x < second.width; ++x) {
        const float px = x + u[x], py = y + v[x];
        const float qx = std::min(std::max(px, 0.0f), right), qy = std::min(std::max(py, 0.0f), bottom);
        const int cx = (int)qx, cy = (int)qy;
        offset[x] = cy * stride + cx;
        fraction_x[x] = qx - cx, fraction_y[x] = qy - cy;
        inside[x] = (px == qx) & (py == qy) ? 1.0f : 0.0f;
    }
}

CLONES void weigh(const float *coefficients, const float *__restrict fraction, float *__restrict weight, int width) {
    const float c0 = coefficients[0], c1 = coefficients[1], c2 = coefficients[2], c3 = coefficients[3];
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) weight[x] = ((c3 * fraction[x] + c2) * fraction[x] + c1) * fraction[x] + c0;
}

// Value and both derivatives of the second image at every landing: (I, Ix, Iy, 0) per pixel.
template <bool FIVE_POINT>
INLINE void sample_row(const float *origin, ptrdiff_t stride, const Taps &taps, const int32_t *offset,
                       const float *fraction, const float *const *value_y, const float *const *slope_y,
                       float *__restrict sampled, int width) {
    const f4 v0 = taps.value[0], v1 = taps.value[1], v2 = taps.value[2], v3 = taps.value[3];
    const f8 s0 = taps.slope[0], s1 = taps.slope[1], s2 = taps.slope[2], s3 = taps.slope[3];
    for (int x = 0; x < width; ++x) {
        const float *base = origin + offset[x];
        const float f = fraction[x];
        const f4 value_x = ((v3 * f + v2) * f + v1) * f + v0;
        const f8 slope_x = ((s3 * f + s2) * f + s1) * f + s0;
        f4 slope_column = {};
        f8 wide = {};
        for (int k = 0; k < 4; ++k) wide += value_y[k][x] * load8(base + (k - 1) * stride - 3);
        for (int k = 1; k < 7; ++k) slope_column += slope_y[k][x] * load4(base + (k - 3) * stride - 1);
        if (FIVE_POINT)
            slope_column += slope_y[0][x] * load4(base - 3 * stride - 1) + slope_y[7][x] * load4(base + 4 * stride - 1);
        const f4 column = {wide[2], wide[3], wide[4], wide[5]};
        const f8 wide_product = slope_x * wide;
        const f4 a = value_x * column, c = value_x * slope_column;
        const f4 b = f4{wide_product[0], wide_product[1], wide_product[2], wide_product[3]} +
                     f4{wide_product[4], wide_product[5], wide_product[6], wide_product[7]};
        const f4 ab = f4{a[0], b[0], a[1], b[1]} + f4{a[2], b[2], a[3], b[3]};
        const f4 cc = f4{c[0], 0, c[1], 0} + f4{c[2], 0, c[3], 0};
        store4(sampled + 4 * (ptrdiff_t)x, f4{ab[0], ab[1], cc[0], 0} + f4{ab[2], ab[3], cc[2], 0});
    }
}

CLONES void sample_five_point(const float *origin, ptrdiff_t stride, const Taps &taps, const int32_t *offset,
                              const float *fraction, const float *const *value_y, const float *const *slope_y,
                              float *sampled, int width) {
    sample_row<true>(origin, stride, taps, offset, fraction, value_y, slope_y, sampled, width);
}

CLONES void sample_central(const float *origin, ptrdiff_t stride, const Taps &taps, const int32_t *offset,
                           const float *fraction, const float *const *value_y, const float *const *slope_y,
                           float *sampled, int width) {
    sample_row<false>(origin, stride, taps, offset, fraction, value_y, slope_y, sampled, width);
}

struct Gradient {  // taps of a derivative: k1 at distance 1, k2 at distance 2
    float k1, k2;
};

// The linearised data term of a row: rho(u) = rc + ix u + iy v, ig = 1 / (ix^2 + iy^2). `rows` are five of the first image.
CLONES void linearise(const float *const *rows, Gradient g, float blend, const float *__restrict sampled,
                      const float *__restrict inside, const float *__restrict u, const float *__restrict v,
                      float *__restrict ix, float *__restrict iy, float *__restrict rc, float *__restrict ig, int width) {
    const float *a = rows[0], *b = rows[1], *first = rows[2], *d = rows[3], *e = rows[4];
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        const float gx0 = g.k1 * (first[x + 1] - first[x - 1]) + g.k2 * (first[x + 2] - first[x - 2]);
        const float gy0 = g.k1 * (d[x] - b[x]) + g.k2 * (e[x] - a[x]);
        const float gx = inside[x] * (sampled[4 * x + 1] + blend * (gx0 - sampled[4 * x + 1]));
        const float gy = inside[x] * (sampled[4 * x + 2] + blend * (gy0 - sampled[4 * x + 2]));
        const float norm = gx * gx + gy * gy;
        ix[x] = gx, iy[x] = gy;
        rc[x] = inside[x] * (sampled[4 * x] - first[x]) - gx * u[x] - gy * v[x];
        ig[x] = norm > 1.1920929e-7f ? 1.0f / norm : 0.0f;
    }
}

CLONES void edges(const float *const *rows, Gradient g, float sensitivity, uint8_t *__restrict edge, int width) {
    const float *a = rows[0], *b = rows[1], *first = rows[2], *d = rows[3], *e = rows[4];
    for (int x = 0; x < width; ++x) {
        const float gx = g.k1 * (first[x + 1] - first[x - 1]) + g.k2 * (first[x + 2] - first[x - 2]);
        const float gy = g.k1 * (d[x] - b[x]) + g.k2 * (e[x] - a[x]);
        edge[x] = (uint8_t)(int)(std::min(EDGE_STEPS * sensitivity * std::sqrt(gx * gx + gy * gy), 255.0f) + 0.5f);
    }
}

// Five rows around y with two replicated pixels on either side, kept in a ring.
template <class Source>
struct Ring {
    Source source;
    int width, height, line;
    float *lines;
    const float *rows[5];
    Ring(Source source, int width, int height, float *lines)
        : source(source), width(width), height(height), line(round_up(width, LANES) + 2 * LANES), lines(lines) {
        for (int y = -2; y < 2; ++y) keep(y);
    }
    float *slot(int y) const { return lines + (ptrdiff_t)((y + 5) % 5) * line + LANES; }
    void keep(int y) {
        float *to = slot(y);
        source(std::min(std::max(y, 0), height - 1), to);
        to[-1] = to[-2] = to[0], to[width] = to[width + 1] = to[width - 1];
    }
    const float *const *around(int y) {
        keep(y + 2);
        for (int i = 0; i < 5; ++i) rows[i] = slot(y + i - 2);
        return rows;
    }
};

// ---- resampling ----

// Half-pixel bilinear resampling along one axis, after a Gaussian of `sigma` source pixels, as taps per target pixel.
struct Axis {
    int taps, reach;  // a target reads base-reach .. base-reach+taps-1
    std::vector<int> base;
    std::vector<float> weight;  // (target, taps)
    Axis(int source, int target, float sigma) : base(target) {
        reach = sigma > 0 ? std::max(1, (int)std::ceil(3 * sigma)) : 0;
        taps = 2 * reach + 2;
        weight.assign((size_t)target * taps, 0);
        std::vector<double> bell(2 * reach + 1);
        double sum = 0;
        for (int i = -reach; i <= reach; ++i) sum += bell[i + reach] = sigma > 0 ? std::exp(-.5 * i * i / ((double)sigma * sigma)) : 1;
        const double scale = (double)source / target;
        for (int i = 0; i < target; ++i) {
            const double at = std::min(std::max((i + .5) * scale - .5, 0.0), source - 1.0);
            base[i] = (int)at;
            const double f = at - base[i];
            for (int k = 0; k < 2 * reach + 1; ++k) {
                weight[(size_t)i * taps + k] += (float)((1 - f) * bell[k] / sum);
                weight[(size_t)i * taps + k + 1] += (float)(f * bell[k] / sum);
            }
        }
    }
};

CLONES void add_row(float *__restrict sum, const float *__restrict row, float weight, int width) {
    for (int x = 0; x < width; ++x) sum[x] += weight * row[x];
}

template <class SourceRow, class TargetRow>
void resample(int sw, int sh, SourceRow source, int tw, int th, TargetRow target, float gain, float sigma) {
    const Axis across(sw, tw, sigma), down(sh, th, sigma);
    std::vector<float> column(sw + 2 * across.reach + 2);
    float *middle = column.data() + across.reach;
    for (int y = 0; y < th; ++y) {
        std::fill(column.begin(), column.end(), 0.0f);
        for (int k = 0; k < down.taps; ++k) {
            const float w = gain * down.weight[(size_t)y * down.taps + k];
            if (w != 0) add_row(middle, source(std::min(std::max(down.base[y] - down.reach + k, 0), sh - 1)), w, sw);
        }
        for (int i = 1; i <= across.reach; ++i) middle[-i] = middle[0];
        for (int i = 0; i < across.reach + 2; ++i) middle[sw + i] = middle[sw - 1];
        float *out = target(y);
        for (int x = 0; x < tw; ++x) {
            const float *from = middle + across.base[x] - across.reach, *w = &across.weight[(size_t)x * across.taps];
            float sum = 0;
            for (int k = 0; k < across.taps; ++k) sum += w[k] * from[k];
            out[x] = sum;
        }
    }
}

void replicate(const Image &image) {
    for (int y = 0; y < image.height; ++y) {
        float *row = image.row(y);
        for (int m = 1; m <= MARGIN; ++m) row[-m] = row[0], row[image.width - 1 + m] = row[image.width - 1];
    }
    const size_t bytes = sizeof(float) * image.stride;
    for (int m = 1; m <= MARGIN; ++m) {
        std::memcpy(image.row(-m) - MARGIN, image.row(0) - MARGIN, bytes);
        std::memcpy(image.row(image.height - 1 + m) - MARGIN, image.row(image.height - 1) - MARGIN, bytes);
    }
}

// ---- median ----

INLINE void order(float &a, float &b) {
    const float low = std::min(a, b);
    b = std::max(a, b), a = low;
}

CLONES void median3_row(const float *a, const float *b, const float *c, float *out, int width) {
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        float low[3], mid[3], top[3];
        for (int i = 0; i < 3; ++i) {
            float p = a[x + i - 1], q = b[x + i - 1], r = c[x + i - 1];
            order(p, q), order(q, r), order(p, q);
            low[i] = p, mid[i] = q, top[i] = r;
        }
        float p = std::max(std::max(low[0], low[1]), low[2]);
        float r = std::min(std::min(top[0], top[1]), top[2]);
        order(mid[0], mid[1]);
        float q = std::max(mid[0], std::min(mid[1], mid[2]));
        out[x] = std::max(std::min(p, q), std::min(std::max(p, q), r));
    }
}

CLONES void median5_row(const float *const *rows, float *out, int width) {
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3], *r4 = rows[4];
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        // Forgetful selection: of 14 values neither the least nor the greatest can be the median of 25.
        const float in[25] = {r0[x - 2], r0[x - 1], r0[x], r0[x + 1], r0[x + 2], r1[x - 2], r1[x - 1], r1[x], r1[x + 1],
                              r1[x + 2], r2[x - 2], r2[x - 1], r2[x], r2[x + 1], r2[x + 2], r3[x - 2], r3[x - 1], r3[x],
                              r3[x + 1], r3[x + 2], r4[x - 2], r4[x - 1], r4[x], r4[x + 1], r4[x + 2]};
        float w[14];
#pragma GCC unroll 14
        for (int i = 0; i < 14; ++i) w[i] = in[i];
#pragma GCC unroll 12
        for (int n = 14; n > 2; --n) {
#pragma GCC unroll 7
            for (int i = 0; i < n / 2; ++i) order(w[i], w[n - 1 - i]);
#pragma GCC unroll 7
            for (int i = 1; i < (n + 1) / 2; ++i) w[0] = w[0], order(w[0], w[i]);
#pragma GCC unroll 7
            for (int i = n / 2; i < n - 1; ++i) order(w[i], w[n - 1]);
            if (n > 3) w[0] = in[28 - n];
            // w[n-1] is the greatest and falls away with the next, shorter round.
        }
        out[x] = w[1];
    }
}

void median(float *plane, int width, int height, int stride, int side, float *scratch) {
    if (side < 3) return;
    const int r = side / 2, line = round_up(width, LANES) + 2 * LANES;
    auto slot = [&](int y) { return scratch + ((y + side) % side) * line + LANES; };
    auto keep = [&](int y) {
        float *to = slot(y);
        std::memcpy(to, plane + (ptrdiff_t)std::min(std::max(y, 0), height - 1) * stride, sizeof(float) * width);
        for (int m = 1; m <= r; ++m) to[-m] = to[0], to[width - 1 + m] = to[width - 1];
    };
    for (int y = -r; y < r; ++y) keep(y);
    for (int y = 0; y < height; ++y) {
        keep(y + r);
        const float *rows[5];
        for (int i = -r; i <= r; ++i) rows[i + r] = slot(y + i);
        float *out = plane + (ptrdiff_t)y * stride;
        if (side == 3) median3_row(rows[0], rows[1], rows[2], out, width);
        else median5_row(rows, out, width);
    }
}

// ---- a pair ----

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
        : s(schedule), first0(first), out(out), levels(pyramid(width, height, schedule)), landing(width),
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
        float *cursor = arena.reserve(9 * line + levels[0].second() + region_floats);
        lines = cursor, cursor += 5 * line;
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
    Landing landing;
    Taps taps;
    Gradient gradient;
    Step step;
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

    auto ring(int l) {
        auto source = [this, l](int y, float *to) {
            const int width = levels[l].width;
            if (l) std::copy_n(firsts[l] + (size_t)y * width, width, to);
            else std::copy_n(first0 + (size_t)y * width, width, to);
        };
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
        std::memset(region, 0, here.state() * sizeof(float));
        float *cursor = region + LANES;
        for (float **plane : {&f.u, &f.v, &f.p11, &f.p12, &f.p21, &f.p22, &f.ix, &f.iy}) *plane = cursor, cursor += here.plane();
        f.edge = reinterpret_cast<uint8_t *>(cursor);
        f.rc = out, f.ig = out + (size_t)here.width * here.height;
        f.zero = zero, f.rc_last = rc_last, f.ig_last = ig_last, f.counts = counts;
        std::fill_n(counts, here.width, 1.0f);  // levels come in growing width
        if (coarsest) return;
        for (int axis = 0; axis < 2; ++axis) {
            const float *from = out + (size_t)axis * above.height * above.width;
            float *plane = axis ? f.v : f.u;
            const float gain = axis ? (float)here.height / above.height : (float)here.width / above.width;
            resample(above.width, above.height, [&](int y) { return from + (size_t)y * above.width; }, here.width, here.height,
                     [&](int y) { return plane + (ptrdiff_t)y * f.stride; }, gain, 0);
        }
    }

    void warp(int l) {
        auto rows = ring(l);
        const float *value_y[4], *slope_y[8];
        for (int k = 0; k < 4; ++k) value_y[k] = landing.value_y[k].data();
        for (int k = 0; k < 8; ++k) slope_y[k] = landing.slope_y[k].data();
        float *fraction_y = landing.sampled.data();  // dead before sampled is written
        for (int y = 0; y < f.height; ++y) {
            const ptrdiff_t o = (ptrdiff_t)y * f.stride, c = (ptrdiff_t)y * f.width;
            land(seconds[l], f.u + o, f.v + o, y, landing.offset.data(), landing.fraction_x.data(), fraction_y,
                 landing.inside.data());
            for (int k = 0; k < 4; ++k) {
                const float w[4] = {taps.value[0][k], taps.value[1][k], taps.value[2][k], taps.value[3][k]};
                weigh(w, fraction_y, landing.value_y[k].data(), f.width);
            }
            for (int k = 0; k < 8; ++k) {
                const float w[4] = {taps.slope[0][k], taps.slope[1][k], taps.slope[2][k], taps.slope[3][k]};
                weigh(w, fraction_y, landing.slope_y[k].data(), f.width);
            }
            auto *sample = s.five_point ? sample_five_point : sample_central;
            sample(seconds[l].row(0), seconds[l].stride, taps, landing.offset.data(), landing.fraction_x.data(), value_y,
                   slope_y, landing.sampled.data(), f.width);
            linearise(rows.around(y), gradient, s.gradient_blend, landing.sampled.data(), landing.inside.data(), f.u + o,
                      f.v + o, f.ix + o, f.iy + o, f.rc + c, f.ig + c, f.width);
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

// For tests: `iterations` of one linearisation on contiguous planes; state is u, v, p11, p12, p21, p22, in place.
extern "C" int tvl1_iterate(float *const *state, const float *ix, const float *iy, const float *rc, const uint8_t *edge,
                            int height, int width, float data_weight, float theta, float tau, int iterations) {
    const Level level{width, height};
    std::vector<float> planes(level.state() + LANES, 0.0f), rest((size_t)2 * height * width), rows(4 * (width + 2 * LANES), 0.0f);
    Fields f{};
    f.width = width, f.height = height, f.stride = level.stride();
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
    return 0;
}

// For tests: the median of a contiguous plane, in place.
extern "C" void tvl1_median(float *plane, int height, int width, int side) {
    std::vector<float> lines((size_t)5 * (round_up(width, LANES) + 2 * LANES));
    median(plane, width, height, width, side, lines.data());
}
