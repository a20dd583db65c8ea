// The nearest unconnected entry of given entries of the flat parameter, one source after the other
// (connectivity/nearest.py).
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <vector>

namespace rewire {

constexpr int AXES = 4;

// Index space of one layer, brought to AXES axes by axes of size 1 in front; the last is innermost.
struct Space {
  int64_t start, end;  // in the flat parameter
  int64_t vectors;     // lowest-dimensional vectors: entries of a source's own are a multiple away
  int64_t size[AXES];

  bool holds(int64_t entry) const { return start <= entry && entry < end; }
  int64_t vector_of(int64_t entry) const { return (entry - start) % vectors; }
  // Place where the outputs are the innermost axis, as the reference stores a layer.
  int64_t place_in_reference(int64_t entry) const {
    return vector_of(entry) * ((end - start) / vectors) + (entry - start) / vectors;
  }
};

// In the order of rewire.options; of `matrix` the space is one.
enum Metric { EUCLIDEAN, EQ3 };
enum Ties { RANDOM, FIRST, SAME_VECTOR };

// Different entries, at most as many as it was made for.
class Taken {
 public:
  explicit Taken(int64_t most) {
    while (mask_ < 2 * most) mask_ = 2 * mask_ + 1;
    slots_.assign(mask_ + 1, -1);
  }

  bool holds(int64_t entry) const { return slots_[slot(entry)] == entry; }
  void insert(int64_t entry) { slots_[slot(entry)] = entry; }

 private:
  int64_t slot(int64_t entry) const {
    int64_t at = (int64_t)((uint64_t)entry * 0x9e3779b97f4a7c15u >> 32) & mask_;
    while (slots_[at] != -1 && slots_[at] != entry) at = (at + 1) & mask_;
    return at;
  }

  int64_t mask_ = 1;
  std::vector<int64_t> slots_;
};

// 64 random bits that belong to (seed, number): the finaliser of SplitMix64.
inline uint64_t random_bits(uint64_t seed, uint64_t number) {
  uint64_t z = seed + (number + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

class Search {
 public:
  Search(const float* theta, const Space& space, const Taken& taken, int metric)
      : theta_(theta), space_(space), taken_(taken), metric_(metric) {
    int64_t stride = 1;
    for (int axis = AXES; axis--; stride *= space.size[axis]) stride_[axis] = stride;
  }

  // All entries that are unconnected, not taken, and as near as any; none if there is none left.
  const std::vector<int64_t>& nearest(int64_t source) {
    int64_t farthest = 0;
    for (int axis = 0; axis < AXES; ++axis) {
      at_[axis] = (source - space_.start) / stride_[axis] % space_.size[axis];
      farthest += std::max(away(axis, 0), away(axis, space_.size[axis] - 1));
    }
    found_.clear();
    // Nearly all are found close by, so no search begins by looking far.
    for (limit_ = 1;; limit_ = limit_ < 4 ? limit_ + 1 : 4 * limit_) {
      look<0>(source, 0);
      if (!found_.empty() || limit_ >= farthest) return found_;
    }
  }

 private:
  // What a coordinate adds to the distance; it grows to both sides of the source.
  int64_t away(int axis, int64_t to) const {
    const int64_t from = at_[axis];
    return metric_ == EQ3 ? std::abs(to * to - from * from) : (to - from) * (to - from);
  }

  // Looks outwards along this axis and those behind it, as far as nothing nearer is known.
  template <int axis>
  void look(int64_t entry, int64_t distance) {
    if constexpr (axis == AXES) {
      if (!(theta_[entry] <= 0.f) || taken_.holds(entry)) return;
      if (distance < limit_) limit_ = distance, found_.clear();
      found_.push_back(entry);
    } else {
      look<axis + 1>(entry, distance);
      bool near = true;
      for (int64_t step = 1; near; ++step) {
        near = false;
        for (const int64_t by : {-step, step}) {
          const int64_t to = at_[axis] + by;
          if (to < 0 || to >= space_.size[axis] || distance + away(axis, to) > limit_) continue;
          look<axis + 1>(entry + by * stride_[axis], distance + away(axis, to));
          near = true;
        }
      }
    }
  }

  const float* theta_;
  const Space& space_;
  const Taken& taken_;
  const int metric_;
  int64_t stride_[AXES], at_[AXES], limit_ = 0;
  std::vector<int64_t> found_;
};

// Of several that are equally near: the first by the rule, or by `draw` one of those it leaves.
inline int64_t choose(const std::vector<int64_t>& found, int64_t source, const Space& space, int ties,
                      uint64_t draw) {
  if (ties == FIRST)
    return *std::min_element(found.begin(), found.end(), [&](int64_t a, int64_t b) {
      return space.place_in_reference(a) < space.place_in_reference(b);
    });
  std::vector<int64_t> own;
  if (ties == SAME_VECTOR)
    std::copy_if(found.begin(), found.end(), std::back_inserter(own), [&](int64_t entry) {
      return space.vector_of(entry) == space.vector_of(source);
    });
  const auto& among = own.empty() ? found : own;
  return among[(uint64_t)((unsigned __int128)draw * among.size() >> 64)];
}

// out[k]: the nearest entry of sources[k] that no earlier source has, -1 where a layer has no more.
// Layers do not see each other.
inline void nearest(const float* theta, const Space& space, const int64_t* sources, int64_t n,
                    int metric, int ties, uint64_t seed, int64_t* out) {
  int64_t own = 0;
  for (int64_t k = 0; k < n; ++k) own += space.holds(sources[k]);
  Taken taken(own);
  Search search(theta, space, taken, metric);
  for (int64_t k = 0; k < n; ++k) {
    if (!space.holds(sources[k])) continue;
    const auto& found = search.nearest(sources[k]);
    out[k] = found.empty() ? -1 : choose(found, sources[k], space, ties, random_bits(seed, k));
    taken.insert(out[k]);
  }
}

}  // namespace rewire
