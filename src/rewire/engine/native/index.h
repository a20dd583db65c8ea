// Index of a sparse layer: its connected weights by output (forward) and by input (backward).
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace rewire {

// Shape of one layer; shared with Python (engine/library.py). A dense layer is a 1×1 convolution
// of 1×1 maps.
struct Geometry {
  int32_t inputs, outputs;     // channels
  int32_t height, width;       // of the input maps
  int32_t kernel, stride, padding;
  int32_t out_height, out_width;
  int32_t lanes;               // images of a block of the input and output activations

  int taps() const { return kernel * kernel; }
  int pixels() const { return height * width; }
  int out_pixels() const { return out_height * out_width; }
};

// A connected weight, seen from the channel that sums: where the other value lies, and the weight.
// The place is counted in elements from the pixel that belongs to the output pixel.
struct Entry {
  static constexpr int outputs = 1;
  int32_t place;
  float weight;
  float of(int) const { return weight; }
};

// The weights from one input to four outputs next to one another, zeros among them: where vectors
// are well filled, one load of the input feeds four sums.
struct Quad {
  static constexpr int outputs = 4;
  int32_t place;
  float weight[4];
  float of(int output) const { return weight[output]; }
};

// Order of the taps inside a row of an index: the columns of the kernel one after the other, and in
// each its rows. Then the taps that are valid for an output pixel are few runs of groups. For the
// gradient of a strided convolution only every stride-th tap belongs to an output pixel: those that
// belong together stand together.
struct Taps {
  std::vector<int> group_of;  // kh * kernel + kw -> group
  std::vector<int> kh, kw;    // group -> tap

  Taps(int kernel, int phases, int padding) {
    group_of.resize(kernel * kernel);
    for (int phase_x = 0; phase_x < phases; ++phase_x)
      for (int x = 0; x < kernel; ++x) {
        if (phase(x, phases, padding) != phase_x) continue;
        for (int phase_y = 0; phase_y < phases; ++phase_y)
          for (int y = 0; y < kernel; ++y) {
            if (phase(y, phases, padding) != phase_y) continue;
            group_of[y * kernel + x] = (int)kh.size();
            kh.push_back(y);
            kw.push_back(x);
          }
      }
  }
  // Which of the `phases` kinds of output pixels tap `at` contributes to.
  static int phase(int at, int phases, int padding) {
    return (((at - padding) % phases) + phases) % phases;
  }
};

// Fills the index of one layer; every array is the caller's.
//   keys: (n,) ascending positions in storage order (output, kernel row, kernel column, input)
//   forward_groups: (outputs·taps + 1,), forward: (n,), forward_order: (n,) entry -> key number
//   backward_groups: (inputs·taps + 1,), backward, backward_order: likewise
inline void build_index(const Geometry& g, const int64_t* keys, int64_t first, int n,
                        int32_t* forward_groups, Entry* forward, int32_t* forward_order,
                        int32_t* backward_groups, Entry* backward, int32_t* backward_order) {
  const int taps = g.taps(), lanes = g.lanes;
  const Taps ahead(g.kernel, 1, g.padding), back(g.kernel, g.stride, g.padding);
  std::vector<int32_t> ahead_place(taps), back_place(taps);
  for (int kh = 0; kh < g.kernel; ++kh)
    for (int kw = 0; kw < g.kernel; ++kw) {
      const int tap = kh * g.kernel + kw;
      ahead_place[tap] = ((kh - g.padding) * g.width + (kw - g.padding)) * lanes;
      // Input pixel y = yy·stride + phase sees output pixel yy + (phase + padding - kh) / stride.
      const int py = Taps::phase(kh, g.stride, g.padding), px = Taps::phase(kw, g.stride, g.padding);
      back_place[tap] = ((py + g.padding - kh) / g.stride * g.out_width +
                         (px + g.padding - kw) / g.stride) * lanes;
    }
  const int64_t forward_rows = (int64_t)g.outputs * taps, backward_rows = (int64_t)g.inputs * taps;
  std::fill(forward_groups, forward_groups + forward_rows + 1, 0);
  std::fill(backward_groups, backward_groups + backward_rows + 1, 0);
  // Keys ascend, so their rows (output, tap) are met one after the other.
  auto each_key = [&](auto visit) {
    int k = 0;
    for (int output = 0; output < g.outputs && k < n; ++output)
      for (int tap = 0; tap < taps && k < n; ++tap) {
        const int64_t begin = first + ((int64_t)output * taps + tap) * g.inputs;
        for (; k < n && keys[k] < begin + g.inputs; ++k) visit(k, output, tap, (int)(keys[k] - begin));
      }
  };
  each_key([&](int, int output, int tap, int input) {
    ++forward_groups[output * taps + ahead.group_of[tap] + 1];
    ++backward_groups[input * taps + back.group_of[tap] + 1];
  });
  for (int64_t r = 0; r < forward_rows; ++r) forward_groups[r + 1] += forward_groups[r];
  for (int64_t r = 0; r < backward_rows; ++r) backward_groups[r + 1] += backward_groups[r];
  std::vector<int32_t> f(forward_groups, forward_groups + forward_rows);
  std::vector<int32_t> b(backward_groups, backward_groups + backward_rows);
  each_key([&](int k, int output, int tap, int input) {
    const int at = f[output * taps + ahead.group_of[tap]]++;
    forward[at].place = input * g.pixels() * lanes + ahead_place[tap];
    forward_order[at] = k;
    const int to = b[input * taps + back.group_of[tap]]++;
    backward[to].place = output * g.out_pixels() * lanes + back_place[tap];
    backward_order[to] = k;
  });
}

}  // namespace rewire
