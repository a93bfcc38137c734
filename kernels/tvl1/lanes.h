// The rows of an iteration for AVX-512 and AVX2, and which of them this machine runs.
#pragma once

#include "iterate.h"

#ifdef X86_LANES

#include <immintrin.h>

// The estimate of 1/x has 12 bits (AVX2) or 14; one step of Newton doubles them.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
namespace { namespace avx512 {
typedef __m512 Lanes;
constexpr int COUNT = 16;
INLINE Lanes all(float a) { return _mm512_set1_ps(a); }
INLINE Lanes load(const float *p) { return _mm512_loadu_ps(p); }
INLINE Lanes load(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE void store(float *p, Lanes a) { _mm512_storeu_ps(p, a); }
INLINE Lanes clamp(Lanes a, Lanes most) { return _mm512_range_ps(a, most, 2); }  // the lesser amount, with the sign of a
INLINE Lanes root(Lanes a) { return _mm512_sqrt_ps(a); }
INLINE Lanes inverse(Lanes a) {
    const Lanes r = _mm512_rcp14_ps(a);
    return r * (all(2) - a * r);
}
// The lanes one to the left of `high`, or one to the right of `low`: cheaper than a load across two cache lines.
INLINE Lanes before(Lanes low, Lanes high, const float *) {
    return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(high), _mm512_castps_si512(low), 15));
}
INLINE Lanes after(Lanes low, Lanes high, const float *) {
    return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(high), _mm512_castps_si512(low), 1));
}
INLINE float sum(Lanes a) { return _mm512_reduce_add_ps(a); }
#include "step_lanes.h"
} }  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace { namespace avx2 {
typedef __m256 Lanes;
constexpr int COUNT = 8;
INLINE Lanes all(float a) { return _mm256_set1_ps(a); }
INLINE Lanes load(const float *p) { return _mm256_loadu_ps(p); }
INLINE Lanes load(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p))); }
INLINE void store(float *p, Lanes a) { _mm256_storeu_ps(p, a); }
INLINE Lanes clamp(Lanes a, Lanes most) { return _mm256_max_ps(_mm256_min_ps(a, most), -most); }
INLINE Lanes root(Lanes a) { return _mm256_sqrt_ps(a); }
INLINE Lanes inverse(Lanes a) {
    const Lanes r = _mm256_rcp_ps(a);
    return r * (all(2) - a * r);
}
INLINE Lanes before(Lanes, Lanes, const float *p) { return load(p - 1); }
INLINE Lanes after(Lanes, Lanes, const float *p) { return load(p + 1); }
INLINE float sum(Lanes a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
#include "step_lanes.h"
} }  // namespace avx2
#pragma GCC pop_options

#endif

namespace {

// The widest inner row of at most `lanes` lanes that this machine has; 1 is the plain loop.
InnerRow inner_row(int lanes) {
#ifdef X86_LANES
    const bool fused = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (lanes >= avx512::COUNT && fused && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return avx512::inner_row;
    if (lanes >= avx2::COUNT && fused) return avx2::inner_row;
#endif
    return {step_inner, step_inner_measured, step_bare, step_bare_measured, 1};
}

}  // namespace
