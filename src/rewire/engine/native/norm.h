// BatchNorm, ReLU and 2×2 max-pool in one pass over the activations, and its gradient.
#pragma once
#include <cmath>
#include <vector>
#include "line.h"
#include "threads.h"

namespace rewire {

struct Maps {  // of one layer, and how many images there are
  int channels, height, width, images;
  int pixels() const { return height * width; }
};

template <class S>
int images_of(const Maps& m, int block) { return std::min(S::lanes, m.images - block * S::lanes); }

// What becomes of z: y = scale·z + shift, then ReLU if wanted, then the maximum of 2×2 pixels if
// wanted.
struct Tail { bool relu, pool; };

// mean[c] and variance[c] (divided by n) over all images and pixels: two passes over each channel
// of a block while it is in the cache, then blocks merged in their order (Chan et al. 1983).
template <class S>
void moments(const Maps& m, const typename S::T* z, float* mean, float* variance, int threads) {
  const int blocks = blocks_of<S>(m.images), pixels = m.pixels();
  std::vector<float> part((size_t)blocks * m.channels * 2);
  parallel(blocks, threads, [&](int b) {
    const Lanes<S> real(images_of<S>(m, b));
    const float count = (float)images_of<S>(m, b) * pixels;
    for (int c = 0; c < m.channels; ++c) {
      const typename S::T* p = z + ((size_t)b * m.channels + c) * pixels * S::lanes;
      auto total = [&](auto term) __attribute__((always_inline)) {
        vf sum[2 * S::n], v[S::n];
        for (auto& s : sum) s = all(0);
        int x = 0;
        for (; x + 2 <= pixels; x += 2)
          for (int j = 0; j < 2; ++j) {
            S::load(p + (x + j) * S::lanes, v);
            for (int k = 0; k < S::n; ++k) sum[j * S::n + k] = term(v[k], sum[j * S::n + k]);
          }
        if (x < pixels) {
          S::load(p + x * S::lanes, v);
          for (int k = 0; k < S::n; ++k) sum[k] = term(v[k], sum[k]);
        }
        for (int k = 0; k < S::n; ++k) sum[k] = select(real.mask[k], sum[k] + sum[S::n + k], all(0));
        return sum_lanes<S::n>(sum);
      };
      const float centre = total([](vf v, vf s) { return s + v; }) / count;
      const vf away = all(centre);
      part[((size_t)b * m.channels + c) * 2] = centre;
      part[((size_t)b * m.channels + c) * 2 + 1] =
          total([&](vf v, vf s) { const vf d = v - away; return fma(d, d, s); });
    }
  });
  for (int c = 0; c < m.channels; ++c) {
    double n = 0, centre = 0, squares = 0;
    for (int b = 0; b < blocks; ++b) {
      const double more = (double)images_of<S>(m, b) * pixels;
      const double shift = part[((size_t)b * m.channels + c) * 2] - centre;
      squares += part[((size_t)b * m.channels + c) * 2 + 1] + shift * shift * n * more / (n + more);
      centre += shift * more / (n + more);
      n += more;
    }
    mean[c] = (float)centre;
    variance[c] = (float)(squares / n);
  }
}

// With a pool and where `winners` is given, that gets the z of each maximum.
template <class S>
void tail_forward(const Maps& m, Tail tail, const typename S::T* z, const float* scale,
                  const float* shift, typename S::T* out, typename S::T* winners, int threads) {
  const int width = m.width, out_pixels = tail.pool ? (m.height / 2) * (width / 2) : m.pixels();
  const int blocks = blocks_of<S>(m.images), parts = std::max(1, 4 * threads / blocks);
  parallel(blocks * parts, threads, [&](int piece) {
    const int b = piece / parts, part = piece % parts;
    for (int c = m.channels * part / parts; c < m.channels * (part + 1) / parts; ++c) {
      const typename S::T* p = z + ((size_t)b * m.channels + c) * m.pixels() * S::lanes;
      typename S::T* q = out + ((size_t)b * m.channels + c) * out_pixels * S::lanes;
      typename S::T* won = winners ? winners + (q - out) : nullptr;
      const vf s = all(scale[c]), h = all(shift[c]);
      auto put = [&](vf* v) __attribute__((always_inline)) {
        if (tail.relu)
          for (int k = 0; k < S::n; ++k) v[k] = positive_part(v[k]);
        S::store(q, v);
        q += S::lanes;
      };
      if (!tail.pool) {
        for (int x = 0; x < m.pixels(); ++x) {
          vf v[S::n];
          S::load(p + (size_t)x * S::lanes, v);
          for (int k = 0; k < S::n; ++k) v[k] = fma(v[k], s, h);
          put(v);
        }
      } else {
        for (int y = 0; y + 1 < m.height; y += 2)
          for (int x = 0; x + 1 < width; x += 2) {
            vf best[S::n], winner[S::n], v[S::n];
            S::load(p + (size_t)(y * width + x) * S::lanes, winner);
            for (int k = 0; k < S::n; ++k) best[k] = fma(winner[k], s, h);
            for (int at : {y * width + x + 1, (y + 1) * width + x, (y + 1) * width + x + 1}) {
              S::load(p + (size_t)at * S::lanes, v);
              for (int k = 0; k < S::n; ++k) {
                const vf value = fma(v[k], s, h);
                const vu more = exceeds(value, best[k]);
                best[k] = select(more, value, best[k]);
                winner[k] = select(more, v[k], winner[k]);
              }
            }
            if (won) S::store(won, winner), won += S::lanes;
            put(best);
          }
      }
    }
  });
}

// Calls visit(pixel, z (lines), dy) for all pixels of one channel, where dy is the gradient of
// y = scale·z + shift: that of the output where ReLU let it pass and, of 2×2 pixels, at the first
// largest.
template <class S, class F>
INLINE void unwind(const Maps& m, Tail tail, const typename S::T* p, const typename S::T* g, vf s,
                   vf h, F&& visit) {
  const int width = m.width;
  if (!tail.pool) {
    for (int x = 0; x < m.pixels(); ++x) {
      vf z[S::n], d[S::n];
      S::load(p + (size_t)x * S::lanes, z);
      S::load(g + (size_t)x * S::lanes, d);
      if (tail.relu)
        for (int k = 0; k < S::n; ++k) d[k] = select((vu)(fma(z[k], s, h) > all(0)), d[k], all(0));
      visit(x, z, d);
    }
    return;
  }
  for (int y = 0; y < m.height; ++y)
    for (int x = 0; x < width; x += 2) {
      if (y % 2 == 0 && y + 1 < m.height && x + 1 < width) {
        const int at[4] = {y * width + x, y * width + x + 1, (y + 1) * width + x, (y + 1) * width + x + 1};
        vf z[4][S::n], d[S::n];
        vu won[4][S::n];
        S::load(g + (size_t)((y / 2) * (width / 2) + x / 2) * S::lanes, d);
        for (int i = 0; i < 4; ++i) S::load(p + (size_t)at[i] * S::lanes, z[i]);
        for (int k = 0; k < S::n; ++k) {
          vf best = fma(z[0][k], s, h);
          vu second, third, fourth;
          vf v = fma(z[1][k], s, h);
          second = exceeds(v, best), best = select(second, v, best);
          v = fma(z[2][k], s, h);
          third = exceeds(v, best), best = select(third, v, best);
          v = fma(z[3][k], s, h);
          fourth = exceeds(v, best), best = select(fourth, v, best);
          vu passes = tail.relu ? (vu)(best > all(0)) : ~(vu){};
          won[3][k] = passes & fourth;
          won[2][k] = passes & third & ~fourth;
          won[1][k] = passes & second & ~third & ~fourth;
          won[0][k] = passes & ~second & ~third & ~fourth;
        }
        for (int i = 0; i < 4; ++i) {
          vf part[S::n];
          for (int k = 0; k < S::n; ++k) part[k] = (vf)((vu)d[k] & won[i][k]);
          visit(at[i], z[i], part);
        }
      } else if (y + 1 == m.height && m.height % 2) {  // a last row that no 2×2 pixels cover
        for (int j = x; j < std::min(x + 2, width); ++j) {
          vf z[S::n], none[S::n];
          S::load(p + (size_t)(y * width + j) * S::lanes, z);
          for (auto& v : none) v = all(0);
          visit(y * width + j, z, none);
        }
      } else if (x + 1 == width) {  // a last column
        vf z[S::n], none[S::n];
        S::load(p + (size_t)(y * width + x) * S::lanes, z);
        for (auto& v : none) v = all(0);
        visit(y * width + x, z, none);
      }
    }
}

// Gradient through the tail. `mean` and `inverse` (1/√(variance + ε)) are those of the batch, or
// null where the statistics are constants. Writes dz; dscale[c] = Σ dy·x̂ and dshift[c] = Σ dy
// where asked for (needed with batch statistics). Lanes without an image get 0. With a pool, the
// sums read `winners` (see `tail_forward`), a quarter of z.
template <class S>
void tail_backward(const Maps& m, Tail tail, const typename S::T* z, const typename S::T* grad,
                   const typename S::T* winners, const float* scale, const float* shift,
                   const float* mean, const float* inverse, bool batch, float* dscale, float* dshift, typename S::T* dz, int threads) {
  const int blocks = blocks_of<S>(m.images);
  const int out_pixels = tail.pool ? (m.height / 2) * (m.width / 2) : m.pixels();
  const int parts = std::max(1, 4 * threads / blocks);
  auto each_channel = [&](auto work) {
    parallel(blocks * parts, threads, [&](int piece) {
      const int b = piece / parts, part = piece % parts;
      const Lanes<S> real(images_of<S>(m, b));
      for (int c = m.channels * part / parts; c < m.channels * (part + 1) / parts; ++c) {
        const size_t at = (size_t)b * m.channels + c;
        work(b, c, real, z + at * m.pixels() * S::lanes, grad + at * out_pixels * S::lanes,
             dz ? dz + at * m.pixels() * S::lanes : nullptr);
      }
    });
  };
  if (dscale) {
    std::vector<float> part((size_t)blocks * m.channels * 2);
    each_channel([&](int b, int c, const Lanes<S>& real, auto* p, auto* g, auto*) {
      vf sums[2 * S::n];
      for (auto& v : sums) v = all(0);
      const vf centre = all(mean[c]);
      const Maps read = winners ? Maps{1, 1, out_pixels, 0} : m;
      const typename S::T* from = winners ? winners + (g - grad) : p;
      unwind<S>(read, {tail.relu, tail.pool && !winners}, from, g, all(scale[c]), all(shift[c]),
                [&](int, const vf* zz, const vf* d) __attribute__((always_inline)) {
                  for (int k = 0; k < S::n; ++k) {
                    sums[k] = fma(zz[k] - centre, d[k], sums[k]);
                    sums[S::n + k] = sums[S::n + k] + d[k];
                  }
                });
      for (int k = 0; k < S::n; ++k)
        for (int j = 0; j < 2; ++j)
          sums[j * S::n + k] = select(real.mask[k], sums[j * S::n + k], all(0));
      part[((size_t)b * m.channels + c) * 2] = sum_lanes<S::n>(sums);
      part[((size_t)b * m.channels + c) * 2 + 1] = sum_lanes<S::n>(sums + S::n);
    });
    for (int c = 0; c < m.channels; ++c) {
      double products = 0, sum = 0;
      for (int b = 0; b < blocks; ++b) {
        products += part[((size_t)b * m.channels + c) * 2];
        sum += part[((size_t)b * m.channels + c) * 2 + 1];
      }
      dscale[c] = (float)(products * inverse[c]);
      dshift[c] = (float)sum;
    }
  }
  if (!dz) return;
  const float count = (float)m.images * m.pixels();
  each_channel([&](int, int c, const Lanes<S>& real, auto* p, auto* g, auto* to) {
    const vf s = all(scale[c]);
    // dz = scale·(dy − Σdy/n − x̂·Σ(dy·x̂)/n), with x̂ = (z − mean)·inverse.
    vf slope = all(0), offset = all(0), centre = all(0);
    if (batch) {
      slope = all(dscale[c] / count * inverse[c]);
      offset = all(dshift[c] / count);
      centre = all(mean[c]);
    }
    unwind<S>(m, tail, p, g, s, all(shift[c]),
              [&](int pixel, const vf* zz, const vf* d) __attribute__((always_inline)) {
                vf v[S::n];
                for (int k = 0; k < S::n; ++k) {
                  v[k] = d[k];
                  if (batch) v[k] = (d[k] - offset) - (zz[k] - centre) * slope;
                  v[k] = select(real.mask[k], v[k] * s, all(0));
                }
                S::store(to + (size_t)pixel * S::lanes, v);
              });
  });
}

}  // namespace rewire
