/* Types that the C half and the C++ half of `typed` share regions of, and what the C half does for the other.
 * Each type is one more way in which the two languages could name or lay out a type differently. */
#ifndef TYPED_H
#define TYPED_H

#include <stdint.h>

#include <shmkit.h>

#ifdef __cplusplus
#define ALIGNED(bytes) alignas(bytes)
#else
#define ALIGNED(bytes) _Alignas(bytes)
#endif

/* Padding at its end. */
struct telemetry {
    uint64_t samples;
    double speed;
    uint32_t history[8];
    char unit;
};

/* An alignment of its own. */
struct line {
    ALIGNED(64) uint32_t counter;
};

/* No tag. */
typedef struct {
    int32_t level;
} settings;

union word {
    uint64_t whole;
    unsigned char bytes[8];
};

/* More than the 47 bytes that count. */
struct name_that_is_longer_than_what_the_header_of_a_region_has_room_for {
    int64_t value;
};

/* TYPE(type as C names it, type as C++ names it, version) for all of them. */
#define ALL_TYPES(TYPE)                                                                                                \
    TYPE(struct telemetry, telemetry, 3)                                                                               \
    TYPE(struct line, line, 1)                                                                                         \
    TYPE(settings, settings, 4000000000)                                                                               \
    TYPE(union word, word, 0)                                                                                          \
    TYPE(struct name_that_is_longer_than_what_the_header_of_a_region_has_room_for,                                     \
         name_that_is_longer_than_what_the_header_of_a_region_has_room_for, 7)

#ifdef __cplusplus
extern "C" {
#endif

/* The layout of type number `index` as C has it; a NULL name behind the last one. */
shmkit_layout_t layout_in_c(int index);

/* Creates, or opens and closes, a region of type number `index` at an address. Give a status. */
shmkit_status_t create_in_c(const char *address, int index);
shmkit_status_t open_in_c(const char *address, int index);

/* The usual options as C has them. */
shmkit_region_options_t options_in_c(void);

#ifdef __cplusplus
}
#endif

#endif
