// How much a text repeats itself. Knows nothing of the host.
#ifndef REPETITION_H
#define REPETITION_H

#include <stddef.h>
#include <stdint.h>

// The hashes of the n-grams of one text, kept to be used again for the next.
typedef struct {
    uint64_t *slots;
    size_t capacity;
    uint32_t *starts;
    size_t room;
} repetition_t;

typedef struct {
    // Characters: code points.
    size_t characters;
    // The share of the n-grams that have stood before in the text; 0 where there are none.
    float repeated;
} measure_t;

// Measures a UTF-8 text by n-grams of `size` characters.
measure_t repetition_measure(repetition_t *memory, const uint8_t *text, size_t length, size_t size);

// Frees what was kept.
void repetition_free(repetition_t *memory);

#endif
