// The primal-dual iterations of one linearisation.
#pragma once

#include "common.h"

namespace {

struct Step {
    float l_t, theta, t;
};

struct RowPair;
struct InnerRow {  // u of a row and p of the row above it; `measured` returns the summed squared change of u
    typedef float (*Row)(const RowPair &, Step, int columns);
    Row plain, measured;            // with the weights of edges
    Row bare_plain, bare_measured;  // where they are all 1
    int lanes;
};

struct Fields {  // planes of one level; u and p have `stride` floats a row, rc and ig `width` (they live in the output)
    int width, height, stride;
    float *u, *v, *p11, *p12, *p21, *p22, *ix, *iy, *rc, *ig;
    uint8_t *edge;                             // (1/g - 1) * EDGE_STEPS
    const float *zero, *rc_last, *ig_last;     // a row of zeros; padded copies of the last rows of rc and ig
    const float *counts;                       // 1 on the columns of the frame, 0 on the padding
    InnerRow inner;
    bool edged;
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
template <bool MEASURE, bool EDGED>
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
        const float weight = EDGED ? t + t_edge * edge[x] : t;
        float n11 = a11[x], n12 = q12, n21 = a21[x], n22 = q22;
        DUAL(u1x, u1y, u2x, u2y, weight, n11, n12, n21, n22)
        a11[x] = n11, a12[x] = n12, a21[x] = n21, a22[x] = n22;
    }
    return change;
}

CLONES float step_inner(const RowPair &r, Step s, int columns) { return step_row<false, true>(r, s, columns); }
CLONES float step_inner_measured(const RowPair &r, Step s, int columns) { return step_row<true, true>(r, s, columns); }
CLONES float step_bare(const RowPair &r, Step s, int columns) { return step_row<false, false>(r, s, columns); }
CLONES float step_bare_measured(const RowPair &r, Step s, int columns) { return step_row<true, false>(r, s, columns); }

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
        const InnerRow &inner = f.inner;
        auto *row = f.edged ? (measure ? inner.measured : inner.plain) : (measure ? inner.bare_measured : inner.bare_plain);
        change = row(r, s, columns);
    } else {
        dual_last_row(r, s, columns);
    }
    if (y < f.height) seal_flow(f, y);
    if (y > 0) seal_dual(f, y - 1);
    return change;
}

// Iterations follow each other down the rows, one row apart: what one leaves in the cache the next one takes up.
// Frames that fit into the cache gain nothing, larger ones are no longer bound by memory, which the cores share.
// Returns the squared change of u by the last of them, summed over the frame, where `measure`.
double sweep(const Fields &f, Step s, int flight, bool measure) {
    const int columns = round_up(f.width, LANES);
    double change = 0;
    for (int front = 0; front < f.height + flight; ++front)
        for (int k = 0; k < flight; ++k) {
            const int y = front - k;
            if (y < 0 || y > f.height) continue;
            const bool asked = measure && k == flight - 1;
            const float moved = step_at(f, s, y, columns, asked);
            if (asked) change += moved;
        }
    return change;
}

// The rows in flight should fit into half of a second cache of 1 MB: ten planes of floats and one of bytes. Sweeps are of
// one length, or nearly: a short last one would pass through memory for little.
void iterate(const Fields &f, Step s, int iterations) {
    constexpr int CACHE_BYTES = 1 << 20, PIXEL_BYTES = 41;
    const bool all_fit = (size_t)PIXEL_BYTES * f.stride * f.height <= CACHE_BYTES;
    const int most = all_fit ? 4 : std::min(std::max(CACHE_BYTES / 2 / (PIXEL_BYTES * f.stride), 4), 10);
    const int sweeps = (iterations + most - 1) / most;
    for (int k = 0; k < sweeps; ++k) sweep(f, s, iterations * (k + 1) / sweeps - iterations * k / sweeps, false);
}

// Iterations until the mean squared change falls under `enough`; true where it did. One after the other at first and near
// the end; between them, far from the end, a few in flight, of which only the last is asked: should one before it have been
// enough, up to three are run too many.
bool iterate_until(const Fields &f, Step s, int iterations, double enough) {
    double times = 0;  // the last change in units of `enough`
    for (int k = 0, flight; k < iterations; k += flight) {
        flight = k < 3 || times < 2 ? 1 : std::min(times < 8 ? 2 : 4, iterations - k);
        times = sweep(f, s, flight, true) / (enough * f.width * f.height);
        if (times <= 1) return true;
    }
    return false;
}

}  // namespace
