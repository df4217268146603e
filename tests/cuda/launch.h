// Runs a kernel: every thread of a block is a fiber.
#pragma once

/// Calls the compiled kernel with pointers to its arguments.
typedef void (*Entry)(void** arguments);

struct Size {
    unsigned x, y, z;
};

/// Runs all blocks of the grid, one after the other. False if threads of one wait for each other at
/// different places; what there is to say about it is on standard error.
bool launch(Entry entry, const char* name, Size grid, Size block, unsigned shared_bytes, void** arguments);
