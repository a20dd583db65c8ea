// The C interface of the engine; called by engine/library.py. Pointers are the caller's arrays.
#include "conv.h"
#include "index.h"
#include "layout.h"
#include "nearest.h"
#include "norm.h"
#include "program.h"
#include "update.h"
#include <cstdlib>
#include <string>
#include <sys/mman.h>

using namespace rewire;

namespace {

// Calls f with the storage: 0 is float32, 1 bfloat16. Of no images there is nothing to compute.
template <class F>
void stored(int storage, int images, F&& f) {
  if (images <= 0) return;
  if (storage) f(B16{}); else f(F32{});
}

template <class S> typename S::T* data(void* p) { return static_cast<typename S::T*>(p); }
template <class S> const typename S::T* data(const void* p) {
  return static_cast<const typename S::T*>(p);
}

constexpr size_t HUGE_PAGE = 2 << 20;
size_t rounded(size_t bytes) {
  const size_t to = bytes >= HUGE_PAGE ? HUGE_PAGE : 4096;
  return (bytes + to - 1) / to * to;
}

}  // namespace

extern "C" {

const char* rewire_isa() {
#if defined(__AVX512F__)
  return "avx512";
#elif defined(__AVX2__)
  return "avx2";
#else
  return "plain";
#endif
}

// Fingerprint of the sources of this build (setup.py).
const char* rewire_source() {
#if defined(REWIRE_SOURCE)
  return REWIRE_SOURCE;
#else
  return "";
#endif
}

// 1 where this machine can run the build of that name.
int rewire_supports(const char* isa) {
  const std::string name(isa);
  if (name == "plain") return 1;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (name == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (name == "avx512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#endif
  return 0;
}

int rewire_lanes(int storage) { return storage ? B16::lanes : F32::lanes; }

// Memory for activations: whole huge pages, of which a walk over all channels needs few.
void* rewire_allocate(size_t bytes) {
  const size_t size = rounded(bytes);
  void* p = std::aligned_alloc(size >= HUGE_PAGE ? HUGE_PAGE : 4096, size);
#if defined(MADV_HUGEPAGE)
  if (p && size >= HUGE_PAGE) madvise(p, size, MADV_HUGEPAGE);
#endif
  return p;
}

void rewire_free(void* p) { std::free(p); }

// Index of `layers` layers at once. bounds[l] is where layer l begins in `keys`, first[l] where it
// begins in the flat parameter; the arrays of all layers follow one another.
void rewire_build_index(const Geometry* geometry, int layers, const int64_t* keys,
                        const int64_t* bounds, const int64_t* first, const int64_t* group_start,
                        int32_t* forward_groups, void* forward, int32_t* forward_order,
                        const int64_t* back_start, int32_t* backward_groups, void* backward,
                        int32_t* backward_order, int threads) {
  parallel(layers, threads, [&](int l) {
    const int64_t at = bounds[l];
    build_index(geometry[l], keys + at, first[l], (int)(bounds[l + 1] - at),
                forward_groups + group_start[l], static_cast<Entry*>(forward) + at,
                forward_order + at, backward_groups + back_start[l],
                static_cast<Entry*>(backward) + at, backward_order + at);
  });
}

// Puts the weights of all layers into both indices; values are in the order of the keys.
void rewire_set_weights(int layers, const int64_t* bounds, const float* values, void* forward,
                        const int32_t* forward_order, void* backward,
                        const int32_t* backward_order, int threads) {
  Entry *f = static_cast<Entry*>(forward), *b = static_cast<Entry*>(backward);
  parallel(2 * layers, threads, [&](int piece) {
    const int64_t at = bounds[piece / 2], end = bounds[piece / 2 + 1];
    Entry* e = piece % 2 ? b : f;
    const int32_t* order = piece % 2 ? backward_order : forward_order;
    for (int64_t k = at; k < end; ++k) e[k].weight = values[at + order[k]];
  });
}

// See `convolve` in program.h.
void rewire_convolve(int storage, const Geometry* g, int images, const void* in, void* out,
                     const int32_t* groups, const void* entries, const int32_t* quad_groups,
                     const void* quads, const float* shift, int relu, int pool, int threads) {
  stored(storage, images, [&](auto s) {
    using S = decltype(s);
    convolve<S>(*g, images, data<S>(in), data<S>(out), groups, static_cast<const Entry*>(entries),
                quad_groups, static_cast<const Quad*>(quads), shift, relu != 0, pool, threads);
  });
}

void rewire_convolve_back(int storage, const Geometry* g, int images, const void* grad, void* out,
                          const int32_t* groups, const void* entries, int threads) {
  stored(storage, images, [&](auto s) {
    using S = decltype(s);
    sweep<S>(planned<plan_backward>(*g), data<S>(out), data<S>(grad), g->outputs, blocks_of<S>(images),
             groups, static_cast<const Entry*>(entries), Finish{}, threads);
  });
}

// Gradient of each connected weight, in the order of the keys.
void rewire_weight_gradient(int storage, const Geometry* g, int images, const void* in,
                            const void* grad, const int32_t* groups, const void* entries,
                            const int32_t* order, float* out, int threads) {
  if (images <= 0) std::fill_n(out, groups[(size_t)g->outputs * g->taps()], 0.f);
  stored(storage, images, [&](auto s) {
    using S = decltype(s);
    const int blocks = blocks_of<S>(images);
    const Division d(*g, blocks);
    const int n = groups[(size_t)g->outputs * g->taps()];
    std::vector<float> partial((size_t)d.parts * n);
    weight_gradient<S>(*g, d, data<S>(in), data<S>(grad), blocks, groups,
                       static_cast<const Entry*>(entries), partial.data(), threads);
    constexpr int PIECE = 1 << 13;
    parallel((n + PIECE - 1) / PIECE, threads, [&](int piece) {
      for (int e = piece * PIECE; e < std::min(n, (piece + 1) * PIECE); ++e) {
        float sum = partial[e];
        for (int part = 1; part < d.parts; ++part) sum += partial[(size_t)part * n + e];
        out[order[e]] = sum;
      }
    });
  });
}

void rewire_moments(int storage, int images, int channels, int height, int width, const void* z,
                    float* mean, float* variance, int threads) {
  if (images <= 0) std::fill_n(mean, channels, 0.f), std::fill_n(variance, channels, 0.f);
  stored(storage, images, [&](auto s) {
    using S = decltype(s);
    moments<S>({channels, height, width, images}, data<S>(z), mean, variance, threads);
  });
}

void rewire_tail(int storage, int images, int channels, int height, int width, int relu, int pool,
                 const void* z, const float* scale, const float* shift, void* out, void* winners,
                 int threads) {
  stored(storage, images, [&](auto s) {
    using S = decltype(s);
    tail_forward<S>({channels, height, width, images}, {relu != 0, pool != 0}, data<S>(z), scale,
                    shift, data<S>(out), data<S>(winners), threads);
  });
}

void rewire_tail_back(int storage, int images, int channels, int height, int width, int relu,
                      int pool, const void* z, const void* grad, const void* winners,
                      const float* scale, const float* shift, const float* mean,
                      const float* inverse, int batch, float* dscale, float* dshift, void* dz,
                      int threads) {
  if (images <= 0 && dscale) std::fill_n(dscale, channels, 0.f), std::fill_n(dshift, channels, 0.f);
  stored(storage, images, [&](auto s) {
    using S = decltype(s);
    tail_backward<S>({channels, height, width, images}, {relu != 0, pool != 0}, data<S>(z),
                     data<S>(grad), data<S>(winners), scale, shift, mean, inverse, batch != 0,
                     dscale, dshift, data<S>(dz), threads);
  });
}

// Images (count, channels, height, width) → logits (count, classes): one by one through planes that
// hold one image, or in blocks through maps that hold `held`, of which there are `copies`.
void rewire_run(const float* images, int count, int held, int copies, const Plane* inputs,
                const Operation* ops, int n, float* logits, int threads) {
  if (held == 1) run_singly(images, count, *inputs, ops, n, logits, threads);
  else run_in_blocks(images, count, held, copies, inputs, ops, n, logits, threads);
}

void rewire_pack(int storage, const float* x, const int64_t* strides, int images, int channels,
                 int height, int width, void* out, int threads) {
  stored(storage, images, [&](auto s) {
    using S = decltype(s);
    pack<S>(x, strides, images, channels, height, width, data<S>(out), threads);
  });
}

void rewire_unpack(int storage, const void* blocked, int images, int channels, int height,
                   int width, float* out, int threads) {
  stored(storage, images, [&](auto s) {
    using S = decltype(s);
    unpack<S>(data<S>(blocked), images, channels, height, width, out, threads);
  });
}

// Step number `total` (from 0) of the listed entries, which are different ones; see update.h.
void rewire_step(float* theta, float* velocity, int32_t* done, const int64_t* index,
                 const float* gradient, int64_t n, int32_t total, float keep, float momentum,
                 float rate, int threads) {
  constexpr int64_t PIECE = 1 << 14;
  parallel((int)((n + PIECE - 1) / PIECE), threads, [&](int piece) {
    const int64_t from = piece * PIECE;
    step_listed(theta, velocity, done, index + from, gradient ? gradient + from : nullptr,
                std::min(n - from, PIECE), total, {keep, momentum, rate});
  });
}

// Those of the listed entries that are not connected but may become so by their velocity alone.
// Returns how many were written.
int64_t rewire_moving(const float* theta, const float* velocity, const int64_t* index, int64_t n,
                      float reach, int64_t* out, int threads) {
  constexpr int64_t PIECE = 1 << 14;
  std::vector<int64_t> found((n + PIECE - 1) / PIECE);
  parallel((int)found.size(), threads, [&](int piece) {
    const int64_t from = piece * PIECE;
    found[piece] = list_moving(theta, velocity, index + from, std::min(n - from, PIECE), reach, out + from);
  });
  int64_t all = 0;
  for (size_t piece = 0; piece < found.size(); all += found[piece++])
    std::copy(out + piece * PIECE, out + piece * PIECE + found[piece], out + all);
  return all;
}

// See `nearest` in nearest.h.
void rewire_nearest(const float* theta, const Space* spaces, int layers, const int64_t* sources,
                    int64_t n, int metric, int ties, uint64_t seed, int64_t* out, int threads) {
  parallel(layers, threads, [&](int l) {
    nearest(theta, spaces[l], sources, n, metric, ties, seed, out);
  });
}

void rewire_settle(float* theta, float* velocity, int32_t* done, int64_t n, const float* keep,
                   int32_t total, float momentum, int threads) {
  const int64_t piece = 1 << 14;
  parallel((int)((n + piece - 1) / piece), threads, [&](int p) {
    settle(theta, velocity, done, p * piece, std::min(n, (p + 1) * piece), keep, total, momentum);
  });
}

}  // extern "C"
