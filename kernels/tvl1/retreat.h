// What the flow of a coarse level gives back of an object's plain surroundings. oracle.py says what and why.
#pragma once

#include "iterate.h"
#include "warp.h"

namespace {

constexpr int RETREAT_STRIDES[] = {1, 3, 3};
constexpr float MISFIT_CAP = 8, MISFIT_OUTSIDE = 3, AS_GOOD = 1e-3f;

// Of three flows of every pixel, that nearest to (du, dv); the first where none is nearer.
CLONES void nearest_row(const float *const *us, const float *const *vs, float du, float dv, float *__restrict to_u,
                        float *__restrict to_v, int width) {
    const float *u0 = us[0], *u1 = us[1], *u2 = us[2], *v0 = vs[0], *v1 = vs[1], *v2 = vs[2];
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        const float e0 = (u0[x] - du) * (u0[x] - du) + (v0[x] - dv) * (v0[x] - dv);
        const float e1 = (u1[x] - du) * (u1[x] - du) + (v1[x] - dv) * (v1[x] - dv);
        const float e2 = (u2[x] - du) * (u2[x] - du) + (v2[x] - dv) * (v2[x] - dv);
        const float least = std::min(e0, e1), u = e1 < e0 ? u1[x] : u0[x], v = e1 < e0 ? v1[x] : v0[x];
        to_u[x] = e2 < least ? u2[x] : u, to_v[x] = e2 < least ? v2[x] : v;
    }
}

// |I1(x + u) - I0 - change of light| of a block, at most MISFIT_CAP, and MISFIT_OUTSIDE there; I1 is sampled bilinearly.
INLINE void misfit(const Image &second, const float *first, Light light, const Landing &at, float *miss, int width) {
    const float *origin = second.row(0);
    const ptrdiff_t stride = second.stride;
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        const float *corner = origin + at.offset[x];
        const float top = corner[0] + at.fraction_x[x] * (corner[1] - corner[0]);
        const float low = corner[stride] + at.fraction_x[x] * (corner[stride + 1] - corner[stride]);
        const float seen = top + at.fraction_y[x] * (low - top);
        const float e = std::abs(seen - first[x] - light.offset - light.gain * ((first[x] - 128) / 64));
        miss[x] = at.inside[x] > 0 ? std::min(e, MISFIT_CAP) : MISFIT_OUTSIDE;
    }
}

// How much worse the flow nearby fits than that of the pixel itself.
CLONES void worse_row(const Image &second, const float *first, Light light, int y, const float *nearby_u, const float *nearby_v,
                      const float *u, const float *v, float *__restrict worse) {
    Landing at;
    alignas(64) float miss[2][BLOCK];
    for (int left = 0; left < second.width; left += BLOCK) {
        const int width = std::min(BLOCK, second.width - left);
        land(second, nearby_u + left, nearby_v + left, left, y, width, at);
        misfit(second, first + left, light, at, miss[0], width);
        land(second, u + left, v + left, left, y, width, at);
        misfit(second, first + left, light, at, miss[1], width);
        for (int x = 0; x < width; ++x) worse[left + x] = miss[0][x] - miss[1][x];
    }
}

CLONES void sum5_row(const float *const *rows, float *__restrict sum, int width) {
    for (int x = 0; x < width; ++x) sum[x] = rows[0][x] + rows[1][x] + rows[2][x] + rows[3][x] + rows[4][x];
}

// Takes the flow that is nearby where it fits as well; `worse` are sums of five rows.
CLONES void take_row(const float *worse, const float *nearby_u, const float *nearby_v, float *__restrict u,
                     float *__restrict v, int width) {
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        const bool fits = worse[x - 2] + worse[x - 1] + worse[x] + worse[x + 1] + worse[x + 2] < 25 * AS_GOOD;
        u[x] = fits ? nearby_u[x] : u[x], v[x] = fits ? nearby_v[x] : v[x];
    }
}

// The median of every other pixel of every other row.
float middle(const Fields &f, const float *plane) {
    float *end = f.rc;
    for (int y = 0; y < f.height; y += 2)
        for (int x = 0; x < f.width; x += 2) *end++ = plane[(ptrdiff_t)y * f.stride + x];
    float *at = f.rc + (end - f.rc - 1) / 2;
    std::nth_element(f.rc, at, end);
    return *at;
}

// Of all flows nearby, that nearest to the dominant one: along the rows into p11 and p12, then down the columns. `lines` are
// four rows of `line` floats. Returns where its u and v are.
std::pair<const float *, const float *> nearest(const Fields &f, float *lines, int line) {
    const float du = middle(f, f.u), dv = middle(f, f.v);
    float *padded[2][2];  // of either turn, a row of u and of v between replicated pixels
    for (int i = 0; i < 4; ++i) padded[i / 2][i % 2] = lines + i * line + LANES;
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
    return {u, v};
}

// On a coarse level, whose p and data term are done with: both are overwritten, and u and v changed.
void retreat(const Fields &f, const Image &second, const float *first, Light light, float *lines, int line) {
    const auto [u, v] = nearest(f, lines, line);
    float *worse = f.ix, *sum = lines + LANES;
    for (int y = 0; y < f.height; ++y) {
        const ptrdiff_t o = (ptrdiff_t)y * f.stride;
        worse_row(second, first + (ptrdiff_t)y * f.width, light, y, u + o, v + o, f.u + o, f.v + o, worse + o);
    }
    for (int y = 0; y < f.height; ++y) {
        const float *rows[5];
        for (int i = 0; i < 5; ++i) rows[i] = worse + (ptrdiff_t)std::min(std::max(y + i - 2, 0), f.height - 1) * f.stride;
        sum5_row(rows, sum, f.width);
        sum[-1] = sum[-2] = sum[0], sum[f.width] = sum[f.width + 1] = sum[f.width - 1];
        const ptrdiff_t o = (ptrdiff_t)y * f.stride;
        take_row(sum, u + o, v + o, f.u + o, f.v + o, f.width);
    }
}

}  // namespace
