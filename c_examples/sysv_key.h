/* Reads a System V key from an argument, for examples 07 and 12. */
#ifndef SYSV_KEY_H
#define SYSV_KEY_H

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

/* Takes 1 to ffffffff in hex, with or without 0x.  0 is refused: it is IPC_PRIVATE, no key. */
static inline bool read_key(const char *text, key_t *key)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 16);
    if (!isxdigit((unsigned char)text[0]) || *end != '\0' || errno != 0)
        return false;
    if (value == 0 || value > UINT32_MAX)
        return false;
    *key = (key_t)value;
    return true;
}

#endif
