// The pool of threads under the thread sanitizer (test_engine_sanitizers.py): several callers at
// once, more and fewer pieces than threads. Ends with 0 if all sums are right.
#include <cstdio>
#include <vector>
#include "threads.h"

int main() {
  constexpr int CALLERS = 3, ROUNDS = 400;
  std::vector<std::thread> callers;
  std::vector<long> wrong(CALLERS);
  for (int caller = 0; caller < CALLERS; ++caller)
    callers.emplace_back([&, caller] {
      for (int round = 0; round < ROUNDS; ++round) {
        const int pieces = round % 7 * (caller + 1), threads = 1 + round % 5;
        std::vector<long> out(pieces);
        long shared = 0;
        rewire::parallel(pieces, threads, [&](int piece) {
          // Other threads have their turn, also where there is one processor only.
          if (piece % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
          out[piece] = piece + round;  // each its own place, not synchronised
#if defined(PLANTED)
          shared += 1;
#endif
        });
        // The caller reads what the others wrote, and its memory is gone when it returns.
        for (int piece = 0; piece < pieces; ++piece) wrong[caller] += out[piece] != piece + round;
        wrong[caller] += shared < 0;
      }
    });
  for (auto& caller : callers) caller.join();
  long all = 0;
  for (long count : wrong) all += count;
  std::printf("%ld wrong of %d calls\n", all, CALLERS * ROUNDS);
  return all != 0;
}
