// One image: neighbouring pixels are computed together instead of neighbouring images.
//
// A map is a plane with a border of zeros (of one width for all maps), so that every tap of every
// wanted pixel reads inside. A sum runs from the first of them to the last, border columns included,
// as one long row.
#pragma once
#include <cstring>
#include <vector>
#include "index.h"
#include "line.h"
#include "threads.h"

namespace rewire {

struct Plane {  // maps of `channels` channels in a buffer; shared with Python (engine/inference.py)
  float* data;
  int32_t channels, height, width, border;
  int row() const { return width + 2 * border; }
  size_t size() const { return (size_t)row() * (height + 2 * border); }
  float* pixel(int c, int y, int x) const {
    return data + c * size() + (size_t)(y + border) * row() + x + border;
  }
};

enum Kind : int32_t { CONVOLVE, DENSE, ADD, AVERAGE, FLATTEN };

struct Operation {  // shared with Python
  int32_t kind, relu, pool, stride;
  Plane in, other, out;     // `other` is the second summand of ADD
  int32_t taps, flip;       // of CONVOLVE; FLATTEN: channel last
  const int32_t* groups;    // of the forward index, built for planes
  const Entry* entries;
  const float* shift;       // by output channel, may be null
};

// out[i] = sum over the entries of weight · in[place + i], for N vectors of pixels. Every C-th entry
// adds to the same sum, so that short rows do not wait for themselves.
template <int N, int C>
INLINE void sum_chunk(float* out, const float* in, const Entry* e, const Entry* end) {
  vf sum[C][N];
#pragma GCC unroll 48
  for (int i = 0; i < C * N; ++i) sum[i / N][i % N] = all(0);
  auto add = [&](vf* to, const Entry& entry) __attribute__((always_inline)) {
    const vf weight = all(entry.weight);
    const float* p = in + entry.place;
    asm("" : "+r"(p));  // one address, not one for every vector
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) {
      vf v;
      std::memcpy(&v, p + k * W, sizeof v);
      to[k] = fma(v, weight, to[k]);
    }
  };
  for (; end - e >= C; e += C)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) add(sum[c], e[c]);
  if constexpr (C > 1)
    for (; e < end; ++e) add(sum[0], *e);
#pragma GCC unroll 16
  for (int k = 0; k < N; ++k) {
    vf all = sum[0][k];
    if constexpr (C == 2) all = all + sum[1][k];
    if constexpr (C == 4) all = (all + sum[1][k]) + (sum[2][k] + sum[3][k]);
    std::memcpy(out + k * W, &all, sizeof all);
  }
}

constexpr int WIDEST = 12;  // vectors of a chunk: as many sums as fit into 16 registers

// Calls f with n as a constant, 1 <= n <= N.
template <int N, class F>
INLINE void with_constant(int n, F&& f) {
  if constexpr (N > 1) {
    if (n < N) return with_constant<N - 1>(n, f);
  }
  f(std::integral_constant<int, N>{});
}

// The same for a row of any length, which alone decides about the order of the sums. Up to a vector
// more is read and written.
inline void sum_row(float* out, const float* in, int length, const Entry* e, const Entry* end) {
  const int vectors = (length + W - 1) / W;
  if (length <= 8) {
    with_constant<8 / W + (W > 8)>(vectors, [&](auto n) { sum_chunk<n, 4>(out, in, e, end); });
  } else if (length <= 32) {
    with_constant<32 / W>(vectors, [&](auto n) { sum_chunk<n, 2>(out, in, e, end); });
  } else {
    int chunks = (vectors + WIDEST - 1) / WIDEST;
    for (int left = vectors; chunks; --chunks) {  // all of about the same width
      const int width = (left + chunks - 1) / chunks;
      const int at = (vectors - left) * W;
      with_constant<WIDEST>(width, [&](auto n) { sum_chunk<n, 1>(out + at, in + at, e, end); });
      left -= width;
    }
  }
}

// One row of maps from the sums: the largest of 2×2 where there is a pool, shifted, then max(0, ·).
// Shifting the largest is the same as the largest of the shifted ones: rounding keeps their order.
template <bool POOL, bool RELU>
INLINE void finish_row(float* __restrict out, const float* __restrict sums, int width, int right,
                       int down, float shift) {
  for (int x = 0; x < width; ++x) {
    const float* s = sums + x * (POOL ? 2 : 1) * right;
    float v = s[0];
    if constexpr (POOL) {
      const float a = s[right] > v ? s[right] : v;
      const float b = s[down + right] > s[down] ? s[down + right] : s[down];
      v = b > a ? b : a;
    }
    v += shift;
    out[x] = RELU && !(v > 0) ? 0.f : v;
  }
}

template <bool POOL, bool RELU>
void finish(const Operation& op, int channel, const float* sums) {
  const float shift = op.shift ? op.shift[channel] : 0.f;
  const int down = op.stride * op.in.row();
  for (int y = 0; y < op.out.height; ++y, sums += (POOL ? 2 : 1) * down) {
    float* out = op.out.pixel(channel, y, 0);
    if (op.stride == 1) finish_row<POOL, RELU>(out, sums, op.out.width, 1, down, shift);
    else finish_row<POOL, RELU>(out, sums, op.out.width, op.stride, down, shift);
  }
}

inline void convolve_planes(const Operation& op, int threads) {
  const Plane &in = op.in, &out = op.out;
  // From the first wanted pixel to the last one: behind it taps may leave the plane.
  const int height = out.height << op.pool, width = out.width << op.pool;
  const int length = ((height - 1) * in.row() + width - 1) * op.stride + 1;
  auto group = [&](int o) { return op.entries + op.groups[(size_t)o * op.taps]; };
  // Below some ten thousand products waking a thread takes longer than they do.
  const int64_t products = (int64_t)(group(out.channels) - group(0)) * length;
  const int pieces = products < 50000 ? 1 : std::min(out.channels, 4 * threads);
  parallel(pieces, threads, [&](int piece) {
    std::vector<float> sums(length + W);
    for (int o = out.channels * piece / pieces; o < out.channels * (piece + 1) / pieces; ++o) {
      sum_row(sums.data(), in.pixel(0, 0, 0), length, group(o), group(o + 1));
      if (op.pool) op.relu ? finish<true, true>(op, o, sums.data()) : finish<true, false>(op, o, sums.data());
      else op.relu ? finish<false, true>(op, o, sums.data()) : finish<false, false>(op, o, sums.data());
    }
  });
}

inline void run_single(const Operation& op, int threads) {
  const Plane &in = op.in, &out = op.out;
  switch (op.kind) {
    case CONVOLVE: convolve_planes(op, threads); break;
    case DENSE:
      for (int o = 0; o < out.channels; ++o) {
        float sum[4] = {};
        const Entry* e = op.entries + op.groups[o];
        const int n = op.groups[o + 1] - op.groups[o];
        for (int k = 0; k < n; ++k) sum[k & 3] += in.data[e[k].place] * e[k].weight;
        float v = (sum[0] + sum[1]) + (sum[2] + sum[3]) + (op.shift ? op.shift[o] : 0.f);
        out.data[o] = op.relu && !(v > 0) ? 0.f : v;
      }
      break;
    case ADD:
      for (size_t i = 0; i < out.channels * out.size(); ++i) {
        const float v = in.data[i] + op.other.data[i];
        out.data[i] = op.relu && !(v > 0) ? 0.f : v;
      }
      break;
    case AVERAGE:
      for (int c = 0; c < in.channels; ++c) {
        float sum = 0;
        for (int y = 0; y < in.height; ++y)
          for (int x = 0; x < in.width; ++x) sum += *in.pixel(c, y, x);
        *out.pixel(c, 0, 0) = sum / (in.height * in.width);
      }
      break;
    case FLATTEN: {
      const int pixels = in.height * in.width;
      for (int c = 0; c < in.channels; ++c)
        for (int y = 0; y < in.height; ++y)
          for (int x = 0; x < in.width; ++x) {
            const int p = y * in.width + x;
            out.data[op.flip ? p * in.channels + c : c * pixels + p] = *in.pixel(c, y, x);
          }
      break;
    }
  }
}

}  // namespace rewire
