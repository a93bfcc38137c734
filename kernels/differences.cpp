// Pictures of motion and what they differ by (METHOD 1.2): the fast path of kernels/motion.py, which is the oracle and
// has the same bits. Angles, roots (MKL's, off by a bit here and there), pooling, growing and means are PyTorch's.
#include <cmath>
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#define FAST __attribute__((target("avx2,fma")))
#else
#define FAST
#endif

namespace {

constexpr float PI = 3.14159265358979f;
constexpr float HALF_WHEEL = 27;  // of 55 colours: from the first to the last there are twice as many
constexpr float LEAST = 0x1p-100f;  // instead of 0, over which MKL's root takes ten times as long
constexpr int LANES = 16;         // maxima that are kept side by side: the compiler may not change the order of one

FAST inline __attribute__((always_inline)) float some(float square) { return square < LEAST ? LEAST : square; }

struct Rows {  // of one component: the row above, the row, the row below
    const float *above, *here, *below;

    // Squares of Sobel's slopes at column x between its neighbours, added to `total`, along the row first.
    FAST inline __attribute__((always_inline)) float add(float total, ptrdiff_t left, ptrdiff_t x, ptrdiff_t right) const {
        const float across = ((above[right] - above[left]) + (below[right] - below[left])) + 2 * (here[right] - here[left]);
        const float down = ((below[left] - above[left]) + (below[right] - above[right])) + 2 * (below[x] - above[x]);
        total += across * across;
        return total + down * down;
    }
};

}  // namespace

extern "C" const char *differences_sources() { return SOURCES; }  // setup.py says it

extern "C" int differences_usable() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

// Of `fields` fields (height, width, 2): planes of -u, -v, and the squares of motion boundaries and magnitudes, each
// (fields, height, width).
extern "C" FAST void differences_boundaries(const float *flow, ptrdiff_t fields, ptrdiff_t height, ptrdiff_t width,
                                            float *__restrict minus_u, float *__restrict minus_v, float *__restrict edges,
                                            float *__restrict radius) {
    const ptrdiff_t last = width - 1;
    for (ptrdiff_t row = 0, read = 0; row < fields * height; ++row) {
        const ptrdiff_t y = row % height, here = row * width;
        const ptrdiff_t above = y ? here - width : here, below = y + 1 < height ? here + width : here;
        for (; read < below + width; ++read) {  // a row ahead: what follows finds it in the cache
            const float u = flow[2 * read], v = flow[2 * read + 1];
            minus_u[read] = -u, minus_v[read] = -v, radius[read] = some(u * u + v * v);
        }
        const Rows u = {minus_u + above, minus_u + here, minus_u + below};
        const Rows v = {minus_v + above, minus_v + here, minus_v + below};
        float *const to = edges + here;
        for (ptrdiff_t x = 1; x < last; ++x) to[x] = some(v.add(u.add(0, x - 1, x, x + 1), x - 1, x, x + 1));
        const ptrdiff_t second = last ? 1 : 0, other = last - second;
        to[0] = some(v.add(u.add(0, 0, 0, second), 0, 0, second));
        to[last] = some(v.add(u.add(0, other, last, last), other, last, last));
    }
}

// Paints a field of `pixels`, weighs it with attention / whole, and leaves it in `picture`, 3 planes; `distance` holds
// magnitudes, and then the square of how far each pixel is from what was there. `wheel`: what white loses to each of
// the 55 hues, red in the lowest byte, and the step to the next, signed.
extern "C" FAST void differences_paint(const float *angle, const float *attention, float whole, float epsilon,
                                       const uint32_t *wheel, ptrdiff_t pixels, float *__restrict picture,
                                       float *__restrict distance) {
    float *const red = picture, *const green = red + pixels, *const blue = green + pixels;
    float largest[LANES] = {};
    for (ptrdiff_t i = 0; i + LANES <= pixels; i += LANES)
        for (int k = 0; k < LANES; ++k) largest[k] = largest[k] < distance[i + k] ? distance[i + k] : largest[k];
    for (ptrdiff_t i = pixels / LANES * LANES; i < pixels; ++i) largest[0] = std::fmax(largest[0], distance[i]);
    for (int k = 1; k < LANES; ++k) largest[0] = std::fmax(largest[0], largest[k]);
    const float scale = largest[0] + epsilon;
    for (ptrdiff_t i = 0; i < pixels; ++i) {
        const float radius = distance[i] / scale, weight = attention[i] / whole;
        const float place = (angle[i] / PI + 1) * HALF_WHEEL;
        int hue = (int)place;
        hue = hue < 0 ? 0 : hue > 2 * (int)HALF_WHEEL ? 2 * (int)HALF_WHEEL : hue;  // NaN is any number
        const float part = place - (float)hue;
        const uint32_t lost = wheel[2 * hue], step = wheel[2 * hue + 1];
        const float r = std::floor(255 - radius * __builtin_fmaf(part, (float)(int8_t)step, (float)(lost & 255))) * weight;
        const float g = std::floor(255 - radius * __builtin_fmaf(part, (float)(int8_t)(step >> 8), (float)(lost >> 8 & 255))) * weight;
        const float b = std::floor(255 - radius * __builtin_fmaf(part, (float)(int8_t)(step >> 16), (float)(lost >> 16))) * weight;
        const float dr = red[i] - r, dg = green[i] - g, db = blue[i] - b;
        distance[i] = some((dr * dr + dg * dg) + db * db);
        red[i] = r, green[i] = g, blue[i] = b;
    }
}
