#include "launch.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <sys/mman.h>

#include "include/fibers.h"

Fiber* fiber_now;
FiberSize fiber_block, fiber_grid, fiber_block_position;
FiberWarp fiber_warps[32];
alignas(1024) unsigned char fiber_shared[SHARED_BYTES];

namespace {

enum { MOST_THREADS = 1024, STACK_BYTES = 256 * 1024, PAGE_BYTES = 4096 };

Fiber fibers[MOST_THREADS];
FiberBarrier whole;
char* stacks;
void* scheduler;
Entry current;
void** current_arguments;

// Saves the callee's registers and the stack of the one, and goes on with the other (System V, x86-64 and
// AArch64).
extern "C" void fiber_switch(void** save, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.globl fiber_switch
.hidden fiber_switch
fiber_switch:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
)");
enum { SAVED_WORDS = 6 };
#elif defined(__aarch64__)
asm(R"(
.text
.globl fiber_switch
.hidden fiber_switch
fiber_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");
#else
#error "fibers are written for x86-64 and AArch64"
#endif

void wait_at(FiberBarrier& barrier) {
    unsigned generation = barrier.generation;
    if (++barrier.arrived == barrier.alive) {
        barrier.arrived = 0;
        barrier.generation++;
        return;
    }
    Fiber* self = fiber_now;
    self->waits = &barrier;
    self->generation = generation;
    fiber_switch(&self->stack, scheduler);
    self->waits = nullptr;
}

/// A thread that has ended is waited for no more.
void leave(FiberBarrier& barrier) {
    barrier.alive--;
    if (barrier.alive && barrier.arrived == barrier.alive) {
        barrier.arrived = 0;
        barrier.generation++;
    }
}

void run_thread() {
    current(current_arguments);
    Fiber* self = fiber_now;
    self->alive = false;
    leave(fiber_warps[self->warp].barrier);
    leave(whole);
    fiber_switch(&self->stack, scheduler);
    abort();
}

/// Stacks of all threads, with a page below each that nobody may touch.
char* new_stacks() {
    size_t bytes = size_t(MOST_THREADS) * STACK_BYTES;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("no memory for the stacks of threads");
        abort();
    }
    char* first = static_cast<char*>(memory);
    for (size_t i = 0; i < MOST_THREADS; i++) mprotect(first + i * STACK_BYTES, PAGE_BYTES, PROT_NONE);
    return first;
}

/// A stack from which fiber_switch goes into run_thread.
void* fresh_stack(unsigned index) {
    void** top = reinterpret_cast<void**>(stacks + (index + 1ul) * STACK_BYTES - 64);
#if defined(__x86_64__)
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(run_thread);
    return top - SAVED_WORDS;
#else
    top -= 20;
    memset(top, 0, 160);
    top[11] = reinterpret_cast<void*>(run_thread);
    return top;
#endif
}

void begin(unsigned threads, unsigned shared_bytes) {
    // Not a number in every type of float, so that what is read before it was written shows.
    memset(fiber_shared, 0xff, shared_bytes);
    memset(fiber_warps, 0, sizeof fiber_warps);
    whole = FiberBarrier{0, 0, threads};
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = fibers[i];
        fiber = Fiber{};
        fiber.position = {i % fiber_block.x, i / fiber_block.x % fiber_block.y,
                          i / fiber_block.x / fiber_block.y};
        fiber.lane = i % 32;
        fiber.warp = i / 32;
        fiber.alive = true;
        fiber_warps[i / 32].barrier.alive++;
        fiber.stack = fresh_stack(i);
    }
}

/// False if nobody can go on before all have ended.
bool run_block(unsigned threads) {
    for (unsigned left = threads; left;) {
        bool ran = false;
        left = 0;
        for (unsigned i = 0; i < threads; i++) {
            Fiber& fiber = fibers[i];
            if (!fiber.alive) continue;
            if (!fiber.waits || fiber.waits->generation != fiber.generation) {
                ran = true;
                fiber_now = &fiber;
                fiber_switch(&scheduler, fiber.stack);
            }
            left += fiber.alive;
        }
        if (left && !ran) return false;
    }
    return true;
}

}  // namespace

void fiber_wait_block() { wait_at(whole); }
void fiber_wait_warp() { wait_at(fiber_warps[fiber_now->warp].barrier); }

bool launch(Entry entry, const char* name, Size grid, Size block, unsigned shared_bytes, void** arguments) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> guard(one_at_a_time);
    if (!stacks) stacks = new_stacks();
    current = entry;
    current_arguments = arguments;
    fiber_grid = {grid.x, grid.y, grid.z};
    fiber_block = {block.x, block.y, block.z};
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                fiber_block_position = {x, y, z};
                begin(block.x * block.y * block.z, shared_bytes);
                if (!run_block(block.x * block.y * block.z)) {
                    fprintf(stderr, "%s: threads of block (%u, %u, %u) wait for each other at different places\n",
                            name, x, y, z);
                    return false;
                }
            }
    return true;
}
