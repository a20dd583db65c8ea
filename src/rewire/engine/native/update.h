// The momentum step on lists of entries (thesis, section 2; training/optimiser.py has the dense
// form). Every operation is rounded by itself, as it is there: the same bits.
#pragma once
#include <cstdint>

namespace rewire {

struct Step { float keep, momentum, rate; };  // θ ← keep·θ + v, v ← momentum·v − rate·g

INLINE void step_entry(float& theta, float& velocity, float gradient, const Step& s) {
  const float kept = velocity * s.momentum, moved = gradient * s.rate;
  velocity = kept - moved;
  theta = theta * s.keep + velocity;
}

// Velocity after `steps` steps without a gradient; ends where multiplying changes nothing more.
inline float coasted(float velocity, int64_t steps, float momentum) {
  for (; steps > 0; --steps) {
    const float next = velocity * momentum - 0.f;
    if (bits(next) == bits(velocity)) break;
    velocity = next;
  }
  return velocity;
}

// Step number `total` (from 0) of the listed entries; no gradient is one of zeros. An entry that
// was dormant until now (done[i] < total) was set to a new θ, but kept its velocity, which first
// makes the steps that it missed.
inline void step_listed(float* theta, float* velocity, int32_t* done, const int64_t* index,
                        const float* gradient, int64_t n, int32_t total, Step s) {
  for (int64_t k = 0; k < n; ++k) {
    const int64_t i = index[k];
    if (done[i] < total) velocity[i] = coasted(velocity[i], total - done[i], s.momentum);
    step_entry(theta[i], velocity[i], gradient ? gradient[k] : 0.f, s);
    done[i] = total + 1;
  }
}

// An unconnected entry (θ ≤ 0) that nothing but its velocity moves gains at most reach·velocity.
// Near the smallest numbers rounding is no longer relative, so there it is always taken for moving.
inline int64_t list_moving(const float* theta, const float* velocity, const int64_t* index,
                           int64_t n, float reach, int64_t* out) {
  int64_t found = 0;
  for (int64_t k = 0; k < n; ++k) {
    const float t = theta[index[k]];
    if (t > 0.f) continue;
    const float v = velocity[index[k]];
    if (v > 0.f && (reach * v >= -t || t > -1e-30f)) out[found++] = index[k];
  }
  return found;
}

// Brings dormant entries up to date: entry i has made `done[i]` of `total` steps; the last ones had
// keep[done[i]], ..., keep[total − 1].
inline void settle_one(float& theta, float& velocity, int32_t k, const float* keep, int32_t total,
                       float momentum) {
  for (; k < total; ++k) {
    velocity = velocity * momentum - 0.f;
    theta = theta * keep[k] + velocity;
  }
}

// Multiplying ends at one of the smallest numbers, which it rounds to itself: a velocity of at most
// this many times the smallest one (their bits, without sign) stays what it is.
inline uint32_t bits_at_rest(float momentum) {
  uint32_t rest = 0;
  while (rest < 64 && bits(number(rest + 1) * momentum) == rest + 1) ++rest;
  return rest;
}

// The same for many entries that all have made no step yet; `moving`: not all velocities are at rest.
template <int N>
void settle_many(float* theta, float* velocity, const float* keep, int32_t total, float momentum,
                 bool moving) {
  vf t[N], v[N];
  std::memcpy(t, theta, sizeof t);
  std::memcpy(v, velocity, sizeof v);
  for (int32_t k = 0; k < total; ++k) {
    const vf kept = all(keep[k]);
    if (moving) {  // until multiplying the smallest numbers changes nothing more
      vu changed = {};
      for (int i = 0; i < N; ++i) {
        const vf next = v[i] * all(momentum) - all(0);
        changed |= (vu)next ^ (vu)v[i];
        v[i] = next;
      }
      uint32_t any = 0;
      for (int j = 0; j < W; ++j) any |= changed[j];
      moving = any;
    }
    for (int i = 0; i < N; ++i) t[i] = t[i] * kept + v[i];
  }
  std::memcpy(theta, t, sizeof t);
  std::memcpy(velocity, v, sizeof v);
}

// Most velocities are at rest. They wait apart from the others: a processor takes a hundred times as
// long to multiply the smallest numbers.
inline void settle(float* theta, float* velocity, int32_t* done, int64_t from, int64_t to,
                   const float* keep, int32_t total, float momentum) {
  constexpr int N = 8, many = N * W;
  struct Waiting { int64_t entries[many]; int count = 0; } resting, moving;
  const uint32_t rest = bits_at_rest(momentum);
  auto work_off = [&](Waiting& w) {
    float t[many] = {}, v[many] = {};
    for (int j = 0; j < w.count; ++j) t[j] = theta[w.entries[j]], v[j] = velocity[w.entries[j]];
    settle_many<N>(t, v, keep, total, momentum, &w == &moving);
    for (int j = 0; j < w.count; ++j) theta[w.entries[j]] = t[j], velocity[w.entries[j]] = v[j];
    w.count = 0;
  };
  for (int64_t i = from; i < to; ++i) {
    const int32_t k = done[i];
    done[i] = 0;  // of the next period
    if (k == total || (theta[i] == 0.f && velocity[i] == 0.f)) continue;
    if (theta[i] > 0.f) {  // connected after the last step: θ is new
      velocity[i] = coasted(velocity[i], total - k, momentum);
    } else if (k) {
      settle_one(theta[i], velocity[i], k, keep, total, momentum);
    } else {
      Waiting& w = (bits(velocity[i]) & 0x7fffffffu) <= rest ? resting : moving;
      w.entries[w.count++] = i;
      if (w.count == many) work_off(w);
    }
  }
  for (Waiting* w : {&resting, &moving})
    if (w->count) work_off(*w);
}

}  // namespace rewire
