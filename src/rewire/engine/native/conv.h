// Sparse convolution: sums over connected weights only. Dense layers are 1×1 maps.
//
// Forward and input gradient are the same sum (`Sweep`) over another index; the gradient of the
// weights is a scalar product per connected weight. Only pixels that exist are visited: nothing is
// padded.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <type_traits>
#include <vector>
#include "index.h"
#include "line.h"
#include "threads.h"

namespace rewire {

// Pixels summed at once: as many lines as fit into registers beside what feeds them.
constexpr size_t ROWS = 2;  // of tiles that are summed before the next channel's: see sweep_blocks
constexpr int TILE = W == 4 ? 2 : W == 8 ? 4 : 8;

// What happens to a sum before it is stored: sum + shift[o], then max(0, ·).
struct Finish {
  const float* shift = nullptr;
  bool relu = false;
  int begun = 0;  // the sums of these first channels begin with what is stored
};

struct Run {  // of groups of an index whose taps are all valid for the same pixels of a tile
  int first, end;
  int low, high;  // pixels of the tile, [low, high)
};

struct Tile {
  int out, in;  // first pixel, its counterpart in the input maps
  int width;    // pixels
  std::vector<Run> runs;
};

// One kind of output pixels: y = y0 + s·i, x = x0 + s·j, with the input pixel (i·t, j·t) beside them.
struct Sweep {
  int channels;                   // of the output
  int groups;                     // of a channel in the index
  int out_step, in_step;          // pixels from one output pixel of a row to the next
  size_t out_map, in_map;         // pixels of a map
  std::vector<std::vector<Tile>> rows;
};

// Tap of a group: input row and column relative to the input pixel; only groups with use are swept.
struct Reach { int dy, dx; bool use; };

inline Sweep plan_sweep(int channels, const std::vector<Reach>& reach, int out_width,
                        size_t out_map, int y0, int x0, int out_stride, int height, int width,
                        int in_height, int in_width, size_t in_map, int in_stride,
                        int widest = TILE) {
  // `height` × `width` output pixels of this kind, at most `widest` of a row in a tile.
  Sweep s{channels, (int)reach.size(), out_stride, in_stride, out_map, in_map, {}};
  // Columns near the border see fewer taps. Those that lose more than one pixel of a tile, or that
  // are strided, are tiles of their own.
  auto valid = [&](const Reach& r, int x) {
    const int at = x * in_stride + r.dx;
    return r.use && at >= 0 && at < in_width;
  };
  auto whole = [&](int x) {
    for (const Reach& r : reach)
      if (r.use && !valid(r, x)) return false;
    return true;
  };
  int left = 0, right = width;  // [left, right) see all taps
  while (left < width && !whole(left)) ++left;
  while (right > left && !whole(right - 1)) --right;
  std::vector<std::pair<int, int>> spans;  // first column, pixels
  auto cut = [&](int from, int to) {
    for (int x = from; x < to;) {
      int t = in_stride <= 2 ? widest : 1;
      while (t > to - x) t /= 2;
      spans.push_back({x, t});
      x += t;
    }
  };
  if (left <= 1 && width - right <= 1) {
    cut(0, width);
  } else {
    for (int x = 0; x < left; ++x) spans.push_back({x, 1});
    cut(left, right);
    for (int x = right; x < width; ++x) spans.push_back({x, 1});
  }
  for (int y = 0; y < height; ++y) {
    std::vector<Tile> row;
    for (auto [x, t] : spans) {
      Tile tile{(y0 + y * out_stride) * out_width + x0 + x * out_stride,
                y * in_stride * in_width + x * in_stride, t, {}};
      for (int g = 0; g < (int)reach.size(); ++g) {
        const int at_y = y * in_stride + reach[g].dy;
        if (!reach[g].use || at_y < 0 || at_y >= in_height) continue;
        int low = 0, high = t;
        while (low < high && !valid(reach[g], x + low)) ++low;
        while (high > low && !valid(reach[g], x + high - 1)) --high;
        if (low == high) continue;
        Run* last = tile.runs.empty() ? nullptr : &tile.runs.back();
        if (last && last->end == g && last->low == low && last->high == high)
          last->end = g + 1;
        else
          tile.runs.push_back({g, g + 1, low, high});
      }
      row.push_back(std::move(tile));
    }
    s.rows.push_back(std::move(row));
  }
  return s;
}

template <class S, int T, int V, int STEP, int LOW, int HIGH, class E>
INLINE void add_run(vf* sum, const typename S::T* in, size_t block, const E* e, const E* end) {
  if constexpr (LOW < HIGH)
    for (; e < end; ++e) {
      const typename S::T* p = in + e->place;
      vf weight[E::outputs];
#pragma GCC unroll 4
      for (int o = 0; o < E::outputs; ++o) weight[o] = all(e->of(o));
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v)
#pragma GCC unroll 16
        for (int t = LOW; t < HIGH; ++t) {
          vf line[S::n];
          S::load(p + v * block + t * STEP * S::lanes, line);
#pragma GCC unroll 4
          for (int o = 0; o < E::outputs; ++o)
#pragma GCC unroll 16
            for (int k = 0; k < S::n; ++k) {
              vf& to = sum[((o * V + v) * T + t) * S::n + k];
              to = fma(line[k], weight[o], to);
            }
        }
    }
}

// One tile of one output channel, or of the four of a Quad, of V blocks of images.
template <class S, int T, int V, int STEP, class E>
void sum_tile(typename S::T* out, const typename S::T* in, size_t out_block, size_t in_block,
              size_t out_map, int out_step, const Tile& tile, const int32_t* groups,
              const E* entries, const Finish& finish, int channel) {
  constexpr int SUMS = T * V * S::n;
  auto place = [&](int o, int v, int t) {
    return out + o * out_map * S::lanes + v * out_block + (size_t)t * out_step * S::lanes;
  };
  vf sum[E::outputs * SUMS];
#pragma GCC unroll 32
  for (int i = 0; i < E::outputs * SUMS; ++i) sum[i] = all(0);
  if (E::outputs == 1 && channel < finish.begun)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v)
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) S::load(place(0, v, t), sum + (v * T + t) * S::n);
  for (const Run& run : tile.runs) {
    const E *e = entries + groups[run.first], *end = entries + groups[run.end];
    if (run.high == T) {
      if (run.low == 0) add_run<S, T, V, STEP, 0, T>(sum, in, in_block, e, end);
      else add_run<S, T, V, STEP, 1, T>(sum, in, in_block, e, end);
    } else {
      if (run.low == 0) add_run<S, T, V, STEP, 0, T - 1>(sum, in, in_block, e, end);
      else add_run<S, T, V, STEP, 1, T - 1>(sum, in, in_block, e, end);
    }
  }
  if (finish.shift)
#pragma GCC unroll 4
    for (int o = 0; o < E::outputs; ++o) {
      const vf shift = all(finish.shift[channel + o]);
#pragma GCC unroll 32
      for (int i = 0; i < SUMS; ++i) sum[o * SUMS + i] = sum[o * SUMS + i] + shift;
    }
  if (finish.relu)
#pragma GCC unroll 32
    for (int i = 0; i < E::outputs * SUMS; ++i) sum[i] = positive_part(sum[i]);
#pragma GCC unroll 4
  for (int o = 0; o < E::outputs; ++o)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v)
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) S::store(place(o, v, t), sum + ((o * V + v) * T + t) * S::n);
}

template <class S, int V, int STEP, class E, class... A>
INLINE void sum_tile_of_width(int width, A&&... a) {
  constexpr int SUMS = V * E::outputs;  // of a pixel; as many pixels as registers hold
  if constexpr (8 * SUMS <= TILE)
    if (width == 8) return sum_tile<S, 8, V, STEP, E>(a...);
  if constexpr (4 * SUMS <= TILE)
    if (width == 4) return sum_tile<S, 4, V, STEP, E>(a...);
  if constexpr (2 * SUMS <= TILE)
    if (width == 2) return sum_tile<S, 2, V, STEP, E>(a...);
  return sum_tile<S, 1, V, STEP, E>(a...);
}

// Weights that are summed by quads, before the others: channels 0 ... 4·sweep.channels - 1.
struct Quads {
  const Sweep& sweep;
  const int32_t* groups;
  const Quad* entries;
};

// Where the sums of a channel go: from pixel `first` of its map on, the maps `map` pixels and the
// blocks `block` elements apart.
template <class S>
struct Target {
  typename S::T* data;
  size_t first, map, block;
};

template <class S, int V, int STEP, class E>
INLINE void sweep_row(const Sweep& s, size_t y, const Target<S>& to, const typename S::T* in,
                      size_t in_block, int o, const int32_t* groups, const E* entries,
                      const Finish& finish) {
  for (const Tile& tile : s.rows[y])
    sum_tile_of_width<S, V, STEP, E>(
        tile.width, to.data + (tile.out - to.first) * S::lanes, in + (size_t)tile.in * S::lanes,
        to.block, in_block, to.map, s.out_step, tile, groups + (size_t)o * s.groups, entries,
        finish, o * E::outputs);
}

// The largest of 2×2 sums, finished: rounding keeps their order, so that it may come first.
template <class S>
INLINE void pool_rows(typename S::T* out, const typename S::T* sums, int width,
                      const Finish& finish, int channel) {
  const vf shift = all(finish.shift ? finish.shift[channel] : 0.f);
  const size_t down = (size_t)width * S::lanes;
  for (int x = 0; x < width / 2; ++x, sums += 2 * S::lanes, out += S::lanes) {
    vf line[4][S::n];
    for (int i = 0; i < 4; ++i) S::load(sums + i / 2 * down + i % 2 * S::lanes, line[i]);
    for (int k = 0; k < S::n; ++k) {
      for (int i = 1; i < 4; ++i) line[0][k] = largest(line[i][k], line[0][k]);
      line[0][k] = line[0][k] + shift;
      if (finish.relu) line[0][k] = positive_part(line[0][k]);
    }
    S::store(out, line[0]);
  }
}

template <class S, int V, int STEP>
void sweep_blocks(const Sweep& s, typename S::T* out, const typename S::T* in, size_t out_block,
                  size_t in_block, int from, int to, const int32_t* groups, const Entry* entries,
                  const Finish& finish, const Quads* quads, int pool) {
  using T = typename S::T;
  constexpr int FOUR = Quad::outputs;
  const int width = pool ? (int)s.out_map / (int)s.rows.size() : 0;
  const size_t out_map = pool ? (s.rows.size() / 2) * (width / 2) : s.out_map;
  const size_t rows = pool ? s.rows.size() / 2 * 2 : s.rows.size();
  const size_t sums_map = ROWS * width, sums_block = FOUR * sums_map * S::lanes;
  std::vector<T> sums(pool ? V * sums_block : 0);  // of two rows of four channels
  Finish raw;
  raw.begun = finish.begun;
  // Two rows of tiles for all channels before the next rows: they read few rows of the input maps,
  // which stay in the cache, and the processor can foresee runs that it has just seen.
  for (size_t y = 0; y < rows; y += ROWS) {
    const size_t end = std::min(rows, y + ROWS);
    for (int first = from; first < to; first += FOUR) {
      const int last = std::min(to, first + FOUR), q = first / FOUR;
      const Target<S> four =
          pool ? Target<S>{sums.data(), y * width, sums_map, sums_block}
               : Target<S>{out + first * out_map * S::lanes, 0, out_map, out_block};
      const bool by_four = quads && q < quads->sweep.channels;
      const bool nothing_else = groups[first * s.groups] == groups[last * s.groups];
      if (by_four)
        for (int v = 0; v < V; ++v)
          for (size_t r = y; r < end; ++r)
            sweep_row<S, 1, STEP>(quads->sweep, r,
                                  Target<S>{four.data + v * four.block, four.first, four.map, four.block},
                                  in + v * in_block, in_block, q, quads->groups, quads->entries,
                                  nothing_else && !pool ? finish : raw);
      for (int o = first; o < last; ++o) {
        Target<S> one = four;
        one.data += (o - first) * four.map * S::lanes;
        for (size_t r = y; r < end && !(by_four && nothing_else); ++r)
          sweep_row<S, V, STEP>(s, r, one, in, in_block, o, groups, entries, pool ? raw : finish);
        for (int v = 0; pool && v < V; ++v)
          pool_rows<S>(out + v * out_block + (o * out_map + y / 2 * (width / 2)) * S::lanes,
                       sums.data() + v * sums_block + (o - first) * sums_map * S::lanes, width,
                       finish, o);
      }
    }
  }
}

// out[o] = finish(sum over the connected weights of o); out and in hold `blocks` blocks. With `pool`
// out has the largest of every 2×2 pixels.
template <class S>
void sweep(const std::vector<Sweep>& sweeps, typename S::T* out, const typename S::T* in,
           int in_channels, int blocks, const int32_t* groups, const Entry* entries,
           const Finish& finish, int threads, const Quads* quads = nullptr, int pool = 0) {
  const Sweep& any = sweeps.front();
  const size_t height = any.rows.size();
  const size_t out_map = pool ? (height / 2) * (any.out_map / height / 2) : any.out_map;
  const size_t out_block = any.channels * out_map * S::lanes;
  const size_t in_block = in_channels * any.in_map * S::lanes;
  // Small maps: several blocks at once, so that a weight is loaded once for as many sums.
  int widest = 1;
  for (const Sweep& s : sweeps)
    for (const auto& row : s.rows)
      for (const Tile& tile : row) widest = std::max(widest, tile.width);
  const int together = std::max(1, TILE / widest);
  const int bundles = (blocks + together - 1) / together;
  const int unit = quads ? Quad::outputs : 1;  // channels that belong to one piece
  const int units = (any.channels + unit - 1) / unit;
  const int parts = std::min(units, std::max(1, 4 * threads / bundles));
  parallel(bundles * parts, threads, [&](int piece) {
    const int bundle = piece / parts, part = piece % parts;
    const int from = units * part / parts * unit;
    const int to = std::min(any.channels, units * (part + 1) / parts * unit);
    for (int b = bundle * together; b < std::min(blocks, (bundle + 1) * together);) {
      typename S::T* o = out + b * out_block;
      const typename S::T* i = in + b * in_block;
      const int left = std::min(blocks, (bundle + 1) * together) - b;
      auto go = [&](auto V) {
        for (const Sweep& s : sweeps)
          if (s.in_step == 1)
            sweep_blocks<S, V, 1>(s, o, i, out_block, in_block, from, to, groups, entries, finish, quads, pool);
          else  // wider steps come in tiles of one pixel
            sweep_blocks<S, V, 2>(s, o, i, out_block, in_block, from, to, groups, entries, finish, quads, pool);
        b += V;
      };
      if (TILE >= 8 && together >= 8 && left >= 8) go(std::integral_constant<int, TILE < 8 ? 1 : 8>{});
      else if (TILE >= 4 && together >= 4 && left >= 4) go(std::integral_constant<int, TILE < 4 ? 1 : 4>{});
      else if (together >= 2 && left >= 2) go(std::integral_constant<int, 2>{});
      else go(std::integral_constant<int, 1>{});
    }
  });
}

template <class E>
std::vector<Sweep> plan_forward(const Geometry& g) {
  const Taps taps(g.kernel, 1, g.padding);
  std::vector<Reach> reach;
  for (int t = 0; t < g.taps(); ++t)
    reach.push_back({taps.kh[t] - g.padding, taps.kw[t] - g.padding, true});
  return {plan_sweep(g.outputs / E::outputs, reach, g.out_width, g.out_pixels(), 0, 0, 1,
                     g.out_height, g.out_width, g.height, g.width, g.pixels(), g.stride,
                     std::max(1, TILE / E::outputs))};
}

inline std::vector<Sweep> plan_backward(const Geometry& g) {
  const int s = g.stride;
  const Taps taps(g.kernel, s, g.padding);
  std::vector<Sweep> sweeps;
  for (int py = 0; py < std::min(s, g.height); ++py)
    for (int px = 0; px < std::min(s, g.width); ++px) {
      std::vector<Reach> reach;
      for (int t = 0; t < g.taps(); ++t) {
        const int kh = taps.kh[t], kw = taps.kw[t];
        const bool use = Taps::phase(kh, s, g.padding) == py && Taps::phase(kw, s, g.padding) == px;
        reach.push_back({use ? (py + g.padding - kh) / s : 0, use ? (px + g.padding - kw) / s : 0, use});
      }
      sweeps.push_back(plan_sweep(g.inputs, reach, g.width, g.pixels(), py, px, s,
                                  (g.height - py + s - 1) / s, (g.width - px + s - 1) / s,
                                  g.out_height, g.out_width, g.out_pixels(), 1));
    }
  return sweeps;
}

// What PLAN makes of a geometry, made once: for few images that takes as long as what it plans.
// `static`, or the builds for several instruction sets, whose tiles differ, would share the plans
// in one process.
template <std::vector<Sweep> (*PLAN)(const Geometry&)>
static const std::vector<Sweep>& planned(const Geometry& g) {
  using Key = std::array<int32_t, sizeof g / sizeof(int32_t)>;
  static std::map<Key, std::vector<Sweep>> plans;  // its elements stay where they are
  static std::mutex mutex;
  Key key;
  std::memcpy(key.data(), &g, sizeof g);
  std::lock_guard<std::mutex> lock(mutex);
  const auto found = plans.find(key);
  return found != plans.end() ? found->second : plans.emplace(key, PLAN(g)).first->second;
}

// Pixels of the output maps for which a tap is valid.
struct Window { int y0, y1, x0, x1; };

inline std::vector<Window> windows(const Geometry& g) {
  const Taps taps(g.kernel, 1, g.padding);
  std::vector<Window> all;
  auto range = [&](int k, int in, int out, int& a, int& b) {
    a = 0;
    while (a < out && a * g.stride + k - g.padding < 0) ++a;
    b = out;
    while (b > a && (b - 1) * g.stride + k - g.padding >= in) --b;
  };
  for (int t = 0; t < g.taps(); ++t) {
    Window w;
    range(taps.kh[t], g.height, g.out_height, w.y0, w.y1);
    range(taps.kw[t], g.width, g.out_width, w.x0, w.x1);
    all.push_back(w);
  }
  return all;
}

// Scalar products of E rows of inputs with one of gradients, which is loaded once for all of them;
// four sums each in turn, so that none waits for itself.
template <class S, int STEP, int E>
INLINE void add_products(vf (*sum)[4 * S::n], const typename S::T* const* a, ptrdiff_t row,
                         const typename S::T* g, int pixels, int step) {
  auto one = [&](int j, int x) __attribute__((always_inline)) {
    vf v[S::n];
    S::load(g + (size_t)x * S::lanes, v);
    for (int e = 0; e < E; ++e) {
      vf u[S::n];
      S::load(a[e] + row + (ptrdiff_t)x * (STEP ? STEP : step) * S::lanes, u);
      for (int k = 0; k < S::n; ++k)
        sum[e][j * S::n + k] = fma(u[k], v[k], sum[e][j * S::n + k]);
    }
  };
  int x = 0;
  for (; x + 4 <= pixels; x += 4) one(0, x), one(1, x + 1), one(2, x + 2), one(3, x + 3);
  if (pixels & 2) one(0, x), one(1, x + 1), x += 2;
  if (pixels & 1) one(2, x);
}

// How the images and pixels of a layer are divided into parts, each with a sum of its own for every
// connected weight. Fixed by the shape alone, so that sums have the same order on any number of
// threads and any machine: several blocks of small maps, some rows of large ones.
struct Division {
  int blocks;  // of images of a part
  int rows;    // of the output maps
  int row_parts, parts;

  Division(const Geometry& g, int all_blocks) {
    constexpr size_t CACHE = 384 << 10, PIXELS = 32;  // most bytes of input, fewest pixels
    blocks = g.out_pixels() <= 16 ? 4 : 1;
    rows = g.out_height;
    auto bytes = [&](int r) {
      return (size_t)g.inputs * ((r - 1) * g.stride + g.kernel) * g.width * F32::lanes * 4;
    };
    while (rows > 1 && bytes(rows) > CACHE && (size_t)rows / 2 * g.out_width >= PIXELS)
      rows = (rows + 1) / 2;
    row_parts = (g.out_height + rows - 1) / rows;
    parts = (all_blocks + blocks - 1) / blocks * row_parts;
  }
};

// partial[part][entry] = sum over the images and pixels of a part of input · output gradient.
// Entries are those of the forward index.
template <class S>
void weight_gradient(const Geometry& g, const Division& d, const typename S::T* in,
                     const typename S::T* grad, int blocks, const int32_t* groups,
                     const Entry* entries, float* partial, int threads) {
  const size_t in_block = (size_t)g.inputs * g.pixels() * S::lanes;
  const size_t grad_block = (size_t)g.outputs * g.out_pixels() * S::lanes;
  const int taps = g.taps(), n = groups[(size_t)g.outputs * taps];
  const std::vector<Window> window = windows(g);
  const int shares = std::min(g.outputs, std::max(1, 4 * threads / d.parts));
  parallel(d.parts * shares, threads, [&](int piece) {
    const int part = piece / shares, share = piece % shares;
    const int first_block = part / d.row_parts * d.blocks;
    const int end_block = std::min(blocks, first_block + d.blocks);
    const int top = part % d.row_parts * d.rows, bottom = std::min(g.out_height, top + d.rows);
    for (int o = g.outputs * share / shares; o < g.outputs * (share + 1) / shares; ++o)
      for (int t = 0; t < taps; ++t) {
        const Window& w = window[t];
        const int y0 = std::max(w.y0, top), y1 = std::min(w.y1, bottom), wide = w.x1 - w.x0;
        const ptrdiff_t first_in = (ptrdiff_t)(y0 * g.width + w.x0) * g.stride * S::lanes;
        const size_t first_grad = ((size_t)o * g.out_pixels() + y0 * g.out_width + w.x0) * S::lanes;
        auto sums = [&](auto together, int e) __attribute__((always_inline)) {
          constexpr int E = decltype(together)::value;
          vf sum[E][4 * S::n];
          for (auto& entry : sum)
            for (auto& s : entry) s = all(0);
          for (int b = first_block; b < end_block; ++b) {
            const typename S::T* a[E];
            for (int i = 0; i < E; ++i) a[i] = in + b * in_block + entries[e + i].place + first_in;
            const typename S::T* v = grad + b * grad_block + first_grad;
            ptrdiff_t row = 0;
            for (int y = y0; y < y1; ++y) {
              if (g.stride == 1) add_products<S, 1, E>(sum, a, row, v, wide, 1);
              else add_products<S, 0, E>(sum, a, row, v, wide, g.stride);
              row += (ptrdiff_t)g.stride * g.width * S::lanes;
              v += (size_t)g.out_width * S::lanes;
            }
          }
          for (int i = 0; i < E; ++i) {
            vf* s = sum[i];
            for (int k = 0; k < S::n; ++k)
              s[k] = (s[k] + s[S::n + k]) + (s[2 * S::n + k] + s[3 * S::n + k]);
            partial[(size_t)part * n + e + i] = sum_lanes<S::n>(s);
          }
        };
        constexpr int E = std::max(1, (W > 8 ? 24 : 8) / (4 * S::n));  // what registers hold
        int e = groups[o * taps + t];
        const int end = groups[o * taps + t + 1];
        for (; e + E <= end; e += E) sums(std::integral_constant<int, E>(), e);
        for (; e < end; ++e) sums(std::integral_constant<int, 1>(), e);
      }
  });
}

}  // namespace rewire
