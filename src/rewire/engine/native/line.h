// Lines: the values of neighbouring images at one place (channel, pixel), computed together.
//
// Blocked activations are [block of images][channel][pixel][image of the block]. A line is the last
// axis: 16 images in float32 whatever the machine, so that sums have the same order everywhere.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(REWIRE_WIDTH)  // of a vector, in floats; a wider one than the machine's also works
#elif defined(__AVX512F__)
#define REWIRE_WIDTH 16
#elif defined(__AVX2__)
#define REWIRE_WIDTH 8
#else
#define REWIRE_WIDTH 4
#endif

#define INLINE inline __attribute__((always_inline))

namespace rewire {

constexpr int W = REWIRE_WIDTH;
typedef float vf __attribute__((vector_size(W * 4), may_alias));
typedef uint32_t vu __attribute__((vector_size(W * 4), may_alias));

INLINE vf all(float x) { return x - vf{}; }  // this form becomes one instruction

// a·b + c, rounded once wherever the machine can: never left to the compiler, which would decide
// differently from machine to machine.
INLINE vf fma(vf a, vf b, vf c) {
#if defined(__AVX512F__) && REWIRE_WIDTH == 16
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && REWIRE_WIDTH == 8
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FMA__)
  for (int i = 0; i < W; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#else
  return a * b + c;
#endif
}

// v is loaded once and stays in a register. By itself the compiler reads pairs out of memory for
// their even and for their odd images, and the second-level cache is what limits wide vectors.
INLINE void keep(vu& v) {
#if defined(__AVX512F__) && REWIRE_WIDTH == 16
  asm("" : "+v"(v));
#endif
}

INLINE vf select(vu mask, vf yes, vf no) { return (vf)((mask & (vu)yes) | (~mask & (vu)no)); }

// a where a > b, else b, also where a is not a number; of vectors of any width and of floats.
template <class V>
INLINE V larger(V a, V b) { return a > b ? a : b; }

// The same, but a where a is not a number, either.
template <class V>
INLINE V largest(V a, V b) { return ((a > b) | (a != a)) ? a : b; }

// Where the largest so far is no longer that.
INLINE vu exceeds(vf value, vf best) { return (vu)(value > best) | (vu)(value != value); }

// L floats computed together, where fewer than W are wanted.
template <int L>
struct Floats {
  typedef float type __attribute__((vector_size(L * 4), may_alias));
};

// Of two vectors that follow one another, every second value from the first (FROM = 0) or the second
// one (1) on.
template <int FROM, class V, int... I>
INLINE V every_second(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (2 * I + FROM)...);
}

INLINE vf positive_part(vf v) { return larger(all(0), v); }

// Sum over the 16 (or more) lanes of a line: lane i and lane i + half, then half of those. The order
// does not depend on W.
template <int N>
INLINE float sum_lanes(const vf* line) {
  vf v[N];
  for (int i = 0; i < N; ++i) v[i] = line[i];
  for (int half = N / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) v[i] = v[i] + v[i + half];
  vf s = v[0];
#if REWIRE_WIDTH == 16
  s = s + __builtin_shufflevector(s, s, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  s = s + __builtin_shufflevector(s, s, 4, 5, 6, 7, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0);
  s = s + __builtin_shufflevector(s, s, 2, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
#elif REWIRE_WIDTH == 8
  s = s + __builtin_shufflevector(s, s, 4, 5, 6, 7, 0, 1, 2, 3);
  s = s + __builtin_shufflevector(s, s, 2, 3, 0, 1, 0, 0, 0, 0);
#else
  s = s + __builtin_shufflevector(s, s, 2, 3, 0, 1);
#endif
  return s[0] + s[1];
}

INLINE uint32_t bits(float x) { uint32_t u; std::memcpy(&u, &x, 4); return u; }
INLINE float number(uint32_t u) { float x; std::memcpy(&x, &u, 4); return x; }

// Storage in float32.
struct F32 {
  using T = float;
  static constexpr int lanes = 16, n = lanes / W;  // n vectors a line
  static INLINE void load(const T* p, vf* v) {
    for (int k = 0; k < n; ++k) std::memcpy(&v[k], p + k * W, sizeof(vf));
  }
  static INLINE void store(T* p, const vf* v) {
    for (int k = 0; k < n; ++k) std::memcpy(p + k * W, &v[k], sizeof(vf));
  }
  static INLINE T narrow(float x) { return x; }
  static INLINE float widen(T x) { return x; }
};

// Storage in bfloat16, computed in float32. A vector of pairs gives two vectors: the even images
// and the odd ones. Rounded to the nearest, ties to even.
struct B16 {
  using T = uint16_t;
  static constexpr int lanes = W > 8 ? 2 * W : 16, n = lanes / W;
  static INLINE void load(const T* p, vf* v) {
    for (int k = 0; k < n; k += 2) {
      vu pairs;
      std::memcpy(&pairs, p + k * W, sizeof pairs);
      keep(pairs);
      v[k] = (vf)(pairs << 16);
      v[k + 1] = (vf)(pairs & 0xffff0000u);
    }
  }
  static INLINE void store(T* p, const vf* v) {
    for (int k = 0; k < n; k += 2) {
      vu even = (vu)v[k], odd = (vu)v[k + 1];
      even += 0x7fff + ((even >> 16) & 1);
      odd += 0x7fff + ((odd >> 16) & 1);
      vu pairs = (even >> 16) | (odd & 0xffff0000u);
      std::memcpy(p + k * W, &pairs, sizeof pairs);
    }
  }
  static INLINE T narrow(float x) {
    uint32_t u = bits(x);
    return (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  }
  static INLINE float widen(T x) { return number((uint32_t)x << 16); }
};

template <class S>
int blocks_of(int images) { return (images + S::lanes - 1) / S::lanes; }

// Which images of a block exist: lines of the last block may have lanes without an image.
template <class S>
struct Lanes {
  vu mask[S::n];
  Lanes(int images) {
    typename S::T line[S::lanes];
    for (int j = 0; j < S::lanes; ++j) line[j] = S::narrow(j < images ? 1.f : 0.f);
    vf v[S::n];
    S::load(line, v);
    for (int k = 0; k < S::n; ++k) mask[k] = (vu)(v[k] > all(0));
  }
};

}  // namespace rewire
