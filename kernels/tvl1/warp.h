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
    f8 value[4], slope[4];
};

Taps make_taps(float a, bool five_point) {
    // Keys: w(d) = (a+2)d^3-(a+3)d^2+1 for d<1, a d^3-5a d^2+8a d-4a for d<2; taps at distances 1+f, f, 1-f, 2-f.
    const float w[4][4] = {{0, a, -2 * a, a}, {1, 0, -(a + 3), a + 2}, {0, -a, 2 * a + 3, -(a + 2)}, {0, 0, a, -a}};
    Taps taps{};
    for (int k = 0; k < 4; ++k)
        for (int c = 0; c < 4; ++c) {
            taps.value[c][k + 2] = w[k][c];
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

INLINE f8 load8(const float *p) { f8 r; std::memcpy(&r, p, sizeof r); return r; }
INLINE void store8(float *p, f8 a) { std::memcpy(p, &a, sizeof a); }
INLINE void store4(float *p, f4 a) { std::memcpy(p, &a, sizeof a); }

// Rows are taken in blocks whose landings and weights stay in the first cache.
constexpr int BLOCK = 64;

struct Landing {  // where the pixels of a block land in the second image, moved into it
    alignas(64) int32_t offset[BLOCK];
    alignas(64) float fraction_x[BLOCK], fraction_y[BLOCK], inside[BLOCK];
};

INLINE void land(const Image &second, const float *u, const float *v, int left, int y, int width, Landing &at) {
    const float last_x = second.width - 1, last_y = second.height - 1;
    const int stride = second.stride;
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        const float px = left + x + u[x], py = y + v[x];
        const float qx = std::min(std::max(px, 0.0f), last_x), qy = std::min(std::max(py, 0.0f), last_y);
        const int cx = (int)qx, cy = (int)qy;
        at.offset[x] = cy * stride + cx;
        at.fraction_x[x] = qx - cx, at.fraction_y[x] = qy - cy;
        at.inside[x] = (px == qx) & (py == qy) ? 1.0f : 0.0f;
    }
}

INLINE f8 weights(const f8 *taps, float fraction) {
    return ((taps[3] * fraction + taps[2]) * fraction + taps[1]) * fraction + taps[0];
}

// The sum of each of four vectors.
INLINE f4 sums(f8 a, f8 b, f8 c, f8 d) {
    const f8 ab = f8{a[0], b[0], a[1], b[1], a[4], b[4], a[5], b[5]} + f8{a[2], b[2], a[3], b[3], a[6], b[6], a[7], b[7]};
    const f8 cd = f8{c[0], d[0], c[1], d[1], c[4], d[4], c[5], d[5]} + f8{c[2], d[2], c[3], d[3], c[6], d[6], c[7], d[7]};
    const f8 all = f8{ab[0], ab[1], cd[0], cd[1], ab[4], ab[5], cd[4], cd[5]} +
                   f8{ab[2], ab[3], cd[2], cd[3], ab[6], ab[7], cd[6], cd[7]};
    return f4{all[0], all[1], all[2], all[3]} + f4{all[4], all[5], all[6], all[7]};
}

struct Sampled {  // value and derivatives of the second image where a block lands
    alignas(64) float value[BLOCK], slope_x[BLOCK], slope_y[BLOCK];
};

// The weights along y lie side by side for a pixel: with a pointer for each of the twelve the compiler ran out of registers,
// and all took twice as long.
template <bool FIVE_POINT>
INLINE void sample(const Image &second, const Taps &taps, Landing &at, int width, Sampled &sampled) {
    constexpr int BEGIN = FIVE_POINT ? 0 : 1, END = FIVE_POINT ? 8 : 7;  // taps of the derivative
    alignas(64) float weights_y[BLOCK][16];
    const Taps t = taps;
    for (int x = width; x % 4; ++x) at.offset[x] = 0, at.fraction_x[x] = 0, at.fraction_y[x] = 0;
    for (int x = 0; x < round_up(width, 4); ++x) {
        store8(weights_y[x], weights(t.value, at.fraction_y[x]));
        store8(weights_y[x] + 8, weights(t.slope, at.fraction_y[x]));
    }
    const float *origin = second.row(-3) - 3;
    const ptrdiff_t stride = second.stride;
    struct Products {
        f8 value, slope_x, slope_y;
    };
    auto products = [&](int x) __attribute__((always_inline)) {
        const float *base = origin + at.offset[x], *w = weights_y[x];
        f8 column = {}, slope_column = {};
        for (int k = BEGIN; k < END; ++k) {
            const f8 row = load8(base + k * stride);
            if (k >= 2 && k < 6) column += w[k] * row;
            slope_column += w[8 + k] * row;
        }
        const f8 value_x = weights(t.value, at.fraction_x[x]), slope_x = weights(t.slope, at.fraction_x[x]);
        return Products{value_x * column, slope_x * column, value_x * slope_column};
    };
    for (int x = 0; x < width; x += 4) {
        const Products a = products(x), b = products(x + 1), c = products(x + 2), d = products(x + 3);
        store4(sampled.value + x, sums(a.value, b.value, c.value, d.value));
        store4(sampled.slope_x + x, sums(a.slope_x, b.slope_x, c.slope_x, d.slope_x));
        store4(sampled.slope_y + x, sums(a.slope_y, b.slope_y, c.slope_y, d.slope_y));
    }
}

struct Light {  // its change from the first frame to the second: I1 - I0 = offset + gain (I0 - 128) / 64
    float offset = 0, gain = 0;
};

struct LightFit {  // weighted least squares, one step further from the last fit; a little ridge, for frames without contrast
    double sums[5] = {};
    Light solve(double pixels) const {
        const double w = sums[0] + 1e-6 * pixels, g = sums[1], gg = sums[2] + .01 * w, det = w * gg - g * g;
        return {(float)((gg * sums[3] - g * sums[4]) / det), (float)((w * sums[4] - g * sums[3]) / det)};
    }
};

INLINE void add_light(const float *first, const float *value, const float *inside, Light last, float sharpness,
                      LightFit &fit, int width) {
    float w_sum = 0, g_sum = 0, gg_sum = 0, r_sum = 0, rg_sum = 0;
    for (int x = 0; x < width; ++x) {
        const float grey = (first[x] - 128) / 64, r = value[x] - first[x], misfit = r - last.offset - last.gain * grey;
        const float w = inside[x] / (1 + sharpness * misfit * misfit);
        w_sum += w, g_sum += w * grey, gg_sum += w * grey * grey, r_sum += w * r, rg_sum += w * r * grey;
    }
    fit.sums[0] += w_sum, fit.sums[1] += g_sum, fit.sums[2] += gg_sum, fit.sums[3] += r_sum, fit.sums[4] += rg_sum;
}

CLONES void take_light(const float *__restrict first, Light light, float *__restrict rc, int width) {
    for (int x = 0; x < width; ++x) rc[x] -= light.offset + light.gain * ((first[x] - 128) / 64);
}

// The linearised data term of a row: rho(u) = rc + ix u + iy v, ig = 1 / (ix^2 + iy^2).
struct DataRow {
    const float *first, *u, *v;
    float *ix, *iy, *rc, *ig;
};

INLINE void linearise(const DataRow &row, int left, const Sampled &sampled, const float *inside, int width) {
    const float *__restrict first = row.first + left, *__restrict u = row.u + left, *__restrict v = row.v + left;
    float *__restrict ix = row.ix + left, *__restrict iy = row.iy + left;
    float *__restrict rc = row.rc + left, *__restrict ig = row.ig + left;
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        const float gx = inside[x] * sampled.slope_x[x], gy = inside[x] * sampled.slope_y[x];
        const float norm = gx * gx + gy * gy;
        ix[x] = gx, iy[x] = gy;
        rc[x] = inside[x] * (sampled.value[x] - first[x]) - gx * u[x] - gy * v[x];
        ig[x] = norm > 1.1920929e-7f ? 1.0f / norm : 0.0f;
    }
}

// One row of a warp; adds to the fit of light where `sharpness` is not 0.
template <bool FIVE_POINT>
INLINE void warp_blocks(const Image &second, const Taps &taps, const DataRow &row, int y, Light last, float sharpness,
                        LightFit &fit) {
    Landing at;
    Sampled sampled;
    for (int left = 0; left < second.width; left += BLOCK) {
        const int width = std::min(BLOCK, second.width - left);
        land(second, row.u + left, row.v + left, left, y, width, at);
        sample<FIVE_POINT>(second, taps, at, width, sampled);
        linearise(row, left, sampled, at.inside, width);
        if (sharpness > 0) add_light(row.first + left, sampled.value, at.inside, last, sharpness, fit, width);
    }
}

CLONES void warp_five_point(const Image &second, const Taps &taps, const DataRow &row, int y, Light last, float sharpness,
                            LightFit &fit) {
    warp_blocks<true>(second, taps, row, y, last, sharpness, fit);
}

CLONES void warp_central(const Image &second, const Taps &taps, const DataRow &row, int y, Light last, float sharpness,
                         LightFit &fit) {
    warp_blocks<false>(second, taps, row, y, last, sharpness, fit);
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
