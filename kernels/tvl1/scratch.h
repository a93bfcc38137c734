// The levels of a pyramid, and the memory that a pair works in.
#pragma once

#include "common.h"

namespace {

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
