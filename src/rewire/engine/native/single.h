// One image: neighbouring pixels are computed together instead of neighbouring images.
//
// A map is a plane with a border of zeros (of one width for all maps), so that every tap of every
// pixel reads inside. A sum runs over the whole plane, border columns included, as one long row.
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

template <int N>
INLINE void sum_chunk(float* out, const float* in, const Entry* e, const Entry* end) {
  vf sum[N];
  for (auto& s : sum) s = all(0);
  for (; e < end; ++e) {
    const vf weight = all(e->weight);
    const float* p = in + e->place;
#pragma GCC unroll 8
    for (int k = 0; k < N; ++k) {
      vf v;
      std::memcpy(&v, p + k * W, sizeof v);
      sum[k] = fma(v, weight, sum[k]);
    }
  }
  std::memcpy(out, sum, sizeof sum);
}

inline void sum_row(float* out, const float* in, int length, const Entry* e, const Entry* end) {
  for (int at = 0; at < length;) {
    const int left = (length - at + W - 1) / W;
    auto go = [&](auto n) { sum_chunk<n>(out + at, in + at, e, end), at += n * W; };
    if (left >= 8) go(std::integral_constant<int, 8>{});
    else if (left >= 4) go(std::integral_constant<int, 4>{});
    else if (left == 3) go(std::integral_constant<int, 3>{});
    else if (left == 2) go(std::integral_constant<int, 2>{});
    else go(std::integral_constant<int, 1>{});
  }
}

inline void convolve_planes(const Operation& op, int threads) {
  const Plane &in = op.in, &out = op.out;
  const int length = (in.height - 1) * in.row() + in.width, step = op.stride;
  // Below some ten thousand products waking a thread takes longer than they do.
  const int64_t products = (int64_t)op.groups[(size_t)out.channels * op.taps] * length;
  const int pieces = products < 50000 ? 1 : std::min(out.channels, 4 * threads);
  parallel(pieces, threads, [&](int piece) {
    std::vector<float> sums(length + 8 * W);
    for (int o = out.channels * piece / pieces; o < out.channels * (piece + 1) / pieces; ++o) {
      sum_row(sums.data(), in.pixel(0, 0, 0), length, op.entries + op.groups[(size_t)o * op.taps],
              op.entries + op.groups[(size_t)(o + 1) * op.taps]);
      const float shift = op.shift ? op.shift[o] : 0.f;
      auto value = [&](int y, int x) {
        const float v = sums[(size_t)y * step * in.row() + x * step] + shift;
        return op.relu && !(v > 0) ? 0.f : v;
      };
      for (int y = 0; y < out.height; ++y)
        for (int x = 0; x < out.width; ++x) {
          float v;
          if (op.pool) {
            v = value(2 * y, 2 * x);
            for (float u : {value(2 * y, 2 * x + 1), value(2 * y + 1, 2 * x), value(2 * y + 1, 2 * x + 1)})
              v = u > v ? u : v;
          } else {
            v = value(y, x);
          }
          *out.pixel(o, y, x) = v;
        }
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
