// Threads that sleep between the calls, and share out independent pieces of work.
//
// Every piece writes places of its own, so results do not depend on the number of threads.
#pragma once
#include <pthread.h>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rewire {

class Pool {
 public:
  static Pool& instance() {
    static Pool* pool = new Pool;  // never destroyed: its threads outlive static objects
    return *pool;
  }

  // Runs work(0) ... work(pieces - 1) on up to `threads` threads, the caller's included. Nobody is
  // waited for who has not begun: on a busy machine the caller does it all itself.
  void run(int pieces, int threads, const std::function<void(int)>& work) {
    if (threads > pieces) threads = pieces;
    if (threads <= 1) {
      for (int i = 0; i < pieces; ++i) work(i);
      return;
    }
    std::lock_guard<std::mutex> one_caller(calls_);
    while (workers_ < threads - 1) start_worker();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      pieces_ = pieces;
      next_ = 0;
      wanted_ = threads - 1;
      ++round_;
    }
    wake_.notify_all();
    take_pieces();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      wanted_ = 0;  // who comes now is too late
    }
    for (int spin = 0; spin < SPINS && active_ > 0; ++spin) pause();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return active_ == 0; });
  }

 private:
  static constexpr int SPINS = 2000;  // some 50 microseconds, then threads sleep

  Pool() {
    // A forked child has none of the threads, and must not believe that it has.
    pthread_atfork(nullptr, nullptr, [] { new (&instance()) Pool(0); });
  }
  explicit Pool(int) {}

  void start_worker() {
    const int number = workers_++;
    std::thread([this, number] { serve(number); }).detach();
  }

  void serve(int number) {
    uint64_t seen = 0;
    for (;;) {
      // The next call often follows at once.
      for (int spin = 0; spin < SPINS && round_ == seen; ++spin) pause();
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      if (number >= wanted_) continue;
      ++active_;
      lock.unlock();
      take_pieces();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  void take_pieces() {
    for (int piece; (piece = next_++) < pieces_;) (*work_)(piece);
  }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  std::mutex calls_, mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* work_ = nullptr;
  std::atomic<int> next_{0}, active_{0};
  std::atomic<uint64_t> round_{0};
  int pieces_ = 0, wanted_ = 0, workers_ = 0;
};

inline void parallel(int pieces, int threads, const std::function<void(int)>& work) {
  Pool::instance().run(pieces, threads, work);
}

}  // namespace rewire
