// What kernels and the driver that runs them share.
#pragma once

typedef unsigned int FiberIndex;

struct FiberSize {
    unsigned int x, y, z;
};

/// Threads wait here until all that are alive have come.
struct FiberBarrier {
    unsigned int arrived, generation, alive;
};

/// A thread of the block that is run.
struct Fiber {
    void* stack;
    FiberSize position;
    FiberIndex lane, warp;
    /// Exchanges with its warp so far.
    unsigned int exchanges;
    bool alive;
    /// The barrier that it waits at, and the generation that it waits for the end of.
    FiberBarrier* waits;
    unsigned int generation;
};

/// What a thread gives to its warp, and in which of its exchanges, from 1: what another exchange or a thread
/// that has ended left is nobody's.
struct FiberSlot {
    unsigned long long value;
    unsigned int exchange;
};

struct FiberWarp {
    FiberBarrier barrier;
    /// Even and odd exchanges have places of their own, so that the fastest thread does not write over what
    /// the slowest has yet to read.
    FiberSlot slots[2][32];
};

enum { SHARED_BYTES = 163 * 1024 };

extern "C" {
extern Fiber* fiber_now;
extern FiberSize fiber_block, fiber_grid, fiber_block_position;
extern FiberWarp fiber_warps[32];
extern unsigned char fiber_shared[SHARED_BYTES];
void fiber_wait_block();
void fiber_wait_warp();
}
