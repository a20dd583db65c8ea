// Images (B, C, H, W) in float32 to blocked activations, and back.
#pragma once
#include <algorithm>
#include "line.h"
#include "threads.h"

namespace rewire {

// strides: of x in elements, for image, channel, row and column. Lanes without an image become 0.
template <class S>
void pack(const float* x, const int64_t* strides, int images, int channels, int height, int width,
          typename S::T* out, int threads) {
  const int blocks = (images + S::lanes - 1) / S::lanes;
  parallel(blocks * height, threads, [&](int piece) {
    const int b = piece / height, y = piece % height;
    const int here = std::min(S::lanes, images - b * S::lanes);
    for (int c = 0; c < channels; ++c) {
      typename S::T* to = out + (((size_t)b * channels + c) * height + y) * width * S::lanes;
      const float* from = x + b * S::lanes * strides[0] + c * strides[1] + y * strides[2];
      for (int i = 0; i < width; ++i)
        for (int j = 0; j < S::lanes; ++j)
          to[i * S::lanes + j] = S::narrow(j < here ? from[j * strides[0] + i * strides[3]] : 0.f);
    }
  });
}

// To a contiguous (B, C, H, W).
template <class S>
void unpack(const typename S::T* blocked, int images, int channels, int height, int width,
            float* out, int threads) {
  const int pixels = height * width;
  parallel((images + S::lanes - 1) / S::lanes, threads, [&](int b) {
    const int here = std::min(S::lanes, images - b * S::lanes);
    for (int c = 0; c < channels; ++c) {
      const typename S::T* from = blocked + ((size_t)b * channels + c) * pixels * S::lanes;
      for (int j = 0; j < here; ++j) {
        float* to = out + ((size_t)(b * S::lanes + j) * channels + c) * pixels;
        for (int p = 0; p < pixels; ++p) to[p] = S::widen(from[(size_t)p * S::lanes + j]);
      }
    }
  });
}

}  // namespace rewire
