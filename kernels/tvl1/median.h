// Median of 3 x 3 or 5 x 5, replicated border.
#pragma once

#include "common.h"

namespace {

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

}  // namespace
