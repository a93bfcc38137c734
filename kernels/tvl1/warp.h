// The linearised data term: cubic warp of the second image and its derivatives.
#pragma once

#include "common.h"

namespace {

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

// The linearised data term of a row: rho(u) = rc + ix u + iy v, ig = 1 / (ix^2 + iy^2).
CLONES void linearise(const float *__restrict first, const float *__restrict sampled, const float *__restrict inside,
                      const float *__restrict u, const float *__restrict v, float *__restrict ix, float *__restrict iy,
                      float *__restrict rc, float *__restrict ig, int width) {
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        const float gx = inside[x] * sampled[4 * x + 1], gy = inside[x] * sampled[4 * x + 2];
        const float norm = gx * gx + gy * gy;
        ix[x] = gx, iy[x] = gy;
        rc[x] = inside[x] * (sampled[4 * x] - first[x]) - gx * u[x] - gy * v[x];
        ig[x] = norm > 1.1920929e-7f ? 1.0f / norm : 0.0f;
    }
}

struct Light {  // its change from the first frame to the second: I1 - I0 = offset + gain (I0 - 128) / 64
    float offset = 0, gain = 0;
};

CLONES void add_light_row(const float *__restrict first, const float *__restrict sampled, const float *__restrict inside,
                          Light last, float sharpness, double *sums, int width) {
    float w_sum = 0, g_sum = 0, gg_sum = 0, r_sum = 0, rg_sum = 0;
    for (int x = 0; x < width; ++x) {
        const float grey = (first[x] - 128) / 64, r = sampled[4 * x] - first[x], misfit = r - last.offset - last.gain * grey;
        const float w = inside[x] / (1 + sharpness * misfit * misfit);
        w_sum += w, g_sum += w * grey, gg_sum += w * grey * grey, r_sum += w * r, rg_sum += w * r * grey;
    }
    sums[0] += w_sum, sums[1] += g_sum, sums[2] += gg_sum, sums[3] += r_sum, sums[4] += rg_sum;
}

struct LightFit {  // weighted least squares, one step further from the last fit; a little ridge, for frames without contrast
    double sums[5] = {};
    void add(const float *first, const float *sampled, const float *inside, Light last, float residual, int width) {
        add_light_row(first, sampled, inside, last, 1 / (residual * residual), sums, width);
    }
    Light solve(double pixels) const {
        const double w = sums[0] + 1e-6 * pixels, g = sums[1], gg = sums[2] + .01 * w, det = w * gg - g * g;
        return {(float)((gg * sums[3] - g * sums[4]) / det), (float)((w * sums[4] - g * sums[3]) / det)};
    }
};

CLONES void take_light(const float *__restrict first, Light light, float *__restrict rc, int width) {
    for (int x = 0; x < width; ++x) rc[x] -= light.offset + light.gain * ((first[x] - 128) / 64);
}

struct Gradient {  // taps of a derivative: k1 at distance 1, k2 at distance 2
    float k1, k2;
};

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

}  // namespace
