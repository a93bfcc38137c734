// Pyramid and upsampling of the flow.
#pragma once

#include "common.h"
#include "warp.h"

namespace {

// Half-pixel bilinear resampling along one axis, after a Gaussian of `sigma` source pixels, as taps per target pixel.
struct Axis {
    int taps, reach;  // a target reads base-reach .. base-reach+taps-1
    std::vector<int> base;
    std::vector<float> weight;  // (taps, target)
    Axis(int source, int target, float sigma) : base(target) {
        reach = sigma > 0 ? std::max(1, (int)std::ceil(3 * sigma)) : 0;
        taps = 2 * reach + 2;
        weight.assign((size_t)target * taps, 0);
        std::vector<double> bell(2 * reach + 1);
        double sum = 0;
        for (int i = -reach; i <= reach; ++i) sum += bell[i + reach] = sigma > 0 ? std::exp(-.5 * i * i / ((double)sigma * sigma)) : 1;
        const double scale = (double)source / target;
        for (int i = 0; i < target; ++i) {
            const double at = std::min(std::max((i + .5) * scale - .5, 0.0), source - 1.0);
            base[i] = (int)at;
            const double f = at - base[i];
            for (int k = 0; k < 2 * reach + 1; ++k) {
                weight[(size_t)k * target + i] += (float)((1 - f) * bell[k] / sum);
                weight[(size_t)(k + 1) * target + i] += (float)(f * bell[k] / sum);
            }
        }
    }
};

CLONES void add_row(float *__restrict sum, const float *__restrict row, float weight, int width) {
    for (int x = 0; x < width; ++x) sum[x] += weight * row[x];
}

// Two taps at a time, of which there is an even number. For one machine: the others would gather, which many do slowly.
void across_row(const float *from, const int *base, const float *weight, int taps, float *__restrict out, int width) {
    std::fill_n(out, width, 0.0f);
    for (int k = 0; k < taps; k += 2, from += 2, weight += 2 * width)
        for (int x = 0; x < width; ++x)
            out[x] += weight[x] * from[base[x]] + weight[width + x] * from[base[x] + 1];
}

template <class SourceRow, class TargetRow>
void resample(int sw, int sh, SourceRow source, int tw, int th, TargetRow target, float gain, float sigma) {
    const Axis across(sw, tw, sigma), down(sh, th, sigma);
    std::vector<float> column(sw + 2 * across.reach + 2);
    float *middle = column.data() + across.reach;
    for (int y = 0; y < th; ++y) {
        std::fill(column.begin(), column.end(), 0.0f);
        for (int k = 0; k < down.taps; ++k) {
            const float w = gain * down.weight[(size_t)k * th + y];
            if (w != 0) add_row(middle, source(std::min(std::max(down.base[y] - down.reach + k, 0), sh - 1)), w, sw);
        }
        for (int i = 1; i <= across.reach; ++i) middle[-i] = middle[0];
        for (int i = 0; i < across.reach + 2; ++i) middle[sw + i] = middle[sw - 1];
        across_row(column.data(), across.base.data(), across.weight.data(), across.taps, target(y), tw);
    }
}

void replicate(const Image &image) {
    for (int y = 0; y < image.height; ++y) {
        float *row = image.row(y);
        for (int m = 1; m <= MARGIN; ++m) row[-m] = row[0], row[image.width - 1 + m] = row[image.width - 1];
    }
    const size_t bytes = sizeof(float) * image.stride;
    for (int m = 1; m <= MARGIN; ++m) {
        std::memcpy(image.row(-m) - MARGIN, image.row(0) - MARGIN, bytes);
        std::memcpy(image.row(image.height - 1 + m) - MARGIN, image.row(image.height - 1) - MARGIN, bytes);
    }
}

}  // namespace
