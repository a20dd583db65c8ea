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

struct Plane {  // maps of `channels` channels in a buffer; shared with Python (engine/program.py)
  float* data;
  int32_t channels, height, width, border;
  int row() const { return width + 2 * border; }
  size_t size() const { return (size_t)row() * (height + 2 * border); }
  float* pixel(int c, int y, int x) const {
    return data + c * size() + (size_t)(y + border) * row() + x + border;
  }
};

enum Kind : int32_t { CONVOLVE, DENSE, ADD, AVERAGE, FLATTEN };

struct Operation {  // shared with Python (engine/program.py)
  int32_t kind, relu, pool, flip;  // FLATTEN: channel last
  Plane in, other, out;            // `other` is the second summand of ADD
  Geometry geometry;               // of the layer of CONVOLVE and DENSE
  const int32_t* groups;           // of the forward index, built for these maps
  const Entry* entries;
  const int32_t* quad_groups;  // likewise, of the weights that are summed by fours of outputs
  const Quad* quads;           // may be null
  const float* shift;          // by output channel, may be null
};

static const float ZEROS[32] = {};  // a short row of them, as many as any build has

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
  auto add = [&](vf* to, const float* p, const E& entry) __attribute__((always_inline)) {
    vf weight[E::outputs];
#pragma GCC unroll 4
    for (int o = 0; o < E::outputs; ++o) weight[o] = all(entry.of(o));
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
    for (int c = 0; c < C; ++c) add(sum[c], in + e[c].place, e[c]);
  // What is left, fewer than C, without a branch that nobody could foresee.
  constexpr E NOTHING{};
#pragma GCC unroll 4
  for (int c = 0; c < C - 1; ++c) {
    const bool is = e + c < end;
    add(sum[c], is ? in + e[c].place : ZEROS, is ? e[c] : NOTHING);
  }
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

// The largest of 2×2 sums, shifted, then max(0, ·): L pixels at a time while they last, then half as
// many; returns how many were done. Shifting the largest is the same as the largest of the shifted
// ones: rounding keeps their order.
template <int L, bool RELU>
INLINE int pool_row(float* out, const float* sums, int x, int width, int down, float shift) {
  using V = typename Floats<L>::type;
  constexpr auto all_of = std::make_integer_sequence<int, L>();
  for (; x + L <= width; x += L) {
    V two[2];  // the larger of both rows, then of neighbours
    for (int i = 0; i < 2; ++i) {
      V above, below;
      std::memcpy(&above, sums + 2 * x + i * L, sizeof above);
      std::memcpy(&below, sums + 2 * x + i * L + down, sizeof below);
      two[i] = largest(below, above);
    }
    V v = largest(every_second<1>(two[0], two[1], all_of),
                  every_second<0>(two[0], two[1], all_of));
    v = v + shift;
    if (RELU) v = larger(V{}, v);
    std::memcpy(out + x, &v, sizeof v);
  }
  if constexpr (L > 2) x = pool_row<L / 2, RELU>(out, sums, x, width, down, shift);
  return x;
}

// The pixels of a channel from its sums, whatever the stride.
template <bool POOL, bool RELU>
void finish(const Operation& op, int channel, const float* sums) {
  const float shift = op.shift ? op.shift[channel] : 0.f;
  const int right = op.geometry.stride, down = right * op.in.row(), width = op.out.width;
  for (int y = 0; y < op.out.height; ++y, sums += (POOL ? 2 : 1) * down) {
    float* out = op.out.pixel(channel, y, 0);
    int x = 0;
    if (POOL && right == 1) x = pool_row<W, RELU>(out, sums, x, width, down, shift);
    for (; x < width; ++x) {
      const float* s = sums + x * (POOL ? 2 : 1) * right;
      float v = s[0];
      if constexpr (POOL) v = largest(largest(s[down + right], s[down]), largest(s[right], v));
      v += shift;
      out[x] = RELU ? larger(0.f, v) : v;
    }
  }
}

// Where sums lie as the pixels do, border columns between their rows, a channel is finished whole.
struct Whole {
  std::vector<uint32_t> inside;  // all bits where a sum is a pixel
  bool possible() const { return !inside.empty(); }

  Whole(const Operation& op, int length, size_t vectors) {
    const Plane &in = op.in, &out = op.out;
    // Whole vectors are written: they must end before the next channel's first pixel.
    const bool alike = !op.pool && op.geometry.stride == 1 && in.row() == out.row();
    if (!alike || vectors * W > out.size()) return;
    inside.resize(vectors * W);
    for (int i = 0; i < length; ++i) inside[i] = i % in.row() < out.width ? ~0u : 0;
  }

  template <bool RELU>
  void finish(const Operation& op, int channel, const float* sums) const {
    float* out = op.out.pixel(channel, 0, 0);
    const vf shift = all(op.shift ? op.shift[channel] : 0.f);
    for (size_t i = 0; i < inside.size(); i += W) {
      vf v;
      vu mask;
      std::memcpy(&v, sums + i, sizeof v);
      std::memcpy(&mask, &inside[i], sizeof mask);
      v = v + shift;
      if (RELU) v = positive_part(v);
      v = (vf)((vu)v & mask);
      std::memcpy(out + i, &v, sizeof v);
    }
  }
};

inline void convolve_planes(const Operation& op, int threads) {
  const Plane &in = op.in, &out = op.out;
  const int taps = op.geometry.taps();
  // From the first wanted pixel to the last one: behind it taps may leave the plane.
  const int height = out.height << op.pool, width = out.width << op.pool;
  const int length = ((height - 1) * in.row() + width - 1) * op.geometry.stride + 1;
  auto group = [&](int o) { return op.entries + op.groups[(size_t)o * taps]; };
  // Below some ten thousand products waking a thread takes longer than they do.
  const int64_t products = (int64_t)(group(out.channels) - group(0)) * length;
  const int fours = op.quads ? out.channels / Quad::outputs : 0;  // the others have no quads
  const int64_t by_four = fours ? (int64_t)op.quad_groups[(size_t)fours * taps] * length : 0;
  constexpr int TOGETHER = Quad::outputs;
  const int rows = (out.channels + TOGETHER - 1) / TOGETHER;
  const int pieces = products + Quad::outputs * by_four < 50000 ? 1 : std::min(rows, 4 * threads);
  const size_t vectors = (length + W - 1) / W, apart = vectors * W;
  const Whole whole(op, length, vectors);
  const auto finished = [&](int o, const float* sums) {
    if (whole.possible()) op.relu ? whole.finish<true>(op, o, sums) : whole.finish<false>(op, o, sums);
    else if (op.pool) op.relu ? finish<true, true>(op, o, sums) : finish<true, false>(op, o, sums);
    else op.relu ? finish<false, true>(op, o, sums) : finish<false, false>(op, o, sums);
  };
  const float* from = in.pixel(0, 0, 0);
  parallel(pieces, threads, [&](int piece) {
    std::vector<float> sums(TOGETHER * apart);
    for (int q = rows * piece / pieces; q < rows * (piece + 1) / pieces; ++q) {
      if (q < fours) {
        const int32_t* g = op.quad_groups + (size_t)q * taps;
        sum_row(sums.data(), apart, from, length, op.quads + g[0], op.quads + g[taps]);
      }
      for (int o = q * TOGETHER; o < std::min(out.channels, (q + 1) * TOGETHER); ++o) {
        float* row = sums.data() + o % TOGETHER * apart;
        if (q >= fours || group(o) < group(o + 1))
          sum_row(row, apart, from, length, group(o), group(o + 1), q < fours);
        finished(o, row);
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
    const Entry *e = op.entries + op.groups[o], *end = op.entries + op.groups[o + 1];
    for (; end - e >= 4; e += 4)
      for (int c = 0; c < 4; ++c) sum[c] += in[e[c].place] * e[c].weight;
    for (int c = 0; c < 3; ++c)
      if (e + c < end) sum[c] += in[e[c].place] * e[c].weight;
    float v = (sum[0] + sum[1]) + (sum[2] + sum[3]) + (op.shift ? op.shift[o] : 0.f);
    op.out.data[o] = op.relu ? larger(0.f, v) : v;
  }
}

// One operation for the image whose planes hold it.
inline void run_planes(const Operation& op, int threads) {
  const Plane &in = op.in, &out = op.out;
  switch (op.kind) {
    case CONVOLVE: convolve_planes(op, threads); break;
    case DENSE: multiply(op); break;
    case ADD:
      for (size_t i = 0; i < out.channels * out.size(); ++i) {
        const float v = in.data[i] + op.other.data[i];
        out.data[i] = op.relu ? larger(0.f, v) : v;
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
      for (int p = 0; p < pixels; ++p) {
        const float* from = in.pixel(0, p / in.width, p % in.width);
        float* to = out.data + (op.flip ? p * in.channels : p);
        for (int c = 0; c < in.channels; ++c, from += in.size(), to += op.flip ? 1 : pixels)
          *to = *from;
      }
      break;
    }
  }
}

// Images (count, channels, height, width) through a network, one after the other; `ops` in their
// order, the last of which writes the logits.
inline void run_singly(const float* image, int count, const Plane& input, const Operation* ops,
                       int n, float* logits, int threads) {
  const Plane& last = ops[n - 1].out;
  for (; count > 0; --count, logits += last.channels) {
    for (int c = 0; c < input.channels; ++c)
      for (int y = 0; y < input.height; ++y, image += input.width)
        std::memcpy(input.pixel(c, y, 0), image, sizeof(float) * input.width);
    for (int i = 0; i < n; ++i) run_planes(ops[i], threads);
    std::memcpy(logits, last.data, sizeof(float) * last.channels);
  }
}

}  // namespace rewire
