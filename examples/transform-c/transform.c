// What the host calls: the description, and a session for each run over a dataset.

#include "plugin.h"

#include "repetition.h"
#include "tenon.h"

static const char DESCRIPTION[] = {
#embed "plugin.json"
};

void exports_tenon_plugin_plugin_describe(exports_tenon_plugin_plugin_description_t *ret) {
    tenon_description(DESCRIPTION, sizeof DESCRIPTION, TENON_PLUGIN_TYPES_KIND_TRANSFORM, ret);
}

struct exports_tenon_transform_transform_session_t {
    plugin_string_t column, characters, repetition;
    size_t size;
    float most;
    repetition_t memory;
};
typedef struct exports_tenon_transform_transform_session_t session_t;

void exports_tenon_transform_transform_session_destructor(session_t *session) {
    plugin_string_free(&session->column);
    plugin_string_free(&session->characters);
    plugin_string_free(&session->repetition);
    repetition_free(&session->memory);
    free(session);
}

static bool same(plugin_string_t a, plugin_string_t b) {
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

bool exports_tenon_transform_transform_static_session_open(plugin_string_t *config,
                                                           exports_tenon_transform_transform_own_session_t *ret,
                                                           tenon_plugin_types_error_t *err) {
    tenon_json_t json = {(const char *)config->ptr, (const char *)config->ptr + config->len};
    session_t *session = tenon_allocate(1, sizeof *session);
    // The schema requires the one and gives the others defaults.
    bool complete = tenon_json_string(json, "column", &session->column) &&
                    tenon_json_string(json, "characters", &session->characters) &&
                    tenon_json_string(json, "repetition", &session->repetition);
    session->size = (size_t)tenon_json_number(json, "size", 8);
    session->most = (float)tenon_json_number(json, "most", 0.3);
    plugin_string_free(config);
    if (!complete || same(session->characters, session->repetition)) {
        exports_tenon_transform_transform_session_destructor(session);
        return tenon_error(err, TENON_PLUGIN_TYPES_ERROR_INVALID_ARGUMENT,
                           "`characters` and `repetition` must name two different columns", NULL, NULL);
    }
    *ret = exports_tenon_transform_transform_session_new(session);
    return true;
}

static plugin_list_string_t names(size_t count, const plugin_string_t *names) {
    plugin_list_string_t list = {tenon_allocate(count, sizeof *names), count};
    for (size_t i = 0; i < count; i++) plugin_string_dup_n(&list.ptr[i], (const char *)names[i].ptr, names[i].len);
    return list;
}

void exports_tenon_transform_transform_method_session_columns(session_t *session,
                                                              exports_tenon_transform_transform_columns_t *ret) {
    ret->reads.is_some = true;
    ret->reads.val = names(1, &session->column);
    ret->writes = names(2, (plugin_string_t[]){session->characters, session->repetition});
}

bool exports_tenon_transform_transform_method_session_process(session_t *session, tenon_data_batches_batch_t *input,
                                                              exports_tenon_transform_transform_list_output_t *ret,
                                                              tenon_plugin_types_error_t *err) {
    tenon_texts_t texts;
    if (!tenon_texts(input, session->column, &texts, err)) {
        tenon_data_batches_batch_free(input);
        return false;
    }
    uint32_t *kept = tenon_allocate(input->rows, sizeof *kept);
    int64_t *characters = tenon_allocate(input->rows, sizeof *characters);
    float *repetition = tenon_allocate(input->rows, sizeof *repetition);
    size_t count = 0;
    for (uint32_t row = 0; row < input->rows; row++) {
        // A row without text cannot be measured, so it is dropped too.
        if (!tenon_holds(texts.validity, row)) continue;
        uint32_t start = texts.offsets[row];
        measure_t measure = repetition_measure(&session->memory, texts.values + start, texts.offsets[row + 1] - start,
                                               session->size);
        if (measure.repeated > session->most) continue;
        kept[count] = row;
        characters[count] = (int64_t)measure.characters;
        repetition[count] = measure.repeated;
        count++;
    }
    tenon_data_batches_batch_free(input);
    if (!count) {
        free(kept);
        kept = NULL;
    }

    tenon_data_batches_column_t *columns = tenon_allocate(2, sizeof *columns);
    columns[0] = tenon_column(session->characters, TENON_DATA_BATCHES_COLUMN_TYPE_INT64, characters,
                              count * sizeof *characters);
    columns[1] = tenon_column(session->repetition, TENON_DATA_BATCHES_COLUMN_TYPE_FLOAT32, repetition,
                              count * sizeof *repetition);
    exports_tenon_transform_transform_output_t *output = tenon_allocate(1, sizeof *output);
    output->batch = (tenon_data_batches_batch_t){(uint32_t)count, {columns, 2}};
    output->rows.tag = EXPORTS_TENON_TRANSFORM_TRANSFORM_ROWS_KEEP;
    output->rows.val.keep = (plugin_list_u32_t){kept, count};
    *ret = (exports_tenon_transform_transform_list_output_t){output, 1};
    return true;
}

bool exports_tenon_transform_transform_method_session_finish(session_t *session,
                                                             exports_tenon_transform_transform_list_output_t *ret,
                                                             tenon_plugin_types_error_t *err) {
    // Nothing is held back.
    *ret = (exports_tenon_transform_transform_list_output_t){0};
    return true;
}
