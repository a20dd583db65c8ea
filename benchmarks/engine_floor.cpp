// What one core can do at best for a sparse convolution, written as JSON to the file that is named.
//
// "axpy": for every connected weight some pixels of a block of images are read at a random place
// and added to sums in registers; from working sets of several sizes. "fma": multiply-adds in
// registers alone.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <unistd.h>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float vf __attribute__((vector_size(BYTES), may_alias));
typedef uint32_t vu __attribute__((vector_size(BYTES), may_alias));
constexpr int FLOATS = BYTES / 4, SUMS = 8, PLACES = 4096;

static double seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

template <class F> double best(F&& f) {
  double found = 1e9;
  for (int i = 0; i < 5; ++i) {
    const double start = seconds();
    f();
    const double took = seconds() - start;
    if (took < found) found = took;
  }
  return found;
}

static volatile float sink;
template <int N> void keep(const vf (&sums)[N]) {
  float s = 0;
  for (const vf& sum : sums) s += sum[0];
  sink = s;
}

int main(int argc, char** argv) {
  std::string rows;
  auto row = [&](const char* what, const char* storage, long kb, double macs, double bytes, double s) {
    char text[256];
    std::snprintf(text, sizeof text,
                  "%s\n  {\"what\": \"%s\", \"storage\": \"%s\", \"working set KB\": %ld, "
                  "\"GMAC/s a core\": %.2f, \"GB/s\": %.2f}",
                  rows.empty() ? "[" : ",", what, storage, kb, macs / s / 1e9, bytes / s / 1e9);
    rows += text;
  };

  const vf one = vf{} + 1e-3f;
  {
    const long repeats = 10000000;
    const double s = best([&] {
      vf factor = one, sums[SUMS + 2] = {};
      for (long r = 0; r < repeats; ++r) {
#pragma GCC unroll 10
        for (int i = 0; i < SUMS + 2; ++i) sums[i] = sums[i] * factor + factor;
        asm volatile("" : "+x"(factor));
      }
      keep(sums);
    });
    row("fma", "float32", 0, (double)repeats * FLOATS * (SUMS + 2), 0, s);
  }

  long second = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  second = sysconf(_SC_LEVEL2_CACHE_SIZE) / 1024;
#endif
  if (second <= 0) second = 512;
  const size_t largest = (size_t)second * 1024 * 16;
  char* memory = static_cast<char*>(std::aligned_alloc(2 << 20, (largest + (2 << 20) - 1) >> 21 << 21));
#if defined(MADV_HUGEPAGE)
  madvise(memory, largest, MADV_HUGEPAGE);
#endif
  for (size_t i = 0; i < largest; ++i) memory[i] = 0;
  std::vector<uint32_t> places(PLACES);

  for (long kb : {16L, second / 4, second / 2, second, 4 * second, 16 * second}) {
    for (auto& place : places)
      place = (uint32_t)(std::rand() % (kb * 1024 / (SUMS * BYTES)) * (SUMS * BYTES));
    const int repeats = 150;
    const double read = (double)repeats * PLACES * SUMS * BYTES;
    // The sums are of the lambdas alone: what a pointer may see does not stay in registers.
    double s = best([&] {
      vf sums[SUMS] = {};
      for (int r = 0; r < repeats; ++r)
        for (int e = 0; e < PLACES; ++e) {
          const vf* in = reinterpret_cast<const vf*>(memory + places[e]);
          const vf weight = vf{} + (float)e;
#pragma GCC unroll 8
          for (int i = 0; i < SUMS; ++i) sums[i] = sums[i] + in[i] * weight;
        }
      keep(sums);
    });
    row("axpy", "float32", kb, read / 4, read, s);
    // Two bf16 in a word: the upper one is a float32 but for bits that are masked, the lower one is
    // shifted up. Half of the pixels at a time, so that all sums have a register.
    s = best([&] {
      vf sums[SUMS] = {};
      for (int r = 0; r < repeats; ++r)
        for (int e = 0; e < PLACES; ++e) {
          const vu* in = reinterpret_cast<const vu*>(memory + places[e]);
          const vf weight = vf{} + (float)e;
#pragma GCC unroll 4
          for (int i = 0; i < SUMS / 2; ++i) {
            sums[2 * i] = sums[2 * i] + (vf)(in[i] << 16) * weight;
            sums[2 * i + 1] = sums[2 * i + 1] + (vf)(in[i] & 0xffff0000u) * weight;
          }
        }
      keep(sums);
    });
    row("axpy", "bf16", kb, read / 4, read / 2, s);
  }
  std::FILE* file = argc > 1 ? std::fopen(argv[1], "w") : stdout;
  if (!file) return 1;
  std::fprintf(file, "%s\n]\n", rows.c_str());
  std::fclose(file);
  std::free(memory);
}
