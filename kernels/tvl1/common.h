// What every part of the C++ TV-L1 uses. Every header ends up once in tvl1.cpp.
#pragma once

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
#include <utility>
#include <vector>
#if defined(__x86_64__) && defined(__SSE__)
#include <xmmintrin.h>
#endif

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define X86_LANES 1
#else
#define CLONES
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

constexpr int LANES = 16;          // floats of the widest vector
constexpr int MARGIN = 4;          // replicated border of the second image, for the taps of the warp
constexpr int MIN_SIDE = 16;       // of a coarser level
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

}  // namespace
