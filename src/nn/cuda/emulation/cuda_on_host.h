// CUDA's language on the host: lets a C++17 compiler build the kernels' own sources, and runs them.
//
// The threads of a block are fibers of one OS thread, and blocks run one after another. A thread runs until
// it reaches a sync point. The launch sets the order of threads, so a kernel that lacks a __syncthreads
// gives other results under another order. Shared memory is poisoned before every block, and the guards
// around it are checked after every block. Errors are: threads that diverge at a sync point, misaligned
// accesses, and indices past an array's end. The sanitizer finds the latter two; its handlers are below.
//
// Nothing limits a thread's running time: a kernel that spins until another thread writes hangs.

#ifndef VLORA_CUDA_ON_HOST_H
#define VLORA_CUDA_ON_HOST_H

#include <link.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(__x86_64__) || defined(VLORA_EMULATE_UCONTEXT)
#include <ucontext.h>
#define EMULATOR_UCONTEXT
#endif

// ---- Vector types -------------------------------------------------------------------------------

struct int2 { int x, y; } __attribute__((aligned(8)));
struct int3 { int x, y, z; };
struct int4 { int x, y, z, w; } __attribute__((aligned(16)));
struct uint2 { unsigned x, y; } __attribute__((aligned(8)));
struct uint3 { unsigned x, y, z; };
struct uint4 { unsigned x, y, z, w; } __attribute__((aligned(16)));
struct float2 { float x, y; } __attribute__((aligned(8)));
struct float3 { float x, y, z; };
struct float4 { float x, y, z, w; } __attribute__((aligned(16)));
struct double2 { double x, y; } __attribute__((aligned(16)));
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline int2 make_int2(int x, int y) { return int2{x, y}; }
inline int3 make_int3(int x, int y, int z) { return int3{x, y, z}; }
inline int4 make_int4(int x, int y, int z, int w) { return int4{x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return uint2{x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return uint3{x, y, z}; }
inline float3 make_float3(float x, float y, float z) { return float3{x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }
inline double2 make_double2(double x, double y) { return double2{x, y}; }

// ---- The machine --------------------------------------------------------------------------------

// A launch, as Rust passes it. Must match the struct of this name in launch.rs.
struct Launch {
    uint32_t grid[3];
    uint32_t block[3];
    uint64_t shared_bytes;
    uint64_t seed;
    uint32_t order;  // 0 ascending, 1 descending, 2 permuted by the seed
    uint32_t arguments;
    char* message;
    uint64_t message_capacity;
};

namespace emulator {

constexpr unsigned LANES = 32;
constexpr unsigned MOST_THREADS = 1024;
constexpr size_t MOST_SHARED = 227 * 1024;
constexpr size_t SHARED_GUARD = 8 * 1024;
constexpr size_t STACK = 128 * 1024;
constexpr size_t PAGE = 4096;

struct World;

#ifdef EMULATOR_UCONTEXT
using Context = ucontext_t;
static thread_local World* here_now;
inline World* here() { return here_now; }
inline void switch_to(Context* from, Context* to) { swapcontext(from, to); }
#else
using Context = void*;
// Saves the registers that a callee must keep, and swaps stacks. It jumps instead of using `ret`, whose
// return to the caller would be predicted wrongly.
extern "C" void vlora_emulator_switch(Context* from, Context to);
asm(R"(
    .text
    .p2align 4
    .hidden vlora_emulator_switch
    .globl vlora_emulator_switch
    .type vlora_emulator_switch, @function
vlora_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmp *%rcx
    .size vlora_emulator_switch, . - vlora_emulator_switch
)");
inline void switch_to(Context* from, Context* to) { vlora_emulator_switch(from, *to); }
// Stacks are aligned to their size, and their last word is their World's address. Finding it this way is
// cheaper than a thread-local.
inline World* here() {
    uintptr_t stack_pointer;
    asm("movq %%rsp, %0" : "=r"(stack_pointer));
    return *reinterpret_cast<World**>((stack_pointer | (STACK - 1)) - 15);
}
#endif

enum class State : unsigned char { Fresh, Ready, AtBarrier, AtCollective, Done };

struct Site {
    const char* what;
    const char* file;
    int line;
    bool operator!=(const Site& other) const {
        return line != other.line || differ(what, other.what) || differ(file, other.file);
    }
    static bool differ(const char* a, const char* b) { return a != b && strcmp(a, b) != 0; }
    const char* name() const {
        const char* slash = strrchr(file, '/');
        return slash ? slash + 1 : file;
    }
};

// 16 bytes to copy.
struct Copy {
    void* to;
    const void* from;  // null: zeros
};

struct Fiber {
    std::vector<Copy> copies;
    Context context;
    char* stack;
    uint3 index;
    unsigned warp, lane;
    State state;
};

struct Warp {
    unsigned lanes;    // lanes that exist in the block
    unsigned ready;    // lanes that are Fresh or Ready
    unsigned arrived;  // lanes that have reached the current collective
    unsigned parity;   // which of the two sets of slots is used
    Site site;
    alignas(8) unsigned char slots[2][LANES][8];
};

// A guard's byte. Every bfloat16 and float made of them is a signalling NaN, which arithmetic would turn
// into a quiet one.
inline unsigned char guard_byte(size_t i) { return i % 2 ? 0xFF : 0x80 | (1 + i / 2 * 7 % 63); }

struct World {
    // What kernels see.
    uint3 thread_index, block_index;
    dim3 block_size, grid_size;
    char* shared;

    Context scheduler;
    Fiber* current;
    void (*call)(const void*);
    const void* call_data;
    unsigned total, done, at_barrier;
    Site barrier_site;
    bool failed;
    char* message;
    size_t message_capacity;
    Fiber fibers[MOST_THREADS];
    Warp warps[MOST_THREADS / LANES];
    unsigned order[MOST_THREADS];
    const unsigned* round;
    unsigned round_size, turn;
    char* stacks = nullptr;
    unsigned stacks_made = 0;
    std::vector<char*> free_stacks;
    char* shared_region = nullptr;

    void report(const char* format, ...) __attribute__((format(printf, 2, 3))) {
        va_list list;
        va_start(list, format);
        vreport(format, list);
        va_end(list);
    }

    void vreport(const char* format, va_list list) {
        if (!failed) vsnprintf(message, message_capacity, format, list);
        failed = true;
    }

    // Called in a thread: reports an error and abandons the launch.
    [[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 2, 3))) {
        va_list list;
        va_start(list, format);
        vreport(format, list);
        va_end(list);
        pause();
        abort();
    }

    // The next thread of this round that can run.
    Fiber* next() {
        for (; turn < round_size; turn++) {
            Fiber* fiber = fibers + round[turn];
            if (fiber->state <= State::Ready) return fiber;
        }
        return nullptr;
    }

    // Switches to the next thread if that has started already, else to the scheduler.
    void pause() {
        Fiber* from = current;
        Fiber* to = failed || from->state == State::Done ? nullptr : next();
        if (to == nullptr || to->state == State::Fresh) return switch_to(&from->context, &scheduler);
        turn++;
        current = to;
        thread_index = to->index;
        switch_to(&from->context, &to->context);
    }

    void barrier(const Site& site) {
        if (at_barrier == 0) {
            barrier_site = site;
        } else if (barrier_site != site) {
            fail("threads diverged at %s: some wait at %s:%d, others at %s:%d", site.what,
                 barrier_site.name(), barrier_site.line, site.name(), site.line);
        }
        at_barrier++;
        warps[current->warp].ready--;
        current->state = State::AtBarrier;
        pause();
    }

    // Every lane of the warp passes its value. The result holds all values until the lane's next
    // collective.
    template <typename T>
    const unsigned char (*collective(const Site& site, unsigned mask, T value))[8] {
        static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a lane's value");
        Fiber* fiber = current;
        Warp& warp = warps[fiber->warp];
        unsigned existing = warp.lanes == LANES ? ~0u : (1u << warp.lanes) - 1;
        if ((mask & existing) != existing) {
            fail("%s (%s:%d) has mask 0x%x, which leaves out lanes of warp %u", site.what, site.name(),
                 site.line, mask, fiber->warp);
        }
        if (warp.arrived == 0) {
            warp.site = site;
        } else if (warp.site != site) {
            fail("lanes of warp %u diverged: some are at %s (%s:%d), others at %s (%s:%d)",
                 fiber->warp, warp.site.what, warp.site.name(), warp.site.line, site.what, site.name(),
                 site.line);
        }
        auto* slots = warp.slots[warp.parity];
        memcpy(slots[fiber->lane], &value, sizeof value);
        warp.ready--;
        fiber->state = State::AtCollective;
        if (++warp.arrived == warp.lanes) {
            Fiber* first = fibers + fiber->warp * LANES;
            for (unsigned lane = 0; lane < warp.lanes; lane++) first[lane].state = State::Ready;
            warp.ready = warp.lanes;
            warp.arrived = 0;
            warp.parity ^= 1;
        }
        pause();
        return slots;
    }

    template <typename T>
    T shuffle(const Site& site, unsigned mask, T value, unsigned source_or_own) {
        const unsigned char(*slots)[8] = collective(site, mask, value);
        // The source lane does not exist, so the value is undefined: poison it.
        if (source_or_own >= warps[current->warp].lanes) {
            memset(&value, 0xFF, sizeof value);
        } else {
            memcpy(&value, slots[source_or_own], sizeof value);
        }
        return value;
    }

    char* take_stack() {
        if (!free_stacks.empty()) {
            char* stack = free_stacks.back();
            free_stacks.pop_back();
            return stack;
        }
        char* stack = stacks + STACK * stacks_made++;
        mprotect(stack, PAGE, PROT_NONE);
        *reinterpret_cast<World**>(stack + STACK - 16) = this;
        return stack;
    }

    static void entry() {
        World* world = here();
        world->call(world->call_data);
        Fiber* fiber = world->current;
        if (!fiber->copies.empty()) world->fail("a thread ends that has not waited for its copies");
        fiber->state = State::Done;
        world->warps[fiber->warp].ready--;
        world->done++;
        world->pause();
        abort();
    }

    void resume(Fiber* fiber) {
        current = fiber;
        thread_index = fiber->index;
        if (fiber->state == State::Fresh) {
            fiber->state = State::Ready;
            fiber->stack = take_stack();
            // Stacks start at different offsets, so that their hot ends do not share cache sets.
            size_t number = (fiber->stack - stacks) / STACK;
            char* top = fiber->stack + STACK - 64 - number % 64 * 320;
#ifdef EMULATOR_UCONTEXT
            getcontext(&fiber->context);
            fiber->context.uc_stack.ss_sp = fiber->stack + PAGE;
            fiber->context.uc_stack.ss_size = top - fiber->stack - PAGE;
            fiber->context.uc_link = nullptr;
            makecontext(&fiber->context, entry, 0);
#else
            void** words = reinterpret_cast<void**>(top);
            words[-1] = nullptr;
            words[-2] = reinterpret_cast<void*>(&entry);
            memset(words - 8, 0, 6 * sizeof(void*));
            fiber->context = words - 8;
#endif
        }
        switch_to(&scheduler, &fiber->context);
        // `current` may be another thread by now, and it may be done.
        if (current->state == State::Done) free_stacks.push_back(current->stack);
    }

    // Resumes those of `count` threads that can run, in order, until none can.
    void drain(const unsigned* threads, unsigned count, unsigned first_warp, unsigned warp_count) {
        round = threads;
        round_size = count;
        for (;;) {
            unsigned ready = 0;
            for (unsigned w = 0; w < warp_count; w++) ready += warps[first_warp + w].ready;
            if (ready == 0) return;
            turn = 0;
            while (Fiber* fiber = next()) {
                turn++;
                resume(fiber);
                if (failed) return;
            }
        }
    }

    static uint64_t random(uint64_t& state) {
        uint64_t z = state += 0x9E3779B97F4A7C15;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
        z = (z ^ z >> 27) * 0x94D049BB133111EB;
        return z ^ z >> 31;
    }

    static void permute(unsigned* values, unsigned count, uint64_t& state) {
        for (unsigned i = count; i > 1; i--) std::swap(values[i - 1], values[random(state) % i]);
    }

    void run_block(const Launch& launch, uint64_t& state) {
        unsigned warp_count = (total + LANES - 1) / LANES;
        for (unsigned w = 0; w < warp_count; w++) {
            Warp& warp = warps[w];
            warp.lanes = warp.ready = w + 1 < warp_count ? LANES : total - w * LANES;
            warp.arrived = warp.parity = 0;
        }
        done = at_barrier = 0;
        for (unsigned i = 0; i < total; i++) {
            Fiber& fiber = fibers[i];
            fiber.index.x = i % block_size.x;
            fiber.index.y = i / block_size.x % block_size.y;
            fiber.index.z = i / block_size.x / block_size.y;
            fiber.warp = i / LANES;
            fiber.lane = i % LANES;
            fiber.state = State::Fresh;
            fiber.copies.clear();
            order[i] = launch.order == 1 ? total - 1 - i : i;
        }
        for (;;) {
            if (launch.order == 2) {
                // Threads of all warps mixed.
                permute(order, total, state);
                drain(order, total, 0, warp_count);
            } else {
                // Each warp runs as far as it can before the next.
                for (unsigned n = 0; n < warp_count && !failed; n++) {
                    unsigned w = launch.order == 1 ? warp_count - 1 - n : n;
                    unsigned first = launch.order == 1 ? total - w * LANES - warps[w].lanes : w * LANES;
                    drain(order + first, warps[w].lanes, w, 1);
                }
            }
            if (failed || done == total) return;
            if (at_barrier != total) return report_divergence(warp_count);
            at_barrier = 0;
            for (unsigned i = 0; i < total; i++) fibers[i].state = State::Ready;
            for (unsigned w = 0; w < warp_count; w++) warps[w].ready = warps[w].lanes;
        }
    }

    void report_divergence(unsigned warp_count) {
        for (unsigned w = 0; w < warp_count; w++) {
            Warp& warp = warps[w];
            if (warp.arrived == 0) continue;
            return report("threads diverged at %s (%s:%d): %u of the %u lanes of warp %u take part",
                        warp.site.what, warp.site.name(), warp.site.line, warp.arrived, warp.lanes, w);
        }
        report("threads diverged at %s (%s:%d): %u of the block's %u threads wait there, %u have finished",
             barrier_site.what, barrier_site.name(), barrier_site.line, at_barrier, total, done);
    }

    bool prepare(const Launch& launch) {
        if (stacks == nullptr) {
            size_t bytes = STACK * (MOST_THREADS + 1);
            void* region = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (region == MAP_FAILED) return false;
            stacks = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(region) + STACK - 1) / STACK * STACK);
            shared_region = static_cast<char*>(aligned_alloc(PAGE, MOST_SHARED + 2 * SHARED_GUARD));
            if (shared_region == nullptr) return false;
            free_stacks.reserve(MOST_THREADS);
        }
        // Reuse the stacks of threads that a failed launch left suspended.
        free_stacks.clear();
        for (unsigned i = stacks_made; i > 0; i--) free_stacks.push_back(stacks + STACK * (i - 1));
        shared = shared_region + SHARED_GUARD;
        for (size_t i = 0; i < SHARED_GUARD; i++) {
            shared_region[i] = shared[launch.shared_bytes + i] = guard_byte(i);
        }
        failed = false;
        message = launch.message;
        message_capacity = launch.message_capacity;
        block_size = dim3(launch.block[0], launch.block[1], launch.block[2]);
        grid_size = dim3(launch.grid[0], launch.grid[1], launch.grid[2]);
        total = block_size.x * block_size.y * block_size.z;
        return true;
    }

    void check_shared(const Launch& launch) {
        for (size_t i = 0; i < SHARED_GUARD; i++) {
            if (static_cast<unsigned char>(shared[launch.shared_bytes + i]) != guard_byte(i)) {
                return report("block (%u, %u, %u) wrote past its shared memory: %zu bytes behind the end of %zu",
                            block_index.x, block_index.y, block_index.z, i, (size_t)launch.shared_bytes);
            }
        }
        for (size_t i = 0; i < SHARED_GUARD; i++) {
            if (static_cast<unsigned char>(shared_region[i]) != guard_byte(i)) {
                return report("block (%u, %u, %u) wrote before its shared memory: %zu bytes in front of its start",
                            block_index.x, block_index.y, block_index.z, SHARED_GUARD - i);
            }
        }
    }
};

// Marks this library's thread-locals, which are the kernels' static __shared__ variables.
static thread_local volatile char anchor;

struct Statics {
    char* start = nullptr;
    size_t bytes = 0;
};

inline int find_statics(struct dl_phdr_info* info, size_t, void* data) {
    if (info->dlpi_tls_data == nullptr) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const auto& header = info->dlpi_phdr[i];
        if (header.p_type != PT_TLS) continue;
        char* start = static_cast<char*>(info->dlpi_tls_data);
        char* ours = const_cast<char*>(&anchor);
        if (ours < start || ours >= start + header.p_memsz) continue;
        static_cast<Statics*>(data)->start = start;
        static_cast<Statics*>(data)->bytes = header.p_memsz;
        return 1;
    }
    return 0;
}

static std::mutex worlds_lock;
static std::vector<World*> idle_worlds;

inline int refuse(const Launch& launch, const char* format, uint64_t a, uint64_t b) {
    snprintf(launch.message, launch.message_capacity, format, (unsigned long long)a, (unsigned long long)b);
    return 1;
}

inline int run(const Launch& launch, unsigned arguments, void (*call)(const void*), const void* data) {
    const uint32_t* grid = launch.grid;
    const uint32_t* block = launch.block;
    if (launch.arguments != arguments) {
        return refuse(launch, "takes %llu arguments and got %llu", arguments, launch.arguments);
    }
    for (int i = 0; i < 3; i++) {
        if (grid[i] == 0 || block[i] == 0) return refuse(launch, "a size of its grid or block is zero", 0, 0);
    }
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (block[0] > MOST_THREADS || block[1] > MOST_THREADS || block[2] > 64 || threads > MOST_THREADS) {
        return refuse(launch, "its block of %llu threads is larger than %llu, or deeper than 64", threads, MOST_THREADS);
    }
    if (grid[0] > 0x7FFFFFFF || grid[1] > 0xFFFF || grid[2] > 0xFFFF) {
        return refuse(launch, "its grid is larger than 2^31-1 by 65535 by 65535", 0, 0);
    }
    if (launch.shared_bytes > MOST_SHARED) {
        return refuse(launch, "asks for %llu bytes of shared memory, a block has %llu at most", launch.shared_bytes, MOST_SHARED);
    }
    World* world = nullptr;
    {
        std::lock_guard<std::mutex> lock(worlds_lock);
        if (!idle_worlds.empty()) {
            world = idle_worlds.back();
            idle_worlds.pop_back();
        }
    }
    if (world == nullptr) world = new World();
    if (!world->prepare(launch)) return refuse(launch, "there is no memory for its threads' stacks", 0, 0);
    world->call = call;
    world->call_data = data;
    Statics statics;
#ifdef EMULATOR_UCONTEXT
    here_now = world;
#else
    anchor = 0;
    dl_iterate_phdr(find_statics, &statics);
#endif
    uint64_t state = launch.seed;
    uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    std::vector<unsigned> order;
    if (launch.order == 2) {
        order.resize(blocks);
        for (uint64_t i = 0; i < blocks; i++) order[i] = i;
        World::permute(order.data(), blocks, state);
    }
    for (uint64_t n = 0; n < blocks && !world->failed; n++) {
        uint64_t i = launch.order == 2 ? order[n] : launch.order == 1 ? blocks - 1 - n : n;
        world->block_index.x = i % grid[0];
        world->block_index.y = i / grid[0] % grid[1];
        world->block_index.z = i / grid[0] / grid[1];
        memset(world->shared, 0xFF, launch.shared_bytes);
        if (statics.bytes > 1) memset(statics.start, 0xFF, statics.bytes);
        world->run_block(launch, state);
        world->check_shared(launch);
    }
    int failed = world->failed;
    std::lock_guard<std::mutex> lock(worlds_lock);
    idle_worlds.push_back(world);
    return failed;
}

template <typename... P>
struct Call {
    void (*kernel)(P...);
    void** arguments;
    template <size_t... I>
    void unpack(std::index_sequence<I...>) const {
        kernel(*static_cast<P*>(arguments[I])...);
    }
    static void make(const void* data) {
        static_cast<const Call*>(data)->unpack(std::index_sequence_for<P...>());
    }
};

template <typename... P>
int launch(void (*kernel)(P...), const Launch* launch, void** arguments) {
    static_assert((sizeof(P) + ... + 0) <= 4096, "a kernel's parameters");
    Call<P...> call{kernel, arguments};
    return run(*launch, sizeof...(P), Call<P...>::make, &call);
}

}  // namespace emulator

// Makes a kernel launchable. Must follow its definition.
#define EXPORT(name)                                                               \
    extern "C" int emulate_##name(const Launch* launch, void** arguments) {        \
        return ::emulator::launch(name, launch, arguments);                        \
    }

// The launch's dynamic shared memory.
#define SHARED_MEMORY(name) char* name = ::emulator::here()->shared

// ---- The language -------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local

#define threadIdx (::emulator::here()->thread_index)
#define blockIdx (::emulator::here()->block_index)
#define blockDim (::emulator::here()->block_size)
#define gridDim (::emulator::here()->grid_size)
constexpr int warpSize = emulator::LANES;

// A call's place in its source file.
#define EMULATOR_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATOR_PLACE) {
    emulator::here()->barrier(emulator::Site{"__syncthreads", file, line});
}

inline void __syncwarp(unsigned mask = ~0u, EMULATOR_PLACE) {
    emulator::here()->collective(emulator::Site{"__syncwarp", file, line}, mask, 0);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMULATOR_PLACE) {
    emulator::World* world = emulator::here();
    unsigned lane = world->current->lane;
    unsigned from = (lane & ~(width - 1u)) | ((unsigned)source & (width - 1u));
    return world->shuffle(emulator::Site{"__shfl_sync", file, line}, mask, value, from);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, EMULATOR_PLACE) {
    emulator::World* world = emulator::here();
    unsigned lane = world->current->lane;
    unsigned from = lane ^ (unsigned)lane_mask;
    if (from / width > lane / width) from = lane;
    return world->shuffle(emulator::Site{"__shfl_xor_sync", file, line}, mask, value, from);
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_PLACE) {
    emulator::World* world = emulator::here();
    unsigned lane = world->current->lane;
    unsigned from = lane % width + delta < (unsigned)width ? lane + delta : lane;
    return world->shuffle(emulator::Site{"__shfl_down_sync", file, line}, mask, value, from);
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_PLACE) {
    emulator::World* world = emulator::here();
    unsigned lane = world->current->lane;
    unsigned from = lane % width >= delta ? lane - delta : lane;
    return world->shuffle(emulator::Site{"__shfl_up_sync", file, line}, mask, value, from);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_PLACE) {
    emulator::World* world = emulator::here();
    unsigned mine = predicate != 0, all = 0;
    auto* slots = world->collective(emulator::Site{"__ballot_sync", file, line}, mask, mine);
    for (unsigned lane = 0; lane < world->warps[world->current->warp].lanes; lane++) {
        memcpy(&mine, slots[lane], sizeof mine);
        all |= mine << lane;
    }
    return all;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
__forceinline__ T __ldg(const T* address) { return *address; }

// Only for integers: a sum of floats would depend on the order of threads.
inline unsigned atomicAdd(unsigned* address, unsigned value) {
    unsigned before = *address;
    *address = before + value;
    return before;
}
inline int atomicAdd(int* address, int value) {
    int before = *address;
    *address = before + value;
    return before;
}

// ---- Arithmetic ---------------------------------------------------------------------------------

__forceinline__ unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
__forceinline__ unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
__forceinline__ float rsqrtf(float x) { return 1.0f / sqrtf(x); }
__forceinline__ float __fadd_rn(float a, float b) { return a + b; }
__forceinline__ float __fsub_rn(float a, float b) { return a - b; }
__forceinline__ float __fmul_rn(float a, float b) { return a * b; }
__forceinline__ float __fdiv_rn(float a, float b) { return a / b; }
__forceinline__ float __fsqrt_rn(float x) { return sqrtf(x); }
__forceinline__ float __frcp_rn(float x) { return 1.0f / x; }
__forceinline__ float __fdividef(float a, float b) { return a / b; }
// The C library has its own function of this name.
#define __expf(x) expf(x)
__forceinline__ float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

template <typename To, typename From>
__forceinline__ To emulator_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
__forceinline__ unsigned __float_as_uint(float x) { return emulator_bits<unsigned>(x); }
__forceinline__ int __float_as_int(float x) { return emulator_bits<int>(x); }
__forceinline__ float __uint_as_float(unsigned x) { return emulator_bits<float>(x); }
__forceinline__ float __int_as_float(int x) { return emulator_bits<float>(x); }

#define EMULATOR_LEAST_AND_MOST(T)                                    \
    __forceinline__ T min(T a, T b) { return b < a ? b : a; }         \
    __forceinline__ T max(T a, T b) { return a < b ? b : a; }
EMULATOR_LEAST_AND_MOST(int)
EMULATOR_LEAST_AND_MOST(unsigned)
EMULATOR_LEAST_AND_MOST(long)
EMULATOR_LEAST_AND_MOST(unsigned long)
EMULATOR_LEAST_AND_MOST(long long)
EMULATOR_LEAST_AND_MOST(unsigned long long)
__forceinline__ float min(float a, float b) { return fminf(a, b); }
__forceinline__ float max(float a, float b) { return fmaxf(a, b); }

struct __nv_bfloat16 {
    __nv_bfloat16() = default;
    unsigned short emulator_word;
} __attribute__((aligned(2)));
static_assert(sizeof(__nv_bfloat16) == 2 && std::is_trivial<__nv_bfloat16>::value, "as CUDA's");
using nv_bfloat16 = __nv_bfloat16;

__forceinline__ __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) {
    __nv_bfloat16 value;
    value.emulator_word = x;
    return value;
}
__forceinline__ unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.emulator_word; }
__forceinline__ float __bfloat162float(__nv_bfloat16 x) {
    return __uint_as_float((unsigned)x.emulator_word << 16);
}
// Rounds to nearest, ties to even. Every NaN becomes 0x7FFF, as in CUDA.
__forceinline__ __nv_bfloat16 __float2bfloat16_rn(float x) {
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return __ushort_as_bfloat16(0x7FFF);
    return __ushort_as_bfloat16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
__forceinline__ __nv_bfloat16 __float2bfloat16(float x) { return __float2bfloat16_rn(x); }

// ---- A warp's tensor cores (kernels/tensor_cores.cuh) ---------------------------------------------

inline unsigned packed(float first, float second) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(first)) |
           (unsigned)__bfloat16_as_ushort(__float2bfloat16_rn(second)) << 16;
}

inline float power_of_two(float x) { return exp2f(x); }

inline void emulator_aligned(const void* pointer, const char* what) {
    if ((uintptr_t)pointer % 16 != 0)
        emulator::here()->fail("%s is at an address that is no multiple of 16", what);
}

// The values of a pair.
inline float emulator_value(unsigned pair, int second) {
    return __uint_as_float(second ? pair & 0xffff0000u : pair << 16);
}

inline void multiply_add(float (&sums)[4], const unsigned (&left)[4], unsigned right0, unsigned right1,
                         EMULATOR_PLACE) {
    emulator::World* world = emulator::here();
    const emulator::Site site{"mma", file, line};
    const unsigned lane = world->current->lane;
    const uint64_t lefts[2] = {left[0] | (uint64_t)left[1] << 32, left[2] | (uint64_t)left[3] << 32};
    unsigned a[2][16 / 2], pairs[2];
    float b[16][2];
    // Rows lane / 4 and lane / 4 + 8 of the left factor, by four lanes.
    for (int half = 0; half < 2; half++) {
        auto* slots = world->collective(site, ~0u, lefts[half]);
        for (int i = 0; i < 4; i++) {
            memcpy(pairs, slots[lane / 4 * 4 + i], sizeof pairs);
            a[0][half * 4 + i] = pairs[0];
            a[1][half * 4 + i] = pairs[1];
        }
    }
    auto* slots = world->collective(site, ~0u, right0 | (uint64_t)right1 << 32);
    for (int column = 0; column < 2; column++)
        for (int i = 0; i < 4; i++) {
            memcpy(pairs, slots[(lane % 4 * 2 + column) * 4 + i], sizeof pairs);
            for (int n = 0; n < 4; n++)
                b[n / 2 * 8 + i * 2 + n % 2][column] = emulator_value(pairs[n / 2], n % 2);
        }
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 16; k++) sums[i] += emulator_value(a[i / 2][k / 2], k % 2) * b[k][i % 2];
}

template <bool TRANSPOSED>
void load_matrices(unsigned (&to)[4], const __nv_bfloat16* row, EMULATOR_PLACE) {
    emulator_aligned(row, "a row of a matrix");
    emulator::World* world = emulator::here();
    auto* slots = world->collective(emulator::Site{"ldmatrix", file, line}, ~0u, row);
    const unsigned one = world->current->lane / 4, other = world->current->lane % 4 * 2;
    for (int i = 0; i < 4; i++) {
        unsigned short values[2];
        for (unsigned n = 0; n < 2; n++) {
            const __nv_bfloat16* from;
            memcpy(&from, slots[i * 8 + (TRANSPOSED ? other + n : one)], sizeof from);
            values[n] = __bfloat16_as_ushort(from[TRANSPOSED ? one : other + n]);
        }
        to[i] = values[0] | (unsigned)values[1] << 16;
    }
}

// The bytes arrive when the thread waits.
inline void begin_copy(__nv_bfloat16* to, const __nv_bfloat16* from, bool valid) {
    emulator_aligned(to, "a copy's destination");
    emulator_aligned(from, "a copy's source");
    emulator::here()->current->copies.push_back({to, valid ? from : nullptr});
}
inline void wait_for_copies() {
    auto& copies = emulator::here()->current->copies;
    for (const auto& copy : copies) {
        if (copy.from)
            memcpy(copy.to, copy.from, 16);
        else
            memset(copy.to, 0, 16);
    }
    copies.clear();
}

// ---- The sanitizer's reports --------------------------------------------------------------------

struct EmulatorSource {
    const char* file;
    uint32_t line, column;
};
struct EmulatorType {
    uint16_t kind, info;
    char name[1];
};
struct EmulatorMismatch {
    EmulatorSource source;
    const EmulatorType* type;
    unsigned char log_alignment, kind;
};
struct EmulatorBounds {
    EmulatorSource source;
    const EmulatorType *array, *index;
};

extern "C" inline __attribute__((used, visibility("hidden"), no_sanitize("alignment"))) void
__ubsan_handle_type_mismatch_v1(EmulatorMismatch* data, uintptr_t address) {
    auto* world = emulator::here();
    emulator::Site site{"", data->source.file, (int)data->source.line};
    world->fail("misaligned access to a %s (%s:%d) at an address of which the rest by %u is %u, by thread "
                "(%u, %u, %u) of block (%u, %u, %u)", data->type->name, site.name(), site.line,
                1u << data->log_alignment, (unsigned)(address & ((1u << data->log_alignment) - 1)),
                world->thread_index.x, world->thread_index.y, world->thread_index.z,
                world->block_index.x, world->block_index.y, world->block_index.z);
}

extern "C" inline __attribute__((used, visibility("hidden"), no_sanitize("alignment"))) void
__ubsan_handle_out_of_bounds(EmulatorBounds* data, uintptr_t index) {
    auto* world = emulator::here();
    emulator::Site site{"", data->source.file, (int)data->source.line};
    bool narrow = data->index->info == (5 << 1 | 1);  // a signed number of 2^5 bits
    long long at = narrow ? (int)index : (long long)index;
    world->fail("index %lld is outside of a %s (%s:%d), by thread (%u, %u, %u) of block (%u, %u, %u)",
                at, data->array->name, site.name(), site.line,
                world->thread_index.x, world->thread_index.y, world->thread_index.z,
                world->block_index.x, world->block_index.y, world->block_index.z);
}

#endif
