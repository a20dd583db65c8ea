// The same operations for blocks of 16 images: a map is [block][channel][pixel][image], without a
// border.
#pragma once
#include <algorithm>
#include <cstring>
#include "conv.h"
#include "layout.h"
#include "single.h"

namespace rewire {

// out = finish(sums), of weights that are summed alone and, before them, of those that are summed by
// fours of outputs (`quads`, may be null). With `pool` the largest of every 2×2 pixels.
template <class S>
void convolve(const Geometry& g, int images, const typename S::T* in, typename S::T* out,
              const int32_t* groups, const Entry* entries, const int32_t* quad_groups,
              const Quad* quads, const float* shift, bool relu, int pool, int threads) {
  const auto go = [&](const Finish& finish, const Quads* fours) {
    sweep<S>(planned<plan_forward<Entry>>(g), out, in, g.inputs, blocks_of<S>(images), groups,
             entries, finish, threads, fours, pool);
  };
  if (!quads) return go({shift, relu}, nullptr);
  const Quads fours{planned<plan_forward<Quad>>(g).front(), quad_groups, quads};
  go({shift, relu, fours.sweep.channels * Quad::outputs}, &fours);
}

// One operation for all images that the maps hold.
inline void run_blocks(const Operation& op, int images, int threads) {
  using S = F32;
  const Plane &in = op.in, &out = op.out;
  const int blocks = blocks_of<S>(images), pixels = in.height * in.width;
  const size_t map = (size_t)pixels * S::lanes;
  switch (op.kind) {
    case CONVOLVE:
    case DENSE:
      convolve<S>(op.geometry, images, in.data, out.data, op.groups, op.entries, op.quad_groups,
                  op.quads, op.shift, op.relu != 0, op.pool, threads);
      break;
    case ADD:
      parallel(blocks, threads, [&](int b) {
        const size_t size = in.channels * map;
        for (size_t i = b * size; i < (b + 1) * size; ++i) {
          const float v = in.data[i] + op.other.data[i];
          out.data[i] = op.relu ? larger(0.f, v) : v;
        }
      });
      break;
    case AVERAGE:
      for (int m = 0; m < blocks * in.channels; ++m)
        for (int j = 0; j < S::lanes; ++j) {
          float sum = 0;
          for (int p = 0; p < pixels; ++p) sum += in.data[m * map + p * S::lanes + j];
          out.data[m * S::lanes + j] = sum / pixels;
        }
      break;
    case FLATTEN:
      for (int b = 0; b < blocks; ++b)
        for (int c = 0; c < in.channels; ++c)
          for (int p = 0; p < pixels; ++p) {
            const size_t block = (size_t)b * in.channels * pixels;
            const size_t from = block + c * pixels + p, to = block + p * in.channels + c;
            std::memcpy(out.data + (op.flip ? to : from) * S::lanes, in.data + from * S::lanes,
                        sizeof(float) * S::lanes);
          }
      break;
  }
}

// Images (count, channels, height, width) through a network, `held` at a time at the most. The maps
// and operations of the `copies` follow one another. Where there are images enough, each thread takes
// some of its own through the whole network: what one operation wrote is in its cache for the next.
inline void run_in_blocks(const float* image, int count, int held, int copies, const Plane* inputs,
                          const Operation* ops, int n, float* logits, int threads) {
  using S = F32;
  const int classes = ops[n - 1].out.channels;
  const int apart = copies == threads && count >= copies * held ? copies : 1;
  int turns = (count + held - 1) / held;
  turns = (turns + apart - 1) / apart * apart;  // as many for each thread, of about the same size
  const int blocks = blocks_of<S>(count);
  parallel(apart, apart, [&](int copy) {
    const Plane& input = inputs[copy];
    const int64_t pixels = (int64_t)input.height * input.width, size = input.channels * pixels;
    const int64_t strides[4] = {size, pixels, input.width, 1};
    const int each = apart > 1 ? 1 : threads;
    for (int turn = copy; turn < turns; turn += apart) {
      const int from = (int)((int64_t)blocks * turn / turns) * S::lanes;
      const int to = std::min<int>(count, (int)((int64_t)blocks * (turn + 1) / turns) * S::lanes);
      if (from >= to) continue;
      pack<S>(image + from * size, strides, to - from, input.channels, input.height, input.width,
              input.data, each);
      for (int i = 0; i < n; ++i) run_blocks(ops[copy * n + i], to - from, each);
      unpack<S>(ops[copy * n + n - 1].out.data, to - from, classes, 1, 1,
                logits + (int64_t)from * classes, each);
    }
  });
}

}  // namespace rewire
