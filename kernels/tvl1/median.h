// Median of 3 x 3 or 5 x 5, replicated border.
#pragma once

#include "common.h"

namespace {

INLINE void order(float &a, float &b) {
    const float low = std::min(a, b);
    b = std::max(a, b), a = low;
}

// Every column of the rows sorted, least first; as many windows share it as there are rows.
CLONES void sort_columns3(const float *const *rows, float *const *sorted, int begin, int end) {
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2];
    float *s0 = sorted[0], *s1 = sorted[1], *s2 = sorted[2];
#pragma GCC ivdep
    for (int x = begin; x < end; ++x) {
        float a = r0[x], b = r1[x], c = r2[x];
        order(a, b), order(b, c), order(a, b);
        s0[x] = a, s1[x] = b, s2[x] = c;
    }
}

// The median of nine is that of the greatest of the least, the median of the middle, and the least of the greatest values.
CLONES void median3_row(const float *const *sorted, float *out, int width) {
    const float *low = sorted[0], *mid = sorted[1], *top = sorted[2];
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        float p = std::max(std::max(low[x - 1], low[x]), low[x + 1]);
        float a = mid[x - 1], b = mid[x], c = mid[x + 1];
        float r = std::min(std::min(top[x - 1], top[x]), top[x + 1]);
        order(a, b);
        const float q = std::max(a, std::min(b, c));
        order(p, r);
        out[x] = std::max(p, std::min(r, q));
    }
}

INLINE void sort5(float &a, float &b, float &c, float &d, float &e) {
    order(a, d), order(b, e), order(a, c), order(b, d), order(a, b);
    order(c, e), order(b, c), order(d, e), order(c, d);
}

CLONES void sort_columns5(const float *const *rows, float *const *sorted, int begin, int end) {
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3], *r4 = rows[4];
    float *s0 = sorted[0], *s1 = sorted[1], *s2 = sorted[2], *s3 = sorted[3], *s4 = sorted[4];
#pragma GCC ivdep
    for (int x = begin; x < end; ++x) {
        float a = r0[x], b = r1[x], c = r2[x], d = r3[x], e = r4[x];
        sort5(a, b, c, d, e);
        s0[x] = a, s1[x] = b, s2[x] = c, s3[x] = d, s4[x] = e;
    }
}

// With rows sorted too, six values of 25 are too small and six too great by their place. What orders the other 13 until
// one is left was found by search over their 162 patterns of 0 and 1. The compiler drops what no one reads.
CLONES void median5_row(const float *const *sorted, float *out, int width) {
    const float *s0 = sorted[0], *s1 = sorted[1], *s2 = sorted[2], *s3 = sorted[3], *s4 = sorted[4];
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) {
        float a0 = s0[x - 2], a1 = s0[x - 1], a2 = s0[x], a3 = s0[x + 1], a4 = s0[x + 2];
        float b0 = s1[x - 2], b1 = s1[x - 1], b2 = s1[x], b3 = s1[x + 1], b4 = s1[x + 2];
        float c0 = s2[x - 2], c1 = s2[x - 1], c2 = s2[x], c3 = s2[x + 1], c4 = s2[x + 2];
        float d0 = s3[x - 2], d1 = s3[x - 1], d2 = s3[x], d3 = s3[x + 1], d4 = s3[x + 2];
        float e0 = s4[x - 2], e1 = s4[x - 1], e2 = s4[x], e3 = s4[x + 1], e4 = s4[x + 2];
        sort5(a0, a1, a2, a3, a4), sort5(b0, b1, b2, b3, b4), sort5(c0, c1, c2, c3, c4);
        sort5(d0, d1, d2, d3, d4), sort5(e0, e1, e2, e3, e4);
        order(c3, e0), order(c3, b2), order(b3, e1), order(d0, b3), order(a3, d1);
        order(a4, d2), order(b4, d1), order(c1, a4), order(c2, b2), order(a4, b3);
        order(c2, a4), order(b3, b2), order(b4, a4), order(b3, a4), order(b3, b4);
        out[x] = b4;
    }
}

// In place; `scratch` is MEDIAN_LINES padded rows.
constexpr int MEDIAN_LINES = 10;
void median(float *plane, int width, int height, int stride, int side, float *scratch) {
    if (side < 3) return;
    const int r = side / 2, line = round_up(width, LANES) + 2 * LANES;
    auto slot = [&](int y) { return scratch + ((y + side) % side) * line + LANES; };
    auto keep = [&](int y) {
        float *to = slot(y);
        std::memcpy(to, plane + (ptrdiff_t)std::min(std::max(y, 0), height - 1) * stride, sizeof(float) * width);
        for (int m = 1; m <= r; ++m) to[-m] = to[0], to[width - 1 + m] = to[width - 1];
    };
    float *sorted[5];
    for (int i = 0; i < 5; ++i) sorted[i] = scratch + (5 + i) * line + LANES;
    for (int y = -r; y < r; ++y) keep(y);
    for (int y = 0; y < height; ++y) {
        keep(y + r);
        const float *rows[5];
        for (int i = -r; i <= r; ++i) rows[i + r] = slot(y + i);
        float *out = plane + (ptrdiff_t)y * stride;
        if (side == 3) {
            sort_columns3(rows, sorted, -r, width + r);
            median3_row(sorted, out, width);
        } else {
            sort_columns5(rows, sorted, -r, width + r);
            median5_row(sorted, out, width);
        }
    }
}

}  // namespace
