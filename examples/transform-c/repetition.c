#include "repetition.h"

#include <stdlib.h>
#include <string.h>

static void *grown(void *memory, size_t bytes) {
    memory = realloc(memory, bytes);
    if (!memory) __builtin_trap();
    return memory;
}

// FNV-1a, mixed; never 0, which marks a free slot. Two n-grams of one text have the same hash once in
// 2^64 / n^2 texts: a share is not worth comparing the bytes.
static uint64_t hash(const uint8_t *bytes, size_t length) {
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++) h = (h ^ bytes[i]) * 0x100000001b3;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15;
    h ^= h >> 29;
    return h ? h : 1;
}

measure_t repetition_measure(repetition_t *memory, const uint8_t *text, size_t length, size_t size) {
    measure_t measure = {0};
    if (memory->room < length + 1) {
        memory->room = length + 1;
        memory->starts = grown(memory->starts, memory->room * sizeof *memory->starts);
    }
    // Where each character begins: every byte that continues none.
    for (size_t i = 0; i < length; i++)
        if ((text[i] & 0xc0) != 0x80) memory->starts[measure.characters++] = (uint32_t)i;
    memory->starts[measure.characters] = (uint32_t)length;
    if (measure.characters < size) return measure;

    size_t grams = measure.characters - size + 1, capacity = 16;
    while (capacity < grams * 2) capacity *= 2;
    if (memory->capacity < capacity) {
        memory->capacity = capacity;
        memory->slots = grown(memory->slots, capacity * sizeof *memory->slots);
    }
    memset(memory->slots, 0, capacity * sizeof *memory->slots);
    size_t distinct = 0;
    for (size_t i = 0; i < grams; i++) {
        const uint8_t *gram = text + memory->starts[i];
        uint64_t h = hash(gram, memory->starts[i + size] - memory->starts[i]);
        size_t slot = h & (capacity - 1);
        while (memory->slots[slot] && memory->slots[slot] != h) slot = (slot + 1) & (capacity - 1);
        if (!memory->slots[slot]) {
            memory->slots[slot] = h;
            distinct++;
        }
    }
    measure.repeated = (float)(grams - distinct) / (float)grams;
    return measure;
}

void repetition_free(repetition_t *memory) {
    free(memory->slots);
    free(memory->starts);
    *memory = (repetition_t){0};
}
