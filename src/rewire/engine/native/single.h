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
  const int32_t* quad_groups;  // likewise, of the weights that are summed by fours of outputs
  const Quad* quads;           // may be null
  const float* shift;       // by output channel, may be null
};

// out[i] = sum over the entries of weight · in[place + i], for N vectors of pixels; to what is there
// if it has begun. Every C-th entry adds to the same sum, so that short rows do not wait for
// themselves. The rows of a Quad's four outputs lie `apart`.
template <int N, int C, class E>
INLINE void sum_chunk(float* out, size_t apart, const float* in, const E* e, const E* end,
                      bool begun) {
  constexpr int SUMS = N * E::outputs;
  vf sum[C][SUMS];
#pragma GCC unroll 48
  for (int i = 0; i < C * SUMS; ++i) sum[i / SUMS][i % SUMS] = all(0);
  if (begun)
#pragma GCC unroll 16
    for (int k = 0; k < SUMS; ++k) std::memcpy(&sum[0][k], out + k / N * apart + k % N * W, sizeof(vf));
  auto add = [&](vf* to, const E& entry) __attribute__((always_inline)) {
    vf weight[E::outputs];
#pragma GCC unroll 4
    for (int o = 0; o < E::outputs; ++o) weight[o] = all(entry.of(o));
    const float* p = in + entry.place;
    asm("" : "+r"(p));  // one address, not one for every vector
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) {
      vf v;
      std::memcpy(&v, p + k * W, sizeof v);
#pragma GCC unroll 4
      for (int o = 0; o < E::outputs; ++o) to[o * N + k] = fma(v, weight[o], to[o * N + k]);
    }
  };
  for (; end - e >= C; e += C)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) add(sum[c], e[c]);
  if constexpr (C > 1)
    for (; e < end; ++e) add(sum[0], *e);
#pragma GCC unroll 16
  for (int k = 0; k < SUMS; ++k) {
    vf all = sum[0][k];
    if constexpr (C == 2) all = all + sum[1][k];
    if constexpr (C == 4) all = (all + sum[1][k]) + (sum[2][k] + sum[3][k]);
    std::memcpy(out + k / N * apart + k % N * W, &all, sizeof all);
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
template <class E>
void sum_row(float* out, size_t apart, const float* in, int length, const E* e, const E* end,
             bool begun = false) {
  const int vectors = (length + W - 1) / W;
  if (E::outputs == 1 && length <= 8) {
    with_constant<8 / W + (W > 8)>(
        vectors, [&](auto n) { sum_chunk<n, 4>(out, apart, in, e, end, begun); });
  } else if (E::outputs == 1 && length <= 32) {
    with_constant<32 / W>(vectors, [&](auto n) { sum_chunk<n, 2>(out, apart, in, e, end, begun); });
  } else if (E::outputs > 1 && vectors == 1) {
    sum_chunk<1, 2>(out, apart, in, e, end, begun);
  } else {
    constexpr int MOST = WIDEST / E::outputs;
    int chunks = (vectors + MOST - 1) / MOST;
    for (int left = vectors; chunks; --chunks) {  // all of about the same width
      const int width = (left + chunks - 1) / chunks;
      const int at = (vectors - left) * W;
      with_constant<MOST>(
          width, [&](auto n) { sum_chunk<n, 1>(out + at, apart, in + at, e, end, begun); });
      left -= width;
    }
  }
}

// One row of maps from the sums: the largest of 2×2 where there is a pool, shifted, then max(0, ·).
// Shifting the largest is the same as the largest of the shifted ones: rounding keeps their order.
template <bool POOL, bool RELU>
INLINE void finish_row(float* __restrict out, const float* __restrict sums, int width, int right,
                       int down, float shift) {
  int x = 0;
  if (POOL && right == 1)  // a vector at a time: the larger of both rows, then of neighbours
    for (; x + W <= width; x += W) {
      vf two[2];
      for (int i = 0; i < 2; ++i) {
        vf above, below;
        std::memcpy(&above, sums + 2 * x + i * W, sizeof above);
        std::memcpy(&below, sums + 2 * x + i * W + down, sizeof below);
        two[i] = larger(below, above);
      }
      vf v = larger(odd(two[0], two[1]), even(two[0], two[1])) + all(shift);
      if (RELU) v = positive_part(v);
      std::memcpy(out + x, &v, sizeof v);
    }
  for (; x < width; ++x) {
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
  const int fours = op.quads ? out.channels / Quad::outputs : 0;  // the others have no quads
  const int64_t by_four = fours ? (int64_t)op.quad_groups[(size_t)fours * op.taps] * length : 0;
  constexpr int TOGETHER = Quad::outputs;
  const int rows = (out.channels + TOGETHER - 1) / TOGETHER;
  const int pieces = products + Quad::outputs * by_four < 50000 ? 1 : std::min(rows, 4 * threads);
  const size_t apart = (length + W - 1) / W * W;
  const float* from = in.pixel(0, 0, 0);
  parallel(pieces, threads, [&](int piece) {
    std::vector<float> sums(TOGETHER * apart);
    for (int q = rows * piece / pieces; q < rows * (piece + 1) / pieces; ++q) {
      if (q < fours) {
        const int32_t* g = op.quad_groups + (size_t)q * op.taps;
        sum_row(sums.data(), apart, from, length, op.quads + g[0], op.quads + g[op.taps]);
      }
      for (int o = q * TOGETHER; o < std::min(out.channels, (q + 1) * TOGETHER); ++o) {
        float* row = sums.data() + o % TOGETHER * apart;
        if (q >= fours || group(o) < group(o + 1))
          sum_row(row, apart, from, length, group(o), group(o + 1), q < fours);
        if (op.pool) op.relu ? finish<true, true>(op, o, row) : finish<true, false>(op, o, row);
        else op.relu ? finish<false, true>(op, o, row) : finish<false, false>(op, o, row);
      }
    }
  });
}

inline void multiply(const Operation& op) {
  const float* in = op.in.data;
  const int fours = op.quads ? op.out.channels / Quad::outputs : 0;
  for (int q = 0; q < fours; ++q) {
    float* out = op.out.data + q * Quad::outputs;
    std::fill(out, out + Quad::outputs, 0.f);
    for (int k = op.quad_groups[q]; k < op.quad_groups[q + 1]; ++k)
      for (int o = 0; o < Quad::outputs; ++o) out[o] += in[op.quads[k].place] * op.quads[k].of(o);
  }
  for (int o = 0; o < op.out.channels; ++o) {
    float sum[4] = {o < fours * Quad::outputs ? op.out.data[o] : 0.f};
    const Entry* e = op.entries + op.groups[o];
    const int n = op.groups[o + 1] - op.groups[o];
    for (int k = 0; k < n; ++k) sum[k & 3] += in[e[k].place] * e[k].weight;
    float v = (sum[0] + sum[1]) + (sum[2] + sum[3]) + (op.shift ? op.shift[o] : 0.f);
    op.out.data[o] = op.relu && !(v > 0) ? 0.f : v;
  }
}

inline void run_single(const Operation& op, int threads) {
  const Plane &in = op.in, &out = op.out;
  switch (op.kind) {
    case CONVOLVE: convolve_planes(op, threads); break;
    case DENSE: multiply(op); break;
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
