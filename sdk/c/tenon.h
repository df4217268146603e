// A thin layer over the bindings that wit-bindgen makes: what C authors of Tenon plugins would
// otherwise write again in each plugin. Header only; include it after "plugin.h", the bindings.
//
// Whatever is returned to the host is freed by the bindings, so it must come from malloc; the
// functions below that make something say so.
#ifndef TENON_H
#define TENON_H

#include <stdlib.h>
#include <string.h>

#include "plugin.h"

// ---- errors

// Fills an error of the contract with up to three pieces of a sentence (NULL: none); answers false:
// `return tenon_error(err, TENON_PLUGIN_TYPES_ERROR_FAILED, "there is no column `", name, "`");`
// There is no printf: the C library's would ask for a file system.
__attribute__((unused)) static bool tenon_error(tenon_plugin_types_error_t *err, uint8_t tag, const char *before,
                                                const plugin_string_t *name, const char *after) {
    size_t first = strlen(before), middle = name ? name->len : 0, last = after ? strlen(after) : 0;
    uint8_t *text = malloc(first + middle + last + 1);
    if (!text) __builtin_trap();
    memcpy(text, before, first);
    if (middle) memcpy(text + first, name->ptr, middle);
    if (last) memcpy(text + first + middle, after, last);
    err->tag = tag;
    // All variants hold a string in the same place.
    err->val.failed = (plugin_string_t){text, first + middle + last};
    return false;
}

// Memory, or the end of the instance: the host's error says that the plugin ran out of memory.
__attribute__((unused, returns_nonnull)) static void *tenon_allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory) __builtin_trap();
    return memory;
}

// ---- JSON: reading what the host has validated already

// A value within a JSON text.
typedef struct {
    const char *at, *end;
} tenon_json_t;

__attribute__((unused)) static const char *tenon_json_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

// Where the value that begins here ends.
__attribute__((unused)) static const char *tenon_json_skip(const char *at, const char *end) {
    int depth = 0;
    while (at < end) {
        char c = *at++;
        if (c == '"') {
            while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
            at++;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
        if (depth == 0 && (at >= end || c == '"' || c == '}' || c == ']' || strchr(",]} \t\r\n", *at))) break;
    }
    return at < end ? at : end;
}

// The value of a key of an object; false where there is none.
__attribute__((unused)) static bool tenon_json_find(tenon_json_t object, const char *key, tenon_json_t *value) {
    size_t length = strlen(key);
    const char *end = object.end, *at = tenon_json_space(object.at, end);
    if (at >= end || *at++ != '{') return false;
    while ((at = tenon_json_space(at, end)) < end && *at == '"') {
        const char *name = at + 1;
        at = tenon_json_skip(at, end);
        bool found = (size_t)(at - 1 - name) == length && memcmp(name, key, length) == 0;
        at = tenon_json_space(at, end);
        if (at >= end || *at++ != ':') return false;
        at = tenon_json_space(at, end);
        const char *after = tenon_json_skip(at, end);
        if (found) {
            *value = (tenon_json_t){at, after};
            return true;
        }
        at = tenon_json_space(after, end);
        if (at < end && *at == ',') at++;
    }
    return false;
}

// A number of an object; the fallback where there is none. Right to the last digit or the one before.
// (The C library's strtod would ask for a file system.)
__attribute__((unused)) static double tenon_json_number(tenon_json_t object, const char *key, double fallback) {
    tenon_json_t value;
    if (!tenon_json_find(object, key, &value)) return fallback;
    const char *at = value.at, *end = value.end;
    bool negative = at < end && *at == '-', point = false;
    if (negative) at++;
    double number = 0;
    int exponent = 0;
    for (; at < end && ((*at >= '0' && *at <= '9') || *at == '.'); at++) {
        if (*at == '.') {
            point = true;
        } else {
            number = number * 10 + (*at - '0');
            exponent -= point;
        }
    }
    if (at < end && (*at | 32) == 'e') {
        bool down = *++at == '-';
        int power = 0;
        for (at += *at == '-' || *at == '+'; at < end && power < 1000; at++) power = power * 10 + (*at - '0');
        exponent += down ? -power : power;
    }
    for (; exponent > 0; exponent--) number *= 10;
    double scale = 1;
    for (; exponent < 0; exponent++) scale *= 10;
    number /= scale;
    return negative ? -number : number;
}

__attribute__((unused)) static uint32_t tenon_json_hex(const char *at) {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        code = code * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return code;
}

// A text of an object, unescaped; made with malloc. False where there is none.
__attribute__((unused)) static bool tenon_json_string(tenon_json_t object, const char *key, plugin_string_t *out) {
    tenon_json_t value;
    if (!tenon_json_find(object, key, &value) || value.at >= value.end || *value.at != '"') return false;
    const char *at = value.at + 1, *end = value.end - 1;
    // No escape is shorter than what it stands for.
    uint8_t *text = tenon_allocate((size_t)(end - at) + 1, 1), *to = text;
    while (at < end) {
        if (*at != '\\') {
            *to++ = (uint8_t)*at++;
            continue;
        }
        char c = at[1];
        at += 2;
        const char *plain = strchr("b\bf\fn\nr\rt\t", c);
        if (c != 'u') {
            *to++ = plain && c > ' ' ? (uint8_t)plain[1] : (uint8_t)c;
            continue;
        }
        uint32_t code = tenon_json_hex(at);
        at += 4;
        if (code >= 0xd800 && code < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
            code = 0x10000 + ((code - 0xd800) << 10) + (tenon_json_hex(at + 2) - 0xdc00);
            at += 6;
        }
        if (code < 0x80) {
            *to++ = (uint8_t)code;
        } else if (code < 0x800) {
            *to++ = (uint8_t)(0xc0 | code >> 6);
            *to++ = (uint8_t)(0x80 | (code & 63));
        } else if (code < 0x10000) {
            *to++ = (uint8_t)(0xe0 | code >> 12);
            *to++ = (uint8_t)(0x80 | (code >> 6 & 63));
            *to++ = (uint8_t)(0x80 | (code & 63));
        } else {
            *to++ = (uint8_t)(0xf0 | code >> 18);
            *to++ = (uint8_t)(0x80 | (code >> 12 & 63));
            *to++ = (uint8_t)(0x80 | (code >> 6 & 63));
            *to++ = (uint8_t)(0x80 | (code & 63));
        }
    }
    *out = (plugin_string_t){text, (size_t)(to - text)};
    return true;
}

// The answer to `describe`, from the text of a plugin.json without capabilities.
__attribute__((unused)) static void tenon_description(const char *text, size_t length, tenon_plugin_types_kind_t kind,
                                                      tenon_plugin_types_description_t *out) {
    tenon_json_t said = {text, text + length}, schema;
    memset(out, 0, sizeof *out);
    out->kind = kind;
    tenon_json_string(said, "name", &out->name);
    tenon_json_string(said, "version", &out->version);
    tenon_json_string(said, "summary", &out->summary);
    if (tenon_json_find(said, "config_schema", &schema))
        plugin_string_dup_n(&out->config_schema, schema.at, (size_t)(schema.end - schema.at));
}

// ---- columns: Arrow's memory layout

// A column of texts: row i is `values[offsets[i]..offsets[i + 1]]`.
typedef struct {
    const uint8_t *values, *validity;
    const uint32_t *offsets;
} tenon_texts_t;

// The column of texts of that name, checked; false and an error if the batch has no such column.
__attribute__((unused)) static bool tenon_texts(const tenon_data_batches_batch_t *batch, plugin_string_t name,
                                                tenon_texts_t *out, tenon_plugin_types_error_t *err) {
    for (size_t i = 0; i < batch->columns.len; i++) {
        const tenon_data_batches_column_t *column = &batch->columns.ptr[i];
        if (column->name.len != name.len || memcmp(column->name.ptr, name.ptr, name.len) != 0) continue;
        if (column->kind != TENON_DATA_BATCHES_COLUMN_TYPE_UTF8)
            return tenon_error(err, TENON_PLUGIN_TYPES_ERROR_INVALID_ARGUMENT, "the column `", &name, "` holds no text");
        // The host promises offsets that ascend within the values.
        *out = (tenon_texts_t){column->values.ptr, column->validity.len ? column->validity.ptr : NULL,
                               (const uint32_t *)column->offsets.ptr};
        return true;
    }
    return tenon_error(err, TENON_PLUGIN_TYPES_ERROR_INVALID_ARGUMENT, "there is no column `", &name, "`");
}

// Whether a row holds a value.
__attribute__((unused)) static bool tenon_holds(const uint8_t *validity, size_t row) {
    return !validity || (validity[row / 8] >> (row % 8) & 1);
}

// A column of fixed width from its values, which it owns from then on; the name is copied. Empty lists are
// never freed by the bindings, so they must not own anything.
__attribute__((unused)) static tenon_data_batches_column_t tenon_column(plugin_string_t name,
                                                                        tenon_data_batches_column_type_t kind,
                                                                        void *values, size_t bytes) {
    if (!bytes) {
        free(values);
        values = NULL;
    }
    tenon_data_batches_column_t column = {.kind = kind, .values = {values, bytes}};
    plugin_string_dup_n(&column.name, (const char *)name.ptr, name.len);
    return column;
}

#endif
