#include "parallel.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#elif defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
#include <emmintrin.h>
#define HEADGATE_PAUSE() _mm_pause()
#else
#define HEADGATE_PAUSE() std::this_thread::yield()
#endif

namespace headgate {
namespace {

// ns of work that a thread must get: below it, waiting for a thread that another process has pushed
// aside costs more than it brings.
constexpr double kWakeCost = 1e5;
constexpr int kSpins = 2000;  // polls before a waiting thread sleeps: some 20 to 50 us

// Cores that this process may use: affinity, then the cgroup's quota.
int default_threads() {
  if (const char* text = std::getenv("HEADGATE_NUM_THREADS")) {
    const int wanted = std::atoi(text);
    if (wanted >= 1) return std::min(wanted, 256);
  }
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0)
    cores = std::min(cores, std::max(1, static_cast<int>(std::atof(quota.c_str()) / period)));
#endif
  return std::max(1, std::min(cores, 64));
}

struct Job {
  RangeBody body;
  void* context;
  int64_t size, grain;
  int parts;
};

class Pool {
 public:
  explicit Pool(int threads) : asked_(threads) {
    try {
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
    } catch (const std::system_error&) {
      // The system gives no more threads: those that there are will do.
    }
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      leaving_ = true;
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  int asked() const { return asked_; }

  void run(Job job) {
    job.parts = std::min(job.parts, static_cast<int>(workers_.size()) + 1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = job;
      pending_.store(job.parts - 1, std::memory_order_relaxed);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleepers_.load() > 0) wake_.notify_all();
    part(job, 0);
    for (int spins = 0; pending_.load(std::memory_order_acquire) > 0; ++spins) {
      if (spins > kSpins) std::this_thread::yield();
      HEADGATE_PAUSE();
    }
  }

 private:
  static void part(const Job& job, int index) {
    const int64_t chunks = (job.size + job.grain - 1) / job.grain;
    const int64_t begin = chunks * index / job.parts * job.grain;
    const int64_t end = std::min(chunks * (index + 1) / job.parts * job.grain, job.size);
    if (begin < end) job.body(job.context, begin, end);
  }

  void work(int index) {
    uint64_t seen = 0;
    for (;;) {
      int spins = 0;
      while (generation_.load(std::memory_order_acquire) == seen) {
        if (++spins < kSpins) {
          HEADGATE_PAUSE();
          continue;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return generation_.load() != seen; });
        sleepers_.fetch_sub(1);
      }
      Job job;
      {
        // Read together: a worker that had no part in a job may come late, when the next is set.
        std::lock_guard<std::mutex> lock(mutex_);
        seen = generation_.load();
        job = job_;
        if (leaving_) return;
      }
      if (index < job.parts) {
        part(job, index);
        pending_.fetch_sub(1, std::memory_order_release);
      }
    }
  }

  const int asked_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<int> pending_{0};
  bool leaving_ = false;
  Job job_{};
};

std::atomic<int> wanted{0};
thread_local int wanted_here = 0;    // see ThreadCount
std::mutex* owner = new std::mutex;  // one parallel region at a time; never destroyed
Pool* pool = nullptr;

void forget_pool_in_child() {
  // Threads do not survive a fork, and a lock may have been held by one: begin anew, and leave
  // the parent's pool untouched where it lies.
  pool = nullptr;
  owner = new std::mutex;
}

void watch_forks() {
#if defined(__unix__) || defined(__APPLE__)
  static const bool once = (pthread_atfork(nullptr, nullptr, forget_pool_in_child), true);
  (void)once;
#endif
}

}  // namespace

void set_num_threads(int count) { wanted.store(std::max(1, std::min(count, 256))); }

ThreadCount::ThreadCount(int count) : before_(wanted_here) {
  wanted_here = std::max(0, std::min(count, 256));
}
ThreadCount::~ThreadCount() { wanted_here = before_; }

int get_num_threads() {
  if (wanted_here) return wanted_here;
  int count = wanted.load();
  if (count == 0) {
    count = default_threads();
    wanted.store(count);
  }
  return count;
}

void parallel_ranges(int64_t size, int64_t grain, double work, RangeBody body, void* context) {
  if (size <= 0) return;
  if (work < 2 * kWakeCost || size <= grain) {
    body(context, 0, size);
    return;
  }
  const int64_t chunks = (size + grain - 1) / grain;
  const int threads = get_num_threads();
  const int parts = static_cast<int>(std::min<double>(
      {static_cast<double>(threads), static_cast<double>(chunks), work / kWakeCost}));
  if (parts < 2 || !owner->try_lock()) {  // another thread's region is running: go on alone
    body(context, 0, size);
    return;
  }
  std::lock_guard<std::mutex> lock(*owner, std::adopt_lock);
  // Threads too many have no part in a job, but are woken for it.
  if (!pool || pool->asked() < threads || (!wanted_here && pool->asked() != threads)) {
    watch_forks();
    delete pool;
    pool = nullptr;
    pool = new Pool(threads);
  }
  pool->run({body, context, size, grain, parts});
}

}  // namespace headgate
